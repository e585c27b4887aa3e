"""Kernel distances: against plain loops, unbiased, and from sums that sites add up."""

import math

import numpy as np
import pytest
import torch

from everymode.fairness.matching.kernels import Features, bandwidth, mmd2, mmd2_from_sums

WIDTH = 4


def points(count, seed, shift=0.0):
    drawn = np.random.default_rng(seed).normal(shift, 0.5, (count, WIDTH))
    return drawn.astype(np.float32)


def by_hand(x, y, deviation):
    """Equation 3 of the paper with plain loops."""

    def kernel(a, b):
        return math.exp(-sum((float(u) - float(v)) ** 2 for u, v in zip(a, b, strict=True)) / scale)

    scale = 2 * deviation**2
    n, m = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    yy = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    xy = sum(kernel(a, b) for a in x for b in y)
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def test_the_discrepancy_is_that_of_plain_loops():
    x, y = points(7, 0), points(5, 1, shift=0.3)
    found = mmd2(torch.from_numpy(x), torch.from_numpy(y), 0.8)
    assert found == pytest.approx(by_hand(x, y, 0.8), abs=1e-9)


def test_far_from_the_origin_single_precision_does_not_show():
    near = points(60, 2).astype(np.float64)
    moved = torch.from_numpy((near + 1000).astype(np.float32))
    x, y = moved[:30], moved[30:]
    assert mmd2(x, y, 1.0) == pytest.approx(by_hand(x.tolist(), y.tolist(), 1.0), abs=1e-7)


def test_equal_distributions_are_at_distance_zero_in_the_mean():
    found = [mmd2(*torch.from_numpy(points(40, seed)).split(20), 1.0) for seed in range(400)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    assert min(found) < 0
    shifted = torch.from_numpy(points(20, 0)), torch.from_numpy(points(20, 1, shift=0.5))
    assert mmd2(*shifted, 1.0) > 6 * np.std(found)


@pytest.mark.parametrize("sizes", [(1, 5), (5, 1), (0, 5)])
def test_one_point_has_no_pair(sizes):
    with pytest.raises(ValueError, match="two points"):
        mmd2(*(torch.zeros(n, WIDTH) for n in sizes), 1.0)
    assert math.isnan(mmd2_from_sums(np.zeros(6), sizes[0], np.zeros(6), sizes[1]))


def test_features_have_norm_one_and_their_products_are_near_the_kernel():
    features = Features.of(WIDTH, 20_000, 0.7, seed=3)
    rows = points(6, 4)
    values = features(rows)
    assert values.shape == (6, 40_000) and values.dtype == np.float64
    np.testing.assert_allclose((values**2).sum(1), 1.0)
    square = ((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(-1)
    # Each product is a mean of 20,000 cosines: four standard errors are below 0.03.
    np.testing.assert_allclose(values @ values.T, np.exp(-square / (2 * 0.7**2)), atol=0.03)


def test_features_depend_on_the_seed_alone():
    drawn = torch.get_rng_state()
    first, again = Features.of(3, 8, 1.0, 5), Features.of(3, 8, 1.0, 5)
    np.testing.assert_array_equal(first.frequencies, again.frequencies)
    assert (Features.of(3, 8, 1.0, 6).frequencies != first.frequencies).all()
    assert torch.equal(torch.get_rng_state(), drawn)


def test_tensors_and_arrays_have_the_same_features():
    features, rows = Features.of(WIDTH, 8, 1.0, 0), points(3, 0)
    np.testing.assert_array_equal(features(torch.from_numpy(rows).requires_grad_()), features(rows))
    assert features(rows[:0]).sum(0).tolist() == [0.0] * 16


def test_sums_give_the_discrepancy_up_to_the_features_error():
    x, y = points(50, 0), points(80, 1, shift=0.4)
    features = Features.of(WIDTH, 20_000, 1.0, seed=7)
    found = mmd2_from_sums(features(x).sum(0), 50, features(y).sum(0), 80)
    exact = mmd2(torch.from_numpy(x), torch.from_numpy(y), 1.0)
    assert exact > 0.1
    assert found == pytest.approx(exact, abs=0.01)


def test_from_sums_is_unbiased_for_equal_distributions():
    features = Features.of(WIDTH, 64, 1.0, seed=8)
    found = []
    for seed in range(400):
        x, y = features(points(20, 2 * seed)), features(points(30, 2 * seed + 1))
        found.append(mmd2_from_sums(x.sum(0), 20, y.sum(0), 30))
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(len(found))
    # Pairs of a row with itself left in would raise the mean by about 1 / n + 1 / m.
    assert 4 * np.std(found) / math.sqrt(len(found)) < 0.2 * (1 / 20 + 1 / 30)


def test_sums_over_sites_equal_the_pooled_sum():
    features = Features.of(WIDTH, 32, 1.0, seed=9)
    x, y = points(40, 0), points(25, 1, shift=0.2)
    over_sites = sum(features(part).sum(0) for part in np.split(x, [3, 3, 17]))
    pooled = mmd2_from_sums(features(x).sum(0), 40, features(y).sum(0), 25)
    assert mmd2_from_sums(over_sites, 40, features(y).sum(0), 25) == pytest.approx(pooled)
    # The mean of the sites' own discrepancies is another figure.
    own = np.mean(
        [
            mmd2_from_sums(features(part).sum(0), len(part), features(y).sum(0), 25)
            for part in np.split(np.sort(x, axis=0), [10, 20])
        ]
    )
    assert own > pooled + 0.05


def test_the_bandwidth_is_near_the_root_mean_squared_distance():
    rng = np.random.default_rng(0)
    count, numbers, choices = 2000, 5, 3
    one_hot = [np.eye(2)[rng.integers(0, 2, count)] for _ in range(choices)]
    rows = np.hstack([rng.normal(0, 0.5, (count, numbers)), *one_hot])
    square = ((rows[: count // 2] - rows[count // 2 :]) ** 2).sum(1)
    assert bandwidth(numbers, choices) == pytest.approx(math.sqrt(square.mean()), rel=0.05)
    assert bandwidth(1, 0, spread=2.0) == pytest.approx(math.sqrt(8))
    assert bandwidth(0, 0) > 0
