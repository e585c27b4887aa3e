"""The trained generators in the state of a training, or in a checkpoint of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from everymode.clients.protocol.plan import Plan
from everymode.server.training.state import generators_in


def trained_generators(
    plan: Plan,
    tensors: Mapping[str, Tensor],
    site_statistics: Mapping[str, Mapping[str, npt.NDArray[Any]]] | None = None,
) -> tuple[tuple[Tensor, ...], npt.NDArray[np.float64]]:
    """The averaged generator; or that of each site, where sites share none.

    Args:
        plan: What server and sites agreed on.
        tensors: The state, by name.
        site_statistics: Statistics of the sites, whose counts of cells say for which rows each
            site's generator stands; None: for all alike.

    Returns:
        The vectors, each `(P,)`, and rows of each cell that each stands for, `(cells, K)`.
    """
    own, size = generators_in(tensors), plan.conditions.table.size
    if isinstance(own, Tensor):
        return (own,), np.ones((size, 1))
    names = sorted(own)
    blank = {name: np.ones(size) for name in names}
    cells = {n: p["cells"] for n, p in site_statistics.items()} if site_statistics else blank
    counts = np.stack([cells[name] for name in names], 1).astype(np.float64)
    return tuple(own[name] for name in names), counts
