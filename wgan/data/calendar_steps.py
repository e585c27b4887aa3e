"""Steps of the calendar and the clock on which all date-times of a column may lie.

A column of months is written as days, the first or the last of each; a schedule holds full hours.
No pandas is needed here.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

STEPS: Final[tuple[str, ...]] = (
    *("year start", "year end", "quarter start", "quarter end", "month start", "month end"),
    *("hour", "quarter hour"),
)
"""The steps by name, coarser ones first."""

_MONTHS: Final = {"year": 12, "quarter": 3, "month": 1}
_SECONDS: Final = {"hour": 3600.0, "quarter hour": 900.0}
_DAY: Final = 86400.0

FEWEST: Final = 20
"""Date-times below which a step may be a matter of chance."""


def step_seconds(step: str) -> float:
    """Seconds between neighbours on a step of the clock; 0 for any other."""
    return _SECONDS.get(step, 0.0)


def on_steps(seconds: Numbers) -> npt.NDArray[np.bool_]:
    """Which date-times, in seconds since 1970 `(n,)`, lie on each step; `(n, len(STEPS))`.

    >>> moments = np.array(["2024-04-01", "2023-12-31"], "datetime64[s]").astype(float)
    >>> [[STEPS[i] for i in np.flatnonzero(row)[:3]] for row in on_steps(moments)]
    [['quarter start', 'month start', 'hour'], ['year end', 'quarter end', 'month end']]
    """
    return np.stack([nearest(seconds, step) == seconds for step in STEPS], axis=-1)


def nearest(seconds: Numbers, step: str) -> Numbers:
    """For each date-time the nearest one on a step, in seconds since 1970; `(n,)`.

    >>> nearest(np.array([1.7e9]), "quarter end").astype("datetime64[s]").astype(str).tolist()
    ['2023-09-30T00:00:00']
    """
    if size := _SECONDS.get(step):
        return np.asarray(np.rint(seconds / size) * size)
    period, _, end = step.partition(" ")
    # The last day of a period is the one before the first of the next.
    moved = _DAY if end == "end" else 0.0
    there = np.isfinite(seconds)
    days = (np.where(there, seconds, 0.0) + moved) / _DAY
    length = _MONTHS[period]
    months = np.floor(days).astype(np.int64).astype("datetime64[D]").astype("datetime64[M]")
    first = months.astype(np.int64) // length * length
    before, behind = (
        m.astype("datetime64[M]").astype("datetime64[D]").astype(np.float64)
        for m in (first, first + length)
    )
    found = np.where(days - before <= behind - days, before, behind)
    return np.where(there, found * _DAY - moved, np.nan)


def at_least(seconds: Numbers, step: str) -> Numbers:
    """The nearest date-times on a step of the calendar that are not before others, `(n,)`.

    >>> at_least(np.array([13.0 * 86400]), "month start") / 86400
    array([31.])
    """
    found = nearest(seconds, step)
    # More than half of the longest period.
    more = {"year": 184, "quarter": 47, "month": 16}[step.partition(" ")[0]]
    later = nearest(seconds + more * _DAY, step)
    return np.where(found < seconds, later, found)


def common_step(counts: npt.NDArray[np.int64], dates: int, least: float) -> str:
    """The coarsest step on which all date-times lie; empty where there is none.

    Args:
        counts: Date-times on each step, `(len(STEPS),)`.
        dates: All of them.
        least: Seconds between neighbours that the form tells apart; a step of the clock is longer.
    """
    if dates < FEWEST:
        return ""
    full = [s for s, n in zip(STEPS, counts, strict=True) if n == dates]
    return next((s for s in full if s not in _SECONDS or _SECONDS[s] > least), "")
