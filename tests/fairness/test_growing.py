"""Trees grown on histograms: splits, what is asked of sites, and what leaves then show."""

import itertools

import numpy as np
import pytest

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.growing import Growing, best_split
from everymode.fairness.matching.trees import NO_COLUMN, Tree, leaf_counts, split_counts
from everymode.fairness.postprocessing.leaf_weights import LeafProblem
from everymode.server.synthesis.critic_trees import grow_critic
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema

SIZE, WIDE = 40, 7
EDGES = tuple(k - 0.5 for k in range(SIZE + 1))
RANKS = tuple(k / SIZE for k in range(SIZE + 1))
NAMES = ("a", "b", "c", "d", "e", "f")
SCHEMA = Schema(
    tuple(Column(n, "integer", edges=EDGES, cumulative=RANKS, high=SIZE - 1) for n in NAMES)
)
CONDITIONS = ConditionSpace(("sex",), None, (("f",), ("m",)), ("all",), (), ((6000,), (4000,)))
CODING = Coding.of(TableCodec(SCHEMA), CONDITIONS, 8)
ORDERED = [column.ordered for column in CODING.columns]
FIRST = CODING.given


def rows(count: int, seed: int, boxed: float = 0.0) -> np.ndarray:
    """Codes; with the chance `boxed` a row lies in a box of three columns."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((count, len(CODING.sizes)), dtype=np.int16)
    codes[:, 0] = rng.random(count) < 0.4
    codes[:, FIRST:] = rng.integers(0, SIZE, (count, len(NAMES)))
    there = rng.random(count) < boxed
    for column, low in zip((FIRST, FIRST + 2, FIRST + 5), (10, 20, 30), strict=True):
        codes[there, column] = rng.integers(low, low + WIDE, there.sum())
    return codes


def boxed(codes: np.ndarray) -> np.ndarray:
    found = np.ones(len(codes), dtype=bool)
    for column, low in zip((FIRST, FIRST + 2, FIRST + 5), (10, 20, 30), strict=True):
        found &= (codes[:, column] >= low) & (codes[:, column] < low + WIDE)
    return found


def counts_of(trees: list[Tree], codes: np.ndarray) -> list[np.ndarray]:
    return split_counts(trees, leaf_counts(trees, codes, CODING.sizes), CODING.sizes)


def grow(real: np.ndarray, made: np.ndarray, columns: list[int], least: float, levels: int) -> Tree:
    weights = np.full(len(made), len(real) / len(made))
    tree = Growing.root(columns)
    for _ in range(levels):
        tree = tree.grown(
            counts_of(tree.questions(), real),
            tree.histograms(made, weights, CODING.sizes),
            ORDERED,
            least,
        )
    return tree.tree


@pytest.mark.parametrize("ordered", [True, False])
def test_the_best_split_is_the_best_of_all(ordered: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        real = rng.integers(0, 60, 9).astype(float)
        made = rng.random(9) * 60 + 1
        made *= real.sum() / made.sum()
        gains = {}
        for equal, cut in itertools.product((True, False), range(9)):
            left = np.arange(9) == cut if equal else np.arange(9) <= cut
            if not equal and not ordered:
                continue
            one, r = real[left].sum(), real[~left].sum()
            m, o = made[left].sum(), made[~left].sum()
            if min(one + m, r + o) >= 20 and min(m, o) >= 5:
                terms = [x * np.log(x / y) for x, y in ((one, m), (r, o)) if x]
                gains[equal, cut] = 2 * sum(terms)
        found = best_split(real, made, 3, ordered, 10)
        assert found is not None and found.column == 3
        assert found.gain == pytest.approx(max(gains.values()))
        assert gains[found.equal, found.cut] == pytest.approx(found.gain)
        assert sum(found.held) == real.sum()
    assert best_split(real, made, 3, ordered, 1e4) is None


def test_questions_are_the_histograms_of_nodes_that_may_split_and_add_up_over_sites() -> None:
    real, made = rows(6_000, 1, 0.1), rows(20_000, 2)
    tree = Growing.root([FIRST, FIRST + 2, FIRST + 5])
    weights = np.full(len(made), 0.3)
    for _ in range(3):
        questions = tree.questions()
        assert [q.target for q in questions] == [FIRST, FIRST + 2, FIRST + 5]
        whole = counts_of(questions, real)
        parts = [counts_of(questions, real[start::3]) for start in range(3)]
        assert all((sum(p) == w).all() for *p, w in zip(*parts, whole, strict=True))
        _, place = tree.folded()
        leaf = tree.tree.apply(real)
        for own, column in zip(whole, tree.columns, strict=True):
            for k, node in enumerate(tree.growing.tolist()):
                inside = real[leaf == tree.tree.left[node], column]
                assert (own[place[k]] == np.bincount(inside, minlength=SIZE)).all()
        made_there = tree.histograms(made, weights, CODING.sizes)
        assert [part.shape for part in made_there] == [(len(tree.growing), SIZE)] * 3
        tree = tree.grown(whole, made_there, ORDERED, 20)
    assert tree.tree.problem(CODING.sizes) == "" and tree.tree.leaves > 4
    assert tree.tree.target == NO_COLUMN


def test_nodes_of_few_rows_are_not_asked_for_again() -> None:
    real, made = rows(1_000, 3), rows(20_000, 4)
    made[:, FIRST] = np.where(made[:, FIRST] < 20, made[:, FIRST], 25)
    real = real[(real[:, FIRST] > 30) | (np.arange(1_000) < 90)]
    least = 30
    tree = Growing.root([FIRST])
    for _ in range(4):
        leaf = tree.tree.apply(real)
        for node in tree.growing.tolist():
            if node:
                assert (leaf == tree.tree.left[node]).sum() >= 2 * least
        short, place = tree.folded()
        # Branches that are done are one leaf each: no more leaves than twice those that are asked.
        assert short.leaves <= 2 * len(place) + 5
        tree = tree.grown(
            counts_of(tree.questions(), real),
            tree.histograms(made, np.full(len(made), len(real) / len(made)), CODING.sizes),
            ORDERED,
            least,
        )
    held = np.bincount(tree.tree.apply(real), minlength=tree.tree.leaves)
    assert held.sum() == len(real) and tree.tree.leaves > 2


def test_a_split_that_is_not_allowed_gives_way_to_the_next() -> None:
    real, made = rows(5_000, 5), rows(10_000, 6)
    real[:, FIRST] = real[:, FIRST] // 2
    real[:, FIRST + 1] = real[:, FIRST + 1] * 2 // 3
    tree = Growing.root([FIRST, FIRST + 1])
    asked = counts_of(tree.questions(), real)
    own = tree.histograms(made, np.full(len(made), 0.5), CODING.sizes)
    best = tree.grown(asked, own, ORDERED, 50)
    other = tree.grown(asked, own, ORDERED, 50, lambda t, n: t.column[n] != FIRST)
    none = tree.grown(asked, own, ORDERED, 50, lambda t, n: False)
    assert best.tree.column[0] == FIRST and other.tree.column[0] == FIRST + 1
    assert none.tree.leaves == 1 and not len(none.growing)


def test_grown_trees_find_a_box_of_three_columns_that_random_trees_miss() -> None:
    real, made = rows(10_000, 7, 0.04), rows(30_000, 8)
    cells = made[:, 0].astype(np.int64)
    rng = np.random.default_rng(0)
    columns = list(range(FIRST, FIRST + 6))
    found = {}
    for name, trees in {
        "grown": [grow(real, made, columns, 20, 6)],
        "random": [grow_critic(made, CODING, 60, rng) for _ in range(20)],
    }.items():
        counts = [own[:, 0] for own in counts_of(trees, real)]
        leaves = [tree.apply(made) for tree in trees]
        fit = LeafProblem.of(leaves, counts, cells, np.array([6000, 4000]), errors=2.0)
        weights = fit.weights(fit.solved()).numpy()
        found[name] = float(weights[boxed(made)].sum())
    there, before = boxed(real).mean(), boxed(made).mean()
    assert found["grown"] > before + 0.7 * (there - before)
    assert found["random"] < before + 0.3 * (there - before)


def test_tolerances_are_so_many_standard_errors() -> None:
    real, made = rows(2_000, 9), rows(4_000, 10)
    trees = [grow(real, made, [FIRST], 50, 2)]
    counts = [own[:, 0] for own in counts_of(trees, real)]
    leaves = [tree.apply(made) for tree in trees]
    cells = np.zeros(len(made), dtype=np.int64)
    one, two = (
        LeafProblem.of(leaves, counts, cells, np.array([9, 1]), errors=errors)
        for errors in (1.0, 2.0)
    )
    assert two.tolerance.numpy() == pytest.approx(2 * one.tolerance.numpy())
