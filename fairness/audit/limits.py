"""On which side of a limit a figure is: what one check is made of.

A figure passes where its whole interval is on the good side of the limit, fails where all of it is
on the bad side, and is `insufficient` where the rows do not say: no group passes by being small.
"""

from collections.abc import Sequence
from dataclasses import replace

from fairness.audit.findings import Audit, Check, Verdict
from fairness.metrics.results import Estimate


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
    """A figure taken as it is: the noise is already off, or there is none."""
    return Estimate(value, value, value)


def given(check: Check) -> Check:
    """The check of a figure that the table's maker was told: a failure or nothing, never a pass."""
    if check.verdict == "fail":
        return check
    return replace(check, verdict="given", message=f"{check.message}; given, not judged")


def told(check: Check, audit: Audit, columns: Sequence[str]) -> Check:
    """The check, as `given` where the table's maker was told all of the columns."""
    return given(check) if columns and set(columns) <= set(audit.given) else check


def shown(value: float | None) -> str:
    """A figure within a sentence."""
    return "unknown" if value is None else f"{value:.3g}"
