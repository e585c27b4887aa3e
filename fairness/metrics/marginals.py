"""Distances between one-dimensional marginals, from counts alone.

Counts of real rows add up over sites, so the bins are fixed beforehand, from the schema and from
the synthetic table, and travel to the sites. What comes back is one count a bin and group.

A numeric column is binned at points p of the synthetic values, and just below each of them, so that
both F(p) and F(p-) of either empirical distribution function are known there. Where the synthetic
column has at most `POINTS` distinct values, these are all the places at which the supremum of the
Kolmogorov-Smirnov distance can lie: it is exact, for every group, whatever the real values are.
Otherwise it is too small by at most the share of synthetic values strictly inside one bin, which
for all rows together is below 1 / (POINTS - 1).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.wgan.data.schema import Column, Kind, Schema
from everymode.wgan.data.values import parse_column

POINTS = 512
"""Most points a numeric column is compared at; each gives two edges."""


def total_variation(p_counts: NDArray[Any], q_counts: NDArray[Any]) -> NDArray[np.float64]:
    """Half the summed difference of the shares, over the last axis.

    Args:
        p_counts: Counts `(..., K)`.
        q_counts: Counts `(..., K)`.

    Returns:
        Values in [0, 1], `(...)`; NaN where either side counts nothing.

    >>> float(total_variation(np.array([1, 3]), np.array([6, 2])))
    0.5
    """
    return np.asarray(0.5 * np.abs(_shares(p_counts) - _shares(q_counts)).sum(axis=-1))


def kolmogorov_smirnov(p_counts: NDArray[Any], q_counts: NDArray[Any]) -> NDArray[np.float64]:
    """Largest difference of the cumulated shares, over the last axis.

    Args:
        p_counts: Counts `(..., K)` in ordered bins.
        q_counts: Counts `(..., K)` in the same bins.

    Returns:
        Values in [0, 1], `(...)`; NaN where either side counts nothing.

    >>> float(kolmogorov_smirnov(np.array([1, 1, 0]), np.array([0, 1, 1])))
    0.5
    """
    # Cumulated as integers first: equal distributions then differ by nothing at all.
    p, q = (np.cumsum(counts, axis=-1) for counts in (p_counts, q_counts))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(p / p[..., -1:] - q / q[..., -1:]).max(axis=-1))


def cells(frame: pd.DataFrame, column: "Column | Bins", where: str = "table") -> NDArray[Any]:
    """The canonical values `(n,)` of a column; booleans in lower case, as spellings may differ.

    Raises:
        DataError: Where a value is not of the column's kind.
    """
    values = parse_column(
        frame[column.name], column.kind, column.name, where, column.form, column.lenient
    )
    if column.kind != "boolean":
        return values
    return np.array([None if v is None else v.lower() for v in values], dtype=object)


def category_codes(values: NDArray[Any], categories: tuple[str, ...]) -> NDArray[np.int64]:
    """Positions in `categories`; `len(categories)` for any other text, one more for missing.

    Args:
        values: Text or None, `(n,)`.
        categories: The K known values.

    Returns:
        Codes `(n,)` from 0 to K + 1.

    >>> category_codes(np.array(["b", None, "z"], dtype=object), ("a", "b")).tolist()
    [1, 3, 2]
    """
    known = pd.Index(list(categories), dtype=object)
    codes = np.asarray(known.get_indexer(pd.Index(values, dtype=object)))
    codes = np.where(codes < 0, len(categories), codes)
    return np.where(pd.isna(values), len(categories) + 1, codes).astype(np.int64)


@dataclass(frozen=True)
class Bins:
    """The bins of one column.

    Attributes:
        name: The column's header.
        kind: What its values are.
        categories: Text values, one bin each, then one for any other text and one for missing.
        points: Ascending numbers; with edges just below and at each, a value lies in the bin of the
            first edge that is not smaller; then one bin above all edges and one for missing.
        form: How date-times or numbers in text are written.
        lenient: Whether cells that are none of the column's kind are missing.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    points: tuple[float, ...] = ()
    form: str = ""
    lenient: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the bins are ordered ones of numbers."""
        return self.kind in ("integer", "float", "datetime")

    @property
    def edges(self) -> NDArray[np.float64]:
        """Ascending edges, at most `2 * POINTS`; none for text."""
        points = np.asarray(self.points, dtype=np.float64)
        return np.unique(np.concatenate([np.nextafter(points, -np.inf), points]))

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return (len(self.edges) if self.numeric else len(self.categories)) + 2

    def codes(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """The bin of each row, `(n,)`; raises `DataError` as `cells` does."""
        values = cells(frame, self)
        if not self.numeric:
            return category_codes(values, self.categories)
        edges = self.edges
        codes = np.searchsorted(edges, values, side="left")
        return np.where(np.isnan(values), len(edges) + 1, codes).astype(np.int64)


@dataclass(frozen=True)
class Marginals:
    """The bins of every column, in the order of the schema."""

    columns: tuple[Bins, ...]

    @staticmethod
    def of(schema: Schema, synthetic: pd.DataFrame) -> "Marginals":
        """Bins from the schema's categories and the synthetic numbers.

        Args:
            schema: The columns.
            synthetic: Rows that hold them all.

        Raises:
            DataError: Where a synthetic value is not of its column's kind.
        """
        return Marginals(tuple(_bins(column, synthetic) for column in schema.columns))

    def shapes(self, groups: int) -> dict[str, tuple[int, int]]:
        """The shape `(groups, bins)` of each column's counts."""
        return {column.name: (groups, column.bins) for column in self.columns}

    def count(
        self, frame: pd.DataFrame, group_index: NDArray[Any], groups: int
    ) -> dict[str, NDArray[np.int64]]:
        """Counts rows; the counts of the parts of a table add up to the table's.

        Args:
            frame: n rows.
            group_index: The group of each row, `(n,)`, from 0 to `groups - 1`.
            groups: How many groups there are.

        Returns:
            For each column `(groups, bins)`.

        Raises:
            ValueError: If `group_index` has another length or leaves its range.
            DataError: Where a value is not of its column's kind.
        """
        check_groups(group_index, len(frame), groups)
        counts = {}
        for column in self.columns:
            places = group_index.astype(np.int64) * column.bins + column.codes(frame)
            flat = np.bincount(places, minlength=groups * column.bins)
            counts[column.name] = flat.reshape(groups, column.bins).astype(np.int64)
        return counts

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON.

        >>> marginals = Marginals((Bins("age", "integer", points=(1.0, 2.0)),))
        >>> Marginals.from_json(marginals.to_json()) == marginals
        True
        """
        return {"columns": [asdict(column) for column in self.columns]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Marginals":
        """The inverse of `to_json`."""
        return Marginals(
            tuple(
                Bins(
                    c["name"],
                    c["kind"],
                    tuple(c["categories"]),
                    tuple(c["points"]),
                    c["form"],
                    c["lenient"],
                )
                for c in value["columns"]
            )
        )


@dataclass(frozen=True)
class Comparison:
    """How far the marginals of two tables are apart; None where there is nothing to compare.

    Attributes:
        tv: Total variation of each category or boolean column, a missing value being a category.
        ks: Kolmogorov-Smirnov distance of each numeric column over its non-missing values. It is 1
            where one table has rows but no value and the other has values.
        missing: Difference of the missing shares of each numeric column, which `ks` does not see.
        tv_mean: Mean of `tv` over columns.
        ks_mean: Mean of `ks` over columns.
        tv_groups: The same mean within each group; None for a group without rows in either table.
        ks_groups: Likewise.
    """

    tv: dict[str, float | None]
    ks: dict[str, float | None]
    missing: dict[str, float | None]
    tv_mean: float | None
    ks_mean: float | None
    tv_groups: tuple[float | None, ...]
    ks_groups: tuple[float | None, ...]


def compare(
    real_counts: Mapping[str, NDArray[Any]],
    synthetic_counts: Mapping[str, NDArray[Any]],
    marginals: Marginals,
) -> Comparison:
    """Compares counts that `marginals` made, those of the real rows summed over sites.

    Args:
        real_counts: For each column `(groups, bins)`.
        synthetic_counts: Likewise.
        marginals: The bins of both.

    Returns:
        Distances over all rows and within each group.
    """
    tv, ks, missing = {}, {}, {}
    for column in marginals.columns:
        # One row a group, then one for all of them.
        p, q = (_with_total(counts[column.name]) for counts in (real_counts, synthetic_counts))
        if column.numeric:
            ks[column.name] = _present_distance(p, q)
            lacking = (np.stack([c[:, :-1].sum(axis=1), c[:, -1]], axis=1) for c in (p, q))
            missing[column.name] = total_variation(*lacking)
        else:
            tv[column.name] = total_variation(p, q)
    tv_means, ks_means = (_means(list(distances.values())) for distances in (tv, ks))
    return Comparison(
        tv={name: _defined(value[-1]) for name, value in tv.items()},
        ks={name: _defined(value[-1]) for name, value in ks.items()},
        missing={name: _defined(value[-1]) for name, value in missing.items()},
        tv_mean=tv_means[-1] if tv_means else None,
        ks_mean=ks_means[-1] if ks_means else None,
        tv_groups=tuple(tv_means[:-1]) if tv_means else (None,) * _groups(real_counts),
        ks_groups=tuple(ks_means[:-1]) if ks_means else (None,) * _groups(real_counts),
    )


def lost_share(real: NDArray[Any], synthetic: NDArray[Any]) -> float | None:
    """Share of real rows whose category the synthetic table never has, beyond what chance does.

    Args:
        real: Counts of a category column over all rows, `(K + 2,)`: of K categories, of any other
            text and of missing values.
        synthetic: Likewise.

    Returns:
        A share from 0 to 1; None where either table is empty.

    >>> round(lost_share(np.array([60, 20, 15, 5]), np.array([80, 0, 20, 0])), 6)
    0.35
    """
    total, made = int(real.sum()), int(synthetic.sum())
    if not total or not made:
        return None
    shares = real[:-2] / total
    lost = shares[synthetic[:-2] == 0].sum() + real[-2] / total
    # As many rows drawn from the real ones would lack these too.
    chance = float((shares * (1 - shares) ** made).sum())
    return round(max(float(lost) - chance, 0.0), 12)


def check_groups(group_index: NDArray[Any], rows: int, groups: int) -> None:
    """Raises `ValueError` unless there is one group from 0 to `groups - 1` for each row."""
    if group_index.shape != (rows,):
        raise ValueError(f"expected one group for each of {rows} rows, got {group_index.shape}")
    if rows and (group_index.min() < 0 or group_index.max() >= groups):
        raise ValueError(f"expected groups from 0 to {groups - 1}")


def _shares(counts: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def _bins(column: Column, synthetic: pd.DataFrame) -> Bins:
    if not column.numeric:
        fold = str.lower if column.kind == "boolean" else str
        return Bins(column.name, column.kind, categories=tuple(map(fold, column.categories)))
    values = cells(synthetic, column, "synthetic table")
    values = values[~np.isnan(values)]
    points = np.unique(values)
    if len(points) > POINTS:
        # Quantiles that are values themselves: a bin's inside then holds < 1 / (POINTS - 1).
        points = np.unique(np.quantile(values, np.linspace(0, 1, POINTS), method="inverted_cdf"))
    return Bins(
        column.name,
        column.kind,
        points=tuple(points.tolist()),
        form=column.form,
        lenient=column.lenient,
    )


def _with_total(counts: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([counts, counts.sum(axis=0, keepdims=True)])


def _present_distance(p: NDArray[Any], q: NDArray[Any]) -> NDArray[np.float64]:
    distance = kolmogorov_smirnov(p[:, :-1], q[:, :-1])
    rows = (p.sum(axis=1) > 0) & (q.sum(axis=1) > 0)
    one_sided = (p[:, :-1].sum(axis=1) > 0) != (q[:, :-1].sum(axis=1) > 0)
    # NaN here would let a generator that writes no number at all pass unseen.
    return np.where(rows & one_sided, 1.0, distance)


def _means(distances: list[NDArray[np.float64]]) -> list[float | None]:
    if not distances:
        return []
    columns = np.stack(distances, axis=1)
    return [
        _defined(row[~np.isnan(row)].mean()) if (~np.isnan(row)).any() else None for row in columns
    ]


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _groups(counts: Mapping[str, NDArray[Any]]) -> int:
    return next((len(value) for value in counts.values()), 0)
