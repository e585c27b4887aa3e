"""When a plateau is one."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from everymode.wgan.errors import StateError
from everymode.wgan.stopping import Plateau, PlateauState, calibrated

SEEDS = range(40)


def curve(seed, rise=20, fall=12.0, floor=0.1, noise=0.05, length=160):
    """The estimate of a training: the critic learns, the generator follows, noise all along."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)
    clean = np.where(t < rise, (t + 1) / rise, floor + (1 - floor) * np.exp(-(t - rise) / fall))
    return clean + noise * rng.normal(size=length)


def fires_at(values, rule=None, state=None):
    rule, state = rule or Plateau(), state or PlateauState()
    for index, value in enumerate(values):
        state = rule.update(state, value)
        if rule.has_plateaued(state):
            return index
    return None


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("floor", [0.3, 0.1, 0.0, -0.05])
def test_fires_within_a_window_after_the_plateau_begins(noise, floor):
    # It begins, say, where 2 % of the peak are left to fall. Noise hides the end of a fall and
    # delays its detection, so allow two patiences before and four after.
    rise, fall = 20, 12.0
    begins = rise + fall * math.log((1 - floor) / 0.02)
    found = [fires_at(curve(seed, rise, fall, floor, noise)) for seed in SEEDS]
    assert None not in found
    assert min(found) >= begins - 20
    assert begins <= np.median(found) <= begins + 30
    assert max(found) <= begins + 40


@pytest.mark.parametrize(("rise", "noise"), [(10, 0.1), (30, 0.1), (60, 0.1), (100, 0.05)])
def test_never_fires_during_the_rise(rise, noise):
    assert all(fires_at(curve(seed, rise, noise=noise)[:rise]) is None for seed in range(200))


def test_without_its_guards_a_noisy_rise_would_stop_the_training():
    # The negative control: best value so far, patience, nothing else.
    def naive(values, patience=10):
        return any(
            index - int(np.argmin(values[: index + 1])) >= patience for index in range(len(values))
        )

    assert all(naive(curve(seed, 60)[:60]) for seed in SEEDS)


def test_a_slow_but_steady_fall_goes_on():
    # 2 % of the peak in every 10 evaluations, to the very end.
    falling = np.concatenate([np.linspace(0.1, 1, 10), np.linspace(1, 0.6, 200)])
    assert fires_at(falling) is None


@pytest.mark.parametrize("level", [0.0, -1.0])
def test_a_critic_that_never_told_real_from_fake_is_no_plateau(level):
    assert fires_at([level] * 100) is None


def test_not_before_the_minimum():
    rule = Plateau(patience=1, minimum=30)
    assert fires_at([1.0] * 40, rule) == 29


@given(
    values=st.lists(st.floats(-2, 2), min_size=2, max_size=60),
    cut=st.integers(0, 60),
    smoothing=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_a_resumed_rule_decides_as_one_that_ran_on(values, cut, smoothing):
    rule = Plateau(patience=3, minimum=2, smoothing=smoothing)
    straight, resumed, decisions = PlateauState(), PlateauState(), []
    for index, value in enumerate(values):
        if index == cut:
            resumed = PlateauState.from_dict(json.loads(json.dumps(resumed.to_dict())))
        straight, resumed = rule.update(straight, value), rule.update(resumed, value)
        decisions.append((rule.has_plateaued(straight), rule.has_plateaued(resumed)))
    assert straight == resumed
    assert all(a == b for a, b in decisions)


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), factor=st.floats(1e-6, 1e6))
def test_the_unit_of_the_estimate_does_not_matter(seed, factor):
    values = curve(seed)
    assert fires_at(values * factor) == fires_at(values)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_estimate_is_passed_over(value):
    state = Plateau().update(PlateauState(), 1.0)
    assert Plateau().update(state, value) == state


@pytest.mark.parametrize(
    "change", [{"peak": math.nan}, {"seen": 1.5}, {"best": "low"}, {"seen": True}, {"extra": 1}]
)
def test_a_damaged_state_is_refused(change):
    with pytest.raises(StateError, match="plateau"):
        PlateauState.from_dict({**PlateauState().to_dict(), **change})


def test_an_incomplete_state_is_refused():
    with pytest.raises(StateError, match="expected"):
        PlateauState.from_dict({"best": 1.0})


@given(slope=st.floats(1e-3, 1e3))
def test_a_linear_critic_of_any_slope_gives_the_distance_of_shifted_rows(slope):
    real = np.random.default_rng(0).normal(size=200)
    fake = real - 0.7
    estimate = float((slope * real).mean() - (slope * fake).mean())
    assert calibrated(estimate, slope) == pytest.approx(wasserstein_distance(real, fake))
    assert calibrated(estimate, slope, scale=3.0) == pytest.approx(2.1)


@given(seed=st.integers(0, 200), kinks=st.integers(1, 12), gain=st.floats(0.1, 10))
def test_divided_by_its_largest_slope_any_critic_stays_below_w1(seed, kinks, gain):
    rng = np.random.default_rng(seed)
    real, fake = rng.normal(0, 1, 300), rng.normal(1, 2, 300)
    grid = np.linspace(-12, 14, kinks + 2)
    heights = gain * rng.normal(size=kinks + 2)
    steepest = float(np.abs(np.diff(heights) / np.diff(grid)).max())
    estimate = float(np.interp(real, grid, heights).mean() - np.interp(fake, grid, heights).mean())
    found = calibrated(estimate, steepest)
    assert found is not None
    assert found <= wasserstein_distance(real, fake) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("estimate", "slope"),
    [(1.0, 0.0), (1.0, -1.0), (1.0, math.nan), (math.inf, 1.0), (1e300, 1e-300)],
)
def test_nothing_is_made_of_a_slope_that_says_nothing(estimate, slope):
    assert calibrated(estimate, slope) is None


def test_the_95_percent_slope_withstands_a_critic_that_is_flat_almost_everywhere():
    # Six rows in a hundred lie 1 away, in the only region where the critic has a slope.
    real = torch.zeros(1000)
    fake = torch.zeros(1000)
    fake[:60] = -1.0
    estimate = float(real.mean() - fake.mean())
    slopes = (fake < 0).double()
    assert calibrated(estimate, float(slopes.quantile(0.95))) == pytest.approx(0.06)
    assert calibrated(estimate, float(slopes.quantile(0.5))) is None
