"""Measurements of a synthetic table against a real one, each a function of arrays or tables.

- `coverage`, `neighbours`, `ties`, `blocks`: coverage and recall by nearest neighbours.
- `codebook`: recall from counts, without a row of anybody's.
- `marginals`, `distances`: one column at a time, and whole tables.
- `utility`, `group_utility`: models trained on synthetic rows, in all and by group.
- `bootstrap`: intervals of such figures.
- `image_features`: features of images in place of their pixels.
- `results`: what all of them are told in.
"""
