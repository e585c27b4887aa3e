"""Verdicts on single figures, and how many rows they need.

A figure passes where its whole interval is on the good side of the limit, fails where all of it is
on the bad side, and is `insufficient` where the rows do not decide: no group passes by being small.
"""

from dataclasses import dataclass

from everymode.fairness.audit.findings import Verdict
from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.results import Estimate

MIN_ATTACKED = 300
"""Rows of either kind without which a group is not judged: its interval would be .1 wide."""

LEVEL = 0.01
"""The rate of false alarms at which the rate of members found is reported."""


@dataclass(frozen=True)
class SamplingLimits:
    """How much is compared.

    Attributes:
        k: Which neighbour gives a ball's radius.
        rows: Most rows of either table that are compared in a group; copies of as many are looked
            for among all real rows.
        minimum: Fewest rows of either table to judge a group by; never below 2 (k + 1).
        modes: Most cells of a group's codebook.
        classified: Most rows of either table that a classifier learns to tell apart; 0: none does.
        counted: Most rows of either table whose joint values are counted.
    """

    k: int = 5
    rows: int = 2000
    minimum: int = 30
    modes: int = 32
    classified: int = 8000
    counted: int = 16000

    @property
    def least(self) -> int:
        """Rows without which a group is `insufficient`."""
        return max(self.minimum, 2 * (self.k + 1))


def at_least(estimate: Estimate, limit: float) -> Verdict:
    """Whether a figure is `limit` or more.

    >>> at_least(Estimate(0.8, 0.75, 0.85), 0.7), at_least(Estimate(0.8, 0.6, 1.0), 0.7)
    ('pass', 'insufficient')
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "insufficient"
    if estimate.low >= limit:
        return "pass"
    return "fail" if estimate.high < limit else "insufficient"


def at_most(estimate: Estimate, limit: float) -> Verdict:
    """Whether a figure is `limit` or less.

    >>> at_most(Estimate(0.02, 0.01, 0.03), 0.05), at_most(Estimate(0.2, 0.1, 0.3), 0.05)
    ('pass', 'fail')
    """
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "insufficient"
    if estimate.high <= limit:
        return "pass"
    return "fail" if estimate.low > limit else "insufficient"


def exact(value: float | None) -> Estimate:
    """A figure without an interval: noise is subtracted already, or there is none."""
    return Estimate(value, value, value)


def beyond(found: Estimate, base: Estimate) -> Estimate:
    """By how much a gap exceeds another; half-widths of intervals add as independent errors do."""
    values = (found.value, found.low, found.high, base.value, base.low, base.high)
    if any(value is None for value in values):
        return Estimate()
    value, low, high, start, below, above = (float(v) for v in values if v is not None)
    less = ((value - low) ** 2 + (above - start) ** 2) ** 0.5
    more = ((high - value) ** 2 + (start - below) ** 2) ** 0.5
    return Estimate(value - start, value - start - less, value - start + more)


def beyond_chance(share: float, chance: float, rows: int) -> Estimate:
    """An exact share less one that was estimated from so many rows."""
    low, high = wilson(chance, max(rows, 1))
    return Estimate(share - chance, share - high, share - low)


def shown(value: float | None) -> str:
    """A figure within a sentence."""
    return "unknown" if value is None else f"{value:.3g}"
