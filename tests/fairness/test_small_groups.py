"""Trees that do not tell small groups apart, and trees as jumps."""

import numpy as np

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.descent import Descent
from everymode.fairness.matching.small_groups import reachable_rows, without_small_groups
from everymode.fairness.matching.trees import LEAF, Tree
from everymode.server.synthesis.trees import grow
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema

EDGES = tuple(k - 0.5 for k in range(11))
RANKS = tuple(k / 10 for k in range(11))
SCHEMA = Schema(
    (
        Column("a", "category", categories=("p", "q", "r")),
        Column("n", "integer", edges=EDGES, cumulative=RANKS, high=9),
    )
)
GROUPS = (("f", "x"), ("f", "y"), ("m", "x"), ("m", "y"))
CONDITIONS = ConditionSpace(
    ("sex", "race"), None, GROUPS, ("all",), (), ((5000,), (60,), (4000,), (40,))
)
CODING = Coding.of(TableCodec(SCHEMA), CONDITIONS, 8)


def data(rows: int = 6000) -> np.ndarray:
    """What the last column is hangs on sex, on race and on the column between."""
    rng = np.random.default_rng(0)
    codes = np.zeros((rows, 5), dtype=np.int16)
    # The column 2 stands for the label, which is always the same.
    codes[:, 0], codes[:, 1] = rng.integers(0, 2, rows), rng.random(rows) < 0.3
    codes[:, 3] = rng.integers(0, 3, rows)
    codes[:, 4] = (3 * codes[:, 1] + codes[:, 3] + 2 * codes[:, 0] + rng.integers(0, 3, rows)) % 10
    return codes


def one_by_one(tree: Tree, codes: np.ndarray) -> list[int]:
    """The leaf of each row, as the definition says."""
    found = []
    for row in codes:
        node = 0
        while tree.column[node] != LEAF:
            value, cut = row[tree.column[node]], tree.cut[node]
            left = value == cut if tree.equal[node] else value <= cut
            node = tree.left[node] + (not left)
        found.append(int(tree.left[node]))
    return found


def test_rows_find_their_leaves_by_jumps_as_by_splits() -> None:
    codes = data()
    for target in (3, 4):
        tree = grow(codes, CODING, target, 30, 0)
        every = np.concatenate([codes[:500], np.int16([[1, 1, 0, 2, 9], [0, 0, 0, 0, 0]])])
        assert tree.apply(every).tolist() == one_by_one(tree, every)
    few = Descent.of(tree.column, tree.cut, tree.equal, tree.left)
    assert len(few.column) < len(tree.column)


def test_rows_that_reach_a_node_are_those_of_its_groups() -> None:
    # sex = f to the left, then race = y to the left.
    tree = Tree(
        4,
        np.int32([0, 1, LEAF, LEAF, LEAF]),
        np.int32([0, 1, 0, 0, 0]),
        np.array([True, True, False, False, False]),
        np.int32([1, 3, 0, 1, 2]),
    )
    assert reachable_rows(tree, CODING).tolist() == [9100, 5060, 4040, 60, 5000]


def test_small_groups_go_with_the_others() -> None:
    codes = data()
    tree = grow(codes, CODING, 4, 30, 0)
    assert (tree.column == 1).any()
    found = without_small_groups(tree, CODING, 1000)
    assert not (found.column == 1).any() and (found.column == 0).any()
    assert found.problem(CODING.sizes, CODING.given) == ""
    assert reachable_rows(found, CODING).min() >= 1000
    # Rows of the large race lie together as they did.
    large = codes[codes[:, 1] == 0]
    pairs = np.unique(np.stack([tree.apply(large), found.apply(large)], 1), axis=0)
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
    # Those of the small one no longer differ from them.
    other = large.copy()
    other[:, 1] = 1
    np.testing.assert_array_equal(found.apply(other), found.apply(large))


def test_a_table_of_small_groups_alone_keeps_its_other_splits() -> None:
    codes = data()
    tree = grow(codes, CODING, 4, 30, 0)
    found = without_small_groups(tree, CODING, 100_000)
    assert set(found.column[found.column != LEAF].tolist()) == {3}
    assert found.leaves > 1
