"""Sums of a site's encoded rows within every level of the condition: counts, moments, shares.

All rows of a cell of group and label have the same weight in a level. They are added up first, and
levels are sums over cells: a row is looked at once, not once a level. An encoded row beside the
bins of its numbers takes kilobytes, and its products take more, so rows are added up piece by
piece, which bounds the memory of a large site.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.plan import Plan
from everymode.fairness.matching.moments import (
    eligible_strata,
    share_strata,
    size_of_moments,
    stratum_memberships,
)
from everymode.fairness.matching.suppression import publishable

Rows = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PIECE = 1 << 13
"""Rows that are added up at once."""


def pieces(plan: Plan, rows: Rows, cells: Cells) -> Iterator[tuple[int, Rows]]:
    """Cells and their joined rows `(n, W)`, cell by cell, at most `PIECE` rows at a time."""
    order = np.argsort(cells, kind="stable")
    held, starts = np.unique(cells[order], return_index=True)
    for cell, own in zip(held.tolist(), np.split(order, starts[1:]), strict=False):
        # Of no rows, `split` makes one part and there is no cell.
        for start in range(0, len(own), PIECE):
            index = own[start : start + PIECE]
            yield cell, plan.joined(rows[index], cells[index])


def cell_counts(plan: Plan, rows: Rows, cells: Cells) -> tuple[Cells, Ints]:
    """Which cells there are, `(K,)`, and their rows that have each coordinate, `(K, W)`."""
    held = np.unique(cells)
    counts = np.zeros((len(held), plan.width), dtype=np.int64)
    for cell, joined in pieces(plan, rows, cells):
        counts[np.searchsorted(held, cell)] += np.count_nonzero(joined, axis=0)
    return held, counts


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
    active = np.append(levels, True)
    if not least:
        return np.ones((len(active), plan.width), dtype=np.bool_)
    held, counts = cell_counts(plan, rows, cells)
    member = (plan.share_weights if shares else plan.weights)(held) > 0
    totals = member.T.astype(np.int64) @ counts
    return publishable(totals, active, plan.conditions.blocks, plan.spans, least)


def sum_counts(plan: Plan, rows: Rows, cells: Cells, mine: Bools) -> Ints:
    """Rows of each level that have each coordinate, `(C + 1, W)`, where they take part."""
    taking, _ = eligible_strata(plan.conditions)
    held, counts = cell_counts(plan, rows, cells)
    within = taking[held // plan.conditions.per_group, None]
    member = stratum_memberships(plan.conditions.encode(held)) * within
    totals: Ints = member.T.astype(np.int64) @ counts
    return totals * mine


def sum_shares(plan: Plan, rows: Rows, cells: Cells, mine: Bools) -> Floats:
    """Weighted sums of the categories within each level, `(C + 1, W + 1)`.

    The last column is the sum of the weights; see `everymode.fairness.matching.moments`.
    """
    held, counts = cell_counts(plan, rows, cells)
    # The sum of a number over few rows would be theirs; shares are asked of categories only.
    counts[:, ~plan.choices] = 0
    everyone = np.array([np.count_nonzero(cells == cell) for cell in held], dtype=np.int64)
    total: Floats = plan.share_weights(held).T @ np.column_stack([counts, everyone])
    total[:, :-1] *= mine
    return total


def sum_products(plan: Plan, rows: Rows, cells: Cells, wanted: Bools, mine: Bools) -> Floats:
    """Weighted sums of the products of published coordinates: upper triangles, level by level.

    They are laid out as those of `everymode.fairness.matching.moments.second_moments`.
    """
    total = np.zeros(size_of_moments(wanted))
    places = [_triangle(coordinates) for coordinates in wanted]
    for cell, products in cell_products(plan, rows, cells):
        flat, start = products.reshape(-1), 0
        weights = plan.weights(np.array([cell]))[0]
        for weight, place in zip(weights, places, strict=True):
            if weight > 0:
                total[start : start + len(place)] += weight * flat[place]
            start += len(place)
    taken = [np.outer(own, own).reshape(-1)[p] for own, p in zip(mine, places, strict=True)]
    total *= np.concatenate([np.zeros(0, dtype=np.bool_), *taken])
    return total


def cell_products(plan: Plan, rows: Rows, cells: Cells) -> Iterator[tuple[int, Floats]]:
    """Cells and the sums of products of their rows' coordinates, `(W, W)`."""
    exact = plan.choices
    for cell, parts in groupby(pieces(plan, rows, cells), key=itemgetter(0)):
        products = np.zeros((plan.width, plan.width))
        for _, joined in parts:
            products += _products(joined, exact)
        yield cell, products


def _products(joined: Rows, exact: Bools) -> Floats:
    """Sums of products `(W, W)`; products of zeros and ones are counted in single precision.

    Counts up to 2^24 are exact in it, and it takes half the time.
    """
    numbers = np.flatnonzero(~exact)
    products: Floats = (joined.T @ joined).astype(np.float64)
    if len(numbers):
        own = joined[:, numbers].astype(np.float64)
        products[numbers] = own.T @ joined.astype(np.float64)
        products[:, numbers] = products[numbers].T
    return products


def _triangle(coordinates: Bools) -> npt.NDArray[np.intp]:
    """Where the upper triangle of some coordinates lies in a flat matrix `(W, W)` of all."""
    chosen = np.flatnonzero(coordinates)
    first, second = np.triu_indices(len(chosen))
    return chosen[first] * len(coordinates) + chosen[second]
