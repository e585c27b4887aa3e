"""FedNova: updates of sites that take different numbers of steps are normalised before the mean.

Source: Wang, Liu, Liang, Joshi, Poor, "Tackling the Objective Inconsistency Problem in
Heterogeneous Federated Optimization", 2020, equation 6 with |a_k|_1 = tau_k, which is exact for
plain local steps. As there, a site of fewer rows takes fewer steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from everymode.clients.protocol.parts.base import Correction, Floats, LocalResult, LocalRule
from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.parts.weighting import WeightingRule

if TYPE_CHECKING:
    from torch import Tensor

    from everymode.clients.protocol.parts.statistics import OptimizerStatistics


@dataclass(frozen=True)
class FedNova(Correction):
    """Site k takes tau_k steps and sends its change over tau_k; the mean is scaled by tau_eff.

    tau_k is K p_k times the steps asked for, rounded, at least 1 and at most as many as asked for;
    tau_eff = sum_k p_k tau_k / sum_k p_k. Without the normalisation the sites' mean would be that
    of another objective, in which site k counts p_k tau_k.
    """

    kind: Literal["fednova"] = "fednova"

    totals: ClassVar[Mapping[str, tuple[int, ...] | None]] = {"steps": (1,)}

    def local_steps(self, steps: int, weight: float, sites: int) -> int:
        """tau_k."""
        return min(max(round(steps * weight * sites), 1), steps)

    def begin(self, vector: Tensor, memory: Mapping[str, Tensor]) -> LocalRule:
        """Counts steps."""
        return _Counted()

    def scaled(self, change: Floats, steps: int) -> Floats:
        """The change over tau_k."""
        return change / steps

    def receive(
        self,
        update: Tensor,
        weight: float,
        totals: Mapping[str, Floats],
        state: Mapping[str, Tensor],
    ) -> Tensor:
        """The mean times tau_eff."""
        return update * (float(totals["steps"][0]) / weight)

    def incompatibilities(
        self, placement: Placement, statistics: OptimizerStatistics, weighting: WeightingRule
    ) -> Iterator[str]:
        """Moments that are shared have seen another number of steps at every site."""
        if not statistics.local_optimizer_state:
            yield (
                "federation.corrections: fednova lets sites take different numbers of steps, and "
                "shared optimizer statistics count one; write federation.statistics = 'private'"
            )
        if weighting.per_site_updates:
            yield (
                "federation.corrections: fednova weighs sites by what they count, and "
                f"federation.weights = '{weighting.kind}' weighs their updates on the server; "
                "write 'groups', 'rows' or 'equal'"
            )


class _Counted(LocalRule):
    def finish(self, steps: int) -> LocalResult:
        return LocalResult({"steps": np.array([steps])})
