"""Coverage of the real rows of each group by synthetic rows, comparable between groups.

Coverage (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models",
equation 6) is the share of real rows with a synthetic row no farther than their k-th nearest real
neighbour, ties broken at random (`everymode.fairness.metrics.ties`). Even for equal distributions
it depends on how many rows there are; divided by that expectation it is near 1 for a faithful
generator, in a small group as in a large one.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.marginals import category_codes, cells
from everymode.fairness.metrics.neighbours import covered
from everymode.fairness.metrics.results import Estimate
from everymode.wgan.data.schema import Column, Schema

MOST = 256
"""Categories of a column that are told apart in distances."""


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


def standardise(share: float, n: int, m: int, k: int = 5) -> Estimate:
    """A covered share over `expected_coverage`, with an interval.

    The value is not capped, so that noise may lift it above 1. The interval is Wilson's for the
    covered share, over the expectation, but for 2 n / (k + 1) rows, as neighbours are covered
    together. In simulations with as many real as synthetic rows, 1 to 20 dimensions and k from 1 to
    10, the variance was mostly 1 to (k + 1) / 2 times that of independent rows (for k = 5 at most 4
    times, in one dimension); Wilson's interval for n rows held the true value in only 70 to 95 % of
    the draws.

    Args:
        share: Coverage.
        n: Real rows.
        m: Synthetic rows.
        k: Which neighbour gives the radius.

    Raises:
        ValueError: Unless n > k > 0 and m > 0.
    """
    if m < 1:
        raise ValueError("expected at least one synthetic row")
    expected = expected_coverage(n, m, k)
    low, high = wilson(share, 2 * n / (k + 1))
    return Estimate(share / expected, low / expected, high / expected)


def embed(frame: pd.DataFrame, schema: Schema, reference: pd.DataFrame) -> NDArray[np.float32]:
    """Rows as points in which every column weighs alike, whatever its unit.

    A number becomes its mid-rank in [0, 1] among the reference values, .5 if missing, and an
    indicator of being missing. Text becomes one-hot over its categories, any other text and
    missing, divided by sqrt(2), so that two different values are at distance 1. Of more than
    `MOST` categories those that begin alike are one: points of thousands of coordinates take many
    minutes, and hardly any two of so many values are the same.

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


def _states(column: Column) -> NDArray[np.int64]:
    """The coordinate of each category of a column, of any other text and of no value, `(n + 2,)`.

    >>> _states(Column("x", "category", categories=("a", "b"))).tolist()
    [0, 1, 2, 3]
    """
    count = len(column.categories)
    found = np.arange(count)
    if column.states:
        found = np.array(column.states)
    elif count > MOST:
        # Neighbours in the alphabet begin alike.
        found[np.argsort(np.array(column.categories), kind="stable")] = (
            np.arange(count) * MOST // count
        )
    return np.append(found, found.max(initial=-1) + np.array([1, 2]))


def _embed_column(
    frame: pd.DataFrame, column: Column, reference: pd.DataFrame
) -> NDArray[np.float32]:
    values = cells(frame, column)
    if not column.numeric:
        fold = str.lower if column.kind == "boolean" else str
        codes = category_codes(values, tuple(map(fold, column.categories)))
        states = _states(column)
        return (np.eye(int(states.max()) + 1, dtype=np.float32) / np.float32(math.sqrt(2)))[
            states[codes]
        ]
    known = cells(reference, column)
    known = np.sort(known[~np.isnan(known)])
    missing = np.isnan(values)
    ranks = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    ranks = np.where(missing, 0.5, ranks / (2 * len(known)) if len(known) else 0.5)
    return np.stack([ranks, missing], axis=1).astype(np.float32)
