"""Weights of groups, of sites and of their updates.

- `group_weights`: exact weights of rows, from counts of groups alone.
- `minimax`: weights that move towards groups with a high held-out risk.
- `site_weights`: rules of the literature that need figures of every site.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairness.weighting.group_weights import cell_mass, group_mass, row_weights, site_mass
    from fairness.weighting.minimax import MinimaxRule, MinimaxState
    from fairness.weighting.site_weights import (
        afl,
        fed_tgan,
        fegan,
        fegan_sample,
        ifl_gan,
        q_fedavg,
        row_shares,
    )

_HOMES = {
    "MinimaxRule": "minimax",
    "MinimaxState": "minimax",
    "afl": "site_weights",
    "cell_mass": "group_weights",
    "fed_tgan": "site_weights",
    "fegan": "site_weights",
    "fegan_sample": "site_weights",
    "group_mass": "group_weights",
    "ifl_gan": "site_weights",
    "q_fedavg": "site_weights",
    "row_shares": "site_weights",
    "row_weights": "group_weights",
    "site_mass": "group_weights",
}

__all__ = [
    "MinimaxRule",
    "MinimaxState",
    "afl",
    "cell_mass",
    "fed_tgan",
    "fegan",
    "fegan_sample",
    "group_mass",
    "ifl_gan",
    "q_fedavg",
    "row_shares",
    "row_weights",
    "site_mass",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
