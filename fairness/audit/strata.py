"""Figures of every group of a stratum: all rows, the values of a feature, or joint values."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import everymode.fairness.audit.metrics as table
from everymode.fairness.audit.copies import Copies, Nearness
from everymode.fairness.audit.group_sample import GroupCounts, GroupSample
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.membership import Membership
from everymode.fairness.audit.metric import Metric
from everymode.fairness.audit.tables import Tables
from everymode.fairness.groups.strata import group_codes
from everymode.fairness.metrics.marginals import Marginals, compare
from everymode.fairness.metrics.results import Estimate, GroupFinding

MIN_EXPECTED_ROWS = 10
"""Rows to expect of a category before its absence is no chance, which takes 5 in 100,000: there are
hundreds of categories and groups to look at."""


def stratum_samples(
    tables: Tables, features: tuple[str, ...], limits: SamplingLimits, seed: int
) -> list[GroupSample]:
    """The groups of one stratum, in the order of the features' values, without their counts.

    Args:
        tables: What is audited.
        features: The features whose joint values make the groups; none: all rows are one.
        limits: How much is compared.
        seed: Of the rows that are drawn.
    """
    frames = (tables.real, tables.synthetic, tables.reference)
    (real, synthetic, reference), names = group_codes(frames, tables.schema, features)
    return [
        GroupSample(
            tables,
            tables.schema.without(features),
            limits,
            seed,
            dict(zip(features, values, strict=True)),
            np.flatnonzero(real == g),
            np.flatnonzero(synthetic == g),
            np.flatnonzero(reference == g),
        )
        for g, values in enumerate(names)
    ]


def stratum_findings(
    tables: Tables,
    features: tuple[str, ...],
    limits: SamplingLimits,
    seed: int,
    copies: Copies,
    nearness: Nearness | None,
    membership: Membership | None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[GroupFinding]:
    """Every figure of every group of one stratum.

    Args:
        tables: What is audited.
        features: As of `stratum_samples`.
        limits: How much is compared.
        seed: Of the rows that are drawn.
        copies: Which rows of the tables equal each other.
        nearness: All rows as points; None where no rows are held out.
        membership: Scores of membership attacks; None where too few rows are held out.
        progress: Hears the name of each group before it is measured.
    """
    samples = stratum_samples(tables, features, limits, seed)
    marginals = Marginals.of(tables.schema.without(features), tables.synthetic)
    sides = (
        (tables.reference, [sample.reference for sample in samples]),
        (tables.synthetic, [sample.synthetic for sample in samples]),
    )
    real, synthetic = (
        marginals.count(frame, _group_of_row(places, len(frame)), len(samples))
        for frame, places in sides
    )
    comparison = compare(real, synthetic, marginals)
    missing = missing_categories(marginals, real, synthetic)
    found = []
    for g, sample in enumerate(samples):
        progress(sample.name)
        counts = GroupCounts(comparison, g, missing[g] if missing else {}, {})
        whole = replace(
            sample, counts=counts, copies=copies, nearness=nearness, membership=membership
        )
        found.append(finding(whole, table.METRICS))
    return found


def finding(sample: GroupSample, metrics: Sequence[Metric]) -> GroupFinding:
    """What the metrics say of a group."""
    values = {**sample.sizes(), "state": sample.state}
    if sample.state == "absent":
        values["standardised_coverage"] = Estimate(0.0, 0.0, 0.0)
    if sample.state != "measured":
        return GroupFinding.of(values)
    values["compared"] = sample.size
    for metric in metrics:
        if metric.count is not None and sample.counts is not None:
            values |= metric.count(sample.counts)
        if metric.measure is not None:
            values |= metric.measure(sample)
    return GroupFinding.of(values)


def stratum_coverage(
    tables: Tables, features: tuple[str, ...], limits: SamplingLimits, seed: int
) -> list[GroupFinding]:
    """Sizes and standardised coverage of every group of one stratum, and nothing else.

    The figures are those of `stratum_findings`; see `stratum_samples` for the arguments.
    """
    samples = stratum_samples(tables, features, limits, seed)
    return [finding(sample, (table.COVERAGE,)) for sample in samples]


def coverage_summary(groups: Iterable[GroupFinding]) -> tuple[float | None, float | None]:
    """`coverage_group_min` and `coverage_difference`: the worst group, and the best less it.

    All rows together are no group; groups with too few rows to measure do not count. Both figures
    are None where no group is left.
    """
    values = [group.standardised_coverage.value for group in groups if group.features]
    known = [value for value in values if value is not None]
    return (min(known), max(known) - min(known)) if known else (None, None)


def missing_categories(
    marginals: Marginals,
    real: dict[str, NDArray[np.int64]],
    synthetic: dict[str, NDArray[np.int64]],
) -> list[dict[str, tuple[str, ...]]]:
    """By group: categories to expect `MIN_EXPECTED_ROWS` of, of which there are none."""
    count = len(next(iter(real.values()))) if real else 0
    lost: list[dict[str, tuple[str, ...]]] = [{} for _ in range(count)]
    for column in marginals.columns:
        if column.numeric:
            continue
        held, got = real[column.name], synthetic[column.name]
        rows = np.maximum(held.sum(axis=1, keepdims=True), 1)
        expected = held / rows * got.sum(axis=1, keepdims=True)
        gone = (expected >= MIN_EXPECTED_ROWS) & (held >= MIN_EXPECTED_ROWS) & (got == 0)
        for g, c in zip(*np.nonzero(gone[:, : len(column.categories)]), strict=True):
            lost[g][column.name] = (*lost[g].get(column.name, ()), column.categories[c])
    return lost


def _group_of_row(places: Sequence[NDArray[np.int64]], rows: int) -> NDArray[np.int64]:
    """The group of each row, `(rows,)`, from the places of every group's rows."""
    groups = np.empty(rows, dtype=np.int64)
    for g, own in enumerate(places):
        groups[own] = g
    return groups
