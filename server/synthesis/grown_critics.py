"""Grows trees as critics where finished rows and the data differ, and weights rows by them.

The trees of a generation grow side by side, a level an exchange, each on some of the columns: sites
count their rows by code at the nodes that may still split, and the server splits where these
histograms and those of its own rows differ most (`everymode.fairness.matching.growing`). Then sites
count their rows in the leaves, and rows are weighted so that the leaves of all trees so far hold as
many of them as of the data (`everymode.fairness.postprocessing.leaf_weights`). The next generation
grows where rows that are weighted like this still differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.limits import GENERATIONS, LEVELS
from everymode.clients.protocol.plan import derive_seed
from everymode.fairness.matching.growing import Growing
from everymode.fairness.matching.small_groups import reachable_rows
from everymode.fairness.matching.trees import Tree
from everymode.fairness.postprocessing.leaf_weights import STEPS, LeafProblem
from everymode.server.synthesis.calibration import ProgressCallback
from everymode.server.synthesis.critic_trees import GROWN_ON, FinishedRows
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.synthesis.trees import LEAVES_OF_OWN, request_counts
from everymode.server.transport.exchange import Exchange

COLUMNS = 6
"""Columns that a tree may split on."""

ERRORS = 2.0
"""Standard errors within which a leaf's share is met. Splits are chosen where counts differ most,
and so by chance as well."""


@dataclass(frozen=True)
class FitGrownCritics:
    """Weights finished rows so that leaves of trees hold as many of them as of the data.

    Attributes:
        exchange: The way to the sites.
        plan_name: Fingerprint of the plan.
        trees: How many trees are grown, in `GENERATIONS` of as many each.
        leaf: Rows that a leaf holds at least, on average over the data and the synthetic rows.
        number: Number of the first exchange, after those of other trees.
    """

    exchange: Exchange
    plan_name: str
    trees: int
    leaf: int
    number: int
    name = "critic_trees"
    text = "trees as critics are grown on counts of the sites' rows"

    def __call__(
        self, synthesizer: Synthesizer, progress: ProgressCallback
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """Reports trees, leaves off before and after, and rows kept.

        See `everymode.server.synthesis.fitting.Fit`. What `progress` raises ends the fit.
        """
        rng = np.random.default_rng(derive_seed(synthesizer.plan.seed, "grown critics"))
        rows = FinishedRows.of(synthesizer, rng)
        total = float(rows.table.sum())
        weights = np.full(len(rows.cells), total / len(rows.cells))
        trees: list[Tree] = []
        counts: list[npt.NDArray[np.int64]] = []
        generations = min(GENERATIONS, self.trees)
        steps = generations * STEPS
        problem, theta = None, None
        for generation in range(generations):
            many = len(range(generation, self.trees, generations))
            number = self.number + generation * (LEVELS + 1)
            new = self._grown(rows, weights, many, number, rng)
            found = request_counts(self.exchange, self.plan_name, new, number + LEVELS, rows.coding)
            trees += new
            counts += [own[:, 0] for own in found]
            leaves = [tree.apply(rows.codes) for tree in trees]
            problem = LeafProblem.of(leaves, counts, rows.cells, rows.table, errors=ERRORS)
            # All rows for the weights that stay; those that trees grow on bear some error.
            fitted = problem if generation == generations - 1 else problem.of_rows(GROWN_ON)
            before = generation * STEPS
            theta = fitted.solved(lambda done, of, start=before: progress(start + done, steps))
            weights = problem.weights(theta).numpy() * total
        assert problem is not None and theta is not None
        return rows.weighted(synthesizer, trees, problem, theta, len(trees))

    def _grown(
        self,
        rows: FinishedRows,
        weights: npt.NDArray[np.float64],
        many: int,
        number: int,
        rng: np.random.Generator,
    ) -> list[Tree]:
        """Trees of one generation; exchanges are numbered from `number` on."""
        coding = rows.coding
        varied = [place for place, size in enumerate(coding.sizes) if size > 1]
        least = LEAVES_OF_OWN * self.leaf

        def allowed(tree: Tree, node: int) -> bool:
            if tree.column[node] >= coding.given:
                return True
            reached = reachable_rows(tree, coding)
            one = int(tree.left[node])
            return int(min(reached[one], reached[one + 1])) >= min(least, int(reached[node]))

        growing = []
        for _ in range(many):
            drawn = rng.choice(varied, min(COLUMNS, len(varied)), replace=False)
            growing.append(Growing.root(np.sort(drawn).tolist()))
        ordered = [column.ordered for column in coding.columns]
        for level in range(LEVELS):
            open_ = [k for k, tree in enumerate(growing) if len(tree.growing)]
            if not open_:
                break
            asked = [growing[k].questions() for k in open_]
            flat = [question for own in asked for question in own]
            found = request_counts(self.exchange, self.plan_name, flat, number + level, coding)
            for k, real in zip(open_, _dealt(found, asked), strict=True):
                made = growing[k].histograms(rows.codes, weights, coding.sizes)
                growing[k] = growing[k].grown(real, made, ordered, self.leaf, allowed)
        return [one.tree for one in growing]


def _dealt(
    found: Sequence[npt.NDArray[np.int64]], asked: Sequence[Sequence[Tree]]
) -> list[Sequence[npt.NDArray[np.int64]]]:
    """Counts of all questions, by the tree that they were asked for."""
    ends = np.cumsum([0, *(len(own) for own in asked)]).tolist()
    return [found[start:stop] for start, stop in pairwise(ends)]
