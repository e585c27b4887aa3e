"""What is held against every reply before it joins a sum.

- `replies`: all of it, in order.
- `invariants`: of schema, counts and audit.
- `training`: of a round.
- `moments`: of second moments.
- `releases`: the record of every reply that was taken.
- `outliers`: updates far from the others'.
"""
