"""Who belongs to which group, label and cluster, and how cells of real tables are spelled.

- `conditions`: the space of conditions, one-hot codes of group, label and cluster.
- `clusters`: latent clusters of rows, by k-means from sums.
- `spellings`: values of two tables that mean the same.
"""
