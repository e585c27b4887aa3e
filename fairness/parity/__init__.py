"""Parity of the target between groups, in the synthetic rows.

- `mixture`: adjusts the shares of labels that are sampled in every group.
- `penalty`: a penalty in the generator's loss.
- `adversary`: an adversary that predicts the group from the label.
- `membership`: differentiable group and label membership of synthetic rows.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.parity.adversary import GroupAdversary, GroupAdversarySpec
    from everymode.fairness.parity.mixture import ParityMixture, parity_gaps
    from everymode.fairness.parity.penalty import ParityPenalty
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.parity.adversary": (
                "GroupAdversary",
                "GroupAdversarySpec",
            ),
            "everymode.fairness.parity.mixture": (
                "ParityMixture",
                "parity_gaps",
            ),
            "everymode.fairness.parity.penalty": ("ParityPenalty",),
        },
    )

__all__ = [
    "GroupAdversary",
    "GroupAdversarySpec",
    "ParityMixture",
    "ParityPenalty",
    "parity_gaps",
]
