"""The audit of a federated run, from counts that sites add up; no row leaves its site.

Metrics for which sums suffice are judged as `everymode.fairness.audit.pooled` judges them, by the
same thresholds: distances of marginals and missing categories of every group, of every feature's
values (their groups' counts added up) and of all rows; sizes of groups; recall of each group by
balls around synthetic rows. Coverage, precision, associations between columns, copies and utility
need real and synthetic rows in one place: they are not judged, nothing stands in for them, and no
table is called fit for release. Where the generator is conditioned on groups, their sizes are
`given`: they cannot come out wrong, and count for nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import everymode.fairness.audit.metrics as table
from everymode.fairness.audit.checks import evaluate_thresholds
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.group_sample import GroupCounts
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.metrics import rows_only
from everymode.fairness.audit.strata import missing_categories
from everymode.fairness.audit.thresholds import Limits, Thresholds
from everymode.fairness.audit.verdict import with_verdict
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.groups.strata import strata
from everymode.fairness.metrics.marginals import Marginals, compare, lost_share
from everymode.fairness.metrics.results import Estimate, GroupFinding

Counts = Mapping[str, NDArray[np.int64]]


def audit_of_sums(
    conditions: ConditionSpace,
    marginals: Marginals,
    real: Counts,
    synthetic: Counts,
    recall: Sequence[Mapping[str, Any]],
    *,
    names: tuple[str, str],
    thresholds: Limits | None = None,
    effort: SamplingLimits | None = None,
    training: Sequence[Mapping[str, Any]] = (),
    versions: Mapping[str, str] | None = None,
) -> Audit:
    """Audits the table of a federated run.

    Args:
        conditions: The groups.
        marginals: The bins of every column.
        real: Counts of the sites' rows by group, `(G, bins)` a column.
        synthetic: Counts of the synthetic rows; row G counts those of no known group.
        recall: By group, what `everymode.fairness.metrics.codebook.recall_by_group` found.
        names: What the page calls the real and the synthetic rows.
        thresholds: The limits of the checks.
        effort: How few rows are too few.
        training: The metrics of each round, for the page's curves.
        versions: Of what the figures depend on.
    """
    limits, effort = thresholds or Thresholds(), effort or SamplingLimits()
    limits = limits.model_copy(update=dict.fromkeys(rows_only()))
    size = len(conditions.groups)
    found: list[GroupFinding] = []
    for features in strata(conditions.sensitive):
        found += _stratum(conditions, marginals, real, synthetic, recall, features, effort)
    whole = compare(_first(real, size), _first(synthetic, size), marginals)
    columns: dict[str, dict[str, float | None]] = {
        name: {
            "tv": value,
            "rare": lost_share(real[name][:size].sum(0), synthetic[name][:size].sum(0)),
        }
        for name, value in whole.tv.items()
    }
    for name, value in whole.ks.items():
        columns[name] = {"ks": value, "missing": whole.missing[name]}
    audit = Audit(
        verdict="insufficient",
        real=names[0],
        synthetic=names[1],
        sensitive_features=conditions.sensitive,
        rows_real=int(conditions.group_counts.sum()),
        rows_synthetic=int(_rows(synthetic).sum()),
        groups=tuple(found),
        columns={column.name: columns[column.name] for column in marginals.columns},
        utility=None,
        checks=(),
        coverage_group_min=None,
        coverage_difference=None,
        given=conditions.given,
        vocabulary_given=True,
        settings={"thresholds": limits.model_dump(), "by": "sums over sites"},
        training=tuple(training),
        federated=dict(zip(conditions.names, map(dict, recall), strict=True)),
        versions=versions or {},
    )
    return with_verdict(audit, evaluate_thresholds(audit, limits, effort.least), sums=True)


def _stratum(
    conditions: ConditionSpace,
    marginals: Marginals,
    real: Counts,
    synthetic: Counts,
    recall: Sequence[Mapping[str, Any]],
    features: tuple[str, ...],
    effort: SamplingLimits,
) -> list[GroupFinding]:
    at = [conditions.sensitive.index(name) for name in features]
    own = [tuple(group[i] for i in at) for group in conditions.groups]
    names = sorted(set(own))
    member = np.array([[group == name for group in own] for name in names], dtype=np.int64)
    within = Marginals(tuple(c for c in marginals.columns if c.name not in features))
    size = len(own)
    real_counts = {c.name: member @ real[c.name][:size] for c in within.columns}
    synthetic_counts = {c.name: member @ synthetic[c.name][:size] for c in within.columns}
    comparison = compare(real_counts, synthetic_counts, within)
    missing = missing_categories(within, real_counts, synthetic_counts)
    rows_real, rows_synthetic = member @ conditions.group_counts, member @ _rows(synthetic)[:size]
    total = _rows(synthetic).sum()
    single = len(features) == len(conditions.sensitive)
    found = []
    for g, values in enumerate(names):
        n, m = int(rows_real[g]), int(rows_synthetic[g])
        known: dict[str, Any] = {
            "name": ", ".join(values) or "all rows",
            "sensitive": dict(zip(features, values, strict=True)),
            "rows_real": n,
            "rows_synthetic": m,
            "share_real": n / max(int(rows_real.sum()), 1),
            "share_synthetic": m / max(int(total), 1),
        }
        if min(n, m) < effort.least:
            gone = m == 0 and min(n, n * total / rows_real.sum()) >= effort.least
            zero = Estimate(0.0, 0.0, 0.0) if gone else Estimate()
            state: Literal["absent", "insufficient"] = "absent" if gone else "insufficient"
            found.append(GroupFinding(**known, state=state, standardised_recall=zero))
            continue
        recalled = recall[own.index(values)] if single else {}
        counts = GroupCounts(comparison, g, missing[g] if missing else {}, recalled)
        for metric in table.METRICS:
            if metric.count is not None:
                known |= metric.count(counts)
        found.append(GroupFinding.of({**known, "state": "measured"}))
    return found


def _first(counts: Counts, size: int) -> dict[str, NDArray[np.int64]]:
    return {name: value[:size] for name, value in counts.items()}


def _rows(counts: Counts) -> NDArray[np.int64]:
    """Rows of each group: every column counts each row once."""
    rows: NDArray[np.int64] = next(iter(counts.values())).sum(axis=1)
    return rows
