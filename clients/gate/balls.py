"""Balls and codebooks of a recall, held to what synthetic rows would make of them.

`everymode.fairness.metrics.codebook` says how an honest server makes them: rows of the generator
are the centres of balls that reach to their k-th neighbour; k-means over them makes the codebook;
its reach is a quantile. All but the centres follows from the centres, so a site holds the rest to
them: a radius or a reach around a guess cannot be chosen. Centres crowded around one point would
make a small ball all the same; where a row holds a number, no two synthetic rows are alike, so such
centres are refused.

What this leaves open: counts around centres that are chosen, far enough from one another. A site's
floor (`everymode.clients.gate.floor`) is what keeps a count of one from leaving.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from everymode.clients.protocol.refusal import RefusedError
from everymode.fairness.metrics.codebook import (
    NEIGHBOURS,
    Codebook,
    alike,
    ball_radii,
    codebook_reach,
)
from everymode.wgan.shape import Block

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-4
"""Share by which radii and reaches may differ: other machines round otherwise."""

DRIFT = 0.05
"""How far a cell's centre may lie from the mean of its balls, as a share of their spread."""


def check_book(book: Codebook, blocks: Sequence[Block], width: int, cells: int) -> None:
    """Refuses balls and codebooks that were not made of synthetic rows.

    Args:
        book: As it came; `sizes` has one entry a group.
        blocks: Of the plan's encoded rows.
        width: D, their length.
        cells: K.

    Raises:
        RefusedError: Shapes that do not fit; centres too few or too near; radii, reaches or cells
            that do not follow from the centres.
    """
    groups, balls = len(book.sizes), sum(book.sizes)
    if book.balls.shape != (balls, width) or book.book.shape != (groups, cells, width):
        raise RefusedError(
            f"balls {book.balls.shape} and a codebook {book.book.shape}; expected "
            f"{(balls, width)} and {(groups, cells, width)}"
        )
    starts = np.cumsum([0, *book.sizes])
    for group in range(groups):
        part = slice(starts[group], starts[group + 1])
        problem = _problem(
            book.balls[part], book.radii[part], book.book[group], book.reach[group], blocks
        )
        if problem:
            raise RefusedError(f"balls of group {group + 1} of {groups}: {problem}")


def _problem(
    rows: Floats, radii: Floats, cells: Floats, reach: np.float32, blocks: Sequence[Block]
) -> str | None:
    if not len(rows):
        return "a codebook without balls" if cells.any() or reach else None
    if len(rows) <= NEIGHBOURS:
        return f"{len(rows)} of them; expected none, or more than {NEIGHBOURS}"
    if (pair := alike(rows, blocks)).any():
        return f"{int(pair.sum())} centres are copies of others, or nearly so"
    if not _near(radii, ball_radii(rows)):
        return f"radii that are not the distances to the {NEIGHBOURS}th neighbour"
    distances = cdist(rows, cells, "sqeuclidean")
    used = np.unique(distances.argmin(1))
    first = np.flatnonzero((cells != cells[0]).any(1))
    wanted = np.union1d(first, [0])
    if not np.array_equal(used, wanted):
        return "a codebook with cells that no ball lies in"
    nearest = distances.argmin(1)
    spread = float(rows.astype(np.float64).var(0).sum())
    for cell in used:
        moved = rows[nearest == cell].astype(np.float64).mean(0) - cells[cell]
        if float((moved**2).sum()) > DRIFT**2 * spread + 1e-9:
            return "a codebook whose cells are not the means of their balls"
    if not _near(np.array([reach]), np.array([codebook_reach(rows, cells)])):
        return "a codebook whose reach is not that of its balls"
    return None


def _near(sent: Floats, found: Floats) -> bool:
    return bool((np.abs(sent - found) <= TOLERANCE * np.abs(found) + 1e-9).all())
