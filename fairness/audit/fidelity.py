"""What an audit measures of every group: neighbours, distances, marginals, modes, copies.

A table has levels: all rows; the values of each sensitive feature; their intersections. Within a
level the groups are measured alike, on as many synthetic as reference rows, so that figures can be
compared between groups of any size. Reference rows are held-out ones where there are any.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from fairness.audit.copies import Copies, Nearness
from fairness.audit.tables import Tables, keys
from fairness.matching.kernels import mmd2
from fairness.metrics.coverage import embed, expected_coverage, wilson
from fairness.metrics.distances import association_gaps, association_weights, sliced_w1
from fairness.metrics.marginals import Comparison, Marginals, cells, compare
from fairness.metrics.neighbours import neighbours
from fairness.metrics.results import Estimate, GroupFinding
from wgan.data.schema import Schema

Rows = NDArray[np.int64]
Points = NDArray[np.float32]

MIN_MODE_ROWS = 5
"""Rows of a mode before its absence says something (chance: .7 %)."""

MIN_EXPECTED_ROWS = 10
"""Rows to expect of a category before its absence is no chance, which takes 5 in 100,000: there are
hundreds of categories and groups to look at."""

MIN_MODE_SHARE = 0.2
"""A mode is covered where the synthetic rows have this part of its share at least."""

PERMUTATIONS = 20
"""Times that real and synthetic rows are mixed, to see how far apart chance alone puts ties."""


@dataclass(frozen=True)
class SamplingLimits:
    """How much is compared.

    Attributes:
        k: Which neighbour gives a ball's radius.
        rows: Most rows of either table that are compared in a group; copies of as many are looked
            for among all real rows.
        minimum: Fewest rows of either table to judge a group by; never below 2 (k + 1).
        modes: Most cells of a group's codebook.
    """

    k: int = 5
    rows: int = 2000
    minimum: int = 30
    modes: int = 32

    @property
    def least(self) -> int:
        """Rows without which a group is `insufficient`."""
        return max(self.minimum, 2 * (self.k + 1))


def level_findings(
    tables: Tables,
    features: tuple[str, ...],
    effort: SamplingLimits,
    rng: np.random.Generator,
    copies: Copies,
    nearness: Nearness | None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[GroupFinding]:
    """Every group of one level, in the order of the features' values.

    Args:
        tables: What is audited.
        features: The features whose joint values make the groups; none: all rows are one.
        effort: How much is compared.
        rng: Draws the rows that are compared; a group's do not depend on other groups.
        copies: Which rows of the tables equal each other.
        nearness: All rows as points; None where no rows are held out.
        progress: Hears the name of each group before it is measured.
    """
    schema = tables.schema
    within = schema.without(features)
    frames = {"real": tables.real, "synthetic": tables.synthetic, "reference": tables.reference}
    found = {name: keys(frame, schema, features, name) for name, frame in frames.items()}
    names = sorted(set().union(*found.values()))
    position = {name: i for i, name in enumerate(names)}
    index = {name: groups.map(position).to_numpy(dtype=np.int64) for name, groups in found.items()}
    places = {
        name: [np.flatnonzero(i == g) for g in range(len(names))] for name, i in index.items()
    }
    marginals = Marginals.of(within, tables.synthetic)
    real_counts = marginals.count(tables.reference, index["reference"], len(names))
    made_counts = marginals.count(tables.synthetic, index["synthetic"], len(names))
    apart = compare(real_counts, made_counts, marginals)
    lost = lost_categories(marginals, real_counts, made_counts)
    result = []
    for g, (values, seed) in enumerate(
        zip(names, rng.integers(2**63, size=len(names)), strict=True)
    ):
        group = _Group(
            tables=tables,
            within=within,
            effort=effort,
            rng=np.random.default_rng(seed),
            values=dict(zip(features, values, strict=True)),
            real=places["real"][g],
            synthetic=places["synthetic"][g],
            reference=places["reference"][g],
        )
        progress(group.name)
        result.append(group.measure(apart, g, lost[g], copies, nearness))
    return result


@dataclass(frozen=True)
class _Group:
    """One group's rows, and what is measured of them."""

    tables: Tables
    within: Schema
    effort: SamplingLimits
    rng: np.random.Generator
    values: dict[str, str]
    real: Rows
    synthetic: Rows
    reference: Rows

    @property
    def name(self) -> str:
        return ", ".join(self.values.values()) or "all rows"

    def measure(
        self,
        apart: Comparison,
        g: int,
        lost: dict[str, tuple[str, ...]],
        copies: Copies,
        nearness: Nearness | None,
    ) -> GroupFinding:
        tables, least = self.tables, self.effort.least
        n, m = len(self.real), len(self.synthetic)
        share = n / max(len(tables.real), 1)
        shares: dict[str, Any] = {
            "name": self.name,
            "sensitive": self.values,
            "rows_real": n,
            "rows_synthetic": m,
            "rows_holdout": None if tables.holdout is None else len(self.reference),
            "share_real": share,
            "share_synthetic": m / max(len(tables.synthetic), 1),
        }
        if min(n, len(self.reference)) >= least and m == 0:
            zero = Estimate(0.0, 0.0, 0.0)
            enough = share * len(tables.synthetic) >= least
            if enough:
                return GroupFinding(**shares, state="absent", standardised_coverage=zero)
            return GroupFinding(**shares, state="insufficient")
        if min(n, m, len(self.reference)) < least:
            return GroupFinding(**shares, state="insufficient")
        return GroupFinding(
            **shares,
            state="measured",
            tv=apart.tv_groups[g],
            ks=apart.ks_groups[g],
            missing_categories=lost,
            range_lost=self._range_lost(),
            copied=float(copies.synthetic[self.synthetic].mean()),
            copied_expected=_share(copies.holdout, self.reference),
            copied_held_out=_share(copies.synthetic_held, self.synthetic),
            copied_held_out_expected=_share(copies.real_held, self.real),
            repeated=copies.repeats(self.real, self.synthetic),
            closer_to_training=self._closer(nearness),
            **self._neighbours(),
        )

    def _drawn(self, pool: Rows, count: int) -> Rows:
        return np.sort(self.rng.choice(pool, count, replace=False))

    def _embed(self, frame: pd.DataFrame, rows: Rows) -> Points:
        if self.tables.image is not None:
            return self.tables.image(frame.iloc[rows])
        return embed(frame.iloc[rows], self.within, self.tables.real)

    def _neighbours(self) -> dict[str, Any]:
        size = min(self.effort.rows, len(self.reference), len(self.synthetic))
        real = self._embed(self.tables.reference, self._drawn(self.reference, size))
        made = self._embed(self.tables.synthetic, self._drawn(self.synthetic, size))
        k = self.effort.k
        near = neighbours(real, made, k)
        expected = expected_coverage(size, size, k)
        # Rows of one half are as far apart as noise puts them; noise falls with the root of rows.
        order = self.rng.permutation(size)
        one, two = real[order[: size // 2]], real[order[size // 2 :]]
        null = neighbours(one, two, k)
        recalled = neighbours(one, made[order[: len(two)]], k).recall
        low, high = wilson(near.coverage, 2 * size / (k + 1))
        gaps, chance = np.zeros(0), 0.0
        # The features of an image are about sqrt(2) apart, and stand for no column.
        deviation = math.sqrt(2)
        if self.tables.image is None:
            widths = [_width(column) for column in self.within.columns]
            kinds = sum(column.numeric for column in self.within.columns)
            deviation = _deviation(kinds, len(widths) - kinds)
            weights = association_weights(real, made, widths)
            gaps = association_gaps(real, made, widths, weights)
            both, others = np.concatenate([real, made]), self.rng.spawn(1)[0]
            largest = [
                association_gaps(both[order[:size]], both[order[size:]], widths, weights).max()
                for order in (others.permutation(2 * size) for _ in range(PERMUTATIONS))
            ]
            chance = float(np.mean(largest) + 2 * np.std(largest))
        worst = int(gaps.argmax()) if len(gaps) else None
        modes, covered = self._modes(real, made)
        return {
            "compared": size,
            "coverage": near.coverage,
            "density": near.density,
            "precision": near.precision,
            "recall": near.recall,
            "standardised_coverage": Estimate(
                near.coverage / expected, low / expected, high / expected
            ),
            "standardised_recall": _ratio(recalled, null.recall, len(two), k),
            "mmd": mmd2(torch.from_numpy(real), torch.from_numpy(made), deviation),
            "sliced_w1": sliced_w1(real, made, np.random.default_rng(0)),
            "sliced_w1_null": sliced_w1(one, two, np.random.default_rng(0)) / math.sqrt(2),
            "pairwise": None if worst is None else float(gaps[worst]),
            "pairwise_null": None if worst is None else chance,
            "pairwise_column": None if worst is None else self.within.columns[worst].name,
            "modes_real": modes,
            "modes_covered": covered,
        }

    def _modes(self, real: Points, made: Points) -> tuple[int | None, int | None]:
        """Cells of a codebook of the reference rows that hold enough of them; those covered."""
        cells_ = min(self.effort.modes, len(real) // 20, len(np.unique(real, axis=0)))
        if cells_ < 2 or real.shape[1] == 0:
            return None, None
        seed = int(self.rng.integers(2**31))
        book = KMeans(cells_, n_init=1, random_state=seed).fit(real)
        held = np.bincount(book.labels_, minlength=cells_)
        got = np.bincount(book.predict(made), minlength=cells_)
        modes = held >= MIN_MODE_ROWS
        return int(modes.sum()), int((modes & (got >= np.maximum(MIN_MODE_SHARE * held, 1))).sum())

    def _closer(self, nearness: Nearness | None) -> Estimate:
        if nearness is None:
            return Estimate()
        made = self._drawn(self.synthetic, min(self.effort.rows, len(self.synthetic)))
        return nearness.closer(self.real, self.reference, made)

    def _range_lost(self) -> dict[str, float]:
        lost = {}
        for column in self.within.columns:
            if not column.numeric:
                continue
            real, made = (
                cells(frame.iloc[rows], column)
                for frame, rows in (
                    (self.tables.reference, self.reference),
                    (self.tables.synthetic, self.synthetic),
                )
            )
            real, made = real[~np.isnan(real)], made[~np.isnan(made)]
            if len(real) < self.effort.least:
                continue
            # Extremes are single rows, which a generator shall not copy.
            low, high = np.quantile(real, [0.01, 0.99])
            if high > low:
                ends = (made.min(), made.max()) if len(made) else (high, low)
                kept = max(0.0, min(high, ends[1]) - max(low, ends[0]))
                lost[column.name] = float(1 - kept / (high - low))
        return lost


def _share(marked: NDArray[np.bool_] | None, rows: Rows) -> float | None:
    return None if marked is None else float(marked[rows].mean())


def _width(column: Any) -> int:
    return 2 if column.numeric else len(column.categories) + 2


def _ratio(recalled: float, null: float, size: int, k: int) -> Estimate:
    if null == 0:
        return Estimate()
    low, high = wilson(recalled, 2 * size / (k + 1))
    return Estimate(recalled / null, low / null, high / null)


def _deviation(numbers: int, choices: int) -> float:
    # The root of two rows' mean squared distance: ranks are spread as a uniform law is, and
    # categories, at distance 1, taken to differ every second time.
    return math.sqrt(numbers / 6 + choices / 2) or 1.0


def lost_categories(
    marginals: Marginals, real: dict[str, NDArray[np.int64]], made: dict[str, NDArray[np.int64]]
) -> list[dict[str, tuple[str, ...]]]:
    """By group: categories to expect `SURE` rows of, of which there are none."""
    count = len(next(iter(real.values()))) if real else 0
    lost: list[dict[str, tuple[str, ...]]] = [{} for _ in range(count)]
    for column in marginals.columns:
        if column.numeric:
            continue
        held, got = real[column.name], made[column.name]
        rows = np.maximum(held.sum(axis=1, keepdims=True), 1)
        expected = held / rows * got.sum(axis=1, keepdims=True)
        gone = (expected >= MIN_EXPECTED_ROWS) & (held >= MIN_EXPECTED_ROWS) & (got == 0)
        for g, c in zip(*np.nonzero(gone[:, : len(column.categories)]), strict=True):
            lost[g][column.name] = (*lost[g].get(column.name, ()), column.categories[c])
    return lost
