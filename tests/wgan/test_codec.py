"""Rows as tensors and back."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import kstest

from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.date_forms import DATE_FORMS, form_step
from everymode.wgan.data.dates import write_dates
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.ranks import TAIL, from_scores, resolution, to_scores
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_column
from everymode.wgan.data.write import write_table
from everymode.wgan.errors import DataError, NumericalError, StateError
from everymode.wgan.shape import Block

ADULT = Path(__file__).parents[2] / "simulations" / "data" / "adult-train.csv.gz"

words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=4).filter(
    lambda w: w not in ("?", "NA", "N/A", "NaN", "nan", "null", "NULL")
)
tables = st.integers(1, 30).flatmap(
    lambda n: st.fixed_dictionaries(
        {
            name: st.lists(st.none() | cell if gaps else cell, min_size=n, max_size=n)
            for gaps in (True, False)
            for name, cell in {
                f"integer {gaps}": st.integers(-40, 40).map(str),
                f"mostly {gaps}": st.sampled_from(["0"] * 9 + ["1", "-5"]),
                f"decimal {gaps}": st.integers(-9999, 9999).map(lambda i: f"{i / 100:.2f}"),
                f"day {gaps}": st.dates().map(lambda d: d.isoformat()),
                f"boolean {gaps}": st.sampled_from(["TRUE", "FALSE"]),
                f"code {gaps}": st.integers(0, 99).map(lambda i: f"{i:03}"),
                f'words, "{gaps}"': words.map(lambda w: "w" + w + '",'),
                f"constant {gaps}": st.just("7"),
                f"nothing {gaps}": st.none(),
            }.items()
        }
    ).map(lambda columns: pd.DataFrame(columns, dtype=object))
)


def rng(seed=0):
    return np.random.default_rng(seed)


def round_trip(frame, schema, seed=0):
    codec = TableCodec(schema)
    return codec.decode(codec.encode(frame, rng(seed)))


def same(one, two, schema):
    """Equality of canonical values, column by column."""
    for column in schema.columns:
        a, b = (
            pd.Series(parse_column(t[column.name], column.kind, column.name, "t", column.form))
            for t in (one, two)
        )
        if column.kind == "boolean":
            a, b = a.str.lower(), b.str.lower()
        pd.testing.assert_series_equal(a, b, rtol=1e-12, atol=0, obj=column.name)


@settings(deadline=None, max_examples=25)
@given(tables, st.integers(0, 99), st.sampled_from([0.05, 0.3, 1.0]))
def test_round_trip_is_exact_where_every_value_has_its_bin(frame, seed, atom_share):
    schema = fit_schema(frame, atom_share=atom_share)
    decoded = round_trip(frame, schema, seed)
    assert tuple(decoded.columns) == schema.names
    same(frame, decoded, schema)


@settings(deadline=None, max_examples=25)
@given(tables, st.integers(0, 99), st.sampled_from([0.1, 1.0, 1e9]))
def test_arbitrary_rows_give_legal_values(frame, seed, scale):
    schema = fit_schema(frame, atom_share=0.3, bins=4)
    codec = TableCodec(schema)
    rows = (rng(seed).standard_normal((50, codec.width)) * scale).astype(np.float32)
    decoded = codec.decode(rows)
    for column in schema.columns:
        values = parse_column(decoded[column.name], column.kind, column.name, "t", column.form)
        present = values[~pd.isna(values)]
        assert column.missing or len(present) == len(values)
        if not column.numeric:
            allowed = {c.lower() for c in column.categories}
            assert {v.lower() for v in present} <= allowed
        elif len(present):
            assert present.min() >= column.low and present.max() <= column.high
            np.testing.assert_allclose(
                present, np.rint(present / resolution(column)) * resolution(column), rtol=1e-12
            )


def test_extremes_of_the_floats_are_legal():
    frame = pd.DataFrame({"x": np.linspace(-1, 1, 9), "c": list("abcabcabc")})
    codec = TableCodec(fit_schema(frame, atom_share=1))
    rows = np.zeros((2, codec.width))
    rows[:, 0] = [-np.inf, np.inf]
    assert codec.decode(rows)["x"].tolist() == [-1, 1]
    rows[0, 1] = np.nan
    with pytest.raises(NumericalError, match="NaN"):
        codec.decode(rows)
    with pytest.raises(ValueError, match="shape"):
        codec.decode(rows[:, 1:])


def test_blocks_tile_the_row_and_tell_what_each_output_is():
    schema = Schema(
        (
            Column("plain", "float", edges=(0, 1), cumulative=(0, 1), high=1),
            Column("gaps", "float", edges=(0, 1), cumulative=(0, 1), high=1, missing=True),
            Column("atoms", "integer", atoms=(0, 9), low=0, high=9),
            Column("both", "integer", atoms=(0,), edges=(0.5, 9.5), cumulative=(0, 1), high=9),
            Column("constant", "integer", atoms=(3,), low=3, high=3),
            Column("never", "float", missing=True),
            Column("same", "category", categories=("a",)),
            Column("same or none", "category", categories=("a",), missing=True),
            Column("three", "category", categories=("a", "b", "c")),
        )
    )
    codec = TableCodec(schema)
    assert codec.blocks == (
        Block(0, 1, "value"),
        Block(1, 2, "value", gate=2),
        Block(2, 4, "choice"),
        Block(4, 6, "choice"),
        Block(6, 7, "value", gate=7),
        Block(7, 9, "choice"),
        Block(9, 11, "choice"),
        Block(11, 14, "choice"),
    )
    assert codec.width == 14
    assert codec.span("both") == slice(6, 9)
    assert codec.span("constant") == slice(9, 9)
    with pytest.raises(KeyError):
        codec.span("absent")
    # Zeros everywhere mean: medians, and the first option of each choice.
    row = codec.decode(np.zeros((1, 14))).iloc[0]
    assert row["plain"] == pytest.approx(0.5) and row["atoms"] == 0 and row["constant"] == 3
    assert pd.isna(row["never"]) and row["same"] == "a" and row["three"] == "a"


def test_states_and_values_of_a_hand_made_column():
    column = Column(
        "x", "integer", atoms=(0,), edges=(0.5, 1.5, 2.5), cumulative=(0, 0.25, 1), missing=True
    )
    column = replace(column, low=0, high=2)
    frame = pd.DataFrame({"x": pd.Series([0, 1, 2, None, 99], dtype="Int64")})
    rows = TableCodec(Schema((column,))).encode(frame, rng())
    np.testing.assert_array_equal(rows[:, 1:].argmax(axis=1), [1, 0, 0, 2, 0])
    np.testing.assert_array_equal(rows[:, 1:].sum(axis=1), 1)
    assert rows[0, 0] == rows[3, 0] == 0
    assert rows[1, 0] < ndtri(0.25) / 2 + 1e-3 < rows[2, 0] + 2e-3
    assert rows[4, 0] == pytest.approx(ndtri(1 - TAIL) / 2)
    decoded = TableCodec(Schema((column,))).decode(rows)["x"]
    assert decoded.tolist() == [0, 1, 2, pd.NA, 2] and decoded.dtype == "Int64"


def test_scores_are_half_normal_whatever_the_distribution():
    cells = {"tied": rng(1).poisson(9, 20_000), "skewed": rng(2).exponential(size=20_000)}
    frame = pd.DataFrame(cells)
    rows = TableCodec(fit_schema(frame, atom_share=1)).encode(frame, rng())
    for scores in rows.T:
        assert kstest(2 * scores, "norm").statistic < 0.01
        assert np.abs(2 * scores).max() <= -ndtri(TAIL) + 1e-5
    # Negative control: without jitter, ties stay steps.
    tied = fit_schema(frame, atom_share=1)["tied"]
    assert kstest(2 * to_scores(cells["tied"].astype(float), tied), "norm").statistic > 0.05


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_scores_are_monotone_and_invertible(numbers):
    column = fit_schema(pd.DataFrame({"x": numbers}), atom_share=1)["x"]
    column = replace(column, decimals=15)
    ordered = np.sort(np.array(numbers))
    scores = to_scores(ordered, column)
    assert (np.diff(scores) >= 0).all() and np.isfinite(scores).all()
    width = np.ptp(ordered)
    np.testing.assert_allclose(from_scores(scores, column), ordered, atol=1e-6 * width + 1e-7)


@pytest.mark.parametrize(
    ("kind", "form", "low", "high", "expected"),
    [
        ("integer", "", 17.4, 20.6, (18, 20)),
        ("integer", "", 16.5, 20.5, (17, 20)),
        ("float", "", 0.26, 0.74, (0.3, 0.7)),
        ("float", "", 0.3, 0.7, (0.3, 0.7)),
        ("datetime", "%Y-%m-%d", 1.0, 3 * 86400 - 1.0, (86400, 2 * 86400)),
    ],
)
def test_rounding_does_not_lead_past_bounds_off_the_grain(kind, form, low, high, expected):
    column = Column("x", kind, (), (), (low, high), (0, 1), low, high, decimals=1, form=form)
    assert tuple(from_scores(np.array([-9.0, 9.0]), column)) == pytest.approx(expected, rel=1e-12)


def test_integers_are_jittered_by_the_given_generator_only():
    frame = pd.DataFrame({"n": np.arange(100)})
    codec = TableCodec(fit_schema(frame))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (codec.encode(frame, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_decoded_noise_has_the_distribution_of_the_table():
    frame = read_table(ADULT)
    schema = fit_schema(frame)
    codec = TableCodec(schema.without(("sex",)))
    assert "sex" not in codec.decode(codec.encode(frame.head(), rng())).columns
    # Normal scores decode to the column's own quantiles.
    scores = rng(3).standard_normal(40_000) / 2
    ages = from_scores(scores, schema["age"])
    share = frame["age"].astype(int).value_counts(normalize=True)
    found = pd.Series(ages).value_counts(normalize=True)
    assert found.sub(share, fill_value=0).abs().sum() / 2 < 0.03


def test_adult_round_trip():
    frame = read_table(ADULT)
    schema = fit_schema(frame)
    decoded = round_trip(frame, schema)
    rest = schema.without(("fnlwgt",))
    same(frame, decoded, rest)
    # 21,648 distinct weights share 1,024 bins: a unit at most is lost to float32.
    off = (decoded["fnlwgt"] - frame["fnlwgt"].astype(int)).abs()
    assert off.max() <= 5 and (off > 0).mean() < 0.01
    assert decoded["age"].dtype == "int64"


def test_unknown_values_are_counted_and_encoded_as_legal_ones():
    schema = Schema(
        (
            Column("gaps", "category", categories=("a", "b"), missing=True),
            Column("full", "category", categories=("a", "b")),
            Column("atoms", "integer", atoms=(2, 8), low=2, high=8),
            Column("dense", "float", edges=(0, 1), cumulative=(0, 1), high=1, decimals=3),
        )
    )
    frame = pd.DataFrame(
        {"gaps": ["b", "z"], "full": ["z", None], "atoms": ["9", "2"], "dense": ["5", None]},
        dtype=object,
    )
    codec = TableCodec(schema)
    assert codec.unknown(frame) == {"gaps": 1, "full": 2, "atoms": 1, "dense": 1}
    assert codec.unknown(codec.decode(np.eye(codec.width))) == {}
    decoded = codec.decode(codec.encode(frame, rng()))
    assert decoded["gaps"].fillna("none").tolist() == ["b", "none"]
    assert decoded["full"].tolist() == ["a", "a"]
    assert decoded["atoms"].tolist() == [8, 2]
    assert decoded["dense"].tolist() == [1.0, 0.5]


def test_all_problems_of_a_table_are_told_at_once():
    codec = TableCodec(fit_schema(pd.DataFrame({"a": [1, 2], "b": [1, 2], "c": ["x", "y"]})))
    with pytest.raises(DataError) as caught:
        codec.encode(pd.DataFrame({"a": ["s3cret"], "b": [np.inf]}), rng(), where="site-3.csv")
    assert len(caught.value.problems) == 3
    assert all(p.startswith("site-3.csv: ") for p in caught.value.problems)
    assert "s3cret" not in str(caught.value)


def test_dtypes_of_typed_tables_are_kept():
    frame = pd.DataFrame(
        {
            "small": pd.Series([1, 2, 3], dtype="int8"),
            "gaps": pd.Series([1, 2, None], dtype="Int32"),
            "single": pd.Series([0.5, 1.25, 2.0], dtype="float32"),
            "flag": [True, False, True],
            "maybe": pd.Series([True, None, False], dtype="boolean"),
            "label": pd.Series(["u", "v", "u"]).astype("category"),
            "text": pd.Series(["p", "q", None], dtype="string"),
            "day": pd.to_datetime(["2020-01-01", "2021-06-30", "1950-12-31"]),
            "local": pd.to_datetime(["2020-01-01 10:00:01", "2021-07-01 00:00:00"] * 2)[
                :3
            ].tz_localize("Europe/Paris"),
        }
    )
    decoded = round_trip(frame, fit_schema(frame, atom_share=0.7))
    pd.testing.assert_frame_equal(decoded, frame)


def test_dtype_without_room_gives_way():
    schema = fit_schema(pd.DataFrame({"n": pd.Series([1, 2], dtype="int8")}), atom_share=0.5)
    column = replace(schema["n"], missing=True)
    decoded = TableCodec(Schema((column,))).decode(np.array([[0.0, 0, 1], [0, 1, 0]]))
    assert decoded["n"].dtype == "Int64" and decoded["n"].isna().tolist() == [True, False]


@settings(deadline=None, max_examples=15)
@given(tables)
@pytest.mark.parametrize("ending", ["csv", "tsv.gz", "parquet"])
def test_written_tables_are_read_back(tmp_path_factory, ending, frame):
    path = tmp_path_factory.mktemp("out") / f"t.{ending}"
    schema = fit_schema(frame, atom_share=0.3)
    decoded = round_trip(frame, schema)
    write_table(decoded, schema, path)
    again = read_table(path)
    same(frame, again, schema)
    assert os.listdir(path.parent) == [path.name]
    if ending != "parquet":
        for name in schema.names:
            if schema[name].kind in ("integer", "boolean", "datetime"):
                assert again[name].tolist() == frame[name].tolist()


@pytest.mark.parametrize("form", DATE_FORMS)
def test_dates_are_written_in_their_form(tmp_path, form):
    moments = pd.DatetimeIndex(["2021-12-31 23:59:58.250001", "1969-07-02 02:07:40.5"])
    frame = pd.DataFrame({"t": [*write_dates(moments, form), None], "n": "1"}, dtype=object)
    schema = fit_schema(frame, atom_share=1)
    decoded = round_trip(frame, schema)
    unit = "ns" if "%9f" in form else "us" if form_step(form) < 1 else "s"
    assert decoded["t"].dtype == f"datetime64[{unit}]"
    write_table(decoded, schema, tmp_path / "t.csv")
    again = read_table(tmp_path / "t.csv")["t"]
    if form_step(form) >= 1:
        assert again.tolist() == frame["t"].tolist()
    seconds = [parse_column(t, "datetime", "t", "f", form)[:2] for t in (again, frame["t"])]
    # Without a grain, float32 keeps seven digits of the rank.
    np.testing.assert_allclose(*seconds, atol=1e-6 * np.ptp(seconds[1]))


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"s": ["x", "y"]})
    schema = fit_schema(frame)
    write_table(frame, schema, path)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_table(pd.DataFrame({"s": ["z", "\ud800"]}).astype(object), schema, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["t.csv"]
    with pytest.raises(StateError, match="cannot be written"):
        write_table(frame, schema, tmp_path / "nowhere" / "t.csv")
    with pytest.raises(DataError, match="end its name in"):
        write_table(frame, schema, tmp_path / "t.xls")


def test_equal_tables_are_equal_files(tmp_path):
    frame = pd.DataFrame({"s": ["x", "y"]})
    for name in ("a.csv.gz", "b.csv.gz"):
        write_table(frame, fit_schema(frame), tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def linear(name, kind, low, high, **more):
    edges = (low - 0.5, high + 0.5) if kind == "integer" else (low, high)
    more = {"edges": edges, "cumulative": (0.0, 1.0), "scale": "linear"} | more
    return Column(name, kind, low=low, high=high, **more)


def test_a_linear_scale_keeps_distances():
    column = linear("x", "float", -4.0, 6.0)
    cells = np.array([-4.0, 1.0, 3.5, 6.0])
    scores = to_scores(cells, column)
    np.testing.assert_allclose(scores, [-1, 0, 0.5, 1])
    np.testing.assert_allclose(from_scores(scores, column), cells)
    # Outside the range: the edge of it.
    assert to_scores(np.array([-9.0, 9.0]), column).tolist() == [-1, 1]
    assert from_scores(np.array([-3.0, 3.0]), column).tolist() == [-4, 6]


def test_a_linear_scale_gives_integers_back():
    column = linear("pixel", "integer", 0.0, 16.0)
    frame = pd.DataFrame({"pixel": np.arange(17).repeat(20)})
    codec = TableCodec(Schema((column,)))
    rows = codec.encode(frame, rng())
    assert codec.blocks == (Block(0, 1, "value"),)
    # Jittered, within half a step of the ends.
    assert len(np.unique(rows)) > 300
    assert np.abs(rows).max() <= 1 + 1 / 16
    assert codec.decode(rows)["pixel"].tolist() == frame["pixel"].tolist()
    wild = codec.decode(np.array([[-7.0], [7.0]]))["pixel"]
    assert wild.tolist() == [0, 16]


def test_a_linear_scale_beside_missing_cells():
    column = linear("x", "float", 0.0, 2.0, missing=True)
    frame = pd.DataFrame({"x": [0.0, None, 1.5]})
    codec = TableCodec(Schema((column,)))
    rows = codec.encode(frame, rng())
    np.testing.assert_allclose(rows, [[-1, 1, 0], [0, 0, 1], [0.5, 1, 0]])
    pd.testing.assert_frame_equal(codec.decode(rows), frame)


def test_ranks_are_what_they_were():
    plain = Schema((Column("age", "integer", edges=(0.5, 3.5), cumulative=(0.0, 1.0)),))
    written = plain.to_json()
    # The fingerprint of a table without linear numbers must not change.
    assert "scale" not in written["columns"][0]
    assert plain.fingerprint == "897b286f6ae31f0f"
    assert Schema.from_json(written) == plain
    other = Schema((replace(plain["age"], scale="linear"),))
    assert Schema.from_json(other.to_json()) == other
    assert other.fingerprint != plain.fingerprint


def test_what_is_too_rare_is_the_nearest_value_point_masses_among_them():
    # Parties of 1 to 6 guests, of which those of 1 and of 6 are too few: 1 was taken for 5.
    column = Column("size", "integer", low=2, high=5, atoms=(2, 3, 4), edges=(4.5, 5.5))
    codec = TableCodec(Schema((replace(column, cumulative=(0.0, 1.0)),)))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": ["1", "2", "3", "4", "5", "6"]})
    assert codec.decode(codec.encode(frame, rng))["size"].tolist() == [2, 2, 3, 4, 5, 5]
