"""Sums of a site's encoded rows within every level of the condition: counts, moments, shares.

An encoded row beside the bins of its numbers takes kilobytes, and its products take more. Rows are
therefore added up piece by piece, which bounds the memory of a large site.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.plan import Plan
from everymode.fairness.matching.moments import (
    eligible_strata,
    first_moments,
    level_counts,
    second_moments,
    share_strata,
    size_of_moments,
    stratum_memberships,
)
from everymode.fairness.matching.suppression import publishable

Rows = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PIECE = 1 << 15
"""Rows that are added up at once."""


def pieces(rows: Rows, cells: Cells) -> Iterator[tuple[Rows, Cells]]:
    """Rows `(n, D)` and their cells `(n,)`, `PIECE` at a time; one piece where there are none."""
    for start in range(0, max(len(rows), 1), PIECE):
        yield rows[start : start + PIECE], cells[start : start + PIECE]


def published(plan: Plan, rows: Rows, cells: Cells, least: int, shares: bool = False) -> Bools:
    """Coordinates of each level in which a site's rows take part, `(C + 1, W)`, by its floor.

    Args:
        plan: What server and sites agreed on.
        rows: The rows, `(n, D)`.
        cells: Their cells, `(n,)`.
        least: The site's floor; 0: in all.
        shares: Whether shares of categories are summed, in which groups may be that are too small
            for products.
    """
    _, levels = (share_strata if shares else eligible_strata)(plan.conditions)
    weigh = plan.share_weights if shares else plan.weights
    counts = sum(
        level_counts(plan.joined(some, own), (weigh(own) > 0).astype(np.float32))
        for some, own in pieces(rows, cells)
    )
    assert not isinstance(counts, int)
    if not least:
        return np.ones(counts.shape, dtype=np.bool_)
    active = np.append(levels, True)
    return publishable(counts, active, plan.conditions.blocks, plan.spans, least)


def sum_counts(plan: Plan, rows: Rows, cells: Cells, mine: Bools) -> npt.NDArray[np.int64]:
    """Rows of each level that have each coordinate, `(C + 1, W)`, where they take part."""
    taking, _ = eligible_strata(plan.conditions)
    total = np.zeros(mine.shape, dtype=np.int64)
    for some, own in pieces(rows, cells):
        within = taking[own // plan.conditions.per_group, None]
        member = stratum_memberships(plan.conditions.encode(own)) * within
        total += level_counts(plan.joined(some, own), member)
    return total * mine


def sum_shares(plan: Plan, rows: Rows, cells: Cells, mine: Bools) -> Floats:
    """Weighted sums of the categories within each level, `(C + 1, W + 1)`; see `first_moments`."""
    total = np.zeros((mine.shape[0], mine.shape[1] + 1))
    for some, own in pieces(rows, cells):
        joined = plan.joined(some, own)
        # The sum of a number over few rows would be theirs; shares are asked of categories only.
        joined[:, ~plan.choices] = 0
        total += first_moments(joined, plan.share_weights(own))
    total[:, :-1] *= mine
    return total


def sum_products(plan: Plan, rows: Rows, cells: Cells, wanted: Bools, mine: Bools) -> Floats:
    """Weighted sums of the products of published coordinates; see `second_moments`."""
    total = np.zeros(size_of_moments(wanted))
    for some, own in pieces(rows, cells):
        total += second_moments(plan.joined(some, own), plan.weights(own), wanted, mine)
    return total
