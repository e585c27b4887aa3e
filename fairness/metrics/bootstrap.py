"""The percentile bootstrap over test rows, of many resamples at once.

A resample is how often it holds each row; figures of all of them are then products and cumulative
sums over one order of the rows, and no row is copied.

Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everymode.fairness.metrics.results import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.int32]

BINS: Final = 10
"""Bins of equal numbers of rows, for the calibration error."""


def calibration_error(truth: Ints, score: Floats) -> float:
    """Expected calibration error over `BINS` bins of equal numbers of rows.

    Equal scores share a bin, so that the order of the rows does not matter. In a small group chance
    alone makes it large: with 30 calibrated rows it is about .2.

    Args:
        truth: 1 for the positive class, 0 for the other, `(n,)`, at least one.
        score: Probabilities of the positive class, `(n,)`.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", 2015, section 4.

    >>> calibration_error(np.array([0, 1, 1, 0]), np.full(4, 0.5))
    0.0
    >>> calibration_error(np.array([0, 1]), np.array([0.25, 0.5]))
    0.375
    """
    order = np.argsort(score, kind="stable")
    one = np.ones((1, len(truth)), dtype=np.int32)
    return float(calibrations(truth[order], score[order], one)[0])


def resamples(rows: int, bootstrap: int, rng: np.random.Generator) -> Counts:
    """How often each resample holds each row, `(B, n)`."""
    draws = np.empty((bootstrap, rows), dtype=np.int32)
    for draw in draws:
        draw[:] = np.bincount(rng.integers(rows, size=rows), minlength=rows)
    return draws


def areas(truth: NDArray[Any], score: Floats, draws: Counts) -> Floats:
    """Area under the ROC curve of each resample, `(B,)`, of rows in ascending order of score.

    Pairs in the right order count one, ties half; NaN where a class is not drawn.
    """
    starts = np.flatnonzero(np.append(True, np.diff(score) > 0))
    up = np.add.reduceat(draws * truth, starts, axis=1).astype(np.float64)
    down = np.add.reduceat(draws, starts, axis=1) - up
    below = np.cumsum(down, axis=1) - down / 2
    return over((up * below).sum(axis=1), up.sum(axis=1) * down.sum(axis=1))


def calibrations(truth: Ints, score: Floats, draws: Counts) -> Floats:
    """Calibration error of each resample, `(B,)`, of rows in ascending order of score.

    The bins stay those of the rows themselves.
    """
    starts = np.linspace(0, len(score), BINS, endpoint=False).astype(np.int64)
    starts = np.unique(np.searchsorted(score, score[starts], side="left"))
    gaps = np.add.reduceat(draws * (truth - score), starts, axis=1)
    return over(np.abs(gaps).sum(axis=1), draws.sum(axis=1))


def interval(value: float, resampled: NDArray[Any]) -> Estimate:
    """A figure with the middle 95 % of its resamples, of those in which it has a meaning."""
    if not np.isfinite(value):
        return Estimate()
    known = resampled[np.isfinite(resampled)]
    if not len(known):
        return Estimate(value)
    low, high = np.quantile(known, [0.025, 0.975])
    # A difference of noisy rates is biased upwards: the interval shall hold what was measured.
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def over(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """`part / whole`, NaN where `whole` is 0 or not known."""
    none = np.full(np.shape(whole), np.nan)
    shares: Floats = np.divide(part, whole, out=none, where=whole > 0)
    return shares
