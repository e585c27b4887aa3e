"""What server and sites agree on before training.

- `table_spec`: what is wanted.
- `agreement`: kinds, categories, atoms and bins of every column.
- `cells`: group, label and their weights.
- `clusters`: latent clusters.
"""
