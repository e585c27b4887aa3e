"""Groups, labels and clusters of rows, and spellings of their values.

- `conditions`: the space of conditions: one-hot codes of group, label and cluster.
- `clusters`: latent clusters of rows, by k-means from sums.
- `spellings`: values of two tables that mean the same.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairness.groups.clusters import Centres, Tally, find
    from fairness.groups.conditions import ConditionedOn, ConditionSpace, bin_of, category_labels
    from fairness.groups.spellings import spelled_alike

_HOMES = {
    "Centres": "clusters",
    "ConditionSpace": "conditions",
    "ConditionedOn": "conditions",
    "Tally": "clusters",
    "bin_of": "conditions",
    "category_labels": "conditions",
    "find": "clusters",
    "spelled_alike": "spellings",
}

__all__ = [
    "Centres",
    "ConditionSpace",
    "ConditionedOn",
    "Tally",
    "bin_of",
    "category_labels",
    "find",
    "spelled_alike",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
