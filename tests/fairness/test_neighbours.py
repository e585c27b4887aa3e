"""Neighbours against brute force, `prdc`, bad numbers, and identities."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from everymode.fairness.metrics import blocks as module
from everymode.fairness.metrics.coverage import coverage
from everymode.fairness.metrics.neighbours import (
    Neighbours,
    covered,
    neighbours,
    radii,
    recall_null,
    within,
)


def brute(real, made, k):
    def ball(points):
        distances = cdist(points, points, "sqeuclidean")
        np.fill_diagonal(distances, np.inf)
        return np.sort(distances, axis=1)[:, k - 1]

    apart = cdist(real, made, "sqeuclidean")
    inside = apart <= ball(real)[:, None]
    return Neighbours(
        inside.any(axis=1).mean(),
        inside.sum(axis=0).mean() / k,
        inside.any(axis=0).mean(),
        (apart <= ball(made)[None, :]).any(axis=1).mean(),
        (apart == 0).any(axis=0).mean(),
    )


def nearer(real, made, k):
    """Coverage by open balls, as the authors' code has it: ties are outside."""
    distances = cdist(real, real, "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    radius = np.sort(distances, axis=1)[:, k - 1]
    return (cdist(real, made, "sqeuclidean").min(axis=1) < radius).mean()


def equal(found, real, made, k):
    """Whether all figures are those of brute force; coverage within what ties leave open."""
    expected = brute(real, made, k)
    low = nearer(real, made, k)
    assert low <= found.coverage <= expected.coverage
    return replace(found, coverage=0) == replace(expected, coverage=0)


def normal(seed, *sizes, d=5):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, d)) for size in sizes]


@pytest.mark.parametrize("seed", range(60))
def test_it_equals_brute_force_on_any_shape(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 6))
    spare = 400 if seed % 10 == 9 else 60
    n, m, d = k + 1 + rng.integers(spare), k + 1 + rng.integers(spare), rng.integers(0, 12)
    if seed % 5 == 4:  # no neighbour to spare
        n = m = k + 1
    monkeypatch.setattr(module, "CELLS", int(rng.integers(1, 500)))
    monkeypatch.setattr(module, "DENSE", int(rng.choice([0, 16, 10**6])))
    points = []
    for count in (n, m):
        rows = rng.standard_normal((count, d))
        if seed % 3 == 0:  # many ties
            rows = rows.round()
        if seed % 3 == 1 and d:  # a constant far away, where float32 has few digits
            rows[:, 0] = 1e4
        points.append(rows.astype(np.float32 if seed % 2 else np.float64))
    points[1][: m // 3] = points[0][rng.integers(0, n, m // 3)]
    assert equal(neighbours(*points, k), *points, k)


def test_it_equals_prdc_on_continuous_rows(capsys):
    prdc = pytest.importorskip("prdc")
    real, made = normal(3, 300, 250, d=8)
    made *= 0.8
    oracle = prdc.compute_prdc(real, made, 4)
    found = vars(neighbours(real, made, 4))
    assert {name: found[name] for name in oracle} == pytest.approx(oracle, abs=1e-12)


@pytest.mark.parametrize("unit", [1e-100, 1e-25, 1e-19, 1e19, 1e100])
def test_the_unit_does_not_matter(unit):
    real, made = normal(4, 120, 90)
    assert equal(neighbours(real * unit, made * unit), real, made, 5)


@pytest.mark.parametrize("side", [0, 1])
def test_a_row_far_from_all_others_blurs_none(side):
    points = normal(5, 150, 130)
    points[side][7] = 1e6
    assert equal(neighbours(*points), *points, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_without_a_distance_are_refused(side, bad):
    points = normal(6, 20, 20)
    points[side][3, 1] = bad
    with pytest.raises(ValueError, match="finite"):
        neighbours(*points)
    with pytest.raises(ValueError, match="finite"):
        within(*points, np.ones(20))


def test_any_float32_is_a_number():
    real = np.full((8, 1), np.finfo(np.float32).max)
    assert neighbours(-real, real).coverage == 0


@pytest.mark.parametrize("dense", [0, 16, 10**6])
def test_pairs_get_the_same_bits_on_either_way(dense, monkeypatch):
    # Ties of copies would be lost by another order of summation.
    monkeypatch.setattr(module, "DENSE", dense)
    real = np.random.default_rng(7).standard_normal((100, 30))
    distances = cdist(real, real, "sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    exact = np.sort(distances, axis=1)[:, 4]
    np.testing.assert_allclose(radii(real), exact, rtol=1e-14)
    monkeypatch.setattr(module, "DENSE", 16)
    assert (radii(real) == radii(real[::-1])[::-1]).all()
    assert within(real, real, radii(real)).all()


def test_no_more_than_a_block_is_in_memory(monkeypatch):
    monkeypatch.setattr(module, "CELLS", 2**16)
    every = 4000**2 * 4  # bytes of all distances in float32; a block is 64 rows of them
    rng = np.random.default_rng(8)
    # Either way of taking distances again.
    for points in (rng.standard_normal((4000, 4)), np.zeros((4000, 4))):
        tracemalloc.start()
        neighbours(points, points)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < every / 2


def test_a_copy_of_the_table_covers_it():
    real = np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32)
    found = neighbours(real, real[::-1])
    assert (found.coverage, found.precision, found.recall, found.copied) == (1, 1, 1, 1)


def test_far_away_points_cover_nothing():
    real = np.random.default_rng(0).standard_normal((50, 3))
    assert neighbours(real, real + 100) == Neighbours(0, 0, 0, 0, 0)


def test_the_two_sets_swapped_swap_precision_and_recall():
    rng = np.random.default_rng(1)
    real, made = rng.standard_normal((80, 4)), rng.standard_normal((60, 4)) * 0.7
    one, two = neighbours(real, made), neighbours(made, real)
    assert (one.precision, one.recall) == (two.recall, two.precision)


def test_coverage_is_that_of_the_audits_of_runs():
    rng = np.random.default_rng(2)
    real, made = rng.integers(0, 3, (300, 6)), rng.integers(0, 3, (200, 6))
    real, made = real.astype(np.float32), made.astype(np.float32)
    assert neighbours(real, made).coverage == coverage(real, made)


def test_radii_of_equal_points_are_zero():
    assert not radii(np.full((20, 4), 0.1, dtype=np.float32), 5).any()


def test_balls_made_elsewhere_give_recall_as_a_sum_over_sites():
    real, made = normal(9, 170, 110)
    around = radii(made)
    sites = [within(part, made, around).sum() for part in (real[:40], real[40:40], real[40:])]
    assert sum(sites) / 170 == neighbours(real, made).recall


def test_coverage_is_that_of_copies_too():
    real, made = normal(10, 90, 90)
    made[:60] = real[np.random.default_rng(0).integers(0, 90, 60)]
    inside = np.zeros(90, dtype=bool)
    for i, radius in enumerate(radii(real)):
        inside[i] = within(made, real[i : i + 1], np.array([radius])).any()
    assert (inside == covered(real, made)).all()  # no ties: all are sure


def test_without_balls_nothing_is_inside():
    assert not within(np.zeros((3, 2)), np.zeros((0, 2)), np.zeros(0)).any()


def test_balls_are_as_large_as_they_say():
    centre, points = np.zeros((1, 1)), np.array([[0.0], [1.0], [1e9]])
    assert within(points, centre, np.array([-1.0])).tolist() == [False, False, False]
    assert within(points, centre, np.array([1.0])).tolist() == [True, True, False]
    assert within(points, centre, np.array([np.inf])).all()


def test_balls_and_centres_must_be_as_many():
    with pytest.raises(ValueError, match="expected 3 radii"):
        within(np.zeros((2, 2)), np.zeros((3, 2)), np.zeros(2))


def test_equal_distributions_are_recalled_as_halves_of_one():
    null = np.mean([recall_null(normal(i, 400)[0], 5, np.random.default_rng(i)) for i in range(20)])
    fresh = [neighbours(*normal(100 + i, 200, 200)).recall for i in range(20)]
    assert null == pytest.approx(np.mean(fresh), abs=0.02)
    assert null < 0.98


def test_halves_must_have_neighbours():
    assert recall_null(np.zeros((12, 1)), 5, np.random.default_rng(0)) == 1
    with pytest.raises(ValueError, match="n > k"):
        recall_null(np.zeros((11, 1)), 5, np.random.default_rng(0))


def test_zero_has_no_sign():
    zeros = np.zeros((7, 2))
    assert neighbours(zeros, -zeros).copied == 1


def test_progress_counts_every_row():
    done = []
    points = np.random.default_rng(0).standard_normal((30, 2))
    neighbours(points, points[:20], progress=done.append)
    assert sum(done) == 30 + 20 + 30


@pytest.mark.parametrize(("n", "m", "k"), [(5, 9, 5), (9, 5, 5), (9, 9, 0)])
def test_too_few_points_are_refused(n, m, k):
    with pytest.raises(ValueError, match="more than k"):
        neighbours(np.zeros((n, 2)), np.zeros((m, 2)), k)


def test_widths_must_agree():
    with pytest.raises(ValueError, match="numbers long"):
        neighbours(np.zeros((9, 2)), np.zeros((9, 3)))
