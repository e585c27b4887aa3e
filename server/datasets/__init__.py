"""What a run makes, whatever its sites' files hold.

- `base`: the protocol that a modality meets, and synthetic rows.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which modality a plan is of.

A further modality takes a dataset (`everymode.clients.datasets`), a codec (`everymode.wgan.data`),
a modality here, and a network (`everymode.server.config.recipe`); `choice` here and at the sites
each get a line.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.datasets.base import Synthetic
    from everymode.server.datasets.choice import build_modality, choose_modality
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.datasets.base": ("Synthetic",),
            "everymode.server.datasets.choice": ("build_modality", "choose_modality"),
        },
    )

__all__ = ["Synthetic", "build_modality", "choose_modality"]
