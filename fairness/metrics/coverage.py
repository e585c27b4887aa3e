"""Coverage of the real rows of each group by synthetic rows, comparable between groups.

Coverage (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models",
equation 6) is the share of real rows with a synthetic row no farther than their k-th nearest real
neighbour, ties broken at random (`fairness.metrics.ties`). Even for equal distributions it depends
on how many rows there are; divided by that expectation it is near 1 for a faithful generator, in a
small group as in a large one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairness.metrics.marginals import category_codes, cells, check_groups
from fairness.metrics.neighbours import covered
from wgan.data.schema import Column, Schema


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """Coverage to expect of n real rows by m synthetic ones of the same distribution.

    A real row is left uncovered if its k nearest among the n - 1 + m others are all real; these are
    exchangeable, so it happens with probability C(n - 1, k) / C(n - 1 + m, k).

    Raises:
        ValueError: Unless n > k > 0 and m >= 0.

    >>> round(expected_coverage(400, 400, 5), 3)
    0.969
    """
    if not (n > k > 0 and m >= 0):
        raise ValueError(f"expected n > k > 0 and m >= 0, got n={n}, m={m}, k={k}")
    return 1 - math.comb(n - 1, k) / math.comb(n - 1 + m, k)


def coverage(real: NDArray[Any], synthetic: NDArray[Any], k: int = 5) -> float:
    """Share of real rows that are covered.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`.
        k: Which neighbour gives the radius.

    Raises:
        ValueError: Unless n > k > 0.
    """
    return float(covered(real, synthetic, k).mean())


@dataclass(frozen=True)
class StandardisedCoverage:
    """Coverage over its expectation.

    Attributes:
        value: coverage / expected; not capped, so noise may lift it above 1.
        low: Lower end of the 95 % interval of `value`.
        high: Upper end.
        coverage: Share of real rows covered.
        expected: What equal distributions would give.
    """

    value: float
    low: float
    high: float
    coverage: float
    expected: float


def standardised_coverage(
    real: NDArray[Any], synthetic: NDArray[Any], k: int = 5
) -> StandardisedCoverage:
    """Coverage over `expected_coverage`, with an interval.

    The interval is Wilson's for the covered share, over the expectation, but for 2 n / (k + 1)
    rows, as neighbours are covered together. In simulations with as many real as synthetic rows,
    1 to 20 dimensions and k from 1 to 10, the variance was mostly 1 to (k + 1) / 2 times that of
    independent rows (for k = 5 at most 4 times, in one dimension); Wilson's interval for n rows
    held the true value in only 70 to 95 % of the draws.

    Args:
        real: Points `(n, d)`.
        synthetic: Points `(m, d)`, at least one.
        k: Which neighbour gives the radius.

    Raises:
        ValueError: Unless n > k > 0 and m > 0.
    """
    if len(synthetic) == 0:
        raise ValueError("expected at least one synthetic row")
    share = coverage(real, synthetic, k)
    expected = expected_coverage(len(real), len(synthetic), k)
    low, high = wilson(share, 2 * len(real) / (k + 1))
    return StandardisedCoverage(share / expected, low / expected, high / expected, share, expected)


def embed(frame: pd.DataFrame, schema: Schema, reference: pd.DataFrame) -> NDArray[np.float32]:
    """Rows as points in which every column weighs alike, whatever its unit.

    A number becomes its mid-rank in [0, 1] among the reference values, .5 if missing, and an
    indicator of being missing. Text becomes one-hot over its categories, any other text and
    missing, divided by sqrt(2), so that two different values are at distance 1.

    Args:
        frame: n rows.
        schema: The columns to use; pass `schema.without(sensitive features)` within groups.
        reference: The real rows that ranks are read from.

    Returns:
        Points `(n, d)`; d depends on the schema only.

    Raises:
        DataError: Where a value is not of its column's kind.
    """
    parts = [_embed_column(frame, column, reference) for column in schema.columns]
    return np.concatenate([np.zeros((len(frame), 0), dtype=np.float32), *parts], axis=1)


@dataclass(frozen=True)
class GroupCoverage:
    """Standardised coverage of one group.

    Attributes:
        group: The group's index.
        real_rows: Its real rows.
        synthetic_rows: Its synthetic rows.
        drawn: How many of each were compared.
        verdict: `measured`; `absent` if the synthetic table has none of a group of which it should
            have at least the minimum by the real shares (its value is then 0); `insufficient` if
            either table has fewer rows than the minimum otherwise.
        value: Coverage over its expectation; None if insufficient.
        low: Lower end of the 95 % interval of `value`.
        high: Upper end.
        coverage: Share of drawn real rows covered.
        expected: What equal distributions would give.
    """

    group: int
    real_rows: int
    synthetic_rows: int
    drawn: int = 0
    verdict: Literal["measured", "absent", "insufficient"] = "insufficient"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    coverage: float | None = None
    expected: float | None = None


def group_coverage(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    real_groups: NDArray[Any],
    synthetic_groups: NDArray[Any],
    groups: int,
    rng: np.random.Generator,
    limit: int = 1000,
    k: int = 5,
    minimum: int = 30,
) -> list[GroupCoverage]:
    """Standardised coverage within each group, from as many synthetic as real rows.

    Args:
        real: n rows.
        synthetic: m rows.
        schema: The columns to compare, without the sensitive features.
        real_groups: The group of each real row, `(n,)`.
        synthetic_groups: The group of each synthetic row, `(m,)`.
        groups: How many groups there are.
        rng: Draws the rows; what one group gets does not depend on the sizes of others.
        limit: Most rows drawn of either table a group.
        k: Which neighbour gives the radius.
        minimum: Fewest rows to judge a group by (never below k + 1).

    Returns:
        One entry a group, in order.

    Raises:
        ValueError: If the groups do not fit the rows.
        DataError: Where a value is not of its column's kind.
    """
    check_groups(real_groups, len(real), groups)
    check_groups(synthetic_groups, len(synthetic), groups)
    minimum = max(minimum, k + 1)
    draws = []
    for group, seed in enumerate(rng.integers(2**63, size=groups)):
        pools = (np.flatnonzero(real_groups == group), np.flatnonzero(synthetic_groups == group))
        size = min(limit, len(pools[0]), len(pools[1]))
        own = np.random.default_rng(seed)
        size = size if size >= minimum else 0
        draws.append([own.choice(pool, size, replace=False) for pool in pools])
    # Only what was drawn is embedded, in one go: the ranks are looked up once.
    ends = np.cumsum([len(draw[0]) for draw in draws])[:-1]
    points = [
        np.split(
            embed(frame.iloc[np.concatenate([draw[side] for draw in draws])], schema, real), ends
        )
        for side, frame in enumerate((real, synthetic))
    ]
    result = []
    for group in range(groups):
        n, m = int((real_groups == group).sum()), int((synthetic_groups == group).sum())
        drawn = len(points[0][group])
        if drawn:
            found = standardised_coverage(points[0][group], points[1][group], k)
            result.append(GroupCoverage(group, n, m, drawn, "measured", **vars(found)))
        elif m == 0 and n >= minimum and n / len(real) * len(synthetic) >= minimum:
            result.append(GroupCoverage(group, n, m, 0, "absent", 0.0, 0.0, 0.0, 0.0))
        else:
            result.append(GroupCoverage(group, n, m))
    return result


def coverage_group_min(found: Sequence[GroupCoverage]) -> float | None:
    """The worst group's standardised coverage; None if no group has enough rows."""
    return min((g.value for g in found if g.value is not None), default=None)


def coverage_difference(found: Sequence[GroupCoverage]) -> float | None:
    """The best group's standardised coverage less the worst's; None if no group has enough rows."""
    values = [g.value for g in found if g.value is not None]
    return max(values) - min(values) if values else None


def wilson(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share seen in n rows (Wilson, 1927).

    >>> [round(end, 3) for end in wilson(0.9, 100)]
    [0.826, 0.945]
    """
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _embed_column(
    frame: pd.DataFrame, column: Column, reference: pd.DataFrame
) -> NDArray[np.float32]:
    values = cells(frame, column)
    if not column.numeric:
        fold = str.lower if column.kind == "boolean" else str
        codes = category_codes(values, tuple(map(fold, column.categories)))
        size = len(column.categories) + 2
        return (np.eye(size, dtype=np.float32) / np.float32(math.sqrt(2)))[codes]
    known = cells(reference, column)
    known = np.sort(known[~np.isnan(known)])
    missing = np.isnan(values)
    ranks = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    ranks = np.where(missing, 0.5, ranks / (2 * len(known)) if len(known) else 0.5)
    return np.stack([ranks, missing], axis=1).astype(np.float32)
