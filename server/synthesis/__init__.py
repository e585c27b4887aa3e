"""Rows from a trained generator.

- `synthesizer`: from conditions to a table.
- `calibration`, `projection`: postprocessing, fitted to the sums.
- `conditions`: rows that a user asks for.
- `generator_file`: all of it in one file.
"""
