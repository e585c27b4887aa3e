"""CART synthesis: each column from a decision tree on the columns before it.

The first columns are drawn with replacement, together. For every further column a tree is grown
that predicts it from the columns before it. A synthetic row goes down the tree by the values that
it has so far, and takes the value of one of the real rows in its leaf, drawn at random. This is
the default of R's synthpop, without smoothing.

Sources: Reiter, "Using CART to Generate Partially Synthetic Public Use Microdata", 2005, section 2;
Nowok, Raab, Dibben, "synthpop: Bespoke Creation of Synthetic Data in R", 2016, section 2.2.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.tree import DecisionTreeRegressor

from everymode.fairness.metrics.marginals import cells
from everymode.wgan.data.schema import Column, Schema

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LEAF = 30
"""Fewest real rows in a leaf. synthpop's default is 5, at which rows are copied more often."""

CLASSES = 100
"""Most categories that a tree tells apart; rarer ones are one class, and are drawn all the same."""


def cart_rows(
    real: pd.DataFrame,
    schema: Schema,
    first: Sequence[str],
    rows: int,
    rng: np.random.Generator,
    leaf: int = LEAF,
) -> pd.DataFrame:
    """Synthetic rows; every cell is that of a real row, as it is written there.

    Args:
        real: n rows, at least one.
        schema: The columns to synthesise; further columns of `real` are left out.
        first: Columns that are drawn together, before all others; none: the schema's first.
        rows: How many rows are made.
        rng: Draws rows, and breaks ties between splits.
        leaf: Fewest real rows in a leaf.

    Raises:
        DataError: Where a value is not of its column's kind.
    """
    codes = {column.name: _codes(real, column) for column in schema.columns}
    start = tuple(first) or schema.names[:1]
    drawn = rng.integers(len(real), size=rows)
    donors = dict.fromkeys(start, drawn)
    for name in schema.names:
        if name not in donors:
            donors[name] = _donors(name, codes, donors, schema, leaf, rng)
    return pd.DataFrame(
        {name: real[name].take(donors[name]).reset_index(drop=True) for name in schema.names}
    )


def _codes(frame: pd.DataFrame, column: Column) -> Ints:
    """Places of the values `(n,)`: numbers in their order, categories by frequency.

    Missing numbers come before all others; a missing category is a category.
    """
    values = cells(frame, column)
    if column.numeric:
        known = ~np.isnan(values)
        codes = np.full(len(values), -1, dtype=np.int64)
        codes[known] = np.unique(values[known], return_inverse=True)[1]
        return codes
    found, _ = pd.factorize(pd.Series(values, dtype=object), use_na_sentinel=False)
    common = np.argsort(-np.bincount(found), kind="stable")
    return np.asarray(np.argsort(common)[found], dtype=np.int64)


def _donors(
    name: str,
    codes: Mapping[str, Ints],
    donors: Mapping[str, Ints],
    schema: Schema,
    leaf: int,
    rng: np.random.Generator,
) -> Ints:
    """The real row that each synthetic row takes its value of a column from, `(rows,)`."""
    response = _response(codes[name], schema[name].numeric)
    ordered = [
        codes[before] if schema[before].numeric else _order(codes[before], response)[codes[before]]
        for before in donors
    ]
    inputs = np.stack(ordered, axis=1)
    made = np.stack([x[donors[before]] for x, before in zip(ordered, donors, strict=True)], axis=1)
    tree = DecisionTreeRegressor(min_samples_leaf=leaf, random_state=int(rng.integers(2**31)))
    tree.fit(inputs, response)
    held, wanted = tree.apply(inputs), tree.apply(made)
    order = np.argsort(held, kind="stable")
    low, high = (np.searchsorted(held[order], wanted, side) for side in ("left", "right"))
    return np.asarray(order[rng.integers(low, high)], dtype=np.int64)


def _response(codes: Ints, numeric: bool) -> Floats:
    """What a tree predicts, `(n, k)`: a number's rank and its being missing; or one-hot classes.

    Ranks, since squares of a number with a long tail would be those of a few rows. Squared errors
    of one-hot classes add up to Gini's impurity.
    """
    if not numeric:
        classes = np.minimum(codes, CLASSES)
        return np.eye(int(classes.max()) + 1)[classes]
    missing, counts = codes < 0, np.bincount(codes + 1)
    ranks = (np.cumsum(counts) - counts / 2) / len(codes)
    return np.stack([np.where(missing, 0.5, ranks[codes + 1]), missing], axis=1)


def _order(codes: Ints, response: Floats) -> Floats:
    """A place on a line for each category `(K,)`, so that splits of the line are splits of it.

    Categories lie along the first principal component of the response's means. Of a response with
    one value that is the optimal order (Breiman et al., "Classification and Regression Trees",
    1984, theorem 4.5), of more an approximation (Coppersmith, Hong, Hosking, 1999).
    """
    counts = np.bincount(codes)
    by_category = response[np.argsort(codes, kind="stable")]
    sums = np.add.reduceat(by_category, np.cumsum(counts) - counts, axis=0)
    means = sums / counts[:, None] - response.mean(axis=0)
    axis = np.linalg.svd(means * np.sqrt(counts)[:, None], full_matrices=False)[2][0]
    return np.asarray(means @ axis, dtype=np.float64)
