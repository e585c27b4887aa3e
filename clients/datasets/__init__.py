"""A site's rows, whatever its file holds.

- `base`: the protocol that a modality meets, and encoded rows.
- `columns`: questions about columns, which tables and arrays share.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which dataset a site has, by its file's name.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from clients.datasets.arrays import SAMPLES, ArrayDataset
    from clients.datasets.base import Encoded
    from clients.datasets.choice import forget, open_dataset
    from clients.datasets.tables import check_columns
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "clients.datasets.arrays": ("SAMPLES", "ArrayDataset"),
            "clients.datasets.base": ("Encoded",),
            "clients.datasets.choice": ("forget", "open_dataset"),
            "clients.datasets.tables": ("check_columns",),
        },
    )

__all__ = ["SAMPLES", "ArrayDataset", "Encoded", "check_columns", "forget", "open_dataset"]
