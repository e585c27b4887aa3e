"""Trees over codes, and rows that are drawn from counts of their leaves."""

import numpy as np
import pytest

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.trees import (
    LEAF,
    Tree,
    leaf_counts,
    split_counts,
    trees_from_tensors,
    trees_to_tensors,
)
from everymode.fairness.postprocessing.conditional_trees import (
    ConditionalTrees,
    Steps,
    filled_shares,
)
from everymode.server.synthesis.trees import grow
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema

HALVES = tuple((np.arange(11) - 0.5).tolist())
RANKS = tuple((np.arange(11) / 10).tolist())
SCHEMA = Schema(
    (
        Column("a", "category", categories=("p", "q", "r")),
        Column("n", "integer", edges=HALVES, cumulative=RANKS, high=9),
        Column("b", "category", categories=("p", "q")),
    )
)
CONDITIONS = ConditionSpace(("sex",), None, (("f",), ("m",)), ("all",), (), ((600,), (400,)))
CODING = Coding.of(TableCodec(SCHEMA), CONDITIONS, 8)


def data(rows: int, seed: int) -> np.ndarray:
    """The last column is an exclusive or of three others, which no two of them show."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((rows, 5), dtype=np.int16)
    codes[:, 0] = rng.random(rows) < 0.4
    codes[:, 2] = rng.integers(0, 3, rows)
    codes[:, 3] = rng.integers(0, 10, rows)
    parity = codes[:, 0] ^ (codes[:, 2] == 1) ^ (codes[:, 3] > 4)
    codes[:, 4] = np.where(rng.random(rows) < 0.02, 1 - parity, parity)
    return codes


def grown(codes: np.ndarray, least: int = 20) -> list[Tree]:
    return [grow(codes, CODING, target, least, 0) for target in (2, 3, 4)]


def test_a_tree_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.tree

    kept = []

    class Kept(sklearn.tree.DecisionTreeClassifier):
        def fit(self, x, y):  # type: ignore[no-untyped-def]
            kept.append((super().fit(x, y), x))
            return self

    monkeypatch.setattr(sklearn.tree, "DecisionTreeClassifier", Kept)
    codes = data(3000, 0)
    tree = grow(codes, CODING, 4, 20, 0)
    model, features = kept[0]
    leaf = tree.apply(codes)
    own = model.apply(features)
    pairs = {(int(a), int(b)) for a, b in zip(leaf, own, strict=True)}
    assert len(pairs) == tree.leaves == model.get_n_leaves() > 8
    assert tree.problem(CODING.sizes, CODING.given) == ""


def test_counts_add_up_over_sites_and_come_back_from_the_wire() -> None:
    codes = data(2000, 1)
    trees = grown(codes)
    again = trees_from_tensors(
        [t.target for t in trees], [len(t.column) for t in trees], trees_to_tensors(trees)
    )
    whole = leaf_counts(trees, codes, CODING.sizes)
    parts = [leaf_counts(again, codes[start::3], CODING.sizes) for start in range(3)]
    assert (sum(parts) == whole).all()
    tables = split_counts(trees, whole, CODING.sizes)
    assert [table.sum() for table in tables] == [2000] * 3
    assert (tables[2].sum(0) == np.bincount(codes[:, 4])).all()


def test_rows_have_ties_of_three_columns_that_only_the_counts_know() -> None:
    """Trees are grown on other rows than are counted; alone, these know nothing of the last."""
    real, made = data(20_000, 2), data(20_000, 3)
    trees = grown(made, 100)
    # What the trees were grown on says nothing of how often: it is turned round.
    made[:, 4] = 1 - made[:, 4]
    counts = split_counts(trees, leaf_counts(trees, real, CODING.sizes), CODING.sizes)
    own = split_counts(trees, leaf_counts(trees, made, CODING.sizes), CODING.sizes)
    found = ConditionalTrees.of(CODING, trees, counts, 20)
    cells = np.repeat([0, 1], [6000, 4000])
    drawn = found.codes(cells, np.random.default_rng(0))
    assert (drawn[:, 0] == cells).all()
    parity = drawn[:, 0] ^ (drawn[:, 2] == 1) ^ (drawn[:, 3] > 4)
    assert 0.96 < (parity == drawn[:, 4]).mean() < 0.99
    control = ConditionalTrees.of(CODING, trees, own, 20).codes(cells, np.random.default_rng(0))
    parity = control[:, 0] ^ (control[:, 2] == 1) ^ (control[:, 3] > 4)
    assert (parity == control[:, 4]).mean() < 0.04


def test_no_code_is_drawn_that_no_row_of_the_leaf_has() -> None:
    real = data(5000, 4)
    real[real[:, 2] == 2, 3] = 7
    trees = grown(data(5000, 4))
    tables = split_counts(trees, leaf_counts(trees, real, CODING.sizes), CODING.sizes)
    found = ConditionalTrees.of(CODING, trees, tables, 1)
    drawn = found.codes(np.zeros(50_000, dtype=np.int64), np.random.default_rng(1))
    seen = {tuple(row) for row in np.stack([trees[1].apply(real), real[:, 3]], 1).tolist()}
    made = {tuple(row) for row in np.stack([trees[1].apply(drawn), drawn[:, 3]], 1).tolist()}
    assert made <= seen


def test_a_saved_one_draws_the_same_rows() -> None:
    codes = data(3000, 5)
    trees = grown(codes)
    tables = split_counts(trees, leaf_counts(trees, codes, CODING.sizes), CODING.sizes)
    found = ConditionalTrees.of(CODING, trees, tables, 1)
    saved = ConditionalTrees.from_tensors(CODING, [2, 3, 4], found.tensors())
    cells = np.zeros(9000, dtype=np.int64)
    one, other = (f.rows(cells, np.random.default_rng(2)) for f in (found, saved))
    assert (one == other).mean() > 0.999
    tensors = found.tensors()
    tensors["trees_1_shares"] = tensors["trees_1_shares"] * 2
    with pytest.raises(ValueError, match="shares of tree 1 do not add up to 1"):
        ConditionalTrees.from_tensors(CODING, [2, 3, 4], tensors)


def test_a_leaf_of_few_rows_is_filled_up_by_its_parents() -> None:
    left = np.array([1, 3, 0, 1, 2], dtype=np.int32)
    column = np.array([2, 3, LEAF, LEAF, LEAF], dtype=np.int32)
    tree = Tree(4, column, np.zeros(5, dtype=np.int32), np.zeros(5, dtype=np.bool_), left)
    # Leaves: the root's right child, then the two children of its left one.
    counts = np.array([[10, 30], [20, 0], [0, 5]])
    root = np.array([30, 35]) / 65
    inner = (np.array([20, 5]) + 15 * root) / 40
    expected = [np.array([10, 30]) / 40, (np.array([20, 0]) + 20 * inner) / 40]
    expected.append((np.array([0, 5]) + 35 * inner) / 40)
    found = filled_shares(tree, counts, 40)
    assert found == pytest.approx(np.array(expected))
    assert found.sum(1) == pytest.approx(1)
    # The control: leaves that hold enough keep what they hold.
    assert filled_shares(tree, counts, 5) == pytest.approx(counts / counts.sum(1, keepdims=True))


def test_leaves_that_no_row_reaches_have_their_parents_shares() -> None:
    trees = grown(data(3000, 6), 50)
    tree, size = trees[2], CODING.sizes[4]
    real = data(3000, 7)
    real[:, 2] = 0
    found = filled_shares(tree, tree.counts(real, size), 1)
    held = tree.counts(real, size).sum(1)
    assert (held == 0).any() and found.sum(1) == pytest.approx(1)
    none = filled_shares(tree, np.zeros((tree.leaves, size), dtype=np.int64), 30)
    assert (none == 1 / size).all()


def test_places_are_those_of_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    shares = rng.random((40, 30)) ** 8 * (rng.random((40, 30)) < 0.5)
    shares[:, 3] += 1e-9
    shares[5] = np.eye(30)[29]
    shares /= shares.sum(1, keepdims=True)
    steps = Steps.of(shares)
    leaf = rng.integers(0, 40, 20_000)
    points = leaf + rng.random(20_000)
    points[:5] = [0.0, 5.0, 39.0, np.nextafter(40.0, 0.0), 40.0]
    expected = np.searchsorted(steps.heights, points, side="right")
    assert (steps.search(points) == expected).all()
    # No code without a share is drawn.
    drawn = np.minimum(expected - leaf * 30, 29)[5:]
    assert (shares[leaf[5:], drawn] > 0).all()
