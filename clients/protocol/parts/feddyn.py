"""FedDyn: a dynamic regulariser aligns the sites' stationary points with the shared one.

Source: Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama, "Federated Learning Based on
Dynamic Regularization", 2021, algorithm 1. There a site minimises its regularised loss; here it
takes its usual local steps along that loss's gradient. With p_k = 1 / K the server's half is the
paper's; other weights p_k take the place of 1 / K.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from everymode.clients.protocol.parts.base import Correction, Floats, LocalResult, LocalRule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FedDyn(Correction):
    """Local steps minimise L_k(w) - <g_k, w> + alpha / 2 |w - w_0|^2.

    After a round g_k becomes g_k - alpha (w_k - w_0). The server keeps h, which becomes
    h - alpha sum_k p_k (w_k - w_0), and moves to the mean of the w_k less h / alpha.

    Attributes:
        alpha: Strength of the regulariser, above 0.
    """

    alpha: float = 0.1
    kind: Literal["feddyn"] = "feddyn"

    server_vectors: ClassVar[tuple[str, ...]] = ("gradient_sum",)
    site_vectors: ClassVar[tuple[str, ...]] = ("gradient_own",)

    def __post_init__(self) -> None:
        """Refuses an alpha that nothing can be divided by."""
        if not self.alpha > 0:
            raise ValueError(f"alpha = {self.alpha} of feddyn; expected a number above 0")

    def begin(self, vector: Tensor, memory: Mapping[str, Tensor]) -> LocalRule:
        """Remembers the shared point and g_k."""
        own = memory["gradient_own"].to(vector.device)
        return _Regularised(self.alpha, vector, vector.clone(), own)

    def receive(
        self,
        update: Tensor,
        weight: float,
        totals: Mapping[str, Floats],
        state: Mapping[str, Tensor],
    ) -> Tensor:
        """Moves h, and corrects the mean by it."""
        correction = state["gradient_sum"].sub_(update, alpha=self.alpha * weight)
        return update - correction / self.alpha


@dataclass
class _Regularised(LocalRule):
    alpha: float
    vector: Tensor
    start: Tensor
    own: Tensor

    def correct(self, gradient: Tensor, raw: Tensor) -> Tensor:
        return gradient - self.own + self.alpha * (self.vector - self.start)

    def finish(self, steps: int) -> LocalResult:
        moved = self.own - self.alpha * (self.vector - self.start)
        return LocalResult(state={"gradient_own": moved.cpu()})
