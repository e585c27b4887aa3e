"""Alpha-precision and beta-recall on points whose answer is known."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from everymode.fairness.metrics.alpha_beta import LEVELS, alpha_precision, beta_recall


def points(rows: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=(rows, 3))


REAL = points(1000, 0)


def test_equal_distributions_give_one_and_one_half() -> None:
    assert alpha_precision(REAL, points(1000, 1)) > 0.95
    found = [beta_recall(points(1000, 2 * i), points(1000, 2 * i + 1)) for i in range(5)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)


def test_copies_and_rows_far_away() -> None:
    assert alpha_precision(REAL, REAL) == pytest.approx(1, abs=0.01)
    assert beta_recall(REAL, REAL) == pytest.approx(1, abs=0.01)
    assert alpha_precision(REAL, REAL + 100) == pytest.approx(0, abs=1e-6)
    assert beta_recall(REAL, REAL + 100) == pytest.approx(0, abs=1e-6)


def test_rows_near_the_mean_alone_are_too_typical_and_recall_little() -> None:
    """All of them lie in every ball: the area to the diagonal is that of its whole triangle."""
    narrow = points(1000, 1, 0.01)
    assert alpha_precision(REAL, narrow) < 0.1
    assert beta_recall(REAL, narrow) < 0.1
    assert alpha_precision(REAL, points(1000, 1, 3.0)) < 0.4


def test_ties_count_one_half() -> None:
    """Points on a grid, of one distribution; the control: most real points have a tie."""
    rng = np.random.default_rng(0)
    real, made = (rng.integers(0, 5, (1500, 4)) ** 1.1 for _ in range(2))
    assert beta_recall(real, made) == pytest.approx(0.5, abs=0.03)
    own = NearestNeighbors(n_neighbors=1).fit(real).kneighbors()[0]
    others = NearestNeighbors(n_neighbors=1).fit(made).kneighbors(real)[0]
    assert np.isclose(own, others).mean() > 0.5


def test_figures_are_those_of_their_definition() -> None:
    """The authors' loops, written out for points without ties."""
    made = points(1000, 1, 1.2) + 0.1
    centre, made_centre = REAL.mean(axis=0), made.mean(axis=0)
    radii = np.quantile(np.linalg.norm(REAL - centre, axis=1), LEVELS)
    inside = [(np.linalg.norm(made - centre, axis=1) <= radius).mean() for radius in radii]
    wanted = 1 - np.abs(LEVELS - inside).sum() / LEVELS.sum()
    assert alpha_precision(REAL, made) == pytest.approx(wanted)
    to_real = np.linalg.norm(REAL[:, None] - REAL[None], axis=2)
    np.fill_diagonal(to_real, np.inf)
    to_made = np.linalg.norm(REAL[:, None] - made[None], axis=2)
    nearer = to_made.min(axis=1) <= to_real.min(axis=1)
    out = np.linalg.norm(made[to_made.argmin(axis=1)] - made_centre, axis=1)
    curve = [(nearer & (out <= radius)).mean() for radius in np.quantile(out, LEVELS)]
    wanted = 1 - np.abs(LEVELS - curve).sum() / LEVELS.sum()
    assert beta_recall(REAL, made) == pytest.approx(wanted, abs=2e-3)
