"""How large anything that a server asks may be; both sides hold to it.

The limits are far above what a sensible configuration asks for, and are there so that no request
exhausts a site's memory or its patience. Configurations are held to those that bound a key.
"""

TEXT = 96 * 2**20
"""Characters of an order's JSON: a thousand numeric columns with their edges take 80 million."""

STRING = 4096
"""Characters of a header, a category or any other word; one that is agreed on has 120 bytes."""

FORM = 120
"""Characters of the form of dates or numbers, and of the name of a type."""

RECIPE = 2**20
"""Characters of a recipe; an ordinary one has 1,500."""

ITEMS = 5_000_000
"""Values in an order, all lists together: a thousand numeric columns with their edges."""

COLUMNS = 1024
"""Columns of a table: the summaries of one numeric column take half a megabyte."""

CATEGORIES = 16_384
"""Categories of a column; a sketch carries 500, more have to be declared."""

ATOMS = 1024
"""Point masses of a numeric column; a vote has 768 cells."""

EDGES = 32_768
"""Edges of a numeric column's bins: 2,048 fine bins, and one for each of 10,241 coarse ones."""

SAMPLE = 2**20
"""Numbers of one sample: an image of 3 channels and 590 x 590 pixels."""

LABELS = 51
"""Labels: 50 classes and the missing one."""

GROUPS = 4096
"""Groups: cells of the sensitive features."""

CENTRES = 256
"""Latent clusters (`data.clusters`)."""

CELLS = 4_000_000
"""Cells of group, label and cluster."""

ROWS = 2**48
"""Rows over all sites that any count may claim."""

SUMS = 2**27
"""Numbers that one answer may hold: a gigabyte. Second moments are 16 million at most."""

PARAMETERS = 2**26
"""Parameters of one network; the preset's have 140,000."""

UNITS = 65_536
"""Any whole number in a recipe: units of a layer, length of the noise, members of a committee."""

LAYERS = 65_536
"""Length of any list in a recipe."""

PACK = 1024
"""Rows that a critic judges together (`model.pack`)."""

STEPS = 10_000
"""Steps of one player in a round (`train.critic_steps`, `train.generator_steps`)."""

BATCH = 1_000_000
"""Rows of a step (`train.batch`, `train.site_minimum`)."""

DRAWN = 10_000_000
"""Rows that a site draws at once: those of all critic steps between two of its generator's."""

ROUNDS = 10**9
"""Number of a round."""

SITES = 100_000
"""Sites of a federation."""

FREQUENCIES = 4096
"""Random frequencies; 256 are asked for."""

BALLS = 512
"""Balls of a group; 500 are asked for."""

BOOK = 64
"""Cells of a group's codebook; 16 are asked for."""

LEAF_EXCHANGES = 6
"""Exchanges of trees and counts of their leaves in a run (`model.trees`, `model.forbidden`,
`model.critic_trees`)."""

NODES = 2**20
"""Nodes of one tree; a tree over a large table has some ten thousand."""

CODES = 2**15
"""Codes of a column: its categories, or bins and point masses of its numbers."""

SEED = 2**63
"""Seeds lie below this."""
