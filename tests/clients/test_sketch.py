"""Vocabularies, frequent numbers and histograms that are read from sums."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everymode.clients.protocol.sketch import (
    BINS,
    BYTES,
    CAPACITY,
    HALF,
    SKETCH,
    STEPS,
    TABLES,
    VOTES,
    frequent,
    log_bin,
    log_edges,
    peel,
    sketch,
    vote,
)
from everymode.wgan.errors import DataError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
counts = st.dictionaries(texts, st.integers(1, 10**6), max_size=40)


@settings(max_examples=40)
@given(st.lists(counts, min_size=1, max_size=5))
def test_peeling_the_sum_gives_the_union_with_its_counts(sites):
    total = sum(sketch(site, "x") for site in sites)
    assert peel(total, "x") == dict(sum((Counter(site) for site in sites), Counter()))


@pytest.mark.parametrize(
    "value",
    ["", "\0", "a\0", "\0\0a", "x" * BYTES, "é" * (BYTES // 2), "𝄞" * (BYTES // 4), "\U0010ffff"],
)
def test_values_of_any_bytes_survive(value):
    known = {value: 3, "other": 10**9}
    assert peel(sketch(known, "x"), "x") == known


def test_a_value_too_long_names_column_and_table_and_what_to_do():
    with pytest.raises(DataError) as caught:
        sketch({"é" * (BYTES // 2) + "x": 1}, "notes", "site-3.csv")
    (problem,) = caught.value.problems
    assert problem.startswith(f"site-3.csv: column 'notes' holds a value of {BYTES + 1} bytes")
    assert 'data.drop = ["notes"]' in problem


def test_peeling_leaves_the_total_as_it_was():
    total = sketch({"a": 1, "b": 2}, "x")
    before = total.copy()
    peel(total, "x")
    np.testing.assert_array_equal(total, before)
    assert total.shape == SKETCH


def test_capacity_holds_and_more_names_the_column():
    full = {f"value {i}": 1 + i % 7 for i in range(CAPACITY)}
    assert peel(sketch(full, "x"), "x") == full
    many = {f"value {i}": 1 for i in range(2 * CAPACITY)}
    with pytest.raises(DataError, match=r"column 'city'.*data\.drop = \[\"city\"\].*categories"):
        peel(sketch(many, "city"), "city")


def test_a_damaged_sketch_is_not_read_as_something_else():
    total = sketch({"a": 5, "b": 7}, "x")
    total[0, np.flatnonzero(total[0, :, 0])[0], 3] += 1
    with pytest.raises(DataError):
        peel(total, "x")


def votes(numbers):
    return vote(*np.unique(np.asarray(numbers, float), return_counts=True))


@settings(max_examples=40)
@given(
    st.lists(st.floats(-(2.0**50), 2.0**50), min_size=1, max_size=5, unique=True),
    st.integers(0, 2**32),
)
def test_frequent_numbers_are_found_however_rows_are_split(heavy, seed):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([np.repeat(heavy, 100), rng.normal(size=1000)])
    rng.shuffle(rows)
    total = votes(rows)
    pieces = np.split(rows, np.sort(rng.integers(0, len(rows), 6)))
    np.testing.assert_array_equal(sum(votes(p) for p in pieces), total)
    found = frequent(total, 0.05 * len(rows))
    assert set(np.array(heavy) + 0.0) <= set(found)
    # Candidates, each in a crowded cell of every table: hardly more than there are.
    assert len(found) <= len(heavy) + 2 and list(found) == sorted(found)


def test_numbers_that_are_rare_are_not_read_off():
    assert frequent(votes(np.random.default_rng(0).normal(size=5000)), 250) == ()
    assert frequent(np.zeros(VOTES, dtype=np.int64), 0) == ()


def test_zero_has_one_spelling():
    np.testing.assert_array_equal(votes([-0.0, 1.0]), votes([0.0, 1.0]))
    assert votes([0.0])[..., 0].sum() == TABLES


@given(
    st.lists(
        st.floats(2.0**-30, 2.0**50, exclude_max=True).flatmap(lambda x: st.sampled_from([x, -x])),
        min_size=1,
        max_size=50,
    )
)
def test_bins_hold_their_values_with_the_stated_relative_width(numbers):
    values = np.array(numbers)
    edges = log_edges()
    bins = log_bin(values)
    # The logarithm may put a value on an edge to either side of it.
    slack = 1e-12 * np.abs(values)
    assert (edges[bins] <= values + slack).all() and (values - slack <= edges[bins + 1]).all()
    width = edges[bins + 1] - edges[bins]
    assert (width <= (2 ** (1 / STEPS) - 1) * np.abs(values) * (1 + 1e-9)).all()
    assert 2 ** (1 / STEPS) - 1 < 0.011


def test_the_grid_is_symmetric_and_covers_zero():
    edges = log_edges()
    assert len(edges) == BINS + 1 and (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(edges, -edges[::-1])
    middle = log_bin(np.array([0.0, -0.0, 2.0**-31, -(2.0**-31)]))
    assert middle.tolist() == [HALF] * 4 and edges[HALF] < 0 < edges[HALF + 1]
    assert log_bin(np.array([1e300, -1e300])).tolist() == [BINS - 1, 0]
