"""All that `everymode compare` can compare: strategies, and baselines that train nothing.

The baselines are what a user would do instead of training a GAN: CART synthesis of pooled rows, or
at each site alone. They have their figures and costs in the tables; they have no curves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from everymode.server.config.strategies import STRATEGIES, Strategy, StrategyName

_PAPER = "Reiter, 2005; Nowok, Raab, Dibben, synthpop, 2016"


@dataclass(frozen=True)
class Baseline:
    """A way to make a table without training; named and described as strategies are.

    Attributes:
        name: As in `--strategies`.
        title: For tables and legends.
        paper: Where it comes from.
        note: What is particular about it here.
        sites: The strategy whose sites it has: `pooled` for one with all rows.
    """

    name: str
    title: str
    paper: str
    note: str
    sites: StrategyName


WITHOUT_TRAINING: Mapping[str, Baseline] = {
    "cart": Baseline(
        "cart",
        "CART",
        _PAPER,
        "no federation: trees with leaves of 30 rows on all rows in one place; sensitive features "
        "and a categorical target are drawn together first",
        "pooled",
    ),
    "local_cart": Baseline(
        "local_cart",
        "CART at each site",
        _PAPER,
        "no federation: each site makes a table of its own rows in the same way, in proportion to "
        "them, and the tables are put together",
        "local",
    ),
}

ENTRIES: Mapping[str, Strategy | Baseline] = {**STRATEGIES, **WITHOUT_TRAINING}
"""All that can be compared, by name."""
