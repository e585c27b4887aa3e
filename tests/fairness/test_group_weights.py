"""Exact group weights: the split over sites cancels out."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from everymode.fairness.weighting.group_weights import cell_mass, group_mass, row_weights, site_mass

RULES = ("share", "uniform", "tempered")
counts = st.lists(st.integers(0, 10_000), min_size=1, max_size=8).map(lambda n: np.array(n))


@given(counts, st.sampled_from(RULES), st.floats(0, 1))
def test_masses_are_a_distribution_over_groups_with_rows(n, rule, exponent):
    assume(n.any())
    mass = group_mass(n, rule, exponent)
    assert mass.sum() == pytest.approx(1) and (mass >= 0).all()
    assert ((mass > 0) == (n > 0)).all()


def test_rules_in_closed_form():
    n = np.array([900, 0, 100])
    assert group_mass(n, "share").tolist() == [0.9, 0, 0.1]
    assert group_mass(n, "uniform").tolist() == [0.5, 0, 0.5]
    assert group_mass(n, "tempered") == pytest.approx([0.75, 0, 0.25])
    assert group_mass(n, "tempered", 1.0) == pytest.approx(group_mass(n, "share"))
    assert group_mass(n, "tempered", 0.0) == pytest.approx(group_mass(n, "uniform"))
    assert group_mass(np.array([0, 0]), "share").tolist() == [0, 0]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=300),
    st.integers(1, 9),
    st.sampled_from(RULES),
    st.integers(0, 2**32),
)
def test_any_split_gives_the_pooled_weighted_mean(groups, sites, rule, seed):
    rng = np.random.default_rng(seed)
    group = np.array(groups)
    n = np.bincount(group, minlength=4)
    loss = rng.normal(size=len(group))
    mass = group_mass(n, rule)
    weights = row_weights(mass, n)
    owner = rng.integers(0, sites, len(group))
    p = np.array([site_mass(weights, group[owner == k]) for k in range(sites)])
    assert p.sum() == pytest.approx(1)
    total = 0.0
    for k in range(sites):
        mine = weights[group[owner == k]]
        if len(mine):
            total += p[k] * (mine @ loss[owner == k]) / mine.sum()
    means = [loss[group == g].mean() if n[g] else 0.0 for g in range(4)]
    assert total == pytest.approx(mass @ means, abs=1e-12)


def test_rows_of_a_group_without_rows_weigh_nothing():
    weights = row_weights(np.array([0.5, 0.0, 0.5]), np.array([10, 0, 2]))
    assert weights.tolist() == [0.05, 0, 0.25]
    assert site_mass(weights, np.array([], dtype=np.int64)) == 0.0
    assert site_mass(weights, np.array([0, 2, 2])) == pytest.approx(0.55)


def test_labels_keep_their_share_within_a_group():
    table = np.array([[30, 10], [0, 0], [0, 5]])
    mass = group_mass(table.sum(1), "uniform")
    np.testing.assert_allclose(cell_mass(mass, table), [[0.375, 0.125], [0, 0], [0, 0.5]])
