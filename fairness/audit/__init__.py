"""The audit of a synthetic table, group by group, to thresholds that a user sets.

- `pooled`: against the rows themselves.
- `federated`: from counts that sites add up.
- `tables`, `fidelity`, `copies`: what both are made of.
- `thresholds`, `limits`: what is asked for, and what can be judged at all.
- `checks`, `copy_checks`, `utility_checks`: each finding held against them.
- `findings`, `verdict`, `headline`: the result, what it allows, and how it is said.
"""
