"""The audit of a synthetic table, group by group, against thresholds that a user sets.

- `metrics`: the table of metrics; `group_metrics`, `copy_metrics` and `utility_metrics` hold its
  entries, `metric` says what an entry is.
- `pooled`: the audit with real rows at hand; `federated`: from counts that sites add up.
- `tables`, `strata`, `group_sample`, `copies`: rows of groups and the estimators on them.
- `thresholds`, `limits`, `checks`: limits and the checks that apply them.
- `findings`, `verdict`, `headline`: the result, its verdict, and the verdict in words.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Audit": "findings",
    "Check": "findings",
    "Column": "metric",
    "Judged": "metric",
    "Limit": "metric",
    "METRICS": "metrics",
    "Metric": "metric",
    "SamplingLimits": "limits",
    "Tables": "tables",
    "Thresholds": "thresholds",
    "audit": "pooled",
    "audit_of_sums": "federated",
    "coverage_summary": "strata",
    "sentences": "headline",
    "stratum_coverage": "strata",
}

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


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
