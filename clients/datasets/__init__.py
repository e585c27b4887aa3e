"""A site's rows, whatever its file holds.

- `base`: the protocol that a modality meets, and encoded rows.
- `columns`: questions about columns, which tables and arrays share.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which dataset a site has, by its file's name.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.clients.datasets.arrays import SAMPLES, ArrayDataset
    from everymode.clients.datasets.base import Encoded
    from everymode.clients.datasets.choice import forget, open_dataset
    from everymode.clients.datasets.tables import check_columns
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.clients.datasets.arrays": ("SAMPLES", "ArrayDataset"),
            "everymode.clients.datasets.base": ("Encoded",),
            "everymode.clients.datasets.choice": ("forget", "open_dataset"),
            "everymode.clients.datasets.tables": ("check_columns",),
        },
    )

__all__ = ["SAMPLES", "ArrayDataset", "Encoded", "check_columns", "forget", "open_dataset"]
