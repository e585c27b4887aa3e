"""Parity of the target between groups, in the synthetic rows.

- `mixture`: adjusts the shares of labels that are sampled in every group.
- `penalty`: a penalty in the generator's loss.
- `adversary`: an adversary that predicts the group from the label.
- `membership`: differentiable group and label membership of synthetic rows.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairness.parity.adversary import GroupAdversary, GroupAdversarySpec
    from fairness.parity.mixture import ParityMixture, parity_gaps
    from fairness.parity.penalty import ParityPenalty

_HOMES = {
    "GroupAdversary": "adversary",
    "GroupAdversarySpec": "adversary",
    "ParityMixture": "mixture",
    "ParityPenalty": "penalty",
    "parity_gaps": "mixture",
}

__all__ = [
    "GroupAdversary",
    "GroupAdversarySpec",
    "ParityMixture",
    "ParityPenalty",
    "parity_gaps",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
