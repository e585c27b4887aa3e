"""What is written and shown.

- `run_directory`: the folder of a run, with `checkpoint_file`, `metrics_file`, `plan_file`
  and `releases_file`.
- `locks`, `leftovers`: one process a folder; what a killed one left.
- `console`, `terminal`: progress and tables, with strange words escaped.
- `plots`, `plot_style`: pictures.
"""
