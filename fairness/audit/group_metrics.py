"""Entries of the table of metrics: coverage, realism, sizes and marginals of groups.

Estimators are those of `everymode.fairness.audit.group_sample`; here they are named, judged and
explained.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import exact, shown
from everymode.fairness.audit.metric import Column, Judge, Judged, Limit, Metric, each_group
from everymode.fairness.metrics.modes import ROWS_A_MODE
from everymode.fairness.metrics.results import Estimate, GroupFinding

if TYPE_CHECKING:
    from everymode.fairness.audit.group_sample import GroupCounts, GroupSample


def _coverage(group: GroupFinding, audit: Audit, limit: float) -> Judged:
    found = group.standardised_coverage
    text = f"its real rows are covered to {shown(found.value)} of what real rows would"
    if group.state == "absent":
        text = "the synthetic table has no row of this group"
    if group.state == "insufficient":
        text = f"too few rows to say: {group.rows_real:,} real, {group.rows_synthetic:,} synthetic"
        if group.rows_holdout is not None:
            text += f", {group.rows_holdout:,} held out"
    return Judged(group.name, found, text)


def _coverage_difference(audit: Audit, limit: float) -> Iterator[Judged]:
    for features in dict.fromkeys(group.features for group in audit.groups if group.features):
        known = [
            (group.standardised_coverage, group.name)
            for group in audit.groups
            if group.features == features and group.standardised_coverage.value is not None
        ]
        if len(known) < 2:
            continue
        (worst, last), (best, first) = min(known, key=_value), max(known, key=_value)
        ends = (worst.value, worst.low, worst.high, best.value, best.low, best.high)
        low, low_low, low_high, high, high_low, high_high = (float(end or 0.0) for end in ends)
        found = Estimate(high - low, max(high_low - low_high, 0.0), high_high - low_low)
        text = f"best covered: {first}; worst covered: {last}"
        yield Judged(", ".join(features), found, text)


def _value(item: tuple[Estimate, str]) -> float:
    return item[0].value or 0.0


def _own(figures: Sequence[float | None], counts: "GroupCounts") -> float | None:
    """A group's own figure; None where no column is left besides the sensitive features."""
    return figures[counts.index] if figures else None


def _recall(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    found = group.standardised_recall
    if found.value is None:
        return None
    text = f"{shown(found.value)} of what rows of one distribution would have near synthetic ones"
    if group.state == "absent":
        text = "the synthetic table has no row of this group"
    return Judged(group.name, found, text)


def _precision(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    share = group.precision
    if share is None:
        return None
    half = 2 * (share * (1 - share) / (2 * max(group.compared, 1) / 6)) ** 0.5
    text = f"{share:.0%} of its synthetic rows are near real ones"
    return Judged(group.name, Estimate(share, share - half, share + half), text)


def _share_ratio(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    """The group's synthetic share over its real one, or the inverse, whichever is smaller.

    Of the group's rows in both tables, how many are synthetic is a binomial count, whose
    probability the ratio of the shares sets: its exact interval (Clopper and Pearson, 1934) is the
    ratio's. A group of five real rows may have none among as many synthetic ones by chance.
    """
    from scipy.stats import binomtest

    if not group.features:
        return None
    n, m = group.rows_real, group.rows_synthetic
    scale = audit.rows_real / audit.rows_synthetic
    value = group.share_synthetic / group.share_real
    ends = binomtest(m, n + m).proportion_ci(0.95)
    low, high = (scale * p / (1 - p) if p < 1 else math.inf for p in (ends.low, ends.high))
    smaller = min(value, 1 / value) if value > 0 else 0.0
    best = 1.0 if low <= 1 <= high else min(high, 1 / max(low, 1.0))
    text = (
        f"it is {group.share_synthetic:.2%} of the synthetic rows, {group.share_real:.2%} of the "
        "real ones"
    )
    given = set(group.features) <= set(audit.given)
    return Judged(group.name, Estimate(smaller, min(low, 1 / high), best), text, given=given)


def _distance(name: str, what: str) -> Judge:
    """A distance of marginals, less what chance alone makes of it."""

    def one(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
        value = group.figure(name).value
        if value is None:
            return None
        # Of two samples of one distribution; sqrt(pi / 2) ln 2 is the mean of Kolmogorov's. What
        # is compared with is held-out rows, where there are any.
        real = group.rows_real if group.rows_holdout is None else group.rows_holdout
        noise = 0.869 * (1 / real + 1 / group.rows_synthetic) ** 0.5
        found = Estimate(value - noise, value - 2 * noise, value)
        return Judged(
            group.name, found, f"distributions of its {what} differ by {value:.3f} on average"
        )

    return each_group(one)


def _pairwise(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    if group.pairwise is None:
        return None
    over = group.pairwise - (group.pairwise_null or 0.0)
    text = (
        f"associations of '{group.pairwise_column}' with other columns differ by "
        f"{group.pairwise:.3f} (chance: {group.pairwise_null:.3f})"
    )
    return Judged(group.name, Estimate(over, over, group.pairwise), text)


def _modes(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    """A share of modes is lost, and a share covered, beyond chance; the rest may be either."""
    count = group.modes_real
    if count is None and 0 < group.compared < 2 * ROWS_A_MODE:
        text = f"too few rows to tell modes apart: {group.compared:,} of either table"
        return Judged(group.name, Estimate(), text)
    if not count:
        return None
    covered = group.modes_covered or 0
    sure = covered if group.modes_sure is None else group.modes_sure
    lost = count - covered if group.modes_lost is None else group.modes_lost
    text = f"{covered} of {count} modes of its rows are covered"
    if lost:
        text += f", {lost} {'is' if lost == 1 else 'are'} lost beyond chance"
    if open_ := count - sure - lost:
        text += f"; its rows are too few to be sure of {open_}"
    return Judged(group.name, Estimate(covered / count, sure / count, 1 - lost / count), text)


def _modes_measured(sample: "GroupSample") -> Mapping[str, int | None]:
    modes = sample.modes()
    return {
        f"modes_{end}": getattr(modes, end, None) for end in ("real", "covered", "sure", "lost")
    }


def _missing_categories(group: GroupFinding, audit: Audit, limit: float) -> Judged:
    lost = {name: values for name, values in group.missing_categories.items() if values}
    where = "; ".join(f"{name}: {_some(values)}" for name, values in lost.items())
    text = f"never made, though expected: {where}" if lost else "all expected categories are made"
    return Judged(group.name, exact(float(sum(map(len, lost.values())))), text)


def _unseen_categories(audit: Audit, limit: float) -> Iterator[Judged]:
    for name, figures in audit.columns.items():
        share = figures.get("unseen")
        if share is not None:
            text = f"{share:.2%} of the synthetic rows have a category that no real row has"
            yield Judged(name, exact(share), text, given=audit.vocabulary_given)


def _rare_categories(audit: Audit, limit: float) -> Iterator[Judged]:
    for name, figures in audit.columns.items():
        share = figures.get("rare")
        if share is not None:
            text = f"{share:.1%} of the real rows have a category that is too rare to be made"
            yield Judged(name, exact(share), text)


def _broken_constraints(audit: Audit, limit: float) -> Iterator[Judged]:
    for words, share in audit.constraints.items():
        text = (
            f"{share['synthetic']:.2%} of the synthetic rows break it, {share['real']:.2%} of the "
            "real ones"
        )
        yield Judged(words, exact(share["synthetic"]), text)


def _invented_groups(audit: Audit, limit: float) -> Iterator[Judged]:
    for group in audit.groups:
        if group.rows_real == 0:
            text = f"{group.rows_synthetic:,} synthetic rows are of a group without a real row"
            yield Judged(group.name, exact(group.share_synthetic), text, group.features)


def _some(values: Sequence[str], most: int = 4) -> str:
    more = len(values) - most
    return ", ".join(values[:most]) + (f" and {more} more" if more > 0 else "")


def _modes_text(group: GroupFinding) -> str:
    known = group.modes_real is not None and group.modes_covered is not None
    return f"{group.modes_covered} of {group.modes_real}" if known else "-"


COVERAGE = Metric(
    name="coverage_group_min",
    topic="coverage",
    direction="higher",
    heading="Real rows that are not covered",
    failure="It forgets much of",
    limit=Limit(0.7, "least standardised coverage of every group", {"ge": 0}),
    judge=each_group(_coverage, measured=False),
    figure="standardised_coverage",
    measure=lambda sample: {"standardised_coverage": sample.standardised_coverage},
    column=Column("coverage,\nstandardised", terminal="coverage", interval=True),
    legend=(
        "Standardised coverage, standardised recall",
        "Coverage or recall over what equal distributions would give with as many rows, so that "
        "small groups and large ones compare. 1 is ideal; noise may lift it a little above.",
    ),
)

GROUP_METRICS: tuple[Metric, ...] = (
    COVERAGE,
    Metric(
        name="coverage_difference",
        topic="coverage",
        direction="lower",
        heading="Groups covered unequally",
        failure="It covers groups unequally by",
        limit=Limit(
            0.3, "most that standardised coverage differs between a level's groups", {"ge": 0}
        ),
        judge=_coverage_difference,
    ),
    Metric(
        name="recall_group_min",
        topic="coverage",
        direction="higher",
        heading="Real rows that none resembles",
        failure="It has nothing like many rows of",
        limit=Limit(0.7, "least standardised recall of every group", {"ge": 0}),
        judge=each_group(_recall, measured=False),
        figure="standardised_recall",
        measure=lambda sample: {"standardised_recall": sample.standardised_recall},
        count=lambda counts: {
            "standardised_recall": Estimate(
                *(counts.recall.get(key) for key in ("value", "low", "high"))
            )
        },
        sums_suffice=True,
        column=Column("recall,\nstandardised"),
    ),
    Metric(
        name="coverage",
        topic="coverage",
        direction="higher",
        measure=lambda sample: {"coverage": sample.neighbours.coverage},
        column=Column("coverage"),
        legend=(
            "Coverage and density",
            "Share of real rows with a synthetic row no farther than their k-th nearest real "
            "neighbour, ties broken at random; mean number of such real balls that a synthetic row "
            "lies in, over k. Naeem et al., 2020, Reliable Fidelity and Diversity Metrics for "
            "Generative Models.",
        ),
    ),
    Metric(
        name="density",
        topic="realism",
        direction="higher",
        measure=lambda sample: {"density": sample.neighbours.density},
        column=Column("density"),
    ),
    Metric(
        name="precision",
        topic="realism",
        direction="higher",
        heading="Rows unlike any real one",
        failure="It makes unrealistic rows of",
        limit=Limit(
            0.6, "least share of a group's rows that look like real ones", {"ge": 0, "le": 1}
        ),
        judge=each_group(_precision),
        measure=lambda sample: {"precision": sample.neighbours.precision},
        column=Column("precision", terminal="precision"),
        legend=(
            "Precision and recall",
            "Share of synthetic rows near a real one; share of real rows near a synthetic one, by "
            "balls to the k-th neighbour. Kynkäänniemi et al., 2019, Improved Precision and Recall "
            "Metric for Assessing Generative Models.",
        ),
    ),
    Metric(
        name="recall",
        topic="coverage",
        direction="higher",
        measure=lambda sample: {"recall": sample.neighbours.recall},
        count=lambda counts: {"recall": counts.recall.get("recall")},
        sums_suffice=True,
        column=Column("recall"),
    ),
    Metric(
        name="share_ratio",
        topic="sizes",
        direction="higher",
        heading="Groups too large or too small",
        failure="It gets the size wrong of",
        limit=Limit(
            0.8,
            "least ratio of a group's shares, real and synthetic, either way",
            {"gt": 0, "le": 1},
        ),
        judge=each_group(_share_ratio, measured=False),
        sums_suffice=True,
    ),
    Metric(
        name="tv",
        topic="marginals",
        direction="lower",
        heading="Categories distributed otherwise",
        failure="It distorts categories of",
        limit=Limit(
            0.1, "most mean total variation of a group's categories, less noise", {"ge": 0}
        ),
        judge=_distance("tv", "categories"),
        count=lambda counts: {"tv": _own(counts.comparison.tv_groups, counts)},
        sums_suffice=True,
        column=Column("TV"),
        legend=(
            "TV and KS",
            "Total variation of categories and Kolmogorov-Smirnov distance of numbers, means over "
            "columns: 0 is equal, 1 is nothing in common.",
        ),
    ),
    Metric(
        name="ks",
        topic="marginals",
        direction="lower",
        heading="Numbers distributed otherwise",
        failure="It distorts numbers of",
        limit=Limit(
            0.1, "most mean Kolmogorov-Smirnov distance of its numbers, less noise", {"ge": 0}
        ),
        judge=_distance("ks", "numbers"),
        count=lambda counts: {"ks": _own(counts.comparison.ks_groups, counts)},
        sums_suffice=True,
        column=Column("KS", terminal="KS"),
    ),
    Metric(
        name="mmd",
        topic="realism",
        direction="lower",
        measure=lambda sample: {"mmd": sample.mmd},
        column=Column("MMD²", digits=4),
        legend=(
            "MMD²",
            "Squared maximum mean discrepancy, unbiased: near 0 is good, it may be negative. "
            "Gretton et al., 2012, A Kernel Two-Sample Test.",
        ),
    ),
    Metric(
        name="sliced_w1",
        topic="realism",
        direction="lower",
        measure=lambda sample: dict(
            zip(("sliced_w1", "sliced_w1_null"), sample.sliced_w1(), strict=True)
        ),
        column=Column("sliced W1\n(noise)", aside=lambda group: (group.sliced_w1_null,)),
        legend=(
            "Sliced W1",
            "Mean transport distance over lines through the embedded rows (numbers ranked, "
            "categories weighing alike); in brackets what two halves of the real rows give.",
        ),
    ),
    Metric(
        name="pairwise",
        topic="realism",
        direction="lower",
        heading="Columns whose associations changed",
        failure="It loosens or invents ties in",
        limit=Limit(
            0.1, "most that a column's ties to the others may change, less noise", {"ge": 0}
        ),
        judge=each_group(_pairwise),
        measure=lambda sample: {
            f"pairwise{end}": getattr(gap, part, None)
            for gap in [sample.pairwise()]
            for end, part in (("", "value"), ("_null", "null"), ("_column", "column"))
        },
        column=Column(
            "ties\n(noise)", aside=lambda group: (group.pairwise_null, group.pairwise_column)
        ),
        legend=(
            "Ties",
            "How far a column's associations with the other columns changed, of the column where "
            "they changed most; in brackets what real rows drawn twice give.",
        ),
    ),
    Metric(
        name="modes",
        topic="coverage",
        direction="higher",
        heading="Kinds of rows that are missing",
        failure="It lacks kinds of rows of",
        limit=Limit(0.9, "least share of a group's modes that are covered", {"ge": 0, "le": 1}),
        judge=each_group(_modes),
        figure="modes_covered",
        measure=_modes_measured,
        column=Column("modes", text=_modes_text, terminal="modes"),
        legend=(
            "Modes",
            "Cells of a codebook of the real rows that synthetic rows fall in, of those that real "
            "rows fall in. For the check, a cell is covered or lost where the rows in it say so "
            "beyond chance.",
        ),
    ),
    Metric(
        name="missing_categories",
        topic="coverage",
        direction="lower",
        heading="Categories that are never made",
        failure="It never makes some categories of",
        limit=Limit(0, "most categories of a group that are never made", {"ge": 0}, whole=True),
        judge=each_group(_missing_categories),
        count=lambda counts: {"missing_categories": counts.missing},
        sums_suffice=True,
    ),
    Metric(
        name="rare_categories",
        topic="coverage",
        direction="lower",
        heading="Rows of categories too rare to be made",
        failure="It makes none of the rare categories of",
        limit=Limit(
            0.05,
            "most real rows of a column with a category that the synthetic table never has",
            {"ge": 0, "le": 1},
        ),
        judge=_rare_categories,
        sums_suffice=True,
    ),
    Metric(
        name="range_lost",
        topic="coverage",
        direction="lower",
        measure=lambda sample: {"range_lost": sample.range_lost()},
    ),
    Metric(
        name="unseen_categories",
        topic="realism",
        direction="lower",
        heading="Categories no real row has",
        failure="It invents categories in",
        limit=Limit(
            0.0, "most rows with a category that no real row of the table has", {"ge": 0, "le": 1}
        ),
        judge=_unseen_categories,
        sums_suffice=True,
    ),
    Metric(
        name="broken_constraints",
        topic="realism",
        direction="lower",
        heading="Rows that break a constraint",
        failure="It makes rows that break",
        limit=Limit(
            0.0,
            "most synthetic rows that break one of the run's constraints ([[data.constraints]])",
            {"ge": 0, "le": 1},
        ),
        judge=_broken_constraints,
    ),
    Metric(
        name="invented_groups",
        topic="sizes",
        direction="lower",
        heading="Groups no real row is in",
        failure="It invents the groups",
        limit=Limit(0.0, "most rows of a group that no real row is in", {"ge": 0, "le": 1}),
        judge=_invented_groups,
        sums_suffice=True,
    ),
)
