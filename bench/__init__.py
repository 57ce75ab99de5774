"""Where the figures of docs/performance.md come from: one command each, one table, one JSON line.

`python -m bench.NAME` measures; `--quick` takes under a minute and says less. The last line is
JSON with the named figures and the machine.
"""
