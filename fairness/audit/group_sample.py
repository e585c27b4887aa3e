"""One group's rows, and what the metrics of the audit are computed from.

Groups of one stratum are measured alike, on as many synthetic as reference rows, so that figures
can be compared between groups of any size. Reference rows are held-out ones where there are any.
Whatever takes long is computed once, when the first metric asks for it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.audit.copies import Copies, Nearness
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.membership import Membership
from everymode.fairness.audit.tables import Tables
from everymode.fairness.groups.spellings import common_spelling
from everymode.fairness.metrics.coverage import embed, standardise
from everymode.fairness.metrics.distances import association_gaps, association_weights, sliced_w1
from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.marginals import Comparison, cells
from everymode.fairness.metrics.modes import ROWS_A_MODE, Modes, find_modes
from everymode.fairness.metrics.neighbours import Neighbours, neighbours
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.metrics.streams import stream
from everymode.wgan.data.schema import Column, Schema

Rows = NDArray[np.int64]
Points = NDArray[np.float32]

PERMUTATIONS = 20
"""Times that real and synthetic rows are mixed, to see how far apart chance alone puts them."""

State = Literal["measured", "absent", "insufficient"]


@dataclass(frozen=True)
class GroupCounts:
    """One group's counts, of rows or added up over sites.

    Attributes:
        comparison: Distances of the marginals of all groups of the stratum.
        index: The group's place among them.
        missing: By column: categories to expect that no synthetic row has.
        recall: What sites counted of the group
            (`everymode.fairness.metrics.codebook.recall_by_group`); empty where none did.
    """

    comparison: Comparison
    index: int
    missing: Mapping[str, tuple[str, ...]]
    recall: Mapping[str, Any]


@dataclass(frozen=True)
class PairwiseGap:
    """How far one column's associations with the others differ, real to synthetic.

    Attributes:
        value: The largest difference over columns.
        null: What chance alone makes of it: mean and two standard deviations over permutations of
            real and synthetic rows.
        column: The column where it is largest.
    """

    value: float
    null: float
    column: str


@dataclass(frozen=True)
class GroupSample:
    """One group.

    Attributes:
        tables: What is audited.
        within: The schema without the features that make the group.
        limits: How much is compared.
        seed: Of the rows that are drawn; a group's do not depend on other groups.
        values: The value of each feature.
        real: Places of its rows that were trained on.
        synthetic: Places of its synthetic rows.
        reference: Places of its reference rows.
        counts: Its counts; None where only its neighbours are looked at.
        copies: Which rows of the tables equal each other; None as above.
        nearness: All rows as points; None where no rows are held out.
        membership: Scores of membership attacks; None where too few rows are held out.
    """

    tables: Tables
    within: Schema
    limits: SamplingLimits
    seed: int
    values: Mapping[str, str]
    real: Rows
    synthetic: Rows
    reference: Rows
    counts: GroupCounts | None = None
    copies: Copies | None = None
    nearness: Nearness | None = None
    membership: Membership | None = None

    @property
    def name(self) -> str:
        """The values; "all rows" for the whole table."""
        return ", ".join(self.values.values()) or "all rows"

    @property
    def state(self) -> State:
        """Whether there are enough rows to measure the group by.

        `absent` if the synthetic table has none of a group of which it should have enough.
        """
        least = self.limits.least
        n, m, h = len(self.real), len(self.synthetic), len(self.reference)
        if min(n, m, h) >= least:
            return "measured"
        share = n / max(len(self.tables.real), 1)
        expected = share * len(self.tables.synthetic)
        return "absent" if m == 0 and min(n, h, expected) >= least else "insufficient"

    def sizes(self) -> dict[str, Any]:
        """The fields of its record that say how large it is."""
        n, m = len(self.real), len(self.synthetic)
        held_out = self.tables.holdout is not None
        return {
            "name": self.name,
            "sensitive": self.values,
            "rows_real": n,
            "rows_synthetic": m,
            "rows_holdout": len(self.reference) if held_out else None,
            "share_real": n / max(len(self.tables.real), 1),
            "share_synthetic": m / max(len(self.tables.synthetic), 1),
        }

    def rng(self, purpose: str) -> np.random.Generator:
        """A stream of its own for each purpose, however the group's values are spelled."""
        group = (
            part for name, value in self.values.items() for part in (name, common_spelling(value))
        )
        return stream(self.seed, purpose, *group)

    def draw(self, rows: Rows, count: int, rng: np.random.Generator) -> Rows:
        """`count` of the rows, in their order."""
        return np.sort(rng.choice(rows, count, replace=False))

    @property
    def size(self) -> int:
        """Rows of either table that are compared."""
        return min(self.limits.rows, len(self.reference), len(self.synthetic))

    @cached_property
    def points(self) -> tuple[Points, Points]:
        """Reference and synthetic rows, embedded, `(size, d)` each."""
        rng = self.rng("rows")
        parts = (
            (self.tables.reference, self.reference),
            (self.tables.synthetic, self.synthetic),
        )
        real, synthetic = (
            self._embed(frame, self.draw(rows, self.size, rng)) for frame, rows in parts
        )
        return real, synthetic

    @cached_property
    def halves(self) -> tuple[Points, Points, Rows]:
        """Two random halves of the reference points, and the order that they were taken in."""
        order = self.rng("halves").permutation(self.size)
        real = self.points[0]
        return real[order[: self.size // 2]], real[order[self.size // 2 :]], order

    @cached_property
    def neighbours(self) -> Neighbours:
        """How the two sets of points lie in each other."""
        return neighbours(*self.points, self.limits.k)

    @property
    def standardised_coverage(self) -> Estimate:
        """Coverage over what equal distributions would give."""
        return standardise(self.neighbours.coverage, self.size, self.size, self.limits.k)

    @cached_property
    def standardised_recall(self) -> Estimate:
        """Recall of half the reference rows, over what the other half gives."""
        k = self.limits.k
        one, two, order = self.halves
        null = neighbours(one, two, k).recall
        if null == 0:
            return Estimate()
        recall = neighbours(one, self.points[1][order[: len(two)]], k).recall
        low, high = wilson(recall, 2 * len(two) / (k + 1))
        return Estimate(recall / null, low / null, high / null)

    @property
    def mmd(self) -> float:
        """Squared maximum mean discrepancy of the points, unbiased."""
        import torch

        from everymode.fairness.matching.kernels import mmd2

        # The features of an image are about sqrt(2) apart.
        deviation = math.sqrt(2)
        if self.tables.image is None:
            numbers = sum(column.numeric for column in self.within.columns)
            deviation = _deviation(numbers, len(self.within.columns) - numbers)
        real, synthetic = map(torch.from_numpy, self.points)
        return mmd2(real, synthetic, deviation)

    def sliced_w1(self) -> tuple[float, float]:
        """Sliced Wasserstein distance of the points, and what two halves of the real ones give."""
        one, two, _ = self.halves
        distance = sliced_w1(*self.points, np.random.default_rng(0))
        # Rows of one half are as far apart as noise puts them; noise falls with the root of rows.
        return distance, sliced_w1(one, two, np.random.default_rng(0)) / math.sqrt(2)

    def pairwise(self) -> PairwiseGap | None:
        """Differences of associations between columns; None for images, whose points have none."""
        columns = self.within.columns
        if self.tables.image is not None or not columns:
            return None
        real, synthetic = self.points
        widths = [2 if column.numeric else len(column.categories) + 2 for column in columns]
        weights = association_weights(real, synthetic, widths)
        gaps = association_gaps(real, synthetic, widths, weights)
        both, rng, size = np.concatenate([real, synthetic]), self.rng("pairwise"), self.size
        largest = [
            association_gaps(both[order[:size]], both[order[size:]], widths, weights).max()
            for order in (rng.permutation(2 * size) for _ in range(PERMUTATIONS))
        ]
        worst = int(gaps.argmax())
        null = float(np.mean(largest) + 2 * np.std(largest))
        return PairwiseGap(float(gaps[worst]), null, columns[worst].name)

    def modes(self) -> Modes | None:
        """Modes of the reference rows, and what synthetic rows cover of them.

        All synthetic rows are looked at, up to the limit: the more there are, the more is decided.
        """
        if self.size // ROWS_A_MODE < 2:
            return None
        rng = self.rng("modes")
        synthetic = self.points[1]
        count = min(self.limits.rows, len(self.synthetic))
        if count > self.size:
            drawn = self.draw(self.synthetic, count, rng)
            synthetic = self._embed(self.tables.synthetic, drawn)
        return find_modes(self.points[0], synthetic, self.limits.modes, int(rng.integers(2**31)))

    def closer_to_training(self) -> Estimate:
        """Share of synthetic rows nearer to rows trained on (`everymode.fairness.audit.copies`)."""
        if self.nearness is None:
            return Estimate()
        count = min(self.limits.rows, len(self.synthetic))
        drawn = self.draw(self.synthetic, count, self.rng("nearness"))
        return self.nearness.closer(self.real, self.reference, drawn)

    def closer_of_fresh(self) -> Estimate:
        """The same share of rows trained on, each without itself."""
        if self.nearness is None:
            return Estimate()
        rng = self.rng("nearness of fresh rows")
        count = min(self.limits.rows, len(self.real))
        drawn = np.sort(rng.choice(len(self.real), count, replace=False))
        return self.nearness.fresh(self.real, self.reference, drawn)

    def range_lost(self) -> dict[str, float]:
        """By numeric column: share of the reference rows' range that synthetic rows leave out."""
        lost = {}
        for column in self.within.columns:
            if not column.numeric:
                continue
            real = self._numbers(self.tables.reference, self.reference, column)
            synthetic = self._numbers(self.tables.synthetic, self.synthetic, column)
            if len(real) < self.limits.least:
                continue
            # Extremes are single rows, which a generator shall not copy.
            low, high = np.quantile(real, [0.01, 0.99])
            if high > low:
                ends = (synthetic.min(), synthetic.max()) if len(synthetic) else (high, low)
                kept = max(0.0, min(high, ends[1]) - max(low, ends[0]))
                lost[column.name] = float(1 - kept / (high - low))
        return lost

    def _embed(self, frame: pd.DataFrame, rows: Rows) -> Points:
        if self.tables.image is not None:
            return self.tables.image(frame.iloc[rows])
        return embed(frame.iloc[rows], self.within, self.tables.reference)

    def _numbers(self, frame: pd.DataFrame, rows: Rows, column: Column) -> NDArray[np.float64]:
        values: NDArray[np.float64] = cells(frame.iloc[rows], column)
        return values[~np.isnan(values)]


def _deviation(numbers: int, choices: int) -> float:
    # The root of two rows' mean squared distance: ranks are uniform, and categories, at distance
    # 1, are taken to differ every second time.
    return math.sqrt(numbers / 6 + choices / 2) or 1.0
