"""Grows trees at random on finished rows, has sites count theirs in the leaves, and weights rows.

See `everymode.fairness.postprocessing.leaf_weights`.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.noise import Noise
from everymode.clients.protocol.plan import derive_seed
from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.consistency import onto_simplex
from everymode.fairness.matching.small_groups import without_small_groups
from everymode.fairness.matching.trees import NO_COLUMN, Tree, from_sklearn
from everymode.fairness.postprocessing.leaf_weights import LEAVES, STEPS, LeafProblem, LeafWeights
from everymode.server.synthesis.calibration import ProgressCallback
from everymode.server.synthesis.steps import KeepByLeaves
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.synthesis.trees import (
    BINS,
    LEAVES_OF_OWN,
    request_counts,
    single_leaf,
    split_features,
)
from everymode.server.transport.exchange import Exchange

Counts = npt.NDArray[np.int64] | npt.NDArray[np.float64]

MIN_ROWS, MAX_ROWS = 20_000, 80_000
"""Bounds of the synthetic rows that weights are fitted on, three times the data's between them."""

GROWN_ON = 30_000
"""Rows of these that trees are grown on, at most."""

COLUMNS = 4
"""Columns that a tree splits on at most, and two at least."""

KEPT = 3
"""Of so many trees one is kept, those whose counts are farthest off; with noise all are, which have
been paid for alike."""

SURVIVES = 3.0
"""Standard deviations of the noise that a leaf is expected to hold at least, where there is any."""

DIRECTIONS = 2
"""Random projections of its columns that a tree tells apart."""


@dataclass(frozen=True)
class FitCriticTrees:
    """Weights finished rows so that leaves of trees hold as many of them as of the data.

    Attributes:
        exchange: The way to the sites.
        plan_name: Fingerprint of the plan.
        trees: How many trees sites are asked for.
        leaf: Rows of the data that a leaf is expected to hold at least.
        number: Number of the exchange, after those of other trees.
        noise: What sites add to their counts; None: nothing.
    """

    exchange: Exchange
    plan_name: str
    trees: int
    leaf: int
    number: int
    noise: Noise | None = None
    name = "critic_trees"
    text = "sites count their rows in the leaves of trees as critics"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """Reports trees, leaves off before and after, and rows kept.

        See `everymode.server.synthesis.fitting.Fit`. What `progress` raises ends the fit.
        """
        plan = synthesizer.plan
        coding = Coding.of(plan.codec, plan.conditions, BINS)
        table = plan.conditions.table.reshape(-1)
        count = int(np.clip(3 * table.sum(), MIN_ROWS, MAX_ROWS))
        rng = np.random.default_rng(derive_seed(plan.seed, "critic trees"))
        cells = rng.choice(len(table), count, p=table / table.sum())
        codes = coding.codes(
            synthesizer.encoded(cells, derive_seed(plan.seed, "rows for critic trees")), cells
        )
        some = codes[:GROWN_ON]
        deviation = 0.0
        if self.noise is not None:
            # As `everymode.clients.protocol.sensitivity.of_leaves` says.
            deviation = math.sqrt(self.trees / (2.0 * self.noise.rho)) * self.noise.excess
        leaf = max(self.leaf, SURVIVES * deviation)
        least = max(2, round(leaf * len(some) / table.sum()))
        asked = []
        # Without noise most trees are thrown away, and chance is as good a choice of columns.
        chosen = None if self.noise is None else balanced_columns(some, self.trees, rng)
        for number in range(self.trees):
            places = None if chosen is None else chosen[number]
            tree = grow_critic(some, coding, least, rng, places)
            asked.append(without_small_groups(tree, coding, LEAVES_OF_OWN * self.leaf))
            progress(number, self.trees + STEPS)
        counts: list[Counts] = [
            own[:, 0]
            for own in request_counts(
                self.exchange, self.plan_name, asked, self.number, coding, self.noise
            )
        ]
        if self.noise is not None:
            counts = [onto_simplex(own.astype(np.float64), table.sum()) for own in counts]
        leaves = [tree.apply(codes) for tree in asked]
        off = [distance(own, at) for own, at in zip(counts, leaves, strict=True)]
        many = self.trees if self.noise is not None else -(-self.trees // KEPT)
        kept = np.sort(np.argsort(off, kind="stable")[::-1][:many])
        problem = LeafProblem.of(
            [leaves[k] for k in kept], [counts[k] for k in kept], cells, table, deviation
        )
        theta = problem.solved(lambda done, of: progress(self.trees + done, self.trees + of))
        before, after = (problem.off(x) for x in (0 * theta, theta))
        trees = tuple(asked[k] for k in kept)
        scores = np.split(theta.numpy(), np.cumsum([tree.leaves for tree in trees])[:-1])
        weights = LeafWeights(coding, trees, tuple(scores), problem.log_envelopes(theta))
        stay = np.exp(np.minimum(weights.score(codes) - weights.log_envelopes[cells], 0))
        report = {
            "asked": len(asked),
            "trees": len(trees),
            "leaves": sum(tree.leaves for tree in trees),
            "leaves_off_before": int((before > 1.5).sum()),
            "leaves_off_after": int((after > 1.5).sum()),
            "kept": float(stay.mean()),
        }
        step = KeepByLeaves(weights)
        return replace(synthesizer, post=(*synthesizer.post, step)), report


def balanced_columns(codes: Codes, trees: int, rng: np.random.Generator) -> list[list[int]]:
    """Columns of each tree, such that every pair of columns is in about as many trees.

    A tree begins with a pair that the fewest trees have, and takes more columns that add the fewest
    pairs that are had already; chance decides between equals. That looks at no row of the data.

    Args:
        codes: Synthetic rows, `(n, columns)`; columns in which they are all alike are left out.
        trees: How many.
        rng: Draws.
    """
    varied = np.flatnonzero((codes != codes[0]).any(0))
    had = np.zeros((len(varied), len(varied)))
    np.fill_diagonal(had, np.inf)
    found = []
    for _ in range(trees):
        if len(varied) < 2:
            found.append(varied.tolist())
            continue
        number = int(rng.integers(2, min(COLUMNS, len(varied)) + 1))
        tied = rng.random(had.shape)
        tied = np.maximum(tied, tied.T)
        places = [int(place) for place in np.unravel_index(np.argmin(had + tied), had.shape)]
        while len(places) < number:
            added = (had[places] + tied[places]).sum(0)
            places.append(int(np.argmin(added)))
        had[np.ix_(places, places)] += 1
        found.append(sorted(varied[places].tolist()))
    return found


def grow_critic(
    codes: Codes,
    coding: Coding,
    least: int,
    rng: np.random.Generator,
    places: list[int] | None = None,
) -> Tree:
    """A tree on a few columns at random, split where random projections of them differ.

    Args:
        codes: Synthetic rows, `(n, columns)`.
        coding: What their codes mean.
        least: Rows of a leaf at least.
        rng: Draws columns, projections and splits.
        places: The columns; None: they are drawn.
    """
    from sklearn.tree import ExtraTreeRegressor

    if places is None:
        varied = np.flatnonzero((codes != codes[0]).any(0))
        most = min(COLUMNS, len(varied))
        number = int(rng.integers(min(2, most), most + 1))
        places = np.sort(rng.choice(varied, number, replace=False)).tolist() if most else []
    if not places:
        return single_leaf(NO_COLUMN)
    features, meaning = split_features(codes, coding, places)
    seed = int(rng.integers(2**31))
    wanted = _projections(codes, coding, places, rng)
    grown = ExtraTreeRegressor(
        max_leaf_nodes=LEAVES, min_samples_leaf=least, max_features=None, random_state=seed
    ).fit(features, wanted)
    return from_sklearn(grown.tree_, NO_COLUMN, meaning)


def _projections(
    codes: Codes, coding: Coding, places: list[int], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Random functions of columns, added up, `(n, DIRECTIONS)`."""
    found = np.zeros((len(codes), DIRECTIONS))
    for place in places:
        size = coding.sizes[place]
        value = rng.normal(size=(size, DIRECTIONS))
        if coding.columns[place].ordered:
            # A trend as well as single values.
            value += np.linspace(-2, 2, size)[:, None] * rng.choice([-1, 1], DIRECTIONS)
        own = value[codes[:, place]]
        found += (own - own.mean(0)) / np.maximum(own.std(0), 1e-9)
    return found


def distance(counts: Counts, leaf: npt.NDArray[np.int64]) -> float:
    """Chi-square distance of the data's counts and those of synthetic rows, over the leaves.

    Args:
        counts: The data's rows in each leaf, `(leaves,)`.
        leaf: The leaf of each synthetic row, `(n,)`.

    >>> distance(np.array([50, 50]), np.array([0, 0, 1, 1]))
    0.0
    """
    expected = np.bincount(leaf, minlength=len(counts)) * (counts.sum() / len(leaf))
    return float(np.mean((counts - expected) ** 2 / np.maximum(counts + expected, 1) * 2))
