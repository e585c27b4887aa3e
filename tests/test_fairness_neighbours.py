"""Neighbours against brute force, ties, and identities."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from fairness import neighbours as module
from fairness.coverage import coverage
from fairness.neighbours import Neighbours, neighbours, radii


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


@pytest.mark.parametrize("seed", range(30))
def test_it_equals_brute_force_on_any_shape(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 6))
    n, m, d = k + 1 + rng.integers(60), k + 1 + rng.integers(60), rng.integers(0, 12)
    monkeypatch.setattr(module, "CELLS", int(rng.integers(1, 500)))
    points = []
    for count in (n, m):
        rows = rng.standard_normal((count, d))
        if seed % 3 == 0:  # many ties
            rows = rows.round()
        if seed % 3 == 1 and d:  # a constant far away, where float32 has few digits
            rows[:, 0] = 1e4
        points.append(rows.astype(np.float32 if seed % 2 else np.float64))
    points[1][: m // 3] = points[0][rng.integers(0, n, m // 3)]
    assert neighbours(*points, k) == pytest.approx(brute(*points, k))


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
