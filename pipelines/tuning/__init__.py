"""Tuning: one study over the recipes of a template, and an honest answer to which of them is best.

`space` and `asked_space` say what is searched, `studies` keeps it in a journal that survives its
workers, `sampling` draws, `fold_trials` fits, `untouched` holds back the newest period, `verdict`
decides, `runs`, `leaderboard` and `page` show. `search` runs the trials, `worker` puts all of it
together; `pipelines.tune` is the command.
"""
