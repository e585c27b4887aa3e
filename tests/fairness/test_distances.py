"""Sliced Wasserstein distances and associations, against closed forms and exact transport."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from everymode.fairness.metrics.distances import association_gaps, associations, sliced_w1


def rng(seed=0):
    return np.random.default_rng(seed)


def test_in_one_dimension_it_is_the_wasserstein_distance():
    x, y = rng(1).standard_normal((37, 1)), rng(2).standard_normal((90, 1)) * 2 + 1
    assert sliced_w1(x, y, rng()) == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0]))


def test_a_shift_costs_its_mean_projection():
    # E|u . t| sqrt(d) for a uniform direction u is near sqrt(2 / pi) |t|.
    x = rng(1).standard_normal((200, 50))
    shift = np.zeros(50)
    shift[0] = 3.0
    found = sliced_w1(x, x + shift, rng(), slices=4000)
    assert found == pytest.approx(3 * np.sqrt(2 / np.pi), rel=0.05)


def test_it_is_symmetric_and_zero_for_a_permutation():
    x, y = rng(1).standard_normal((20, 3)), rng(2).standard_normal((31, 3))
    assert sliced_w1(x, y, rng()) == pytest.approx(sliced_w1(y, x, rng()))
    assert sliced_w1(x, rng(3).permutation(x), rng()) == pytest.approx(0, abs=1e-12)
    assert sliced_w1(x[:, :0], y[:, :0], rng()) == 0
    with pytest.raises(ValueError, match="at least one point"):
        sliced_w1(x[:0], y, rng())


def test_associations_are_correlations_between_columns_alone():
    points = rng(1).standard_normal((500, 4))
    points[:, 3] = points[:, 0]
    found = associations(points, [2, 1, 1])
    assert not found[:2, :2].any() and found[2, 2] == 0
    assert found[0, 3] == pytest.approx(1)
    assert found[1, 2] == pytest.approx(np.corrcoef(points[:, 1], points[:, 2])[0, 1])


def test_a_constant_column_is_tied_to_nothing():
    points = np.ones((10, 3), dtype=np.float32)
    assert not associations(points, [1, 1, 1]).any()
    assert not association_gaps(points, points, [1, 1, 1]).any()
    assert association_gaps(points[:, :2], points[:, :2], [2]).tolist() == [0]


def test_the_permuted_column_is_the_one_whose_ties_are_broken():
    source = rng(1)
    base = source.standard_normal((2000, 1))
    real = np.hstack([base, base + 0.1 * source.standard_normal((2000, 3))])
    broken = real.copy()
    broken[:, 2] = source.permutation(broken[:, 2])
    gaps = association_gaps(real, broken, [1, 1, 1, 1])
    assert gaps.argmax() == 2 and gaps[2] > 0.9
    noise = association_gaps(real[:1000], real[1000:], [1, 1, 1, 1])
    assert noise.max() < 0.05


def test_a_row_or_two_are_no_association():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 3))
    real[:, 2] = 0.0
    made = rng.normal(size=(200, 3))
    made[:, 2] = 0.0
    made[np.argmax(made[:, 0]), 2] = 1.0
    assert association_gaps(real, made, [1, 1, 1])[2] == 0
    real[:, 2], made[:, 2] = rng.random(200) < 0.3, made[:, 0] > 0.5
    assert association_gaps(real, made, [1, 1, 1])[2] > 0.3
