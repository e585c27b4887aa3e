"""Slopes as a histogram, and quantiles of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.slopes import SLOPE_EDGES, slope_histogram, slope_quantiles

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def norms_of(seed, count=500):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)).mul(0.8).exp()


@pytest.mark.parametrize("target", [1.0, 0.25])
@pytest.mark.parametrize("seed", range(5))
def test_quantiles_lie_within_a_bin_of_the_exact_ones(seed, target):
    norms = norms_of(seed)
    found = slope_quantiles(slope_histogram(norms * target, target))
    exact = np.quantile(norms.numpy(), SHARES, method="inverted_cdf")
    np.testing.assert_array_less(np.abs(np.log(np.array(found) / exact)), math.log(1.1221))


def test_histograms_of_sites_add_up_to_the_pooled_one():
    sites = [norms_of(seed, count) for seed, count in enumerate([1, 40, 300])]
    pooled = slope_histogram(torch.cat(sites), 0.5)
    assert torch.equal(sum(slope_histogram(site, 0.5) for site in sites), pooled)
    assert pooled.sum() == 341


@given(st.lists(st.floats(0) | st.just(math.nan), max_size=30))
def test_every_slope_is_counted_once(norms):
    counts = slope_histogram(torch.tensor(norms, dtype=torch.float64))
    assert counts.shape == (len(SLOPE_EDGES) + 1,)
    assert int(counts.sum()) == len(norms)


def test_what_lies_beyond_the_edges_is_given_as_the_edge():
    counts = slope_histogram(torch.tensor([0.0, 1e-9, math.nan, math.inf, 1e7]))
    assert (int(counts[0]), int(counts[-1])) == (2, 3)
    low, high = slope_quantiles(counts, (0.2, 0.9))
    assert (low, high) == pytest.approx((1e-3, 1e3))


@pytest.mark.parametrize("counts", [[0.0] * 122, [1.0] * 3])
def test_no_slopes_no_quantiles(counts):
    with pytest.raises(ValueError, match="expected 122"):
        slope_quantiles(counts)
