"""The verdict of an audit, and whether the table is fit for release.

No failure is not enough. A pass needs a decided check of coverage and of the sizes of groups in
every stratum (all rows, each feature, all features together). A stratum is decided where the groups
whose checks are decided hold nearly all of its real rows: a few small groups may stay open, and are
named. A table fit for release also needs a decided check on copies.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from everymode.fairness.audit.findings import Audit, Check, CopyVerdict, Verdict
from everymode.fairness.audit.metrics import copy_checks
from everymode.fairness.metrics.results import GroupFinding

DECIDED = 0.9
"""Least share of a stratum's real rows that groups with decided checks must hold."""

REQUIRED = ("copied", "closer_to_training")
"""Checks on copies without which nothing is known of them."""


def with_verdict(audit: Audit, checks: Sequence[Check], sums: bool = False) -> Audit:
    """The audit with its checks, its verdict and what it did not judge.

    Args:
        audit: The figures.
        checks: All of its checks.
        sums: Whether the audit is of sums: recall of the groups stands in for coverage, which a
            release needs all the same, and copies are not judged.
    """
    open_ = [*_open(audit.groups, checks, "recall_group_min" if sums else "coverage_group_min")]
    verdict: Verdict = "insufficient" if open_ else "pass"
    if any(check.verdict == "fail" for check in checks):
        verdict = "fail"
    copies = of_copies(checks)
    if sums:
        open_.append("coverage")
    if copies in ("insufficient", "not judged"):
        open_.append("copies")
    return replace(
        audit, checks=tuple(checks), verdict=verdict, copies=copies, unjudged=tuple(open_)
    )


def of_copies(checks: Iterable[Check]) -> CopyVerdict:
    """The joint verdict of the checks on copies of all rows."""
    names = copy_checks()
    found = {c.name: c for c in checks if c.name in names and not c.features}
    verdicts = {check.verdict for check in found.values()}
    if "fail" in verdicts:
        return "fail"
    if any(name not in found or found[name].value.value is None for name in REQUIRED):
        return "not judged"
    return "pass" if verdicts == {"pass"} else "insufficient"


def _open(groups: Sequence[GroupFinding], checks: Sequence[Check], figure: str) -> Iterable[str]:
    """The strata whose coverage, or whose groups' sizes, are not decided, in words."""
    decided = {
        (check.name, check.features, check.subject)
        for check in checks
        if check.verdict != "insufficient"
    }

    def enough(name: str, features: tuple[str, ...], rows: Mapping[str, int]) -> bool:
        known = sum(n for group, n in rows.items() if (name, features, group) in decided)
        return known >= DECIDED * sum(rows.values())

    strata: dict[tuple[str, ...], dict[str, int]] = {}
    for group in groups:
        if group.rows_real:
            strata.setdefault(group.features, {})[group.name] = group.rows_real
    # Sums give recall of joint groups alone, the stratum of all features.
    deepest = max(strata, key=len, default=())
    for features, rows in strata.items():
        where = f"by {' and '.join(features)}" if features else "of all rows"
        words = "recall" if figure == "recall_group_min" else "coverage"
        if (words == "coverage" or features == deepest) and not enough(figure, features, rows):
            yield f"{words} {where}"
        if features and not enough("share_ratio", features, rows):
            yield f"sizes of groups {where}"
