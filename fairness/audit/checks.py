"""Thresholds applied to what an audit measured, metric by metric."""

from collections.abc import Iterator
from dataclasses import replace

import everymode.fairness.audit.metrics as table
from everymode.fairness.audit.findings import Audit, Check, CheckVerdict
from everymode.fairness.audit.limits import at_least, at_most
from everymode.fairness.audit.metric import Metric
from everymode.fairness.audit.thresholds import Limits

ORDER: dict[CheckVerdict, int] = {"fail": 0, "insufficient": 1, "pass": 2, "given": 3}


def evaluate_thresholds(audit: Audit, limits: Limits, least: int) -> tuple[Check, ...]:
    """Applies every threshold to every figure of its metric; failures come first.

    Args:
        audit: The figures.
        limits: The thresholds.
        least: Rows without which nothing can be judged.
    """
    checks = [*metric_checks(table.ROWS, audit, least)]
    values = limits.model_dump()
    for metric in table.METRICS:
        limit = values.get(metric.name)
        if metric.limit is not None and limit is not None:
            checks += metric_checks(metric, audit, float(limit))
    return tuple(sorted(checks, key=lambda check: ORDER[check.verdict]))


def metric_checks(metric: Metric, audit: Audit, limit: float) -> Iterator[Check]:
    """The checks of one metric."""
    decide = at_least if metric.direction == "higher" else at_most
    for item in metric.judged(audit, limit):
        check = Check(
            metric.name,
            item.subject,
            decide(item.found, limit),
            item.found,
            limit,
            item.message,
            item.features,
        )
        yield _given(check) if item.given else check


def _given(check: Check) -> Check:
    """The check of a figure that the generator is conditioned on: a failure or nothing."""
    if check.verdict == "fail":
        return check
    return replace(check, verdict="given", message=f"{check.message}; given, not judged")
