"""How well scores tell members from non-members: area under the ROC curve, and its left end.

Carlini et al., "Membership Inference Attacks From First Principles", 2022, section 3: an attack
that is sure of few rows matters, though its area is one half; so rates at small rates of false
alarms are reported.
"""

from collections.abc import Sequence

import numpy as np

from everymode.fairness.attacks.rows import Floats
from everymode.fairness.metrics.bootstrap import resamples
from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.metrics.two_sample import Z, delong

RATES = (0.01, 0.001)
"""Rates of false alarms at which the rate of members found is reported."""

FEWEST = 3
"""Non-members to expect above a threshold, before a rate of false alarms can be set."""

RESAMPLES = 200

POINTS = 200
"""Most points of a curve in a picture."""


def area(members: Floats, nonmembers: Floats) -> Estimate:
    """Area under the ROC curve, with DeLong's 95 % interval.

    Args:
        members: Scores `(n,)`, at least two.
        nonmembers: Scores `(m,)`, at least two.

    >>> area(np.array([3.0, 4.0]), np.array([1.0, 2.0]))
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    value, variance = delong(members, nonmembers)
    half = Z * variance**0.5
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))


def curve(members: Floats, nonmembers: Floats) -> tuple[Floats, Floats]:
    """Rates of false alarms and of members found, at every threshold, ascending from (0, 0).

    >>> [rates.tolist() for rates in curve(np.array([2.0, 1.0]), np.array([1.0, 0.0]))]
    [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    ends, order = _tied(members, nonmembers)
    hits, alarms = _shares(order < len(members), np.ones((1, len(order))), ends)
    return alarms[0], hits[0]


def rates_at(
    members: Floats, nonmembers: Floats, rng: np.random.Generator, levels: Sequence[float] = RATES
) -> tuple[Estimate, ...]:
    """Rates of members found, at rates of false alarms.

    Where scores tie, the attacker decides at random between them, as far as the rate of false
    alarms allows. The interval is the bootstrap's over rows of both kinds, which moves the
    threshold as well, widened to Wilson's of the rate itself.

    Args:
        members: Scores `(n,)`, at least one.
        nonmembers: Scores `(m,)`, at least one.
        rng: Draws the resamples.
        levels: Rates of false alarms; an estimate each, all None where `FEWEST` are not expected.
    """
    ends, order = _tied(members, nonmembers)
    ours = order < len(members)
    once = np.ones((1, len(order)))
    hits, alarms = _shares(ours, once, ends)
    draws = np.concatenate(
        [resamples(len(s), RESAMPLES, rng) for s in (members, nonmembers)], axis=1
    )
    drawn = _shares(ours, draws[:, order], ends)
    found = []
    for level in levels:
        if len(nonmembers) * level < FEWEST:
            found.append(Estimate())
            continue
        value = float(np.interp(level, alarms[0], hits[0]))
        again = [np.interp(level, b, a) for a, b in zip(*drawn, strict=True)]
        ends_ = (*np.quantile(again, [0.025, 0.975]), *wilson(value, len(members)), value)
        found.append(Estimate(value, float(min(ends_)), float(max(ends_))))
    return tuple(found)


def pictured(members: Floats, nonmembers: Floats) -> tuple[tuple[float, float], ...]:
    """Points of the curve for a picture whose axes are logarithmic, at most `POINTS`."""
    alarms, hits = curve(members, nonmembers)
    lowest = 1 / len(nonmembers)
    kept = np.geomspace(lowest, 1.0, POINTS)
    return tuple(
        (round(float(x), 6), round(float(y), 6))
        for x, y in zip(kept, np.interp(kept, alarms, hits), strict=True)
    )


def _tied(members: Floats, nonmembers: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of equal scores start, in descending order of score, and that order."""
    scores = np.concatenate([members, nonmembers])
    order = np.argsort(-scores, kind="stable")
    return np.flatnonzero(np.append(True, np.diff(scores[order]) < 0)), order


def _shares(ours: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> tuple[Floats, Floats]:
    """Shares of members and of others above each threshold, `(B, t + 1)`, from rows' counts."""
    found = []
    for kind in (ours, ~ours):
        sums = np.cumsum(np.add.reduceat(counts * kind, starts, axis=1), axis=1, dtype=np.float64)
        sums = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
        found.append(sums / sums[:, -1:])
    return found[0], found[1]
