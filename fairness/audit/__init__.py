"""The audit of a synthetic table, group by group, against thresholds that a user sets.

- `metrics`: the table of metrics; `group_metrics`, `copy_metrics` and `utility_metrics` hold its
  entries, `metric` says what an entry is.
- `pooled`: the audit with real rows at hand; `federated`: from counts that sites add up.
- `tables`, `strata`, `group_sample`, `copies`: rows of groups and the estimators on them.
- `thresholds`, `limits`, `checks`: limits and the checks that apply them.
- `findings`, `verdict`, `headline`: the result, its verdict, and the verdict in words.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from fairness.audit.federated import audit_of_sums
    from fairness.audit.findings import Audit, Check
    from fairness.audit.headline import sentences
    from fairness.audit.limits import SamplingLimits
    from fairness.audit.metric import Column, Judged, Limit, Metric
    from fairness.audit.metrics import METRICS
    from fairness.audit.pooled import audit
    from fairness.audit.strata import coverage_summary, stratum_coverage
    from fairness.audit.tables import Tables
    from fairness.audit.thresholds import Thresholds
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "fairness.audit.federated": ("audit_of_sums",),
            "fairness.audit.findings": (
                "Audit",
                "Check",
            ),
            "fairness.audit.headline": ("sentences",),
            "fairness.audit.limits": ("SamplingLimits",),
            "fairness.audit.metric": (
                "Column",
                "Judged",
                "Limit",
                "Metric",
            ),
            "fairness.audit.metrics": ("METRICS",),
            "fairness.audit.pooled": ("audit",),
            "fairness.audit.strata": (
                "coverage_summary",
                "stratum_coverage",
            ),
            "fairness.audit.tables": ("Tables",),
            "fairness.audit.thresholds": ("Thresholds",),
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
