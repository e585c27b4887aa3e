"""What a run makes, whatever its sites' files hold.

- `base`: the protocol that a modality meets, and synthetic rows.
- `tables`: a table.
- `arrays`: samples and their labels.
- `choice`: which modality a plan is of.

A further modality takes a dataset (`clients.datasets`), a codec (`wgan.data`), a modality here, and
a network (`server.config.recipe`); `choice` here and at the sites each get a line.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from server.datasets.base import Synthetic
    from server.datasets.choice import build_modality, choose_modality
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "server.datasets.base": ("Synthetic",),
            "server.datasets.choice": ("build_modality", "choose_modality"),
        },
    )

__all__ = ["Synthetic", "build_modality", "choose_modality"]
