"""The word for where a series goes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from everymode.wgan.trends import trend

T = np.arange(40)


def told(make, seeds=range(60)):
    """The share of seeds for which each word is said."""
    words = [trend(make(np.random.default_rng(seed))).word for seed in seeds]
    return {word: words.count(word) / len(words) for word in set(words)}


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
