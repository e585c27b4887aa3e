"""FedProx: a proximal term pulls local steps back to the shared point.

Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous
Networks", 2020, equation 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from everymode.clients.protocol.parts.base import Correction, LocalRule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Proximal(Correction):
    """Local steps minimise the loss plus mu / 2 |w - w_0|^2.

    Attributes:
        mu: Strength of the pull.
    """

    mu: float = 0.01
    kind: Literal["proximal"] = "proximal"

    def begin(self, vector: Tensor, memory: Mapping[str, Tensor]) -> LocalRule:
        """Remembers the shared point."""
        return _Pull(self.mu, vector, vector.clone())


@dataclass
class _Pull(LocalRule):
    mu: float
    vector: Tensor
    start: Tensor

    def correct(self, gradient: Tensor, raw: Tensor) -> Tensor:
        return gradient + self.mu * (self.vector - self.start)
