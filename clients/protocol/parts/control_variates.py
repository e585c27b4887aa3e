"""SCAFFOLD: control variates correct local steps for the drift of sites.

Source: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging
for Federated Learning", 2020, algorithm 1. Option II's mean of local gradients is taken as such,
since the steps here are not plain gradient steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from everymode.clients.protocol.parts.base import Correction, Floats, LocalResult, LocalRule
from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.parts.weighting import WeightingRule

if TYPE_CHECKING:
    from torch import Tensor

    from everymode.clients.protocol.parts.statistics import OptimizerStatistics


@dataclass(frozen=True)
class ControlVariates(Correction):
    """A gradient g becomes g - c_k + c.

    c_k is the mean gradient of the site's own last round, c the sites' mean of those.
    """

    kind: Literal["control_variates"] = "control_variates"

    shared_vectors: ClassVar[tuple[str, ...]] = ("control",)
    site_vectors: ClassVar[tuple[str, ...]] = ("control_own",)
    totals: ClassVar[Mapping[str, tuple[int, ...] | None]] = {"control": None}

    def begin(self, vector: Tensor, memory: Mapping[str, Tensor]) -> LocalRule:
        """Takes c - c_k as the correction of every step."""
        own = memory["control_own"]
        return _Controlled(own, (memory["control"] - own).to(vector.device))

    def receive(
        self,
        update: Tensor,
        weight: float,
        totals: Mapping[str, Floats],
        state: Mapping[str, Tensor],
    ) -> Tensor:
        """Moves c by the sites' changes of c_k."""
        import torch

        state["control"].add_(torch.from_numpy(totals["control"]).float())
        return update

    def incompatibilities(
        self, placement: Placement, statistics: OptimizerStatistics, weighting: WeightingRule
    ) -> Iterator[str]:
        """Players that are each site's own have no mean gradient."""
        if placement.averaged_players and placement.local_players:
            yield (
                "federation.control_variates correct steps toward the shared players' mean "
                "gradient; write federation.critic = 'shared'"
            )


@dataclass
class _Controlled(LocalRule):
    own: Tensor
    correction: Tensor
    total: Tensor | None = None

    def correct(self, gradient: Tensor, raw: Tensor) -> Tensor:
        # The mean is of the site's own gradients, uncorrected.
        self.total = raw.clone() if self.total is None else self.total.add_(raw)
        return gradient + self.correction

    def finish(self, steps: int) -> LocalResult:
        import torch

        mean = torch.zeros_like(self.own) if self.total is None else self.total.cpu() / steps
        change = mean.numpy() - self.own.double().numpy()
        return LocalResult({"control": change}, {"control_own": mean})
