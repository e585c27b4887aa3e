"""Group fairness of synthetic data: groups, weights, matching, metrics, parity and the audit.

- `groups`: groups, labels and clusters of rows.
- `weighting`: weights of groups and sites in training.
- `matching`: moments of each group, from sums.
- `metrics`: coverage, distances and utility of groups.
- `parity`: the target's rates, made equal between groups.
- `postprocessing`: corrections of a trained generator.
- `attacks`: attacks on a synthetic table, group by group.
- `audit`, `report`: the audit of a synthetic table, and its files.

    from everymode.fairness.audit import audit
"""

from importlib import import_module
from typing import Any

__all__ = [
    "attacks",
    "audit",
    "groups",
    "matching",
    "metrics",
    "parity",
    "postprocessing",
    "report",
    "weighting",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
