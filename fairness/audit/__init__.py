"""The audit of a synthetic table, group by group, against thresholds that a user sets.

- `metrics`: the table of metrics; `group_metrics`, `joint_metrics`, `copy_metrics`,
  `membership_metrics` and `utility_metrics` hold its entries, `metric` says what an entry is.
- `pooled`: the audit with real rows at hand; `federated`: from counts that sites add up.
- `tables`, `strata`, `group_sample`, `copies`, `membership`: rows of groups, and estimators on
  them.
- `thresholds`, `limits`, `checks`: limits and the checks that apply them.
- `findings`, `verdict`, `headline`: the result, its verdict, and the verdict in words.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.audit.federated import audit_of_sums
    from everymode.fairness.audit.findings import Audit, Check
    from everymode.fairness.audit.headline import sentences
    from everymode.fairness.audit.limits import SamplingLimits
    from everymode.fairness.audit.metric import Column, Judged, Limit, Metric
    from everymode.fairness.audit.metrics import METRICS
    from everymode.fairness.audit.pooled import audit
    from everymode.fairness.audit.strata import coverage_summary, stratum_coverage
    from everymode.fairness.audit.tables import Tables
    from everymode.fairness.audit.thresholds import Thresholds
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.audit.federated": ("audit_of_sums",),
            "everymode.fairness.audit.findings": (
                "Audit",
                "Check",
            ),
            "everymode.fairness.audit.headline": ("sentences",),
            "everymode.fairness.audit.limits": ("SamplingLimits",),
            "everymode.fairness.audit.metric": (
                "Column",
                "Judged",
                "Limit",
                "Metric",
            ),
            "everymode.fairness.audit.metrics": ("METRICS",),
            "everymode.fairness.audit.pooled": ("audit",),
            "everymode.fairness.audit.strata": (
                "coverage_summary",
                "stratum_coverage",
            ),
            "everymode.fairness.audit.tables": ("Tables",),
            "everymode.fairness.audit.thresholds": ("Thresholds",),
        },
    )

__all__ = [
    "METRICS",
    "Audit",
    "Check",
    "Column",
    "Judged",
    "Limit",
    "Metric",
    "SamplingLimits",
    "Tables",
    "Thresholds",
    "audit",
    "audit_of_sums",
    "coverage_summary",
    "sentences",
    "stratum_coverage",
]
