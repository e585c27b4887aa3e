"""Groups, labels and clusters of rows, and spellings of their values.

- `conditions`: the space of conditions: one-hot codes of group, label and cluster.
- `clusters`: latent clusters of rows, by k-means from sums.
- `spellings`: values of two tables that mean the same.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.groups.clusters import Centres, Tally, find
    from everymode.fairness.groups.conditioned_on import ConditionedOn
    from everymode.fairness.groups.conditions import ConditionSpace, assign_bins, category_labels
    from everymode.fairness.groups.spellings import spelled_alike
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.groups.clusters": (
                "Centres",
                "Tally",
                "find",
            ),
            "everymode.fairness.groups.conditioned_on": ("ConditionedOn",),
            "everymode.fairness.groups.conditions": (
                "ConditionSpace",
                "assign_bins",
                "category_labels",
            ),
            "everymode.fairness.groups.spellings": ("spelled_alike",),
        },
    )

__all__ = [
    "Centres",
    "ConditionSpace",
    "ConditionedOn",
    "Tally",
    "assign_bins",
    "category_labels",
    "find",
    "spelled_alike",
]
