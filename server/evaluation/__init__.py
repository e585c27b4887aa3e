"""The end of a run.

- `figures`: utility, coverage, recall from sums.
"""
