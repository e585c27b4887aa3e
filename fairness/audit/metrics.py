"""The table of metrics: everything the audit measures and judges, one entry each.

To add a metric, write an entry (and its estimator) in `everymode.fairness.audit.group_metrics` or a
module like it and list it there. Thresholds, checks, `audit.json`, the page, JUnit and the terminal
follow.
"""

from collections.abc import Iterator

from everymode.fairness.audit.copy_metrics import COPY_METRICS
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.group_metrics import COVERAGE, GROUP_METRICS
from everymode.fairness.audit.joint_metrics import JOINT_METRICS
from everymode.fairness.audit.limits import exact
from everymode.fairness.audit.membership_metrics import MEMBERSHIP_METRICS
from everymode.fairness.audit.metric import Judged, Metric
from everymode.fairness.audit.utility_metrics import UTILITY_METRICS

__all__ = ["COVERAGE", "METRICS", "ROWS", "Metric", "by_name", "copy_checks", "rows_only"]


def _rows(audit: Audit, least: float) -> Iterator[Judged]:
    count = audit.rows_synthetic
    text = f"{count:,} synthetic rows; {least:g} at least are needed to judge any"
    yield Judged("all rows", exact(float(count)), text)


ROWS = Metric(
    name="rows",
    topic="rows",
    direction="higher",
    heading="Rows to judge it by",
    failure="It has too few rows to judge:",
    judge=_rows,
    sums_suffice=True,
)
"""A table of a few rows fails. The limit is the fewest rows to judge a group by, no threshold."""

METRICS: tuple[Metric, ...] = (
    ROWS,
    *GROUP_METRICS,
    *JOINT_METRICS,
    *COPY_METRICS,
    *MEMBERSHIP_METRICS,
    *UTILITY_METRICS,
)
"""All metrics, gravest first: sentences, headings, columns and thresholds come in this order."""


def by_name() -> dict[str, Metric]:
    """All entries by their name."""
    return {metric.name: metric for metric in METRICS}


def rows_only() -> tuple[str, ...]:
    """Thresholds that sums over sites cannot decide."""
    return tuple(m.name for m in METRICS if m.limit is not None and not m.sums_suffice)


def copy_checks() -> tuple[str, ...]:
    """Checks on copies, without which no table is fit for release."""
    return tuple(m.name for m in METRICS if m.topic == "copies")
