"""Grows trees on synthetic rows, has sites count their rows in the leaves, and draws from these.

See `everymode.fairness.postprocessing.conditional_trees`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everymode.clients.protocol.messages import CountLeaves, Request
from everymode.clients.protocol.noise import Noise
from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.matching.codes import Codes, Coding
from everymode.fairness.matching.small_groups import without_small_groups
from everymode.fairness.matching.trees import (
    LEAF,
    Tree,
    from_sklearn,
    split_counts,
    trees_to_tensors,
)
from everymode.fairness.postprocessing.conditional_trees import ConditionalTrees
from everymode.server.synthesis.calibration import ProgressCallback
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.numerics import flush_denormals

BINS = 128
"""Bins that a number is cut into, where its values are not on a grid of few."""

CLASSES = 32
"""Classes of a column that a tree is grown to tell apart: neighbouring codes are one of these."""

MIN_ROWS, MAX_ROWS = 20_000, 200_000
"""Bounds of the synthetic rows that trees are grown on, three times the data's between them."""

LEAVES_OF_OWN = 20
"""Leaves that groups must have rows for together, before a tree sets them apart from others."""

MAX_COUNTS = 2**24
"""Counts that one exchange asks for at most; leaves are made larger until they are no more."""

MAX_COLUMNS = 128
"""Most columns that trees are grown for: each tree splits on all columns before its own."""

PIECE = 8192


@dataclass(frozen=True)
class TreeSpec:
    """How trees are grown.

    Attributes:
        exchanges: How often trees are grown anew, on rows of those before, and counted.
        leaf: Rows of the data that a leaf is expected to hold at least. One that turns out to hold
            fewer is filled up by its parent's.
    """

    exchanges: int = 1
    leaf: int = 50


@dataclass(frozen=True)
class FitTrees:
    """Replaces the rows of the generator by rows that trees draw column by column.

    Attributes:
        exchange: The way to the sites.
        plan_name: Fingerprint of the plan.
        spec: How trees are grown.
    """

    exchange: Exchange
    plan_name: str
    spec: TreeSpec
    name = "trees"
    text = "sites count their rows in the leaves of trees"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """Reports trees, leaves and the counts that sites were asked for.

        See `everymode.server.synthesis.fitting.Fit`.
        """
        plan = synthesizer.plan
        coding = Coding.of(plan.codec, plan.conditions, BINS)
        targets = range(coding.given, len(coding.columns))
        rows = int(plan.conditions.table.sum())
        count = int(np.clip(3 * rows, MIN_ROWS, MAX_ROWS))
        steps = self.spec.exchanges * (len(targets) + 1)
        expected, leaves, sums = [], [], []
        if not targets:
            return synthesizer, {"exchanges": 0, "leaf": [], "leaves": [], "counts": []}
        for number in range(1, self.spec.exchanges + 1):
            codes = _made(synthesizer, coding, count, number)
            progress((number - 1) * (len(targets) + 1), steps)
            trees: list[Tree] = []
            leaf = self.spec.leaf
            while not trees or _counts(trees, coding) > MAX_COUNTS:
                leaf *= 2 if trees else 1
                least = max(2, round(leaf * count / rows))
                trees.clear()
                for place, target in enumerate(targets, 1):
                    seed = derive_seed(plan.seed, "trees", number, target) % 2**32
                    tree = grow(codes, coding, target, least, seed)
                    trees.append(without_small_groups(tree, coding, LEAVES_OF_OWN * leaf))
                    progress((number - 1) * (len(targets) + 1) + place, steps)
            expected.append(leaf)
            found = request_counts(self.exchange, self.plan_name, trees, number, coding)
            proposal = ConditionalTrees.of(coding, trees, found, leaf)
            synthesizer = replace(synthesizer, proposal=proposal)
            leaves.append(sum(tree.leaves for tree in trees))
            sums.append(sum(part.size for part in found))
        progress(steps, steps)
        report = {"exchanges": len(leaves), "leaf": expected, "leaves": leaves, "counts": sums}
        return synthesizer, report


def request_counts(
    exchange: Exchange,
    plan_name: str,
    trees: Sequence[Tree],
    number: int,
    coding: Coding,
    noise: Noise | None = None,
) -> list[npt.NDArray[Any]]:
    """Has sites count their rows in the leaves of trees; of each tree `(leaves, codes)`.

    Counts are whole numbers, but for those with noise.

    Args:
        exchange: The way to the sites.
        plan_name: Fingerprint of the plan.
        trees: The trees.
        number: Number of the exchange, which rises within a run.
        coding: What codes of columns mean.
        noise: What sites add to their counts; None: nothing.
    """
    order = CountLeaves(
        plan_name,
        number,
        BINS,
        tuple(tree.target for tree in trees),
        tuple(len(tree.column) for tree in trees),
        tuple(tree.size(coding.sizes) for tree in trees),
        noise,
    )
    found = exchange(Request(order, tensors=trees_to_tensors(trees)))
    counts = found.units("counts") if noise is None else found["counts"]
    return split_counts(trees, counts, coding.sizes)


def find_obstacle(plan: Plan) -> str:
    """Why no trees can be grown for the rows of a plan; "" where they can."""
    if plan.schema.samples is not None:
        return "arrays have no columns to split on"
    columns = len(plan.codec.schema.columns) if isinstance(plan.codec, TableCodec) else 0
    if columns > MAX_COLUMNS:
        return (
            f"{columns:,} columns are more than {MAX_COLUMNS}; leave some out with data.drop to "
            "have them"
        )
    if not plan.shape.width:
        return "no column is left beside group and label"
    return ""


def _counts(trees: Sequence[Tree], coding: Coding) -> int:
    return sum(tree.leaves * coding.sizes[tree.target] for tree in trees)


def grow(codes: Codes, coding: Coding, target: int, least: int, seed: int) -> Tree:
    """A tree that tells codes of a column apart by those of the columns before it.

    Args:
        codes: Synthetic rows, `(n, columns)`.
        coding: What their codes mean.
        target: The column.
        least: Rows of a leaf at least.
        seed: Decides between splits that are equally good.
    """
    from sklearn.tree import DecisionTreeClassifier

    features, meaning = split_features(codes, coding, range(target))
    if not meaning or len(codes) < 2 * least:
        return single_leaf(target)
    grown = DecisionTreeClassifier(
        criterion="entropy", min_samples_leaf=least, random_state=seed
    ).fit(features, _classes(codes[:, target], coding.columns[target].ordered))
    return from_sklearn(grown.tree_, target, meaning)


def split_features(
    codes: Codes, coding: Coding, places: Sequence[int]
) -> tuple[npt.NDArray[np.float32], list[tuple[int, int | None]]]:
    """What splits look at, `(n, F)`; and of each its column, and the code that it tells apart.

    Args:
        codes: Rows, `(n, columns)`.
        coding: What their codes mean.
        places: The columns to split on.
    """
    parts: list[npt.NDArray[np.float32]] = []
    meaning: list[tuple[int, int | None]] = []
    for place in places:
        column, own = coding.columns[place], codes[:, place]
        if column.ordered:
            parts.append(own.astype(np.float32)[:, None])
            meaning.append((place, None))
            continue
        used = np.unique(own)
        # Of two codes one says it all.
        for code in used[: len(used) - (len(used) == 2)].tolist():
            parts.append((own == code).astype(np.float32)[:, None])
            meaning.append((place, code))
    if not parts:
        return np.zeros((len(codes), 0), dtype=np.float32), meaning
    return np.concatenate(parts, 1), meaning


def _classes(codes: npt.NDArray[np.int16], ordered: bool) -> npt.NDArray[np.int64]:
    """At most `CLASSES` classes of codes `(n,)`: quantiles of ordered ones, else the commonest."""
    used, counts = np.unique(codes, return_counts=True)
    if len(used) <= CLASSES:
        return codes.astype(np.int64)
    if ordered:
        cuts = np.unique(np.quantile(codes, np.arange(1, CLASSES) / CLASSES))
        return np.searchsorted(cuts, codes, side="left").astype(np.int64)
    common = used[np.argsort(-counts, kind="stable")[: CLASSES - 1]]
    place = np.zeros(int(used.max()) + 1, dtype=np.int64)
    place[common] = np.arange(1, CLASSES)
    return place[codes]


def single_leaf(target: int) -> Tree:
    """A tree of one leaf."""
    none = np.zeros(1, dtype=np.int32)
    return Tree(target, none + LEAF, none, none.astype(np.bool_), none)


def _made(synthesizer: Synthesizer, coding: Coding, count: int, number: int) -> Codes:
    """Codes of synthetic rows, `(count, columns)`, of cells in the shares of the data.

    Were small groups drawn more often, as they are elsewhere, their leaves would hold fewer of the
    data's rows than asked for.
    """
    plan = synthesizer.plan
    table = plan.conditions.table.reshape(-1)
    rng = np.random.default_rng(derive_seed(plan.seed, "rows for trees", number))
    cells = rng.choice(len(table), count, p=table / table.sum())
    drawn = torch.Generator().manual_seed(derive_seed(plan.seed, "drawn for trees", number))
    parts = []
    with torch.no_grad(), flush_denormals():
        for start in range(0, count, PIECE):
            own = cells[start : start + PIECE]
            parts.append(coding.codes(synthesizer.propose(own, plan.seed, drawn), own))
    return np.concatenate(parts)
