"""The pooled schema of a table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError

ADULT = Path(__file__).parents[2] / "simulations" / "data" / "adult-train.csv.gz"


def column(cells, **options):
    return fit_schema(pd.DataFrame({"x": cells}), **options)["x"]


def test_adult_atoms_edges_and_categories():
    frame = read_table(ADULT)
    schema = fit_schema(frame)
    for name in ("age", "capital-gain", "education-num", "hours-per-week"):
        shares = frame[name].astype(float).value_counts(normalize=True)
        assert schema[name].atoms == tuple(sorted(shares[shares > 0.05].index))
    age = schema["age"]
    assert age.edges[0] == 16.5 and age.edges[-1] == 90.5
    assert (age.low, age.high, age.missing) == (17, 90, False)
    # Every edge's rank is the share of rows below it.
    numbers = frame["age"].astype(float).to_numpy()
    below = [(numbers < edge).mean() for edge in age.edges]
    np.testing.assert_allclose(age.cumulative, below, atol=1e-12)
    assert schema["sex"].categories == ("Female", "Male")
    assert schema["workclass"].missing and len(schema["workclass"].categories) == 8
    assert len(schema["fnlwgt"].edges) <= 1025


def test_the_atom_share_counts_all_rows_and_is_strict():
    cells = pd.Series([7.0] * 2 + [np.nan] * 8 + [0.5 + i for i in range(10)])
    assert column(cells, atom_share=0.1).atoms == ()
    assert column(cells, atom_share=0.099).atoms == (7.0,)


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=200), st.integers(2, 40))
def test_integer_edges_are_half_integers_with_exact_ranks(numbers, bins):
    found = column(pd.Series(numbers), atom_share=0.2, bins=bins)
    rest = np.array([n for n in numbers if n not in found.atoms])
    assert all(numbers.count(int(a)) > 0.2 * len(numbers) for a in found.atoms)
    if not len(rest):
        assert found.edges == ()
        return
    edges = np.array(found.edges)
    assert (edges % 1 == 0.5).all() and (np.diff(edges) > 0).all()
    assert len(edges) <= bins + 1
    np.testing.assert_allclose(found.cumulative, [(rest < e).mean() for e in edges], atol=1e-12)
    assert found.cumulative[0] == 0 and found.cumulative[-1] == 1


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=200),
    st.integers(2, 40),
)
def test_float_ranks_ascend_from_0_to_1_and_err_less_than_a_bin(numbers, bins):
    found = column(pd.Series(numbers), atom_share=0.2, bins=bins)
    if not found.edges:
        return
    edges = np.array(found.edges)
    assert (np.diff(edges) > 0).all() and (np.diff(found.cumulative) >= 0).all()
    assert 2 <= len(edges) <= max(bins + 1, 2)
    assert found.cumulative[0] == 0 and found.cumulative[-1] == 1
    assert (found.low, found.high) == (min(numbers), max(numbers))


def test_ranks_of_many_floats_are_their_distribution():
    numbers = np.random.default_rng(0).exponential(size=20_000)
    found = column(pd.Series(numbers))
    ranks = np.interp([0.1, 1.0, 3.0], found.edges, found.cumulative)
    np.testing.assert_allclose(ranks, 1 - np.exp([-0.1, -1.0, -3.0]), atol=0.01)
    assert column(pd.Series(numbers + 1)).cumulative == pytest.approx(found.cumulative)


def test_few_decimals_have_edges_halfway():
    found = column(pd.Series(["36.6", "36.7", "39.1"], dtype=object), atom_share=0.5)
    assert found.decimals == 1
    np.testing.assert_allclose(found.edges, [36.55, 36.65, 36.75, 39.05, 39.15])
    np.testing.assert_allclose(found.cumulative, [0, 1 / 3, 2 / 3, 2 / 3, 1])


def test_dates_are_days_in_seconds():
    found = column(pd.Series(["1970-01-02", "1970-01-03"], dtype=object), atom_share=0.5)
    assert found.form == "%Y-%m-%d"
    assert found.edges == (43200.0, 129600.0, 216000.0)


def test_constant_and_missing_columns():
    assert column(pd.Series([5, 5])).atoms == (5.0,)
    assert column(pd.Series([5, 5])).edges == ()
    nothing = column(pd.Series([None, None], dtype=object))
    assert (nothing.kind, nothing.categories, nothing.missing) == ("category", (), True)
    number = column(pd.Series([None, None], dtype=object), kinds={"x": "float"})
    assert (number.kind, number.atoms, number.edges) == ("float", (), ())


def test_booleans_have_one_spelling_per_value():
    found = column(pd.Series(["TRUE", "true", "true", "False"], dtype=object))
    assert (found.kind, found.categories) == ("boolean", ("False", "true"))


def test_kinds_override_and_all_problems_are_told_at_once():
    frame = pd.DataFrame({"n": ["1", "2"], "s": ["a", "b"], "t": ["c", "d"]}, dtype=object)
    assert fit_schema(frame, kinds={"n": "category"})["n"].categories == ("1", "2")
    with pytest.raises(DataError) as caught:
        fit_schema(frame, kinds={"s": "integer", "t": "datetime"})
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match=r"data\.columns\.z: no such column"):
        fit_schema(frame, kinds={"z": "integer"})
    with pytest.raises(DataError, match="no rows"):
        fit_schema(frame.iloc[:0])


def test_schema_survives_json_and_does_not_depend_on_the_order_of_rows():
    frame = read_table(ADULT).head(500)
    schema = fit_schema(frame)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json())))
    assert again == schema
    shuffled = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    assert fit_schema(shuffled).fingerprint == schema.fingerprint
    assert fit_schema(frame.head(400)).fingerprint != schema.fingerprint


def test_half_of_dense_ties_lie_below_their_edge():
    found = column(np.pi * np.array([1.0, 2, 2, 3]), atom_share=0.9)
    assert found.decimals == 15 and found.cumulative == (0, 0.5, 1)
