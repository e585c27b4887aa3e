"""The strength of views, and the overfitting that it follows."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from everymode.wgan.strength import (
    Adaptive,
    Constant,
    Decay,
    StrengthSpec,
    held_out_statistic,
    sign_statistic,
)

RULES = [
    Constant(),
    Constant(0.3),
    Decay(),
    Decay(0.7, 1.0, "cosine"),
    Adaptive(),
    Adaptive(0.5, 0.3, "sign", 0.2, 0.4),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
means = st.floats(-1e6, 1e6)


@every_rule
def test_contract(rule):
    assert 0 <= rule.start <= 1
    assert rule.reads in ("nothing", "sign", "held_out")
    strength = rule.start
    for step in range(21):
        for statistic in (None, float("nan"), 0.0, 0.5, 0.6, 1.0):
            strength = rule.next(strength, step / 20, statistic)
            assert 0 <= strength <= 1
    adapter = TypeAdapter(StrengthSpec)
    assert adapter.validate_json(adapter.dump_json(rule)) == rule
    assert adapter.validate_python({"kind": rule.kind}) == type(rule)()


@every_rule
def test_what_a_rule_does_not_read_does_not_matter(rule):
    told = {rule.next(0.2, 0.4, statistic) for statistic in (None, 0.0, 1.0)}
    assert len(told) == (1 if rule.reads == "nothing" else 3)


def test_constant_is_constant():
    assert Constant(0.3).start == 0.3
    assert [Constant(0.3).next(s, p, None) for s, p in ((0.0, 0.0), (1.0, 1.0))] == [0.3, 0.3]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("linear", [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        ("cosine", [0.8, 0.4 + 0.4 * math.sqrt(0.5), 0.4, 0.4 - 0.4 * math.sqrt(0.5), 0.0, 0.0]),
    ],
)
def test_decay_in_closed_form(form, expected):
    rule = Decay(0.8, 0.5, form)
    got = [rule.next(0.9, progress, None) for progress in (0.0, 0.125, 0.25, 0.375, 0.5, 1.0)]
    assert got == pytest.approx(expected, abs=1e-12)
    # Views at strength 0 are exactly the identity, so 0 must be 0.
    assert got[-2:] == [0.0, 0.0] and rule.next(0.9, 0.0, None) == rule.start


def test_adaptive_moves_towards_its_target():
    rule = Adaptive(target=0.5, speed=0.1, limit=0.25)
    path, strength = [], rule.start
    for statistic in (0.9, 0.51, 0.5, None, 0.9, 0.9, 0.1, 0.0, 0.0, 0.0):
        strength = rule.next(strength, 0.0, statistic)
        path.append(strength)
    expected = [0.1, 0.2, 0.2, 0.2, 0.25, 0.25, 0.15, 0.05, 0.0, 0.0]
    assert path == pytest.approx(expected, abs=1e-12)


def test_adaptive_settles_where_overfitting_meets_the_target():
    # A critic that overfits less the stronger its views: 1 - strength.
    rule, strength = Adaptive(target=0.6, speed=0.01), 0.0
    for _ in range(200):
        strength = rule.next(strength, 0.0, 1 - strength)
    assert strength == pytest.approx(0.4, abs=0.011)


@pytest.mark.parametrize(
    ("train", "held", "fake", "expected"),
    [
        (3.0, 3.0, -1.0, 0.0),
        (3.0, 2.0, -1.0, 0.25),
        (3.0, -1.0, -1.0, 1.0),
        (3.0, -5.0, -1.0, 1.0),
        (3.0, 4.0, -1.0, 0.0),
        (1.0, 0.0, 1.0, 0.0),
        (0.0, -1.0, 1.0, 0.0),
        (float("nan"), 0.0, 0.0, 0.0),
        (1.0, float("nan"), 0.0, 0.0),
        (float("inf"), 0.0, 0.0, 0.0),
    ],
)
def test_held_out_statistic_in_closed_form(train, held, fake, expected):
    assert held_out_statistic(train, held, fake) == expected


@given(means, means, means)
def test_held_out_statistic_stays_in_its_range(train, held, fake):
    assert 0 <= held_out_statistic(train, held, fake) <= 1


@given(st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_held_out_statistic_ignores_what_a_wasserstein_critic_leaves_open(shift, factor):
    train, held, fake = (factor * mean + shift for mean in (3.0, 2.2, -1.0))
    assert held_out_statistic(train, held, fake) == pytest.approx(0.2, rel=1e-6)


def test_the_sign_does_not():
    scores = torch.tensor([-0.5, 0.2, 0.4, 3.0])
    assert sign_statistic(scores.sign().mean().item()) == 0.5
    assert sign_statistic((scores + 1).sign().mean().item()) == 1.0
    assert sign_statistic((scores - 5).sign().mean().item()) == 0.0


def test_sums_over_sites_give_the_pooled_statistic():
    rng = torch.Generator().manual_seed(0)
    scores = {
        name: torch.randn(60, generator=rng, dtype=torch.float64) + mean
        for name, mean in (("train", 1.0), ("held", 0.6), ("fake", -0.5))
    }
    pooled = held_out_statistic(*(s.mean().item() for s in scores.values()))
    parts = [s.split([7, 53]) for s in scores.values()]
    summed = [(a.sum().item() + b.sum().item()) / (len(a) + len(b)) for a, b in parts]
    assert held_out_statistic(*summed) == pytest.approx(pooled, rel=1e-12)
    assert 0 < pooled < 1


def test_a_critic_that_learns_rows_by_heart_is_seen():
    rng = torch.Generator().manual_seed(1)
    train, held = torch.randn(2, 200, 8, generator=rng).unbind()
    fake = torch.randn(200, 8, generator=rng) - 1.0

    def statistic(critic):
        return held_out_statistic(*(critic(x).mean().item() for x in (train, held, fake)))

    # Memory: nearness to the nearest row trained on. Knowledge: the side of the mean.
    assert statistic(lambda x: -torch.cdist(x, train).min(1).values) > Adaptive().target
    assert statistic(lambda x: x.sum(1)) < 0.2


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "sawtooth"},
        {"kind": "constant", "value": 1.5},
        {"kind": "decay", "until": 0.0},
        {"kind": "decay", "form": "square"},
        {"kind": "adaptive", "speed": 0.0},
        {"kind": "adaptive", "statistic": "nothing"},
        {"kind": "adaptive", "limit": -0.1},
    ],
    ids=repr,
)
def test_a_configuration_out_of_range_is_refused(value):
    with pytest.raises(ValidationError):
        TypeAdapter(StrengthSpec).validate_python(value)
