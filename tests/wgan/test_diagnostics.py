"""What the numbers of a training are said to mean."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from everymode.wgan.diagnostics import (
    Finding,
    Observation,
    diagnose,
    overfitting_gap,
    summary,
    table_rows,
)

NEAR = (0.7, 0.9, 1.0, 1.1, 1.3)
T = np.arange(40)
SEEDS = range(30)


# --- observations


def observed(step=0, **changes):
    plain = Observation(step, 1.0, 0.1, -0.2, NEAR, 1.0, 0.9, 0.0, 0.0, None)
    return replace(plain, **changes)


def series(estimates, **columns):
    """A history with these estimates; other columns as arrays or constants."""
    return [
        observed(
            i,
            estimate=float(v),
            **{k: c[i] if isinstance(c, np.ndarray) else c for k, c in columns.items()},
        )
        for i, v in enumerate(estimates)
    ]


@pytest.mark.parametrize(
    "changes", [{}, {"held_score": None, "slopes": None}, {"quality": 0.3, "strength": 0.5}]
)
def test_observations_go_through_json(changes):
    before = observed(7, **changes)
    text = json.dumps(before.to_dict(), allow_nan=False)
    assert Observation.from_dict(json.loads(text)) == before


def test_what_is_not_finite_goes_through_json_as_null():
    before = observed(estimate=math.inf, slopes=(0.1, 0.2, 0.3, 0.4, math.nan))
    after = Observation.from_dict(json.loads(json.dumps(before.to_dict(), allow_nan=False)))
    assert math.isnan(after.estimate) and not after.finite


@pytest.mark.parametrize(
    ("held", "gap"), [(1.0, 0.0), (0.75, 0.25), (0.0, 1.0), (1.5, -0.5), (None, None)]
)
def test_overfitting_gap(held, gap):
    assert overfitting_gap(observed(held_score=held)) == gap


def test_no_gap_where_real_is_not_above_fake():
    assert overfitting_gap(observed(train_score=0.0, fake_score=0.1)) is None


# --- verdicts


def finding(history, aspect="estimate", **options):
    (found,) = [f for f in diagnose(history, **options) if f.aspect == aspect]
    return found


def rise_and(after, seed, noise=0.03, rise=8):
    after = np.asarray(after, dtype=float)
    rng = np.random.default_rng(seed)
    whole = np.concatenate([np.linspace(0.1, after[0], rise), after])
    return whole + noise * rng.normal(size=len(whole))


LONG = np.arange(60)
WOBBLE = 0.6 + 0.35 * np.sin(2 * np.pi * LONG / 7)


@pytest.mark.parametrize(
    ("after", "columns", "verdict", "says", "key"),
    [
        (np.exp(-T / 20), {}, "good", "falls", ""),
        (np.full(60, 0.95), {}, "bad", "stuck high", "model.generator_rate"),
        (0.3 + 0.7 * np.exp(-LONG / 4), {}, "good", "settled", "train.rounds"),
        (WOBBLE, {}, "watch", "oscillates", "model.generator_rate"),
        (np.exp(-LONG / 5), {}, "good", "not measured", "look at samples"),
        (np.exp(-LONG / 5), {"quality": np.full(68, 2.0)}, "bad", "no power", "train.critic_steps"),
        (np.exp(-LONG / 5), {"quality": np.geomspace(2, 0.1, 68)}, "good", "closer", ""),
        (1 - np.minimum(LONG / 20, 1.5), {}, "bad", "outruns", "train.critic_steps"),
        (np.full(60, -0.4), {}, "bad", "never above 0", "train.critic_steps"),
        (
            np.concatenate([np.exp(-T / 5) + 0.05, np.linspace(0.05, 0.9, 30)]),
            {},
            "watch",
            "rises again",
            "model.critic_rate",
        ),
    ],
)
def test_the_estimate(after, columns, verdict, says, key):
    hits = 0
    for seed in SEEDS:
        values = rise_and(after, seed) if after[0] > 0 else after - 0.01
        found = finding(series(values, **columns))
        hits += (found.verdict, says in found.what, key in found.advice) == (verdict, True, True)
    assert hits >= 0.9 * len(SEEDS)


def test_a_rising_estimate_at_first_is_no_verdict():
    for seed in SEEDS:
        early = 0.05 * np.random.default_rng(seed).normal(size=20) + np.linspace(0.1, 1, 20)
        found = finding(series(early))
        assert (found.verdict, "learning" in found.what) == ("unknown", True)


def test_a_slope_that_grows_is_not_taken_for_a_distance():
    # The estimate grows tenfold, but only because the critic does.
    growth = np.geomspace(1, 10, 40)
    slopes = [tuple(growth[i] * s for s in NEAR) for i in range(40)]
    history = [observed(i, estimate=growth[i], slopes=slopes[i]) for i in range(40)]
    assert "stuck high" in finding(history).what
    assert finding(history, "slopes").verdict == "bad"


@pytest.mark.parametrize("slopes", [None, (5.0, 8.0, 10.0, 15.0, 30.0)])
@pytest.mark.parametrize("bounded", [True, False])
def test_explosion(slopes, bounded):
    for seed in SEEDS:
        noise = np.exp(0.1 * np.random.default_rng(seed).normal(size=40))
        losses = 1.3**T * noise
        history = series(losses, slopes=None, penalty=losses, generator_loss=-losses)
        history = [replace(o, slopes=slopes) for o in history]
        for aspect in ("estimate", "penalty", "generator loss"):
            found = finding(history, aspect, bounded=bounded)
            assert (found.verdict, "explodes" in found.what) == ("bad", True)
            assert "model.critic_rate" in found.advice


@pytest.mark.parametrize("name", ["estimate", "penalty", "generator_loss", "fake_score", "quality"])
def test_divergence(name):
    history = [*series(np.ones(10)), observed(10, **{name: math.nan})]
    (found,) = diagnose(history)
    assert (found.verdict, "not finite at step 10" in found.what) == ("bad", True)


@pytest.mark.parametrize("slopes", [NEAR, None])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_evaluations_are_no_ground_for_a_verdict(count, slopes):
    found = diagnose(series(np.ones(count), slopes=slopes))
    assert found[0].verdict == "unknown"
    assert "bad" not in {f.verdict for f in found}


@pytest.mark.parametrize(
    ("slopes", "verdict", "says", "key"),
    [
        (NEAR, "good", "near the target", ""),
        ((1.0, 1.3, 1.7, 2.0, 2.9), "watch", "too steep", "raise model.gradient_penalty"),
        ((1.0, 2.0, 3.0, 5.0, 9.0), "bad", "too steep", "raise model.gradient_penalty"),
        ((0.1, 0.2, 0.3, 0.4, 0.5), "watch", "too flat", "raise train.critic_steps"),
        ((0.01, 0.02, 0.05, 0.1, 0.2), "bad", "too flat", "lower model.gradient_penalty"),
        ((0.01, 0.5, 0.9, 1.1, 1.3), "watch", "dead", "train.critic_steps"),
        (None, "unknown", "not measured", ""),
    ],
)
def test_slopes(slopes, verdict, says, key):
    found = finding(series(np.ones(6), slopes=slopes), "slopes")
    assert (found.verdict, says in found.what, key in found.advice) == (verdict, True, True)
    if slopes is not None:
        doubled = series(np.ones(6), slopes=tuple(2 * s for s in slopes))
        assert finding(doubled, "slopes", target=2.0) == found


def test_slopes_that_nothing_bounds_are_not_judged():
    history = series(np.ones(6), slopes=(10.0,) * 5)
    assert finding(history, "slopes", bounded=False).verdict == "unknown"


@pytest.mark.parametrize(
    ("held", "verdict"), [(0.9, "good"), (0.55, "watch"), (0.2, "bad"), (None, "unknown")]
)
def test_overfitting(held, verdict):
    assert finding(series(np.ones(6), held_score=held), "overfitting").verdict == verdict


@pytest.mark.parametrize(("strength", "says"), [(0.0, "use"), (0.4, "rise"), (1.0, "strongest")])
def test_advice_against_overfitting_knows_the_views(strength, says):
    found = finding(series(np.ones(6), held_score=0.2, strength=strength), "overfitting")
    assert says in found.advice and "more rows" in found.advice


def test_a_gap_between_scores_that_hardly_differ_is_no_verdict():
    apart = np.concatenate([np.ones(10), np.full(10, 0.01)])
    history = series(np.ones(20), train_score=apart, held_score=-apart)
    assert finding(history, "overfitting").verdict == "unknown"


def test_summary_puts_the_worst_first():
    found = [
        Finding("slopes", "good", "near"),
        Finding("penalty", "unknown", "few"),
        Finding("overfitting", "watch", "gap .4", "views"),
        Finding("estimate", "bad", "stuck high", "raise"),
    ]
    assert summary(found) == (
        "bad: estimate (stuck high); watch: overfitting (gap .4); good: slopes; unknown: penalty"
    )
    assert summary([]) == ""
    assert table_rows(found)[2] == ("overfitting", "watch", "gap .4", "views")
