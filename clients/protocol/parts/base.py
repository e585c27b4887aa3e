"""What a correction of local training may do: hooks at a site and on the server.

A correction is a frozen dataclass with a `kind`, registered in
`everymode.clients.protocol.parts.corrections`. It acts on every player whose updates are averaged.
Its arrays are named after their player: the array `control` of the critic travels as
`critic_control`. Configurations read these parts, so PyTorch is imported only where one works.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.parts.weighting import WeightingRule

if TYPE_CHECKING:
    from torch import Tensor

    from everymode.clients.protocol.parts.statistics import OptimizerStatistics

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LocalResult:
    """What a correction leaves behind at a site after a round.

    Attributes:
        totals: Arrays to be summed over sites, each weighted with what the site counts.
        state: The site's new vectors, `(P,)`.
    """

    totals: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)


class LocalRule:
    """What a correction does to one player's steps at one site in one round."""

    def correct(self, gradient: Tensor, raw: Tensor) -> Tensor:
        """The gradient that the step is taken along, `(P,)`.

        Args:
            gradient: As corrections before this one left it, `(P,)`; not to be changed in place.
            raw: The player's own gradient, `(P,)`; valid until the next step.
        """
        return gradient

    def finish(self, steps: int) -> LocalResult:
        """What is sent and kept after so many steps."""
        return LocalResult()


@dataclass(frozen=True)
class Correction:
    """Base of all corrections; every hook does nothing.

    Attributes:
        shared_vectors: Vectors `(P,)` that the server carries and sends to every site.
        server_vectors: Vectors `(P,)` that the server carries for itself.
        site_vectors: Vectors `(P,)` that each site carries for itself.
        totals: Arrays that are summed over sites: name to shape, where None stands for `(P,)`.
    """

    shared_vectors: ClassVar[tuple[str, ...]] = ()
    server_vectors: ClassVar[tuple[str, ...]] = ()
    site_vectors: ClassVar[tuple[str, ...]] = ()
    totals: ClassVar[Mapping[str, tuple[int, ...] | None]] = {}

    def local_steps(self, steps: int, weight: float, sites: int) -> int:
        """How many of `steps` a site takes that counts `weight` among so many sites; never more."""
        return steps

    def begin(self, vector: Tensor, memory: Mapping[str, Tensor]) -> LocalRule:
        """The site's half of a round.

        Args:
            vector: The player's live parameters `(P,)`, at the shared point now.
            memory: Shared and site vectors by name, `(P,)`, on any device.
        """
        return LocalRule()

    def scaled(self, change: Floats, steps: int) -> Floats:
        """A site's update as it is sent, from the change `(P,)` that so many steps made."""
        return change

    def start(self, size: int) -> dict[str, Tensor]:
        """Shared and server vectors before the first round, `(P,)`."""
        import torch

        return {name: torch.zeros(size) for name in self.shared_vectors + self.server_vectors}

    def receive(
        self,
        update: Tensor,
        weight: float,
        totals: Mapping[str, Floats],
        state: Mapping[str, Tensor],
    ) -> Tensor:
        """The server's half of a round: the update to apply, `(P,)`; moves `state` in place.

        Args:
            update: Mean of the sites' updates, `(P,)`.
            weight: Sum of p_k over the sites that took part; over all sites it is 1.
            totals: Sums over sites, each weighted with p_k.
            state: Shared and server vectors by name, `(P,)`.
        """
        return update

    def incompatibilities(
        self, placement: Placement, statistics: OptimizerStatistics, weighting: WeightingRule
    ) -> Iterator[str]:
        """What it does not go with, in words."""
        yield from ()
