"""Thresholds held against what an audit found.

A figure passes where its whole interval is on the good side of the limit, fails where all of it is
on the bad side, and is `insufficient` where the rows do not say: no group passes by being small.
"""

import math
from collections.abc import Iterator, Sequence

from scipy.stats import binomtest

from fairness.findings import Audit, Check, Estimate, GroupFinding, UtilityFinding, Verdict
from fairness.thresholds import Thresholds


def held_against(audit: Audit, limits: Thresholds) -> tuple[Check, ...]:
    """Every limit against every figure it speaks of, failures first."""
    checks = [
        *_of_groups(audit, limits),
        *_of_levels(audit.groups, limits),
        *_of_columns(audit, limits),
        *_of_utility(audit.utility, limits),
    ]
    order: dict[Verdict, int] = {"fail": 0, "insufficient": 1, "pass": 2}
    return tuple(sorted(checks, key=lambda check: order[check.verdict]))


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """`fail` if any check fails, `pass` if one passes and none fails, else `insufficient`."""
    verdicts = {check.verdict for check in checks}
    if "fail" in verdicts:
        return "fail"
    return "pass" if "pass" in verdicts else "insufficient"


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


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _some(values: Sequence[str], most: int = 4) -> str:
    more = len(values) - most
    return ", ".join(values[:most]) + (f" and {more} more" if more > 0 else "")


def _of_groups(audit: Audit, limits: Thresholds) -> Iterator[Check]:
    for group in audit.groups:
        name = group.name
        if group.rows_real == 0:
            if limits.invented_groups is not None:
                found = exact(group.share_synthetic)
                yield Check(
                    "invented_groups",
                    name,
                    at_most(found, limits.invented_groups),
                    found,
                    limits.invented_groups,
                    f"{group.rows_synthetic:,} synthetic rows are of a group without a real row",
                )
            continue
        if limits.coverage_group_min is not None:
            found, limit = group.standardised_coverage, limits.coverage_group_min
            text = f"its real rows are covered to {_shown(found.value)} of what real rows would"
            if group.state == "absent":
                text = "the synthetic table has no row of this group"
            if group.state == "insufficient":
                text = (
                    f"too few rows to say: {group.rows_real:,} real, "
                    f"{group.rows_synthetic:,} synthetic"
                )
            yield Check("coverage_group_min", name, at_least(found, limit), found, limit, text)
        recalled = group.standardised_recall
        if limits.recall_group_min is not None and recalled.value is not None:
            limit = limits.recall_group_min
            text = (
                f"{_shown(recalled.value)} of what rows of one law would have near synthetic ones"
            )
            if group.state == "absent":
                text = "the synthetic table has no row of this group"
            yield Check("recall_group_min", name, at_least(recalled, limit), recalled, limit, text)
        if limits.share_ratio is not None and group.features:
            yield _share(group, audit.rows_real / audit.rows_synthetic, limits.share_ratio)
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
    # A generator told the counts hits them: equal shares pass however few the rows.
    verdict: Verdict = "pass" if smaller >= 0.995 else at_least(found, limit)
    text = (
        f"it is {group.share_synthetic:.2%} of the synthetic rows, {group.share_real:.2%} of the "
        "real ones"
    )
    return Check("share_ratio", group.name, verdict, found, limit, text)


def _of_measured(group: GroupFinding, limits: Thresholds) -> Iterator[Check]:
    size = max(group.compared, 1)

    def check(name: str, found: Estimate, limit: float, verdict: Verdict, text: str) -> Check:
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
    if limits.copied is not None and group.copied is not None:
        beyond = None if group.copied_expected is None else group.copied - group.copied_expected
        found = exact(beyond)
        held = (
            f"{group.copied_expected:.1%} of held-out rows are"
            if group.copied_expected is not None
            else "name held-out rows to tell whether that is many"
        )
        text = f"{group.copied:.1%} of its synthetic rows equal a real row; {held}"
        yield check("copied", found, limits.copied, at_most(found, limits.copied), text)
    if limits.closer_to_training is not None and group.closer_to_training.value is not None:
        found = group.closer_to_training
        text = f"{found.value:.0%} of its rows are nearer to rows trained on than to held-out ones"
        limit = limits.closer_to_training
        yield check("closer_to_training", found, limit, at_most(found, limit), text)


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
            yield Check("unseen_categories", name, at_most(found, limit), found, limit, text)


def _of_utility(utility: UtilityFinding | None, limits: Thresholds) -> Iterator[Check]:
    if utility is None:
        return
    real = {p.learner: p for p in utility.predictions if p.trained_on == "real"}
    made = {p.learner: p for p in utility.predictions if p.trained_on == "synthetic"}
    for learner in [name for name in made if name in real]:
        title = learner.replace("_", " ")
        if limits.auc_ratio is not None:
            one, two = made[learner].overall.get("auc"), real[learner].overall.get("auc")
            if one and two and two.value and one.value is not None:
                found = Estimate(
                    one.value / two.value,
                    None if one.low is None else one.low / two.value,
                    None if one.high is None else one.high / two.value,
                )
                text = f"AUC {one.value:.3f} trained on synthetic rows, {two.value:.3f} on real"
                yield Check(
                    "auc_ratio",
                    title,
                    at_least(found, limits.auc_ratio),
                    found,
                    limits.auc_ratio,
                    text,
                )
        for metric, limit in (
            ("demographic_parity_difference", limits.demographic_parity_difference),
            ("equalized_odds_difference", limits.equalized_odds_difference),
        ):
            if limit is None:
                continue
            for feature, figures in made[learner].fairness.items():
                base = real[learner].fairness.get(feature, {}).get(metric, Estimate())
                found = _beyond(figures.get(metric, Estimate()), base)
                text = (
                    f"{_shown(figures.get(metric, Estimate()).value)} for a model trained on "
                    f"synthetic rows, {_shown(base.value)} on real ones"
                )
                subject = f"{feature} ({title})"
                yield Check(metric, subject, at_most(found, limit), found, limit, text)
    if limits.base_rate_difference is not None:
        limit = limits.base_rate_difference
        data = utility.base_rate_difference.get("real", {})
        for feature, gap in utility.base_rate_difference.get("synthetic", {}).items():
            base = data.get(feature, Estimate())
            found = _beyond(gap, base)
            text = (
                f"rates of '{utility.positive}' differ by {_shown(gap.value)} between groups, by "
                f"{_shown(base.value)} in the real rows"
            )
            yield Check("base_rate_difference", feature, at_most(found, limit), found, limit, text)


def _beyond(found: Estimate, base: Estimate) -> Estimate:
    """What a gap is more than another; the intervals' half-widths add as independent errors."""
    values = (found.value, found.low, found.high, base.value, base.low, base.high)
    if any(value is None for value in values):
        return Estimate()
    value, low, high, start, below, above = (float(v) for v in values if v is not None)
    less = ((value - low) ** 2 + (above - start) ** 2) ** 0.5
    more = ((high - value) ** 2 + (start - below) ** 2) ** 0.5
    return Estimate(value - start, value - start - less, value - start + more)
