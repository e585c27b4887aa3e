"""Coverage where distances tie: ties are broken at random, not in favour of the synthetic rows.

In tables of categories many rows are equally far from a row. Were all of them inside its ball, a
generator that makes few kinds of rows would seem to cover many. Here the points at the ball's very
edge are put in a random order, and equal rows at one point in a random order of their own. Which
rows are synthetic has no part in it, so that equal distributions are covered as often as where no
distances tie (`everymode.fairness.metrics.coverage.expected_coverage`); and as a point comes once,
however often its row is repeated, repeats of one row cover no more than the row itself.
"""

import numpy as np

from everymode.fairness.metrics.blocks import Floats, Places, Points, blocks

ORDERS = 8
"""Random orders whose mean is taken."""


def covered_in_ties(
    real: Points, synthetic: Points, rows: Places, radii: Floats, k: int, rng: np.random.Generator
) -> Floats:
    """How likely a synthetic row comes before the k-th nearest other real row, ties at random.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`.
        rows: Real rows `(r,)` whose nearest synthetic row is exactly as far as the k-th real one.
        radii: That squared distance, `(r,)`.
        k: Which neighbour gives the radius.
        rng: Draws the orders.

    Returns:
        Probabilities `(r,)`.

    >>> same = np.zeros((6, 1))
    >>> likely = covered_in_ties(same, same, np.arange(6), np.zeros(6), 1, np.random.default_rng(0))
    >>> bool(np.allclose(likely, 1 - 5 / 11))
    True
    """
    first, index = distinct(np.concatenate([real, synthetic]))
    points = np.concatenate([real, synthetic])[first]
    held = np.bincount(index[: len(real)], minlength=len(points))
    made = np.bincount(index[len(real) :], minlength=len(points))
    own = index[rows]
    found = np.empty(len(rows))
    for start, block in blocks(real[rows], points):
        part = slice(start, start + len(block.a))
        limit = radii[part, None]
        inside, nearer = block.inside(limit), block.inside(np.nextafter(limit, -np.inf))
        # A row is no neighbour of itself; with a radius of 0 it is among the tied.
        nearest = np.bincount(nearer[0], held[nearer[1]], len(block.a)).astype(np.int64)
        nearest -= radii[part] > 0
        within, without = (row * len(points) + point for row, point in (inside, nearer))
        tied = np.setdiff1d(within, without, assume_unique=True)
        row, point = np.divmod(tied, len(points))
        others = held[point] - (point == own[part][row])
        draws = [
            _before(row, others, made[point], k - nearest, rng.random(len(row)))
            for _ in range(ORDERS)
        ]
        found[part] = np.mean(draws, axis=0)
    return found


def distinct(points: Points) -> tuple[Places, Places]:
    """Where each distinct row first is, and which of them each row `(n,)` is.

    >>> [found.tolist() for found in distinct(np.array([[0.0, 1.0], [2.0, 1.0], [-0.0, 1.0]]))]
    [[0, 1], [0, 1, 0]]
    """
    if not points.size:
        return np.arange(min(len(points), 1)), np.zeros(len(points), dtype=np.int64)
    # Adding 0 turns -0 into 0; whole rows are compared as bytes.
    plain = np.ascontiguousarray(points + np.zeros(1, dtype=points.dtype))
    whole = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).reshape(-1)
    _, first, index = np.unique(whole, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[index.reshape(-1)]


def _before(row: Places, others: Places, made: Places, wanted: Places, keys: Floats) -> Floats:
    """For one order of the tied points: how likely a synthetic row comes early enough.

    Args:
        row: The centre of each pair of a centre and a tied point, `(p,)`.
        others: Real rows at the point.
        made: Synthetic rows there; every centre has a point with some.
        wanted: By centre, how many real rows must have come for it not to be covered.
        keys: The order.
    """
    order = np.lexsort((keys, row))
    row, others, made = row[order], others[order], made[order]
    before = np.cumsum(others) - others
    starts = np.searchsorted(row, np.arange(len(wanted)))
    with_made = np.flatnonzero(made)
    _, at = np.unique(row[with_made], return_index=True)
    first = with_made[at]
    left = wanted - (before[first] - before[starts])
    missed = np.ones(len(wanted))
    # All of so many rows of the point are real: drawn without replacement.
    b, s = others[first].astype(np.float64), made[first]
    for step in range(int(max(left.max(initial=0), 0))):
        missed *= np.where(step < left, np.maximum(b - step, 0) / np.maximum(b + s - step, 1), 1)
    return np.where(left > 0, 1 - missed, 0.0)
