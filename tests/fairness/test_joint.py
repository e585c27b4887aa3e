"""Joint distributions in bins, and impossible pairs, counted by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.metrics import joint
from everymode.fairness.metrics.joint import (
    Grid,
    JointCodes,
    column_subsets,
    impossible_pairs,
    joint_distance,
)
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.schema import Column

PAIRS = np.array([[0, 1], [0, 2], [1, 2]])


def rows(*values: str) -> np.ndarray:
    return np.array([[int(digit) for digit in row] for row in values], dtype=np.uint8)


def test_the_distance_is_the_mean_total_variation_over_pairs_and_triples() -> None:
    """Worked out by hand: only the first pair of columns and the triple differ, both wholly."""
    one, two = rows("000", "110", "000", "110"), rows("010", "100", "010", "100")
    sizes = np.array([2, 2, 2])
    assert joint_distance(one, two, sizes, PAIRS) == pytest.approx(1 / 3)
    assert joint_distance(one, two, sizes, np.array([[0, 1, 2]])) == 1
    assert joint_distance(one, two, sizes, np.array([[2]])) == 0
    assert joint_distance(one, one[:2], sizes, PAIRS) == 0
    assert joint_distance(one, two[:0], sizes, PAIRS) is None
    assert joint_distance(one, two, sizes, PAIRS[:0]) is None


def test_pairs_of_one_law_are_as_far_apart_as_chance_puts_them() -> None:
    """The control: columns with the same margins and no dependence are far apart."""
    rng = np.random.default_rng(0)

    def draw() -> np.ndarray:
        first = rng.integers(0, 5, 4000)
        return np.stack([first, (first + (rng.random(4000) < 0.2)) % 5], axis=1).astype(np.uint8)

    real, made, sizes, pair = draw(), draw(), np.array([5, 5]), np.array([[0, 1]])
    # sum over cells of sqrt(p (1 - p) / (pi n)), for two samples of n rows.
    shares = np.bincount(real[:, 0] * 5 + real[:, 1], minlength=25) / 4000
    chance = float(np.sqrt(shares * (1 - shares) / (math.pi * 4000)).sum())
    found = joint_distance(real, made, sizes, pair)
    assert found == pytest.approx(chance, rel=0.4)
    apart = np.stack([made[:, 0], rng.permutation(made[:, 1])], axis=1)
    assert joint_distance(real, apart, sizes, pair) > 10 * chance


def test_a_pair_is_impossible_where_ten_rows_are_expected_and_none_is_there() -> None:
    """A pair with nine expected rows is not: chance might leave it out."""
    sizes, pair = np.array([2, 3]), np.array([[0, 1]])
    husbands = np.array([[0, 0]] * 20 + [[0, 2]] * 60 + [[1, 2]] * 80, dtype=np.uint8)
    made = rows("00", "10", "02", "11")
    # 80 of 160 rows are of sex 1, and 20 are husbands: ten such rows would be expected.
    (marked,) = impossible_pairs(husbands, [made], sizes, pair)
    assert marked.tolist() == [False, True, False, False]
    fewer = np.concatenate([husbands[2:], [[0, 2]] * 2]).astype(np.uint8)
    assert not impossible_pairs(fewer, [made], sizes, pair)[0].any()
    # One real row suffices for it to be possible.
    once = np.concatenate([husbands, [[1, 0]]]).astype(np.uint8)
    assert not impossible_pairs(once, [made], sizes, pair)[0].any()


def test_all_subsets_or_a_fixed_sample_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(itertools.combinations(range(6), 3))
    assert list(map(tuple, column_subsets(6, 3).tolist())) == every
    assert column_subsets(1, 2).shape == (0, 2)
    monkeypatch.setitem(joint.SUBSETS, 3, 10)
    drawn = column_subsets(6, 3, seed=1)
    assert drawn.shape == (10, 3) and len(set(map(tuple, drawn.tolist()))) == 10
    assert set(map(tuple, drawn.tolist())) < set(every)
    np.testing.assert_array_equal(drawn, column_subsets(6, 3, seed=1))
    assert (drawn != column_subsets(6, 3, seed=2)).any()


def test_bins_of_numbers_follow_the_rows_and_missing_values_have_their_own() -> None:
    many = pd.DataFrame({"x": [*range(100), None]}).astype(object)
    grid = Grid.of(Column("x", "integer"), many)
    assert grid.size == 12
    counts = np.bincount(grid.codes(many), minlength=12)
    assert set(counts[:10]) <= {9, 10, 11} and counts[10:].tolist() == [0, 1]
    # A value that most rows have is one bin, and does not swallow those above it.
    spike = pd.DataFrame({"x": [0] * 900 + [*range(1, 101)]}).astype(object)
    grid = Grid.of(Column("x", "integer"), spike)
    assert np.bincount(grid.codes(spike)).tolist()[0] == 900
    # Few values keep a bin each; what lies above them has one more.
    few = Grid.of(Column("x", "integer"), pd.DataFrame({"x": [1, 2, 5]}).astype(object))
    assert few.codes(pd.DataFrame({"x": [1, 2, 5, 9]}).astype(object)).tolist() == [0, 1, 2, 3]


def test_rare_categories_share_a_bin_and_missing_ones_have_another() -> None:
    names = [f"c{i:02d}" for i in range(40)]
    cells = [name for i, name in enumerate(names) for _ in range(41 - i)]
    frame = pd.DataFrame({"c": [*cells, None]}).astype(object)
    grid = Grid.of(Column("c", "category", tuple(reversed(names))), frame)
    assert grid.size == joint.CATEGORIES + 2
    asked = pd.DataFrame({"c": ["c00", "c29", "c30", "c39", "unknown", None]}).astype(object)
    assert grid.codes(asked).tolist() == [0, 29, 30, 30, 30, 31]


def test_wide_tables_are_seen_in_part_and_columns_without_values_in_bins_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = pd.DataFrame({f"c{i}": [str(i), "x", "y"] * 20 for i in range(9)})
    schema = fit_schema(frame)
    monkeypatch.setattr(joint, "COLUMNS", 4)
    codes, again = (JointCodes.of(schema, frame, frame, None, seed=3) for _ in range(2))
    assert len(codes.names) == 4 and set(codes.names) < set(schema.names)
    assert codes.names == again.names and codes.real.shape == (60, 4)
    empty = pd.DataFrame({"n": pd.Series([None] * 3, dtype=object)})
    grid = Grid.of(Column("n", "float"), empty)
    assert grid.size == 2 and grid.codes(empty).tolist() == [1, 1, 1]


def test_held_out_rows_show_what_chance_makes_impossible() -> None:
    rng = np.random.default_rng(0)

    def people(count: int) -> pd.DataFrame:
        sex = rng.choice(["f", "m"], count)
        role = np.where(rng.random(count) < 0.3, "own", np.where(sex == "f", "wife", "husband"))
        return pd.DataFrame({"sex": sex, "role": role, "age": rng.normal(40, 9, count).round()})

    real, held, made = people(1000), people(1000), people(1000)
    made.loc[:49, "role"] = np.where(made["sex"][:50] == "f", "husband", "wife")
    codes = JointCodes.of(fit_schema(real), real, made, held)
    synthetic, fresh = codes.impossible
    assert np.flatnonzero(synthetic).tolist() == list(range(50))
    assert fresh is not None and not fresh.any()
    assert JointCodes.of(fit_schema(real), real, made, None).impossible[1] is None
