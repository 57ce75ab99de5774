"""Our search beside FLAML, AutoGluon and LightGBM's defaults, on the same rows and seconds.

`sets` cuts each set in two: rows that are searched, and untouched ones that no search sees. `ours`
searches with the command `tune`; the scripts of `peers/` search with other libraries, each in a
Python of its own. `results` ranks what all of them lost on the untouched rows.
"""
