"""Rates of attacks that succeed or fail on each target, compared with rows not trained on.

An attack's rate says little by itself: what follows from the distribution can be guessed of
anybody. So the same attack is made on rows that were not trained on (the control), and a guess is
made without the attack (the baseline). The risk is what the attack gains over the control, as a
share of what it could gain.

Source: Giomi, Boenisch, Wehmeyer, Tasnádi, "A Unified Framework for Quantifying Privacy Risk in
Synthetic Data", 2023, equations 1 to 4 (anonymeter).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.results import Estimate

Hits = NDArray[np.bool_]

Z = 1.959964


@dataclass(frozen=True)
class Guesses:
    """Which guesses were right.

    Attributes:
        attack: On rows trained on, `(n,)`.
        control: On rows that were not, `(m,)`.
        baseline: On the rows trained on, without the attack, `(n,)`.
    """

    attack: Hits
    control: Hits
    baseline: Hits


def rate(hits: Hits) -> Estimate:
    """Share of right guesses with Wilson's interval; all None where there are none.

    >>> rate(np.array([True, False])).value
    0.5
    """
    if not len(hits):
        return Estimate()
    share = float(np.mean(hits))
    return Estimate(share, *wilson(share, len(hits)))


def risk(attack: Hits, control: Hits, z: float = Z) -> Estimate:
    """What the attack gains over the control, over what it could gain, from 0 to 1.

    Both rates are the centres of Wilson's intervals, as in anonymeter; the error is propagated.

    Args:
        attack: Right guesses on rows trained on.
        control: Right guesses on rows that were not.
        z: Quantile of the normal distribution.

    >>> found = risk(np.ones(100, dtype=bool), np.zeros(100, dtype=bool))
    >>> round(found.value, 3), round(found.low, 3)
    (0.981, 0.962)
    """
    if not (len(attack) and len(control)):
        return Estimate()
    (a, a_error), (c, c_error) = (_centre(hits, z) for hits in (attack, control))
    value = (a - c) / (1 - c)
    error = math.hypot(a_error / (1 - c), c_error * (a - 1) / (1 - c) ** 2)
    return Estimate(*(min(max(end, 0.0), 1.0) for end in (value, value - error, value + error)))


def _centre(hits: Hits, z: float) -> tuple[float, float]:
    low, high = wilson(float(np.mean(hits)), len(hits), z)
    return (low + high) / 2, (high - low) / 2
