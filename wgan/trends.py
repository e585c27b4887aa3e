"""Where a noisy series goes: one word, by tests on its last values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

Word = Literal["decreasing", "rising", "flat", "oscillating", "exploding", "unknown"]
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trend:
    """Where a series goes.

    Attributes:
        word: decreasing, rising, flat, oscillating, exploding; unknown where values are too few.
        smooth: Whether the noise from value to value is below a tenth of the largest value.
        change: Robust change over the window, as a share of the largest value.
    """

    word: Word
    smooth: bool
    change: float = 0.0


def trend(values: Sequence[float], window: int = 30) -> Trend:
    """The trend of the last `window` values, whatever their unit.

    - *exploding*: not finite, or far above all of the window's first half, and growing still;
    - *oscillating*: what a monotone curve leaves of it swings by more than a fifth of the largest
      value and by half the change, and one period holds more of it than noise would (Fisher's g);
    - *decreasing*, *rising*: the Mann-Kendall test is significant (1 %), and the Theil-Sen line
      changes by more than 5 % of the largest value;
    - *flat* otherwise.

    Source: Fisher, "Tests of significance in harmonic analysis", 1929; Mann, "Nonparametric tests
    against trend", 1945; Sen, "Estimates of the regression coefficient based on Kendall's tau",
    1968.

    >>> trend([1.0 - k / 10 for k in range(11)]).word
    'decreasing'
    """
    series = np.asarray(values, dtype=np.float64)[-window:]
    if not np.isfinite(series).all():
        return Trend("exploding", False)
    count, scale = len(series), float(np.abs(series).max(initial=0))
    if count < 6:
        return Trend("unknown", False)
    if np.ptp(series) == 0:
        return Trend("flat", True)
    series = series / scale
    steps = np.diff(series)
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2)
    smooth = noise < 0.1
    # By hand from all pairs: both statistics share them, and SciPy's take a hundred times longer.
    first, second = np.triu_indices(count, 1)
    rises = series[second] - series[first]
    change = float(np.median(rises / (second - first))) * (count - 1)
    score = float(np.sign(rises).sum()) / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if _explodes(series):
        return Trend("exploding", smooth, change)
    if _oscillates(series, change):
        return Trend("oscillating", smooth, change)
    if abs(change) > 0.05 and abs(score) > 2.576:
        return Trend("rising" if change > 0 else "decreasing", smooth, change)
    return Trend("flat", smooth, change)


def _explodes(series: Array) -> bool:
    sizes = np.abs(series)
    half = len(sizes) // 2
    early, late = float(sizes[:half].max()), float(np.median(sizes[-3:]))
    return late > 5 * early and float(sizes[-1]) > float(np.median(sizes[half:]))


def _oscillates(series: Array, change: float) -> bool:
    if len(series) < 12:
        return False
    # A bent but monotone curve is no swing, so the best monotone curve is taken out, not a line.
    fits = [isotonic_regression(series, increasing=up).x for up in (False, True)]
    rest = min((series - fit for fit in fits), key=lambda r: float(np.square(r).sum()))
    swing = 2 * math.sqrt(2) * float(rest.std())
    if swing < max(0.2, abs(change) / 2):
        return False
    # From two periods in the window on: one is a rise and a fall.
    power = np.abs(np.fft.rfft(rest - rest.mean()))[2:] ** 2
    peak = float(power.max() / power.sum())
    return bool(len(power) * (1 - peak) ** (len(power) - 1) < 0.01)
