"""What is done to rows of a trained generator, by sums that sites sent.

- `calibration`: the shares of categories, by iterative proportional fitting.
- `projection`, `projection_problem`: rows kept so that second moments are met.
- `dependencies`: columns that follow from others.
"""
