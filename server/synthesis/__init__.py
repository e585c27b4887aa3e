"""Sampling from a trained generator, and its postprocessing.

- `synthesizer`: the generators with their postprocessing steps; from cells to a table.
- `steps`: postprocessing steps, which change or reject rows.
- `fitting`: which postprocessing a run has; `calibration` and `projection` fit it to the sums.
- `conditions`: values that a user asks for.
- `trained`: the generators in the state of a training.
- `generator_file`: all of it in one file.
"""
