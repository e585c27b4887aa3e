"""What a group, a site and its update count in training.

- `group_weights`: exact weights of rows, from counts of groups alone.
- `minimax`: weights that move towards groups with a high held-out risk.
- `site_weights`: rules of the literature, which look at every site.
"""
