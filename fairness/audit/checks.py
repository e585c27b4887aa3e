"""Thresholds held against what an audit found: of groups, of levels, of columns.

Those of copies are in `fairness.audit.copy_checks`, those of models in
`fairness.audit.utility_checks`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from scipy.stats import binomtest

from fairness.audit.copy_checks import of_copies
from fairness.audit.findings import Audit, Check, CheckVerdict
from fairness.audit.limits import at_least, at_most, exact, given, shown, told
from fairness.audit.thresholds import Thresholds
from fairness.audit.utility_checks import of_utility
from fairness.metrics.results import Estimate, GroupFinding


def evaluate_thresholds(audit: Audit, limits: Thresholds, least: int) -> tuple[Check, ...]:
    """Every limit against every figure it speaks of, failures first.

    Args:
        audit: The figures.
        limits: What they are held against.
        least: Rows without which nothing can be judged.
    """
    checks = [
        *_of_rows(audit, least),
        *_of_groups(audit, limits),
        *_of_levels(audit.groups, limits),
        *_of_columns(audit, limits),
        *of_utility(audit, limits),
    ]
    order: dict[CheckVerdict, int] = {"fail": 0, "insufficient": 1, "pass": 2, "given": 3}
    return tuple(sorted(checks, key=lambda check: order[check.verdict]))


def _some(values: Sequence[str], most: int = 4) -> str:
    more = len(values) - most
    return ", ".join(values[:most]) + (f" and {more} more" if more > 0 else "")


def _of_rows(audit: Audit, least: int) -> Iterator[Check]:
    """A table of a few rows fails: whatever it holds, nothing can be said for it."""
    found = exact(float(audit.rows_synthetic))
    text = f"{audit.rows_synthetic:,} synthetic rows; {least} at least are needed to judge any"
    yield Check("rows", "all rows", at_least(found, least), found, least, text)


def _of_groups(audit: Audit, limits: Thresholds) -> Iterator[Check]:
    for group in audit.groups:
        for check in _of_group(group, audit, limits):
            yield replace(check, features=group.features)


def _of_group(group: GroupFinding, audit: Audit, limits: Thresholds) -> Iterator[Check]:
    name = group.name
    if group.rows_real == 0:
        if limits.invented_groups is not None:
            found, limit = exact(group.share_synthetic), limits.invented_groups
            text = f"{group.rows_synthetic:,} synthetic rows are of a group without a real row"
            yield Check("invented_groups", name, at_most(found, limit), found, limit, text)
        return
    if limits.coverage_group_min is not None:
        found, limit = group.standardised_coverage, limits.coverage_group_min
        text = f"its real rows are covered to {shown(found.value)} of what real rows would"
        if group.state == "absent":
            text = "the synthetic table has no row of this group"
        if group.state == "insufficient":
            text = (
                f"too few rows to say: {group.rows_real:,} real, {group.rows_synthetic:,} synthetic"
            )
            if group.rows_holdout is not None:
                text += f", {group.rows_holdout:,} held out"
        yield Check("coverage_group_min", name, at_least(found, limit), found, limit, text)
    recalled = group.standardised_recall
    if limits.recall_group_min is not None and recalled.value is not None:
        limit = limits.recall_group_min
        text = f"{shown(recalled.value)} of what rows of one law would have near synthetic ones"
        if group.state == "absent":
            text = "the synthetic table has no row of this group"
        yield Check("recall_group_min", name, at_least(recalled, limit), recalled, limit, text)
    if limits.share_ratio is not None and group.features:
        scale = audit.rows_real / audit.rows_synthetic
        yield told(_share(group, scale, limits.share_ratio), audit, group.features)
    yield from of_copies(group, limits)
    if group.state == "measured":
        yield from _of_measured(group, limits)


def _share(group: GroupFinding, scale: float, limit: float) -> Check:
    """The group's synthetic share over its real one, or the inverse, whichever is smaller.

    Of the group's rows in both tables, how many are synthetic is a binomial count, whose
    probability the ratio of the shares sets: its exact interval (Clopper and Pearson, 1934) is the
    ratio's. A group of five real rows may have none among as many synthetic ones by chance.

    Args:
        group: The group; it has real rows.
        scale: Real rows over synthetic ones, of the whole tables.
        limit: The least ratio.
    """
    n, m = group.rows_real, group.rows_synthetic
    value = group.share_synthetic / group.share_real
    ends = binomtest(m, n + m).proportion_ci(0.95)
    low, high = (scale * p / (1 - p) if p < 1 else math.inf for p in (ends.low, ends.high))
    smaller = min(value, 1 / value) if value > 0 else 0.0
    best = 1.0 if low <= 1 <= high else min(high, 1 / max(low, 1.0))
    found = Estimate(smaller, min(low, 1 / high), best)
    text = (
        f"it is {group.share_synthetic:.2%} of the synthetic rows, {group.share_real:.2%} of the "
        "real ones"
    )
    return Check("share_ratio", group.name, at_least(found, limit), found, limit, text)


def _of_measured(group: GroupFinding, limits: Thresholds) -> Iterator[Check]:
    size = max(group.compared, 1)

    def check(name: str, found: Estimate, limit: float, verdict: CheckVerdict, text: str) -> Check:
        return Check(name, group.name, verdict, found, limit, text)

    def noisy(value: float, noise: float) -> Estimate:
        """A distance that noise alone makes `noise`, give or take as much."""
        return Estimate(value - noise, value - 2 * noise, value)

    if limits.precision is not None and group.precision is not None:
        half = 2 * (group.precision * (1 - group.precision) / (2 * size / 6)) ** 0.5
        found = Estimate(group.precision, group.precision - half, group.precision + half)
        text = f"{group.precision:.0%} of its synthetic rows are near real ones"
        yield check("precision", found, limits.precision, at_least(found, limits.precision), text)
    # Of two samples of one law; sqrt(pi / 2) ln 2 is the mean of Kolmogorov's law.
    noise = 0.869 * (1 / group.rows_real + 1 / group.rows_synthetic) ** 0.5
    for name, value, limit, what in (
        ("tv", group.tv, limits.tv, "categories"),
        ("ks", group.ks, limits.ks, "numbers"),
    ):
        if limit is not None and value is not None:
            found = noisy(value, noise)
            text = f"distributions of its {what} differ by {value:.3f} on average"
            yield check(name, found, limit, at_most(found, limit), text)
    if limits.pairwise is not None and group.pairwise is not None:
        over = group.pairwise - (group.pairwise_null or 0.0)
        found = Estimate(over, over, group.pairwise)
        text = (
            f"how '{group.pairwise_column}' hangs together with other columns differs by "
            f"{group.pairwise:.3f} (chance: {group.pairwise_null:.3f})"
        )
        yield check("pairwise", found, limits.pairwise, at_most(found, limits.pairwise), text)
    if limits.modes is not None and group.modes_real:
        found = exact((group.modes_covered or 0) / group.modes_real)
        text = f"{group.modes_covered} of {group.modes_real} modes of its rows are covered"
        yield check("modes", found, limits.modes, at_least(found, limits.modes), text)
    if limits.missing_categories is not None:
        lost = {name: values for name, values in group.missing_categories.items() if values}
        count = sum(map(len, lost.values()))
        found = exact(float(count))
        where = "; ".join(f"{name}: {_some(values)}" for name, values in lost.items())
        text = (
            f"never made, though expected: {where}" if lost else "all expected categories are made"
        )
        limit = float(limits.missing_categories)
        yield check("missing_categories", found, limit, at_most(found, limit), text)


def _of_levels(groups: Sequence[GroupFinding], limits: Thresholds) -> Iterator[Check]:
    limit = limits.coverage_difference
    if limit is None:
        return
    for features in dict.fromkeys(group.features for group in groups if group.features):
        known = [
            (group.standardised_coverage, group.name)
            for group in groups
            if group.features == features and group.standardised_coverage.value is not None
        ]
        if len(known) < 2:
            continue
        (worst, last), (best, first) = min(known, key=_value), max(known, key=_value)
        ends = (worst.low, worst.high, best.low, best.high)
        assert all(end is not None for end in ends)
        found = Estimate(
            best.value - worst.value,  # type: ignore[operator]
            max(best.low - worst.high, 0.0),  # type: ignore[operator]
            best.high - worst.low,  # type: ignore[operator]
        )
        text = f"best covered: {first}; worst covered: {last}"
        yield Check(
            "coverage_difference", ", ".join(features), at_most(found, limit), found, limit, text
        )


def _value(item: tuple[Estimate, str]) -> float:
    return item[0].value or 0.0


def _of_columns(audit: Audit, limits: Thresholds) -> Iterator[Check]:
    if limits.unseen_categories is None:
        return
    for name, figures in audit.columns.items():
        share = figures.get("unseen")
        if share is not None:
            found, limit = exact(share), limits.unseen_categories
            text = f"{share:.2%} of the synthetic rows have a category that no real row has"
            check = Check("unseen_categories", name, at_most(found, limit), found, limit, text)
            yield given(check) if audit.vocabulary_given else check
