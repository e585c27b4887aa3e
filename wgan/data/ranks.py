"""Numbers as normal scores and back: the rank of a number, read from a schema, made Gaussian.

A generator's outputs are near normal, so a number is handed to it as half the standard normal
quantile of its rank. Ranks are squeezed into [TAIL, 1 - TAIL]: the extremes of a table stay finite
(about +-1.86) and apart from each other.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from everymode.wgan.data.calendar_steps import nearest, step_seconds
from everymode.wgan.data.date_forms import form_step
from everymode.wgan.data.schema import Column

Numbers = npt.NDArray[np.float64]

TAIL: Final = 1e-4
"""Rank given to the lowest edge; the highest has 1 less this."""


NOTHING: Final = 1e-9
"""Part of the largest number below which a bin around zero is as good as zero."""


def resolution(column: Column) -> float:
    """The step between neighbouring values of a numeric column; 0 where they are dense.

    Integers have 1, a float with two decimals .01, dates a day in seconds.

    >>> resolution(Column("born", "datetime", form="%Y-%m-%d"))
    86400.0
    """
    if column.kind == "integer":
        return 1.0
    if column.kind == "float":
        return 10.0**-column.decimals if column.decimals < 15 else 0.0
    return max(form_step(column.form), step_seconds(column.step)) if column.form else 0.0


def jitter(column: Column) -> float:
    """Width of the noise that spreads tied values over their rank; 0 for dense values.

    It is the column's resolution, unless that is lost in the rounding of floats.
    """
    step = resolution(column)
    return step if step >= 1e-14 * max(abs(column.low), abs(column.high)) else 0.0


def to_scores(numbers: Numbers, column: Column) -> Numbers:
    """Half the normal quantile of each number's rank, `(n,)`; outside the edges, of the edge.

    On a linear scale, where the number lies in the column's range, as -1 to 1.
    """
    if column.scale == "linear":
        span = column.high - column.low
        place: Numbers = 2 * (numbers - column.low) / span - 1
        return np.clip(place, -1 - jitter(column) / span, 1 + jitter(column) / span)
    ranks = np.interp(numbers, column.edges, column.cumulative)
    scores: Numbers = ndtri(TAIL + (1 - 2 * TAIL) * ranks) / 2
    return scores


def from_scores(scores: Numbers, column: Column) -> Numbers:
    """The inverse of `to_scores`, rounded to the column's resolution and kept in [low, high]."""
    if column.scale == "linear":
        numbers = column.low + (scores + 1) / 2 * (column.high - column.low)
    else:
        ranks = np.clip((ndtr(2 * scores) - TAIL) / (1 - 2 * TAIL), 0, 1)
        numbers = np.interp(ranks, column.cumulative, column.edges)
        if not resolution(column):
            numbers = np.where(_nothing(numbers, column), 0.0, numbers)
    if column.step and not step_seconds(column.step):
        # Months and quarters are not equally long.
        return nearest(np.clip(numbers, column.low, column.high), column.step)
    low, high = _rounded(np.array([column.low, column.high]), column)
    # Edges need not be multiples of the resolution; rounding must not lead past them.
    low += resolution(column) * (low < column.low)
    high -= resolution(column) * (high > column.high)
    return np.clip(_rounded(numbers, column), low, high)


def _nothing(numbers: Numbers, column: Column) -> npt.NDArray[np.bool_]:
    """Which numbers lie in the bin around zero, where sites find nothing but 0."""
    edges = np.asarray(column.edges)
    # Wider ones hold numbers of the data: a range may just be as long on either side.
    narrow = edges[1:] <= NOTHING * max(abs(column.low), abs(column.high))
    places = np.flatnonzero((edges[1:] == -edges[:-1]) & narrow)
    inside = np.zeros(len(numbers), dtype=np.bool_)
    for place in places:
        inside |= np.abs(numbers) < edges[place + 1]
    return inside


def _rounded(numbers: Numbers, column: Column) -> Numbers:
    step = resolution(column)
    if column.kind == "float":
        return np.round(numbers, column.decimals) if step else numbers
    found = np.rint(numbers / step) * step if step else numbers
    # A form says whether a date-time is finer than microseconds.
    return found if step >= 1 or "%9f" in column.form else np.round(found, 6)
