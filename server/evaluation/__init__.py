"""The end of a run.

- `figures`: utility, coverage, recall from sums.
- `conclusion`: from the trained state to the files of a run.
"""
