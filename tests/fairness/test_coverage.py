"""Coverage: brute force, expectation by Monte Carlo, and generators that must be caught."""

from math import comb

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.strata import coverage_summary, stratum_coverage
from everymode.fairness.audit.tables import Tables
from everymode.fairness.metrics import blocks
from everymode.fairness.metrics.coverage import (
    MOST,
    coverage,
    embed,
    expected_coverage,
    standardise,
)
from everymode.fairness.metrics.intervals import wilson
from everymode.fairness.metrics.neighbours import covered, neighbours
from everymode.wgan.data.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("group", "category", categories=tuple("01234")),
        Column("x", "float", missing=True),
        Column("y", "float"),
        Column("c", "category", categories=("a", "b", "c")),
    )
)

PLAIN = SCHEMA.without(("group",))


def table(rng: np.random.Generator, n: int) -> pd.DataFrame:
    c = rng.choice(["a", "b", "c"], n)
    return pd.DataFrame({"x": rng.normal(size=n), "y": rng.gamma(2, size=n), "c": c})


def by_loop(real, synthetic, k):
    def distance(a, b):
        return sum((float(u) - float(v)) ** 2 for u, v in zip(a, b, strict=True))

    found = []
    for i, row in enumerate(real):
        radius = sorted(distance(row, o) for j, o in enumerate(real) if j != i)[k - 1]
        found.append(min(distance(row, s) for s in synthetic) <= radius)
    return found


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equals_a_plain_loop(k, monkeypatch):
    rng = np.random.default_rng(k)
    real, synthetic = rng.normal(size=(41, 3)), rng.normal(0.7, 1, size=(29, 3))
    expected = by_loop(real, synthetic, k)
    assert 0 < sum(expected) < 41
    assert covered(real, synthetic, k).tolist() == expected
    monkeypatch.setattr(blocks, "CELLS", 100)
    assert covered(real, synthetic, k).tolist() == expected
    assert coverage(real, synthetic, k) == pytest.approx(np.mean(expected))


def test_a_row_is_no_neighbour_of_itself():
    real = np.array([[0.0], [1.0], [3.0]])
    assert covered(real, np.array([[-0.9]]), 1).tolist() == [1, 0, 0]
    # As far as the nearest real row: one of two comes first.
    assert covered(real, np.array([[-1.0]]), 1)[0] == pytest.approx(0.5, abs=0.5)
    assert covered(real, np.array([[-1.0001]]), 1).tolist() == [0, 0, 0]
    assert coverage(real, np.zeros((0, 1)), 1) == 0


def test_expected_coverage_closed_forms():
    assert expected_coverage(100, 100, 5) == pytest.approx(0.97107, abs=1e-5)
    assert expected_coverage(400, 40, 5) == pytest.approx(0.38121, abs=1e-5)
    assert expected_coverage(10, 0, 3) == 0
    assert expected_coverage(2, 1, 1) == 0.5
    assert expected_coverage(9, 6, 4) == pytest.approx(1 - comb(8, 4) / comb(14, 4))
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 0.5**5, abs=1e-5)


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 5), (60, 15, 5), (20, 50, 2)])
def test_expected_coverage_by_simulation(n, m, k):
    rng = np.random.default_rng(n)
    draws = [coverage(rng.normal(size=(n, 4)), rng.normal(size=(m, 4)), k) for _ in range(1000)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - expected_coverage(n, m, k)) < 4 * error
    assert error < 0.01


@pytest.mark.parametrize(("n", "m", "k"), [(5, 5, 5), (5, 5, 0), (5, -1, 2)])
def test_neighbours_that_do_not_exist_are_refused(n, m, k):
    with pytest.raises(ValueError, match="expected n > k"):
        expected_coverage(n, m, k)
    if m >= 0:
        with pytest.raises(ValueError, match="expected n > k"):
            covered(np.zeros((n, 1)), np.zeros((m, 1)), k)


def standardised_coverage(real, synthetic, k=5):
    return standardise(coverage(real, synthetic, k), len(real), len(synthetic), k)


def test_standardised_coverage_does_not_depend_on_size():
    rng = np.random.default_rng(4)
    means = {}
    for n, m in ((40, 40), (400, 40), (300, 300)):
        found = [
            standardised_coverage(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)))
            for _ in range(40)
        ]
        means[n, m] = np.mean([f.value for f in found])
        assert all(f.low < f.value and f.low <= f.high for f in found)
    assert list(means.values()) == pytest.approx([1, 1, 1], abs=0.05)


def test_interval_is_wilsons():
    # Its ends are the shares p with |share - p| = z sqrt(p (1 - p) / n).
    for share, n in ((0.8, 10), (0.3, 55.5)):
        for p in wilson(share, n):
            assert abs(share - p) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / n))
    assert wilson(1.0, 50)[1] == pytest.approx(1)
    assert wilson(0.0, 50)[0] == pytest.approx(0)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_interval_holds_the_truth(shift):
    rng = np.random.default_rng(11)
    found = [
        standardised_coverage(rng.normal(size=(100, 3)), rng.normal(shift, 1, size=(100, 3)))
        for _ in range(400)
    ]
    truth = np.mean([f.value for f in found]) if shift else 1.0
    assert np.mean([f.low <= truth <= f.high for f in found]) > 0.92
    # Rows are not independent: their plain interval is too short.
    expected = expected_coverage(100, 100)
    plain = [[end / expected for end in wilson(f.value * expected, 100)] for f in found]
    held = np.mean([low <= truth <= high for low, high in plain])
    assert shift == 0 or held < 0.88


def test_no_synthetic_row_cannot_be_standardised():
    with pytest.raises(ValueError, match="at least one"):
        standardised_coverage(np.zeros((9, 1)), np.zeros((0, 1)))


def test_embedding_of_numbers_and_text():
    reference = pd.DataFrame({"x": [1.0, 2.0, 2.0, 9.0, None], "c": ["a"] * 5})
    frame = pd.DataFrame(
        {"x": [0.0, 1.0, 2.0, 9.0, 10.0, None], "c": ["a", "b", "z", None, "a", "a"]}
    )
    schema = Schema((SCHEMA["x"], SCHEMA["c"]))
    points = embed(frame, schema, reference)
    assert points.dtype == np.float32
    assert points[:, 0] == pytest.approx([0, 0.125, 0.5, 0.875, 1, 0.5])
    assert points[:, 1].tolist() == [0, 0, 0, 0, 0, 1]
    text = points[:, 2:]
    distances = np.linalg.norm(text[:, None] - text[None], axis=2)
    same = [0, 1, 2, 3, 0, 0]
    assert distances == pytest.approx(np.not_equal.outer(same, same).astype(float), abs=1e-6)


def test_embedding_forgets_units():
    rng = np.random.default_rng(0)
    frame = table(rng, 50)
    other = frame.assign(x=np.exp(frame["x"]) * 1e6)
    np.testing.assert_array_equal(embed(frame, PLAIN, frame), embed(other, PLAIN, other))


def test_embedding_does_not_depend_on_how_a_boolean_is_spelled():
    schema = Schema((Column("b", "boolean", categories=("FALSE", "True")),))
    spelled = pd.DataFrame({"b": ["true", "False", None]})
    typed = pd.DataFrame({"b": pd.array([True, False, None], dtype="boolean")})
    expected = np.eye(4, dtype=np.float32)[[1, 0, 3]] / np.float32(np.sqrt(2))
    np.testing.assert_array_equal(embed(spelled, schema, typed), expected)
    np.testing.assert_array_equal(embed(typed, schema, typed), expected)


def test_embedding_without_columns_or_reference_values():
    frame = table(np.random.default_rng(0), 4)
    assert embed(frame, Schema(()), frame).shape == (4, 0)
    empty = frame.assign(x=np.nan)
    assert embed(frame, Schema((SCHEMA["x"],)), empty).tolist() == [[0.5, 0.0]] * 4


def by_group(real, synthetic, real_groups, synthetic_groups, rows=2000, seed=0, minimum=30):
    """Coverage of groups that are numbers, by the audit's own function."""
    frames = [
        frame.assign(group=np.asarray(groups).astype(str)).reset_index(drop=True)
        for frame, groups in ((real, real_groups), (synthetic, synthetic_groups))
    ]
    limits = SamplingLimits(rows=rows, minimum=minimum)
    return stratum_coverage(Tables(SCHEMA, *frames), ("group",), limits, seed)


def values(found):
    return [group.standardised_coverage.value for group in found]


def test_groups_are_measured_alike_whatever_their_size():
    rng = np.random.default_rng(5)
    real, synthetic = table(rng, 2040), table(rng, 3060)
    groups = np.repeat([0, 1, 2], [1500, 500, 40])
    others = np.repeat([0, 1, 2], [2000, 1000, 60])
    found = by_group(real, synthetic, groups, others, rows=600)
    assert [(g.name, g.rows_real, g.rows_synthetic, g.compared) for g in found] == [
        ("0", 1500, 2000, 600),
        ("1", 500, 1000, 500),
        ("2", 40, 60, 40),
    ]
    for group in found:
        cover = group.standardised_coverage
        assert group.state == "measured" and cover.low < 1 < cover.high + 0.03
    least, difference = coverage_summary(found)
    assert least > 0.85 and difference < 0.15


def test_collapse_of_one_group_is_caught():
    rng = np.random.default_rng(6)
    real, synthetic = table(rng, 800), table(rng, 800)
    groups = np.arange(800) % 2
    synthetic.loc[groups == 1, ["x", "y", "c"]] = [0.0, 1.0, "a"]
    found = by_group(real, synthetic, groups, groups)
    good, bad = values(found)
    assert good > 0.9
    assert found[1].standardised_coverage.high < 0.2
    assert coverage_summary(found) == (bad, good - bad)


def test_half_a_group_missing_is_caught():
    rng = np.random.default_rng(7)
    real, synthetic = table(rng, 600), table(rng, 1200)
    synthetic = synthetic[synthetic["c"] != "a"]
    (found,) = by_group(real, synthetic, np.zeros(600, int), np.zeros(len(synthetic), int))
    expected = expected_coverage(found.compared, found.compared)
    assert found.standardised_coverage.value * expected == pytest.approx(2 / 3, abs=0.07)
    assert found.standardised_coverage.high < 0.8


def test_small_groups_are_not_judged_and_lost_ones_are():
    rng = np.random.default_rng(8)
    real, synthetic = table(rng, 400), table(rng, 400)
    groups = np.repeat([0, 1, 2, 3], [29, 40, 100, 231])
    others = np.repeat([0, 1, 3, 4], [100, 20, 240, 40])
    found = by_group(real, synthetic, groups, others)
    assert [g.state for g in found] == [
        "insufficient",
        "insufficient",
        "absent",
        "measured",
        "insufficient",
    ]
    assert [value is None for value in values(found)] == [True, True, False, False, True]
    assert coverage_summary(found)[0] == 0
    # Ten synthetic rows would hold two or three of group 2: none is no proof.
    few = by_group(real, synthetic[-10:], groups, others[-10:])
    assert {g.state for g in few} == {"insufficient"}
    assert coverage_summary(few) == (None, None)


def test_a_group_of_just_the_minimum_is_measured():
    frame = table(np.random.default_rng(12), 59)
    groups = np.repeat([0, 1], [30, 29])
    found = by_group(frame, frame, groups, groups)
    assert [(g.state, g.compared) for g in found] == [("measured", 30), ("insufficient", 0)]
    assert values(found)[0] == pytest.approx(1 / expected_coverage(30, 30))


def test_a_group_does_not_depend_on_the_others():
    real, synthetic = (table(np.random.default_rng(s), 300) for s in (9, 10))
    first, second = np.repeat([0, 1], 150), np.repeat([0, 2, 1], [50, 100, 150])
    found = [by_group(real, synthetic, g, g, rows=60)[1] for g in (first, second)]
    assert found[0] == found[1]


def test_the_minimum_never_lies_below_the_neighbours():
    frame = table(np.random.default_rng(0), 11)
    (found,) = by_group(frame, frame, np.zeros(11, int), np.zeros(11, int), minimum=1)
    assert found.state == "insufficient"


def test_all_figures_of_neighbours_and_coverage_alone_agree():
    rng = np.random.default_rng(13)
    real, synthetic = rng.integers(0, 4, size=(2, 120, 2)).astype(float)
    assert neighbours(real, synthetic).coverage == coverage(real, synthetic)


@pytest.mark.parametrize("stated", [False, True])
def test_of_very_many_categories_those_that_begin_alike_are_one(stated):
    names = tuple(f"{i:05d}" for i in np.random.default_rng(0).permutation(10_000))
    states = tuple(int(name[:2]) for name in names) if stated else ()
    column = Column("zip", "category", categories=names, states=states)
    frame = pd.DataFrame({"zip": ["00000", "00001", "09999", "else", None]}, dtype=object)
    points = embed(frame, Schema((column,)), frame)
    assert points.shape[1] <= MOST + 2
    apart = np.square(points[:, None] - points[None]).sum(2) > 0.5
    assert not apart[0, 1] and (apart.sum(1) == [3, 3, 4, 4, 4]).all()


def test_up_to_256_categories_are_told_apart():
    names = tuple(f"c{i}" for i in range(MOST))
    frame = pd.DataFrame({"x": [*names, "else", None]}, dtype=object)
    points = embed(frame, Schema((Column("x", "category", categories=names),)), frame)
    assert np.array_equal(points, np.eye(MOST + 2, dtype=np.float32) / np.float32(np.sqrt(2)))
