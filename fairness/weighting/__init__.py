"""Weights of groups, of sites and of their updates.

- `group_weights`: exact weights of rows, from counts of groups alone.
- `minimax`: weights that move towards groups with a high held-out risk.
- `site_weights`: rules of the literature that need figures of every site.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.weighting.group_weights import (
        cell_mass,
        group_mass,
        row_weights,
        site_mass,
    )
    from everymode.fairness.weighting.minimax import MinimaxRule, MinimaxState
    from everymode.fairness.weighting.site_weights import (
        afl,
        fed_tgan,
        fegan,
        fegan_sample,
        ifl_gan,
        q_fedavg,
        row_shares,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.weighting.group_weights": (
                "cell_mass",
                "group_mass",
                "row_weights",
                "site_mass",
            ),
            "everymode.fairness.weighting.minimax": (
                "MinimaxRule",
                "MinimaxState",
            ),
            "everymode.fairness.weighting.site_weights": (
                "afl",
                "fed_tgan",
                "fegan",
                "fegan_sample",
                "ifl_gan",
                "q_fedavg",
                "row_shares",
            ),
        },
    )

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
