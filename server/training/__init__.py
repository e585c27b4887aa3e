"""One round, and what is carried from round to round.

- `rounds`: the loop.
- `participation`: who takes part, and what each site keeps.
- `aggregation`, `weighting`: from sums to the next state.
- `generator_step`, `penalties`: the generator's part on the server.
- `monitor`: slopes, overfitting, trends, the plateau.
- `state`: all that a checkpoint holds.
"""
