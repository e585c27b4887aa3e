"""Parity of the target over groups, in the synthetic rows.

- `mixture`: the shares of labels that rows are asked for in.
- `penalty`: a term of the generator's loss.
- `adversary`: a head that tells the groups apart, against the generator.
- `membership`: differentiable group and label of a synthetic row.
"""
