"""Pairs of values that never occur: which they are, and that none is drawn."""

import numpy as np
import pytest

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.codes import Coding
from everymode.fairness.postprocessing.conditional_trees import ConditionalTrees
from everymode.fairness.postprocessing.forbidden import ForbiddenPairs, by_code, never
from everymode.server.synthesis.trees import single_leaf
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Column, Schema

HALVES = tuple((np.arange(101) - 0.5).tolist())
RANKS = tuple((np.arange(101) / 100).tolist())
SCHEMA = Schema(
    (
        Column("a", "category", categories=("p", "q", "r")),
        Column("n", "integer", edges=HALVES, cumulative=RANKS, high=99),
    )
)
CONDITIONS = ConditionSpace(("sex",), None, (("f",), ("m",)), ("all",), (), ((600,), (400,)))
CODING = Coding.of(TableCodec(SCHEMA), CONDITIONS, 8)
# Sex, the label (always the same), a, n.
PAIRS = [(0, 2), (0, 3), (2, 3)]


def data(rows: int = 4000) -> np.ndarray:
    """Women have no r, and p goes with no number from 40 to 59."""
    rng = np.random.default_rng(0)
    codes = np.zeros((rows, 4), dtype=np.int16)
    codes[:, 0] = rng.random(rows) < 0.4
    codes[:, 2] = np.where(codes[:, 0] == 0, rng.integers(0, 2, rows), rng.integers(0, 3, rows))
    codes[:, 3] = rng.integers(0, 100, rows)
    low = (codes[:, 2] == 0) & (codes[:, 3] // 20 == 2)
    codes[low, 3] -= 40
    return codes


def counted(codes: np.ndarray) -> list[np.ndarray]:
    return [by_code(i, CODING.sizes[i], j).counts(codes, CODING.sizes[j]) for i, j in PAIRS]


def test_a_tree_by_code_counts_the_table_of_two_columns() -> None:
    codes = data()
    for (one, two), counts in zip(PAIRS, counted(codes), strict=True):
        expected = np.zeros((CODING.sizes[one], CODING.sizes[two]), dtype=np.int64)
        np.add.at(expected, (codes[:, one], codes[:, two]), 1)
        np.testing.assert_array_equal(counts, expected)
        assert by_code(one, CODING.sizes[one], two).problem(CODING.sizes, CODING.given) == ""


def test_just_the_pairs_that_never_occur_are_forbidden() -> None:
    codes = data()
    found = ForbiddenPairs.of(CODING, PAIRS, counted(codes), len(codes))
    assert found.columns == ((0, 2), (2, 3))
    assert np.argwhere(found.tables[0]).tolist() == [[0, 2]]
    # Some ten rows of each single number are expected: the range is told by joined codes.
    table = found.tables[1]
    assert table[0, 42:58].all() and not table[1:].any()
    assert not table[0, :39].any() and not table[0, 61:].any()
    assert not found.broken(codes).any()
    again = ForbiddenPairs.from_tensors(CODING, found.columns, found.tensors())
    assert all((a == b).all() for a, b in zip(again.tables, found.tables, strict=True))


def test_few_expected_rows_forbid_nothing() -> None:
    assert not never(np.array([[0, 9], [9, 9]])).any()
    assert never(np.array([[0, 40], [40, 40]])).sum() == 1


def test_withheld_counts_forbid_nothing() -> None:
    codes = data()
    counts = counted(codes)
    # A floor of sites: small counts are zeros that are none.
    withheld = [np.where(own < 12, 0, own) for own in counts]
    assert withheld[2].sum() < len(codes)
    found = ForbiddenPairs.of(CODING, PAIRS, withheld, len(codes))
    assert (2, 3) not in found.columns and (0, 2) in found.columns


def test_no_forbidden_pair_is_drawn_and_cells_stay() -> None:
    codes = data()
    found = ForbiddenPairs.of(CODING, PAIRS, counted(codes), len(codes))
    # Every column independent of the others: the worst there can be.
    trees = tuple(single_leaf(column) for column in (2, 3))
    shares = tuple(np.full((1, CODING.sizes[c]), 1 / CODING.sizes[c]) for c in (2, 3))
    cells = np.random.default_rng(1).integers(0, 2, 3000)
    plain = ConditionalTrees(CODING, trees, shares).codes(cells, np.random.default_rng(2))
    assert found.broken(plain).mean() > 0.15
    made = ConditionalTrees(CODING, trees, shares, found).codes(cells, np.random.default_rng(2))
    assert found.broken(made).mean() < 0.001
    np.testing.assert_array_equal(made[:, 0], plain[:, 0])
    kept = ~found.broken(plain)
    np.testing.assert_array_equal(made[kept], plain[kept])


def test_pairs_of_other_columns_are_refused() -> None:
    found = ForbiddenPairs.of(CODING, PAIRS, counted(data()), 4000)
    for columns in ([(0, 3), (2, 3)], [(2, 0), (2, 3)], [(0, 9), (2, 3)]):
        with pytest.raises(ValueError, match="forbidden pairs"):
            ForbiddenPairs.from_tensors(CODING, columns, found.tensors())
