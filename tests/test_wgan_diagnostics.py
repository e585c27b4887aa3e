"""What the numbers of a training are said to mean."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from wgan.diagnostics import (
    SLOPE_EDGES,
    Finding,
    Observation,
    diagnose,
    overfitting_gap,
    slope_histogram,
    slope_quantiles,
    summary,
    table_rows,
    trend,
)

NEAR = (0.7, 0.9, 1.0, 1.1, 1.3)
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
T = np.arange(40)
SEEDS = range(30)


def told(make, seeds=range(60)):
    """The share of seeds for which each word is said."""
    words = [trend(make(np.random.default_rng(seed))).word for seed in seeds]
    return {word: words.count(word) / len(words) for word in set(words)}


# --- slopes


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


# --- trends


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize(
    ("clean", "word"),
    [
        (np.exp(-T / 20), "decreasing"),
        (1 - T / 50, "decreasing"),
        (-1 - T / 20, "decreasing"),
        (T / 40, "rising"),
        (1 / (1 + np.exp(-(T - 20) / 8)), "rising"),
        (np.ones(40), "flat"),
        (1 + 0.4 * np.sin(2 * np.pi * T / 6), "oscillating"),
        (1 + 0.4 * np.sin(2 * np.pi * T / 3.3), "oscillating"),
        (1 + 0.4 * (-1.0) ** T, "oscillating"),
        (1.2**T, "exploding"),
        (-(1.2**T), "exploding"),
    ],
)
def test_the_word_for_a_series(clean, word, noise):
    shares = told(lambda rng: clean * (1 + noise * rng.normal(size=40)))
    assert shares.get(word, 0) >= 0.95


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("length", [4.0, 12.0, 30.0, 1e9])
def test_smooth_decay_and_noise_hardly_ever_pass_for_oscillation(length, noise):
    shares = told(lambda rng: np.exp(-T / length) + noise * rng.normal(size=40), range(100))
    assert shares.get("oscillating", 0) <= 0.04
    assert shares.get("exploding", 0) == 0
    assert shares.get("rising", 0) <= 0.02


@pytest.mark.parametrize("seed", range(5))
def test_the_change_is_that_of_the_theil_sen_line(seed):
    values = np.random.default_rng(seed).normal(size=25)
    expected = theilslopes(values)[0] * 24 / np.abs(values).max()
    assert trend(values).change == pytest.approx(expected)


def test_smoothness_is_the_noise_from_value_to_value():
    rng = np.random.default_rng(0)
    assert trend(np.exp(-T / 20) + 0.02 * rng.normal(size=40)).smooth
    assert not trend(np.exp(-T / 20) + 0.3 * rng.normal(size=40)).smooth


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([], "unknown"),
        ([1.0] * 5, "unknown"),
        ([0.0] * 9, "flat"),
        ([1.0, math.nan], "exploding"),
        ([1.0] * 8 + [math.inf], "exploding"),
    ],
)
def test_edges(values, word):
    assert trend(values).word == word


@settings(deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6, width=32), max_size=40), power=st.integers(-40, 40))
def test_units_do_not_matter(values, power):
    # Powers of two, so that not even rounding differs.
    array = np.where(np.abs(values) < 1e-9, 0.0, values)
    assert trend(array * 2.0**power) == trend(array)


def test_only_the_window_counts():
    values = np.random.default_rng(0).normal(size=30)
    assert trend([*np.linspace(1e6, 0, 50), *values]) == trend(values)


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
