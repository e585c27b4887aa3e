"""Figures of attacks: curves, intervals, bounds of epsilon; against formulas and simulations."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from everymode.fairness.attacks import roc
from everymode.fairness.attacks.epsilon import (
    clopper_pearson,
    epsilon_by_rates,
    epsilon_one_run,
)
from everymode.fairness.attacks.rates import rate, risk


def scores(shift, count=2000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, size=count), rng.normal(size=count)


def test_area_and_curve_are_scikit_learn_s():
    ours, theirs = (np.round(s, 1) for s in scores(0.5, 300))
    truth, both = np.repeat([1, 0], 300), np.concatenate([ours, theirs])
    found = roc.area(ours, theirs)
    assert found.value == pytest.approx(roc_auc_score(truth, both))
    assert found.low < found.value < found.high
    alarms, hits = roc.curve(ours, theirs)
    fpr, tpr, _ = roc_curve(truth, both, drop_intermediate=False)
    assert np.allclose(alarms, fpr) and np.allclose(hits, tpr)


def test_rates_at_false_alarms_are_the_normal_law_s():
    ours, theirs = scores(1.0, 20_000)
    one, tenth = roc.rates_at(ours, theirs, np.random.default_rng(0))
    # P(z > 2.326 - 1) and P(z > 3.090 - 1).
    assert one.low < 0.0924 < one.high and tenth.low < 0.0183 < tenth.high
    assert one.high - one.low < 0.03


def test_a_rate_of_false_alarms_that_too_few_rows_set_is_unknown():
    ours, theirs = scores(0.0, 299)
    assert roc.rates_at(ours, theirs, np.random.default_rng(0))[0].value is None


def test_equal_scores_are_told_apart_by_chance_alone():
    same = np.zeros(1000)
    (found,) = roc.rates_at(same, same, np.random.default_rng(0), (0.01,))
    assert found.value == pytest.approx(0.01) and roc.area(same, same).value == 0.5
    # Half of the members tie with a tenth of the others: a tenth of that half is found at .01.
    ours, theirs = np.repeat([1.0, 0.0], [500, 500]), np.repeat([1.0, 0.0], [100, 900])
    (found,) = roc.rates_at(ours, theirs, np.random.default_rng(0), (0.01,))
    assert found.value == pytest.approx(0.05)


def test_intervals_hold_the_true_rate():
    held = 0
    for seed in range(60):
        ours, theirs = scores(1.0, 1000, seed)
        (found,) = roc.rates_at(ours, theirs, np.random.default_rng(seed), (0.05,))
        held += found.low <= 0.2595 <= found.high
    assert held >= 53


def test_a_curve_for_a_picture_ascends():
    points = roc.pictured(*scores(1.0, 500))
    assert len(points) <= roc.POINTS and points[-1] == (1.0, 1.0)
    assert all(a <= c and b <= d for (a, b), (c, d) in itertools.pairwise(points))


def test_clopper_pearson_covers_at_least_as_often_as_it_says():
    assert clopper_pearson(10, 10, 0.025)[1] == 1.0
    rng, share = np.random.default_rng(0), 0.02
    lows, highs = np.array(
        [clopper_pearson(int(n), 200, 0.025) for n in rng.binomial(200, share, 3000)]
    ).T
    assert (lows > share).mean() <= 0.03 and (highs < share).mean() <= 0.03


def randomised_response(epsilon, count, seed):
    """Bits of members and others, told truly with the probability that epsilon allows at most."""
    rng = np.random.default_rng(seed)
    truly = 1 / (1 + math.exp(-epsilon))
    flips = [rng.random(count) > truly for _ in range(2)]
    return (1.0 - flips[0]), flips[1].astype(np.float64)


@pytest.mark.parametrize("bound", [epsilon_by_rates, epsilon_one_run])
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_bounds_of_epsilon_hold_and_come_near(bound, epsilon):
    """Of a mechanism whose epsilon is known, and tight."""
    found = [
        bound(*randomised_response(epsilon, 4000, seed), 0.0, np.random.default_rng(seed))
        for seed in range(40)
    ]
    # Each holds with 95 %: that six of 40 fail has a probability of 1 in 100.
    assert np.mean([value <= epsilon for value in found]) >= 0.87
    assert np.median(found) > 0.75 * epsilon - 0.01


def test_a_bound_of_epsilon_takes_delta_off_and_is_never_negative():
    ours, theirs = randomised_response(1.0, 4000, 0)
    for bound in (epsilon_by_rates, epsilon_one_run):
        plain, less = (bound(ours, theirs, d, np.random.default_rng(0)) for d in (0.0, 1e-5))
        assert 0 < less < plain
        assert bound(theirs, ours, 0.0, np.random.default_rng(0)) == 0.0
        assert bound(ours[:1], theirs[:1], 0.0, np.random.default_rng(0)) == 0.0


def test_risk_is_that_of_the_formula():
    """Giomi et al., 2023, equations 2 to 4, by hand: Wilson's centres of 80 and 20 in 100."""
    hits, less = np.arange(100) < 80, np.arange(100) < 20
    z = 1.959964
    centres = [(n + z * z / 2) / (100 + z * z) for n in (80, 20)]
    assert risk(hits, less).value == pytest.approx((centres[0] - centres[1]) / (1 - centres[1]))
    assert risk(less, hits).value == 0.0 and rate(hits[:0]).value is None
    assert risk(hits[:0], less).value is None
