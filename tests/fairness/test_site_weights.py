"""Weights of sites in the literature: closed forms, oracles, and the defects they are known for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy, wasserstein_distance

from everymode.fairness.weighting.site_weights import (
    afl,
    equal,
    fed_tgan,
    fegan,
    fegan_sample,
    ifl_gan,
    project_simplex,
    q_fedavg,
    row_shares,
    term,
)
from everymode.wgan.errors import NumericalError

LABELS = np.array([[30.0, 10.0, 0.0], [5.0, 5.0, 40.0], [2.0, 8.0, 0.0]])
ROWS = LABELS.sum(1)
SHARES = ROWS / ROWS.sum()
LOSSES = np.array([0.3, 0.1, 0.8])


@pytest.mark.parametrize(
    "weights",
    [
        row_shares(ROWS),
        equal(3),
        fegan(LABELS),
        fed_tgan([LABELS, LABELS], [True, False], ROWS),
        ifl_gan(LOSSES),
        afl(SHARES, LOSSES, 0.5),
        q_fedavg(LOSSES, SHARES, 2.0),
        term(LOSSES, SHARES, 3.0),
    ],
    ids=["rows", "equal", "fegan", "fed_tgan", "ifl_gan", "afl", "q_fedavg", "term"],
)
def test_every_rule_gives_a_distribution(weights):
    assert weights.shape == (3,)
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1)


def test_shares_of_rows():
    np.testing.assert_allclose(row_shares(np.array([9.0, 0.0, 1.0])), [0.9, 0.0, 0.1])
    np.testing.assert_allclose(equal(4), 0.25)
    with pytest.raises(ValueError, match="a site with rows"):
        row_shares(np.zeros(2))


def test_fegan_is_its_formula():
    everyone = LABELS.sum(0) / LABELS.sum()
    scores = [s * entropy(row / row.sum(), everyone) for s, row in zip(SHARES, LABELS, strict=True)]
    np.testing.assert_allclose(fegan(LABELS), softmax(scores))


def test_fegan_raises_the_site_that_differs():
    mixed, single = [30.0, 30.0], [0.0, 60.0]
    weights = fegan(np.array([mixed, mixed, single]))
    assert weights[2] > weights[0] == pytest.approx(weights[1])


def test_fegan_forgets_rows_where_sites_are_alike():
    np.testing.assert_allclose(fegan(np.array([[900.0, 900.0], [1.0, 1.0], [0.0, 0.0]])), 1 / 3)


def test_balanced_sampling_covers_what_few_sites_hold():
    labels = np.zeros((12, 4))
    labels[:9, 0] = 50
    labels[9, 1] = labels[10, 2] = labels[11, 3] = 50
    for seed in range(20):
        chosen = fegan_sample(labels, 4, np.random.default_rng(seed))
        assert labels[chosen].sum(0).tolist() == [50, 50, 50, 50]
    uniform = [np.random.default_rng(s).choice(12, 4, replace=False) for s in range(20)]
    assert any((labels[chosen].sum(0) == 0).any() for chosen in uniform)


def test_balanced_sampling_counts_rows_not_sites():
    labels = np.array([[90.0, 10.0], [0.0, 40.0], [0.0, 40.0], [90.0, 0.0]])
    for seed in range(20):
        chosen = fegan_sample(labels, 3, np.random.default_rng(seed))
        assert 1 in chosen or 2 in chosen


@given(
    st.lists(
        st.lists(st.integers(0, 3), min_size=3, max_size=3).map(lambda v: [float(n) for n in v]),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_balanced_sampling_draws_different_sites(rows, data):
    labels = np.array(rows)
    wanted = data.draw(st.integers(0, len(labels)))
    seed = data.draw(st.integers(0, 99))
    chosen = fegan_sample(labels, wanted, np.random.default_rng(seed))
    assert len(chosen) == len(set(chosen)) == wanted
    assert chosen == fegan_sample(labels, wanted, np.random.default_rng(seed))
    assert (labels == np.array(rows)).all()


def test_balanced_sampling_refuses_more_sites_than_there_are():
    with pytest.raises(ValueError, match="0 to 3 sites, got 4"):
        fegan_sample(LABELS, 4, np.random.default_rng(0))


def test_fed_tgan_is_its_formula():
    numbers = np.array([[5.0, 20.0, 10.0, 5.0], [0.0, 10.0, 30.0, 10.0], [9.0, 1.0, 0.0, 0.0]])
    divergence = [jensenshannon(row, LABELS.sum(0)) ** 2 for row in LABELS]
    at = np.arange(4) / 4
    distance = [wasserstein_distance(at, at, row, numbers.sum(0)) for row in numbers]
    unlike = np.array(divergence) / sum(divergence) + np.array(distance) / sum(distance)
    expected = softmax((1 - unlike / unlike.sum()) * SHARES)
    np.testing.assert_allclose(fed_tgan([LABELS, numbers], [False, True], ROWS), expected)


def test_fed_tgan_levels_nine_to_one_among_like_sites():
    like = np.array([[27.0, 54.0, 9.0], [3.0, 6.0, 1.0]])
    weights = fed_tgan([like, like, like], [False, True, True], np.array([90.0, 10.0]))
    np.testing.assert_allclose(weights, softmax([0.45, 0.05]))
    np.testing.assert_allclose(weights, [0.60, 0.40], atol=0.005)


def test_fed_tgan_never_weighs_a_site_more_than_e_times_another():
    rows = np.array([1e6, 1.0])
    extreme = fed_tgan([np.array([[1e6, 0.0], [0.0, 1.0]])], [False], rows)
    assert extreme[0] / extreme[1] < np.e


def test_fed_tgan_lowers_the_site_that_differs():
    columns = np.array([[50.0, 50.0], [50.0, 50.0], [0.0, 100.0]])
    for ordered in (False, True):
        weights = fed_tgan([columns], [ordered], np.full(3, 100.0))
        assert weights[2] < weights[0] == pytest.approx(weights[1])


def test_fed_tgan_of_one_site_of_empty_columns_and_of_none():
    assert fed_tgan([np.ones((1, 3))], [True], np.array([3.0])).tolist() == [1.0]
    blank = np.zeros((2, 3))
    np.testing.assert_allclose(fed_tgan([blank, blank], [True, False], np.ones(2)), 0.5)
    absent = np.array([[5.0, 5.0], [0.0, 0.0], [9.0, 1.0]])
    assert np.isfinite(fed_tgan([absent, absent], [True, False], np.array([10.0, 0, 10]))).all()
    with pytest.raises(ValueError, match="column"):
        fed_tgan([], [], np.ones(2))


def test_ifl_gan_favours_the_site_that_is_fitted_worst_whatever_its_rows():
    np.testing.assert_allclose(ifl_gan(LOSSES), softmax(LOSSES))
    np.testing.assert_allclose(ifl_gan(np.array([1e4, 1e4])), 0.5)


def test_afl_climbs_and_stays_on_the_simplex():
    np.testing.assert_allclose(afl(SHARES, np.full(3, 0.7), 2.0), SHARES)
    inside = afl(equal(3), LOSSES, 0.1)
    np.testing.assert_allclose(inside - 1 / 3, 0.1 * (LOSSES - LOSSES.mean()))
    weights = equal(3)
    for _ in range(50):
        weights = afl(weights, LOSSES, 0.5)
    assert weights.tolist() == [0.0, 0.0, 1.0]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_the_projection_is_a_distribution_that_keeps_order(values):
    point = np.array(values)
    found = project_simplex(point)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    assert (np.diff(found[np.argsort(point)]) >= 0).all()
    np.testing.assert_allclose(project_simplex(found), found, atol=1e-12)


def test_the_projection_is_the_nearest_point():
    rng = np.random.default_rng(1)
    for _ in range(10):
        point = rng.normal(size=5)
        nearest = minimize(
            lambda p, q=point: ((p - q) ** 2).sum(),
            equal(5),
            bounds=[(0, 1)] * 5,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-13},
        )
        np.testing.assert_allclose(project_simplex(point), nearest.x, atol=1e-5)


def test_q_is_the_gradients_weight_under_its_objective():
    q, step = 1.7, 1e-6

    def objective(losses):
        return (SHARES * losses ** (q + 1)).sum() / (q + 1)

    slope = [
        (objective(LOSSES + step * e) - objective(LOSSES - step * e)) / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(q_fedavg(LOSSES, SHARES, q), slope / np.sum(slope), rtol=1e-6)
    np.testing.assert_allclose(q_fedavg(LOSSES, SHARES, 0.0), SHARES)


def test_q_fedavg_bears_losses_of_zero_below_zero_and_large_q():
    np.testing.assert_allclose(q_fedavg(np.zeros(3), SHARES, 40.0), SHARES)
    np.testing.assert_allclose(q_fedavg(np.array([-1.0, 0.0, -0.5]), SHARES, 1.0), SHARES)
    weights = q_fedavg(np.array([-0.1, 0.0, 0.5]), equal(3), 1.0)
    assert weights[0] == weights[1] > 0
    np.testing.assert_allclose(q_fedavg(LOSSES * 1e-9, SHARES, 900.0), [0, 0, 1], atol=1e-9)


def test_term_is_the_gradients_weight_under_its_objective():
    tilt, step = 2.5, 1e-6

    def objective(losses):
        return np.log((SHARES * np.exp(tilt * losses)).sum()) / tilt

    slope = [
        (objective(LOSSES + step * e) - objective(LOSSES - step * e)) / (2 * step)
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(term(LOSSES, SHARES, tilt), slope, rtol=1e-6)
    np.testing.assert_allclose(term(LOSSES, SHARES, 0.0), SHARES)


def test_term_is_stable_and_leaves_a_share_of_zero_at_zero():
    np.testing.assert_allclose(term(1e5 + LOSSES, SHARES, 3.0), term(LOSSES, SHARES, 3.0))
    np.testing.assert_allclose(term(LOSSES, SHARES, 1e6), [0, 0, 1])
    assert term(np.array([1e9, 1.0]), np.array([0.0, 1.0]), 5.0).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "rule",
    [
        ifl_gan,
        lambda losses: afl(SHARES, losses, 1.0),
        lambda losses: q_fedavg(losses, SHARES, 1.0),
        lambda losses: term(losses, SHARES, 1.0),
    ],
)
def test_figures_that_are_not_finite_are_named(rule):
    with pytest.raises(NumericalError) as found:
        rule(np.array([0.1, np.nan, np.inf]))
    assert [problem[:6] for problem in found.value.problems] == ["site 1", "site 2"]
