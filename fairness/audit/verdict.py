"""What all checks of an audit come to: a verdict, and whether the table is fit for release.

No failure is not enough. A pass needs a decided check of coverage and of the sizes of groups at
every level (all rows, each feature, all features together). A level is decided where the groups
whose checks are decided hold nearly all of its real rows: a few small groups may stay open, and are
named. A table fit for release needs a decided check on copies besides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fairness.audit.findings import Audit, Check, CopyVerdict, Verdict
from fairness.metrics.results import GroupFinding

DECIDED = 0.9
"""Of a level's real rows: how many groups with decided checks must hold."""

COPIES = ("copied", "copied_held_out", "closer_to_training", "closer_to_held_out")
"""Checks on copies."""

KNOWN = ("copied", "closer_to_training")
"""Of these, without which nothing is known of copies."""


def with_verdict(audit: Audit, checks: Sequence[Check], sums: bool = False) -> Audit:
    """The audit with its checks, its verdict and what it did not judge.

    Args:
        audit: The figures.
        checks: All of its checks.
        sums: Whether the audit is of sums: recall of the groups stands for coverage, of which a
            release needs all the same, and copies cannot be told.
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
    """What the checks on copies of all rows come to."""
    found = {c.name: c for c in checks if c.name in COPIES and not c.features}
    verdicts = {check.verdict for check in found.values()}
    if "fail" in verdicts:
        return "fail"
    if any(name not in found or found[name].value.value is None for name in KNOWN):
        return "not judged"
    return "pass" if verdicts == {"pass"} else "insufficient"


def _open(groups: Sequence[GroupFinding], checks: Sequence[Check], figure: str) -> Iterable[str]:
    """The levels whose coverage, and whose groups' sizes, are not decided, in words."""
    decided = {
        (check.name, check.features, check.subject)
        for check in checks
        if check.verdict != "insufficient"
    }

    def enough(name: str, features: tuple[str, ...], rows: Mapping[str, int]) -> bool:
        known = sum(n for group, n in rows.items() if (name, features, group) in decided)
        return known >= DECIDED * sum(rows.values())

    levels: dict[tuple[str, ...], dict[str, int]] = {}
    for group in groups:
        if group.rows_real:
            levels.setdefault(group.features, {})[group.name] = group.rows_real
    # Sums tell recall of the groups alone, the level of all features.
    deepest = max(levels, key=len, default=())
    for features, rows in levels.items():
        where = f"by {' and '.join(features)}" if features else "of all rows"
        words = "recall" if figure == "recall_group_min" else "coverage"
        if (words == "coverage" or features == deepest) and not enough(figure, features, rows):
            yield f"{words} {where}"
        if features and not enough("share_ratio", features, rows):
            yield f"sizes of groups {where}"
