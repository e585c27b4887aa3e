"""A site's rows, whatever its file holds.

- `base`: the protocol that a modality meets, and encoded rows.
- `columns`: questions about columns, which tables and arrays share.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which dataset a site has, by its file's name.
"""
