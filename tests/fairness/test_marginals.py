"""Distances of marginals: closed forms, scipy, sums over parts, and what must be noticed."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from everymode.fairness.metrics.marginals import (
    POINTS,
    Marginals,
    category_codes,
    compare,
    kolmogorov_smirnov,
    total_variation,
)
from everymode.wgan.data.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("age", "integer"),
        Column("wage", "float", missing=True),
        Column("seen", "datetime", missing=True),
        Column("work", "category", categories=("a", "b", "c"), missing=True),
        Column("flag", "boolean", categories=("False", "True")),
    )
)


def table(rng: np.random.Generator, n: int, shift: float = 0.0) -> pd.DataFrame:
    wage = rng.normal(shift, 1, n)
    wage[rng.random(n) < 0.2] = np.nan
    seen = pd.Series(pd.to_datetime(rng.integers(0, 10**9, n), unit="s"))
    seen[rng.random(n) < 0.1] = pd.NaT
    return pd.DataFrame(
        {
            "age": rng.integers(0, 60, n),
            "wage": wage,
            "seen": seen,
            "work": rng.choice(np.array(["a", "b", "c", None], dtype=object), n),
            "flag": rng.random(n) < 0.5,
        }
    )


def zeros(frame: pd.DataFrame) -> np.ndarray:
    return np.zeros(len(frame), dtype=np.int64)


def one_column(real: np.ndarray, synthetic: np.ndarray) -> float | None:
    schema = Schema((Column("x", "float"),))
    frames = [pd.DataFrame({"x": np.asarray(v, dtype=np.float64)}) for v in (real, synthetic)]
    bins = Marginals.of(schema, frames[1])
    return compare(*(bins.count(f, zeros(f), 1) for f in frames), bins).ks["x"]


def test_total_variation_closed_forms():
    p, q = np.array([[2, 2, 0], [1, 0, 0], [0, 0, 0]]), np.array([[0, 1, 1], [0, 0, 5], [1, 1, 1]])
    assert total_variation(p, q)[:2] == pytest.approx([0.5, 1.0])
    assert np.isnan(total_variation(p, q)[2])
    assert np.isnan(kolmogorov_smirnov(p, q)[2])


def test_distances_do_not_depend_on_the_number_of_rows():
    p = np.array([3, 5, 2])
    assert total_variation(p, 7 * p) == pytest.approx(0, abs=1e-15)
    assert kolmogorov_smirnov(p, 7 * p) == 0


def test_ks_depends_on_order_and_tv_does_not():
    p, near, far = np.array([4, 0, 0, 0]), np.array([2, 2, 0, 0]), np.array([2, 0, 0, 2])
    assert total_variation(p, near) == total_variation(p, far) == 0.5
    uniform = np.array([1, 1, 1, 1])
    order = [3, 0, 2, 1]
    assert kolmogorov_smirnov(near, uniform) == 0.5
    assert kolmogorov_smirnov(near[order], uniform) == 0.25


values = st.lists(st.integers(-5, 5).map(lambda i: i / 3), min_size=1, max_size=30)


@given(values, values)
def test_ks_equals_scipy_with_ties(real, synthetic):
    with warnings.catch_warnings():
        # The p-value, unused here, is at times beyond scipy.
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = ks_2samp(real, synthetic).statistic
    assert one_column(real, synthetic) == pytest.approx(expected)


def test_ks_sees_real_mass_just_below_a_single_synthetic_value():
    assert one_column(np.array([0.0, 0.0]), np.array([1.0, 1.0])) == 1.0
    assert one_column(np.nextafter(np.ones(3), 0), np.ones(3)) == 1.0
    assert one_column(np.nextafter(np.ones(3), 2), np.ones(3)) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_ks_of_many_distinct_values_is_within_its_bound(seed):
    rng = np.random.default_rng(seed)
    real = rng.normal(0.1, 1, 3000)
    synthetic = np.where(rng.random(5000) < 0.3, 0.0, rng.gamma(1, 2, 5000))
    exact = ks_2samp(real, synthetic).statistic
    assert exact - 1 / (POINTS - 1) <= one_column(real, synthetic) <= exact + 1e-12


def test_counts_add_up_over_sites():
    rng = np.random.default_rng(0)
    real, synthetic = table(rng, 700), table(rng, 300)
    groups = rng.integers(0, 3, 700)
    sites = rng.integers(0, 4, 700)
    marginals = Marginals.of(SCHEMA, synthetic)
    pooled = marginals.count(real, groups, 3)
    parts = [marginals.count(real[sites == s], groups[sites == s], 3) for s in range(4)]
    assert {name: c.shape for name, c in pooled.items()} == marginals.shapes(3)
    for name, counts in pooled.items():
        np.testing.assert_array_equal(counts, sum(part[name] for part in parts))
        np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(groups, minlength=3))


def test_text_is_counted_as_typed_values_are():
    frame = table(np.random.default_rng(0), 200)
    marginals = Marginals.of(SCHEMA, frame)
    text = frame.astype(object).where(frame.notna(), None)
    text["age"] = text["age"].map(str)
    text["flag"] = text["flag"].map({True: "TRUE", False: "false"})
    text["seen"] = [None if pd.isna(v) else v.strftime("%Y-%m-%d %H:%M:%S") for v in frame["seen"]]
    assert not pd.api.types.is_datetime64_any_dtype(text["seen"])
    counts = marginals.count(text, zeros(text), 1)
    for name, expected in marginals.count(frame, zeros(frame), 1).items():
        np.testing.assert_array_equal(counts[name], expected)


def test_a_date_is_read_in_the_form_of_its_column():
    # Every day is below 13: only the schema tells days from months.
    schema = Schema((Column("seen", "datetime", form="%m/%d/%Y"),))
    synthetic = pd.DataFrame({"seen": pd.to_datetime(["2021-03-04", "2021-05-06"])})
    marginals = Marginals.of(schema, synthetic)
    text = pd.DataFrame({"seen": ["03/04/2021", "05/06/2021"]})
    counts = [marginals.count(f, zeros(f), 1) for f in (text, synthetic)]
    assert compare(*counts, marginals).ks == {"seen": 0}


def test_an_empty_site_counts_nothing():
    frame = table(np.random.default_rng(0), 50)
    marginals = Marginals.of(SCHEMA, frame)
    counts = marginals.count(frame.iloc[:0], zeros(frame.iloc[:0]), 2)
    assert {name: c.shape for name, c in counts.items()} == marginals.shapes(2)
    assert not any(c.any() for c in counts.values())


def test_json_round_trip_counts_the_same():
    rng = np.random.default_rng(1)
    frame = table(rng, 2000)
    marginals = Marginals.of(SCHEMA, frame)
    again = Marginals.from_json(json.loads(json.dumps(marginals.to_json())))
    assert again == marginals
    other = table(rng, 100)
    for name, counts in marginals.count(other, zeros(other), 1).items():
        np.testing.assert_array_equal(counts, again.count(other, zeros(other), 1)[name])


def test_edges_are_few_and_ascending():
    frame = table(np.random.default_rng(1), 5000)
    marginals = Marginals.of(SCHEMA, frame)
    for column in marginals.columns:
        assert len(column.edges) <= 2 * POINTS
        assert (np.diff(column.edges) > 0).all()
    # Between values, as interpolated quantiles lie, no atom could be told from its neighbours.
    assert set(marginals.columns[1].points) <= set(frame["wage"])


def test_identical_tables_are_at_distance_zero():
    frame = table(np.random.default_rng(2), 400)
    groups = np.arange(400) % 2
    marginals = Marginals.of(SCHEMA, frame)
    counts = marginals.count(frame, groups, 3)
    found = compare(counts, counts, marginals)
    assert set(found.tv) == {"work", "flag"}
    assert set(found.ks) == set(found.missing) == {"age", "wage", "seen"}
    assert {*found.tv.values(), *found.ks.values(), *found.missing.values()} == {0.0}
    assert (found.tv_mean, found.ks_mean) == (0, 0)
    assert found.tv_groups == found.ks_groups == (0, 0, None)


def test_a_shift_in_one_group_shows_in_that_group():
    rng = np.random.default_rng(3)
    real = pd.concat([table(rng, 1000), table(rng, 1000)])
    synthetic = pd.concat([table(rng, 1000), table(rng, 1000, shift=3.0)])
    synthetic.iloc[1000:, 3] = "a"
    groups = np.repeat([0, 1], 1000)
    marginals = Marginals.of(SCHEMA, synthetic)
    found = compare(*(marginals.count(f, groups, 2) for f in (real, synthetic)), marginals)
    wages = [f.loc[f["wage"].notna(), "wage"] for f in (real, synthetic)]
    assert found.ks["wage"] == pytest.approx(ks_2samp(*wages).statistic, abs=1 / (POINTS - 1))
    assert found.tv["work"] == pytest.approx(0.375, abs=0.05)
    assert found.tv_groups[0] < 0.05 < 0.3 < found.tv_groups[1]
    assert found.ks_groups[0] < 0.05 < 0.25 < found.ks_groups[1]
    assert found.tv_mean == pytest.approx(np.mean(list(found.tv.values())))
    assert found.ks_mean == pytest.approx(np.mean(list(found.ks.values())))


def test_missing_numbers_are_no_part_of_ks_but_are_told():
    real = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    synthetic = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] + 4 * [np.nan]})
    marginals = Marginals.of(Schema((Column("x", "float", missing=True),)), synthetic)
    found = compare(*(marginals.count(f, zeros(f), 1) for f in (real, synthetic)), marginals)
    assert found.ks == {"x": 0}
    assert found.missing == {"x": 0.5}


def test_a_generator_that_writes_no_number_is_at_distance_one():
    real, synthetic = pd.DataFrame({"x": [1.0, 2.0]}), pd.DataFrame({"x": [np.nan, np.nan]})
    marginals = Marginals.of(Schema((Column("x", "float"),)), synthetic)
    counts = [marginals.count(f, zeros(f), 1) for f in (real, synthetic)]
    assert compare(*counts, marginals).ks == {"x": 1.0}
    assert compare(counts[1], counts[1], marginals).ks == {"x": None}
    assert compare(counts[0], counts[0], marginals).tv_groups == (None,)


def test_unknown_categories_are_counted_apart_from_missing_ones():
    text = np.array(["b", "new", None, "a"], dtype=object)
    assert category_codes(text, ("a", "b")).tolist() == [1, 2, 3, 0]
    assert category_codes(text, ()).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("groups", [[0, 1], [0, 1, 2], [0, -1, 1]])
def test_groups_that_do_not_fit_are_refused(groups):
    frame = table(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match="expected"):
        Marginals.of(SCHEMA, frame).count(frame, np.array(groups), 2)
