"""Files of a run directory, and what a user sees of a run.

- `run_directory`: the folder of a run, with `checkpoint_file`, `metrics_file`, `plan_file`
  and `releases_file`.
- `records`: types and JSON Schemas of `metrics.jsonl`, `summary.json` and `audit.json`.
- `locks`, `leftovers`: one process a folder; private files that a killed one left.
- `console`, `terminal`: progress and tables, with control characters escaped.
- `plots`, `plot_style`: `curves.png` and `groups.png`.
"""
