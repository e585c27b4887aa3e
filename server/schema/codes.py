"""How new codes of identifiers are made, from the sums of their patterns."""

from collections.abc import Sequence

import numpy as np

from everymode.clients.protocol.sketch import log_edges, peel
from everymode.clients.protocol.sums import SiteSums
from everymode.wgan.data.identifiers import UUID, Identifier
from everymode.wgan.errors import DataError

RARE = 0.001
"""Share of the codes below which a pattern is left out."""


def settle_identifiers(
    found: SiteSums, names: Sequence[str], columns: Sequence[str], floor: int
) -> tuple[Identifier, ...]:
    """The patterns of identifiers that enough codes have.

    Args:
        found: The sums of the values.
        names: The identifiers, in the order in which they were asked about.
        columns: All columns of the table, in order.
        floor: Fewest codes of a pattern.

    Raises:
        DataError: Columns whose codes have no pattern; all at once.
    """
    made, problems = [], []
    for i, name in enumerate(names):
        try:
            patterns = peel(found.units(f"sketch.pattern.{i}"), name)
        except DataError:
            patterns = {}
        total = sum(patterns.values())
        kept = {p: n for p, n in patterns.items() if n >= max(floor, RARE * total)}
        if not kept:
            problems.append(
                f'data.columns.{name}.kind = "id": its codes have no common pattern of which '
                f'{floor} rows are (data.floor); leave the column out with data.drop = ["{name}"]'
            )
            continue
        order = sorted(kept, key=lambda p: (-kept[p], p))
        shares = np.array([kept[p] for p in order], dtype=np.float64)
        used = found[f"run.{i}"].nonzero()[0]
        largest = float(log_edges()[used[-1] + 1]) if len(used) else 0.0
        made.append(
            Identifier(
                name,
                list(columns).index(name),
                tuple(order),
                tuple((shares / shares.sum()).tolist()),
                int(np.ceil(largest)) + 1,
                all(p != UUID and set(p) <= {"#"} for p in order),
            )
        )
    if problems:
        raise DataError(problems)
    return tuple(made)
