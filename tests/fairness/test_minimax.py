"""Minimax group weights: closed forms of a move, and masses that keep to their bounds."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from everymode.fairness.weighting.minimax import MinimaxRule, MinimaxState, step, within
from everymode.wgan.errors import SettingsError, StateError

PLAIN = MinimaxRule(rate=0.3, momentum=0.0)
BASE = np.array([0.5, 0.3, 0.2])


def start(base=BASE):
    return MinimaxState(tuple(base.tolist()), (0.0,) * len(base))


def moves(rule, base, risk, count):
    states = [start(base)]
    for _ in range(count):
        states.append(step(rule, states[-1], base, np.array(risk)))
    return states


distributions = st.lists(st.floats(0.01, 1), min_size=2, max_size=7).map(
    lambda v: np.array(v) / np.sum(v)
)


@pytest.mark.parametrize("risk", [0.0, 0.1, 3.7])
def test_equal_risks_leave_masses_alone(risk):
    last = moves(MinimaxRule(), BASE, [risk] * 3, 5)[-1]
    np.testing.assert_allclose(last.mass, BASE)
    assert last.velocity == (0.0, 0.0, 0.0)


def test_a_move_changes_ratios_by_the_exponential_of_the_risks_difference():
    risk = np.array([0.02, 0.05, 0.03])
    scale = risk.max()
    ratio = np.array(step(PLAIN, start(), BASE, risk).mass) / BASE
    for i in range(3):
        for j in range(3):
            expected = np.exp(PLAIN.rate * (risk[i] - risk[j]) / scale)
            assert ratio[i] / ratio[j] == pytest.approx(expected)


def test_the_risks_unit_does_not_matter_but_their_ratios_do():
    risk = np.array([0.02, 0.05, 0.03])
    moved = step(PLAIN, start(), BASE, risk).mass
    np.testing.assert_allclose(step(PLAIN, start(), BASE, 1000 * risk).mass, moved)
    # Nearly equal risks hardly move anything.
    assert np.abs(np.array(step(PLAIN, start(), BASE, risk + 4).mass) - BASE).max() < 0.01


def test_momentum_keeps_its_share_of_the_last_direction():
    rule = MinimaxRule(rate=0.1, momentum=0.75)
    first = step(rule, start(), BASE, np.array([0.0, 2.0, 1.0]))
    np.testing.assert_allclose(first.velocity, [-0.125, 0.125, 0.0])
    np.testing.assert_allclose(
        step(rule, first, BASE, np.array([2.0, 0.0, 1.0])).velocity,
        [0.75 * -0.125 + 0.125, 0.75 * 0.125 - 0.125, 0.0],
    )


def test_momentum_averages_out_risks_that_differ_by_chance():
    rng = np.random.default_rng(0)
    risks = rng.uniform(0, 1, (200, 3))
    paths = {}
    for momentum in (0.0, 0.9):
        state, rule = start(), MinimaxRule(0.05, momentum, ceiling=1e3, floor=1e-3)
        speed = []
        for risk in risks:
            state = step(rule, state, BASE, risk)
            speed.append(np.abs(state.velocity).mean())
        paths[momentum] = np.mean(speed)
    assert paths[0.9] < 0.4 * paths[0.0]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("base", "end"),
    [([0.9, 0.1], 0.4), ([0.5, 0.5], 0.875), ([0.5, 0.3, 0.2], 0.8)],
    ids=["ceiling", "floor of the other", "ceiling of three"],
)
def test_the_worst_groups_mass_grows_to_what_the_bounds_allow(base, end, momentum):
    risk = np.arange(1.0, len(base) + 1)
    states = moves(MinimaxRule(0.3, momentum), np.array(base), risk, 60)
    worst = [state.mass[-1] for state in states]
    assert all(after >= before - 1e-12 for before, after in pairwise(worst))
    assert worst[1] > worst[0] and worst[5] > worst[1]
    assert worst[-1] == pytest.approx(end)


def test_a_group_of_unknown_risk_keeps_mass_and_velocity():
    state = MinimaxState((0.4, 0.35, 0.25), (0.5, -0.5, 0.25))
    moved = step(MinimaxRule(), state, BASE, np.array([1.0, 2.0, np.nan]))
    assert moved.mass[2] == 0.25 and moved.velocity[2] == 0.25
    assert moved.mass[0] + moved.mass[1] == pytest.approx(0.75)
    assert moved.mass[:2] != state.mass[:2]
    alone = step(PLAIN, start(), BASE, np.array([np.nan, 9.0, np.nan]))
    np.testing.assert_allclose(alone.mass, BASE)
    assert step(MinimaxRule(), state, BASE, np.full(3, np.nan)) == state


def test_a_group_without_base_mass_stays_without():
    base = np.array([0.6, 0.0, 0.4])
    last = moves(PLAIN, base, [1.0, 50.0, 2.0], 9)[-1]
    assert last.mass[1] == 0.0 and last.velocity[1] == 0.0
    assert last.mass[2] > 0.4


@given(distributions, st.data())
def test_masses_sum_to_one_within_their_bounds(base, data):
    risks = st.lists(
        st.one_of(st.floats(0, 1e6), st.just(float("nan"))),
        min_size=len(base),
        max_size=len(base),
    )
    rule = MinimaxRule(data.draw(st.floats(0.01, 5)), 0.5, ceiling=2.0, floor=0.5)
    state = start(base)
    for _ in range(4):
        state = step(rule, state, base, np.array(data.draw(risks)))
        mass = np.array(state.mass)
        assert mass.sum() == pytest.approx(1, abs=1e-9)
        assert (mass >= 0.5 * base - 1e-12).all() and (mass <= 2 * base + 1e-12).all()
        assert (np.abs(state.velocity) <= 1 + 1e-12).all()


@given(distributions, st.data())
def test_the_projection_keeps_bounds_sum_and_order(base, data):
    weights = np.array(
        data.draw(st.lists(st.floats(1e-6, 1e6), min_size=len(base), max_size=len(base)))
    )
    low, high = 0.3 * base, 2.5 * base
    found = within(weights, low, high)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert (found >= low).all() and (found <= high).all()
    relative = found / base
    order = np.argsort(weights / base)
    assert (np.diff(relative[order]) >= -1e-9).all()
    np.testing.assert_allclose(within(found, low, high), found, atol=1e-9)


def test_the_projection_is_the_nearest_in_relative_entropy():
    rng = np.random.default_rng(3)
    for _ in range(20):
        base, weights = rng.dirichlet(np.ones(5)), rng.dirichlet(np.full(5, 0.4)) + 1e-4
        low, high = 0.25 * base, 2 * base
        found = within(weights, low, high)
        expected = minimize(
            lambda p, w=weights: float((p * np.log(p / w)).sum()),
            base,
            jac=lambda p, w=weights: np.log(p / w) + 1,
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(found, expected.x, atol=1e-5)
        free = (found > low) & (found < high)
        np.testing.assert_allclose((found / weights)[free], (found / weights)[free].mean())


def test_cutting_and_rescaling_once_is_not_the_projection():
    weights, low, high = np.array([8.0, 1.0, 1.0]), np.full(3, 0.1), np.full(3, 0.6)
    once = np.clip(weights / weights.sum(), low, high)
    once /= once.sum()
    assert once.max() > high.max()
    np.testing.assert_allclose(within(weights, low, high), [0.6, 0.2, 0.2])


def test_bounds_that_meet_or_contradict():
    np.testing.assert_allclose(within(np.array([5.0, 1.0, 1.0]), BASE, BASE), BASE)
    fixed = MinimaxRule(ceiling=1.0, floor=1.0)
    np.testing.assert_allclose(step(fixed, start(), BASE, np.array([1.0, 2, 3])).mass, BASE)
    with pytest.raises(ValueError, match="no masses of sum"):
        within(np.ones(2), np.full(2, 0.6), np.ones(2))


def test_a_state_survives_json():
    state = moves(MinimaxRule(), BASE, [0.1, 0.7, 0.3], 3)[-1]
    assert MinimaxState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_what_does_not_fit_is_refused():
    with pytest.raises(SettingsError) as found:
        MinimaxRule(rate=0, momentum=1, ceiling=0.5, floor=0)
    assert len(found.value.problems) == 4
    risk = np.ones(3)
    with pytest.raises(ValueError, match="sum to 1"):
        step(PLAIN, start(), 2 * BASE, risk)
    for wrong in (np.ones(2), -risk, np.array([1.0, np.inf, 0.0])):
        with pytest.raises(ValueError, match="3 finite risks"):
            step(PLAIN, start(), BASE, wrong)
    for other in (start(np.array([0.5, 0.5])), start(np.array([0.5, 0.0, 0.5]))):
        with pytest.raises(StateError, match="minimax weights of"):
            step(PLAIN, other, BASE, risk)
