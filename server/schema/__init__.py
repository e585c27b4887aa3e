"""What server and sites agree on before training.

- `agreement`: kinds, categories, atoms and bins of every column.
- `cells`: group, label and their weights.
- `clusters`: latent clusters.
"""
