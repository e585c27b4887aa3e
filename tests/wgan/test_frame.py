"""Reading tables, describing columns, canonical values."""

import datetime as dt
import decimal
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data.date_forms import DATE_FORMS, has_day
from everymode.wgan.data.dates import read_dates, write_dates
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.readings import Reading
from everymode.wgan.data.values import count_cells, describe, parse_column
from everymode.wgan.errors import DataError

ADULT = Path(__file__).parents[2] / "simulations" / "data" / "adult-train.csv.gz"

ODD = """\ufeffzip , age,born,note,"a, b",ok,score
00123, 39,2001-02-03,"Zürich, ""old""
town",1,TRUE,1e-3
07030,?,1999-12-31,naïve ✓,2,false, 2.50
 10115 ,-12,, 日本 ,3,,NA
"""


def text(*cells):
    return pd.Series(list(cells), dtype=object)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    assert str(path.name) in str(caught.value)
    return caught.value.problems


def test_odd_csv_is_read_as_text_with_blanks_stripped(tmp_path):
    frame = read_table(write(tmp_path, "odd.csv", ODD))
    assert list(frame.columns) == ["zip", "age", "born", "note", "a, b", "ok", "score"]
    assert frame["zip"].tolist() == ["00123", "07030", "10115"]
    assert frame["age"].tolist() == ["39", None, "-12"]
    assert frame["note"].tolist() == ['Zürich, "old"\ntown', "naïve ✓", "日本"]
    assert frame["score"].tolist() == ["1e-3", "2.50", None]
    kinds = [describe(frame[name]).kind for name in frame]
    assert kinds == ["category", "integer", "datetime", "category", "integer", "boolean", "float"]


@pytest.mark.parametrize("missing", MISSING)
def test_every_spelling_of_missing_is_none_even_quoted(tmp_path, missing):
    path = write(tmp_path, "m.csv", f'a,b\n{missing},1\n"{missing}",2\n {missing} ,3\n')
    assert read_table(path)["a"].tolist() == [None] * 3


def test_what_counts_as_missing_can_be_chosen(tmp_path):
    path = write(tmp_path, "m.csv", "country,n\nNA,1\n-,2\n")
    assert read_table(path, missing=("-",))["country"].tolist() == ["NA", None]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV", "t.tsv", "t.tsv.gz"])
def test_endings_agree(tmp_path, name):
    content = "a,b\nx,1\ny,\n".replace(",", "\t" if "tsv" in name else ",").encode()
    path = write(
        tmp_path, name, gzip.compress(content, mtime=0) if name.endswith("gz") else content
    )
    frame = read_table(path)
    assert frame.to_dict("list") == {"a": ["x", "y"], "b": ["1", None]}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings_and_blank_lines(tmp_path, ending):
    path = write(tmp_path, "t.csv", ending.join(["a,b", "1,2", "", "3,4", ""]))
    assert read_table(path)["b"].tolist() == ["2", "4"]


def test_adult_is_described_as_its_documentation_says():
    frame = read_table(ADULT)
    assert frame.shape == (32561, 15)
    assert frame.iloc[0, :4].tolist() == ["39", "State-gov", "77516", "Bachelors"]
    numbers = {name for name in frame if describe(frame[name]).kind == "integer"}
    assert numbers == {
        *("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
    }
    gaps = {name for name in frame if describe(frame[name]).missing}
    assert gaps == {"workclass", "occupation", "native-country"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "empty file"),
        ("t.csv", " \n\n", "empty file"),
        ("t.csv", "a,b\n", "no rows"),
        ("t.csv", "a,b\n1,2\n1,2,3\n4\n", r"line 3 (3 cells), line 4 (1 cells)"),
        ("t.csv", 'a,b\n"x\ny",2\n1\n', "line 4"),
        ("t.csv", "a,,b\n1,2,3\n", "no header for column 2"),
        ("t.csv", 'a,b\n"1,2\n3,4\n', "quotes of line"),
        ("t.csv", b"\xff\xfea", "not; save the file with the encoding UTF-8"),
        ("t.csv.gz", b"\0" + b"a,b\n1,2\n", "gzip"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 50, mtime=0)[:-9], "gzip"),
        ("t.parquet", b"a,b\n1,2\n", "not a Parquet file"),
        ("t.xlsx", b"PK", "not a workbook"),
        ("t.txt", b"a\n1\n", "ending in .csv"),
    ],
)
def test_unusable_files_are_refused(tmp_path, name, content, said):
    assert said in "\n".join(refused(write(tmp_path, name, content)))


@pytest.mark.parametrize("header", ["5,2020-01-02", "1.5", "-3,1e5", "31.12.2020,7"])
def test_a_row_in_place_of_headers_is_asked_about(tmp_path, header):
    path = write(tmp_path, "t.csv", f"{header}\n{header}\n")
    assert "looks like a row, not like headers" in refused(path)[0]


@pytest.mark.parametrize("header", ["2019,2020,2021", "0,1,2", "1,2,3", "id,2020-01,3"])
def test_numbers_that_are_names_stay_headers(tmp_path, header):
    path = write(tmp_path, "t.csv", f"{header}\n7,8,9\n")
    assert list(read_table(path).columns) == header.split(",")


def test_all_problems_of_a_header_are_told_at_once(tmp_path):
    problems = refused(write(tmp_path, "t.csv", "a,a,,b, b ,c\n1,2,3,4,5,6\n1\n"))
    assert len(problems) == 3
    assert "columns 1, 2, 4, 5" in problems[1]


def test_a_column_called_like_a_mangled_one_is_kept(tmp_path):
    frame = read_table(write(tmp_path, "t.csv", "a,a.1\n1,2\n"))
    assert list(frame.columns) == ["a", "a.1"]


def test_missing_files_are_told_with_close_names(tmp_path):
    write(tmp_path, "hospital-a.csv", "a\n1\n")
    assert "did you mean hospital-a.csv?" in refused(tmp_path / "hospitala.csv")[0]
    assert "holds hospital-a.csv" in refused(tmp_path / "zzz.parquet")[0]
    assert "nor the folder" in refused(tmp_path / "nowhere" / "x.csv")[0]
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in refused(tmp_path / "folder.csv")[0]


def test_parquet_keeps_types_and_integers_with_gaps(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table(
        {
            "n": pa.array([1, None, 3]),
            "x": pa.array([1.5, None, float("nan")]),
            "b": pa.array([True, None, False]),
            "d": pa.array([dt.date(2020, 1, 31), None, dt.date(1950, 7, 1)]),
            "t": pa.array([dt.datetime(2020, 1, 31, 12), None, None]),
            "m": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.25")]),
            " s ": pa.array([" x ", "?", "007"]),
            "k": pa.array(["u", "NA", "v"]).dictionary_encode(),
        }
    )
    pq.write_table(table, path)
    frame = read_table(path)
    assert {name: describe(frame[name]) for name in frame} == {
        "n": Reading("integer", True),
        "x": Reading("float", True, decimals=1),
        "b": Reading("boolean", True),
        "d": Reading("datetime", True, form="%Y-%m-%d"),
        "t": Reading("datetime", True, form="%Y-%m-%d %H:%M:%S"),
        "m": Reading("float", True, "0.00", 2),
        "s": Reading("category", True),
        "k": Reading("category", True),
    }
    assert frame["s"].tolist() == ["x", None, "007"]
    np.testing.assert_array_equal(parse_column(frame["n"], "integer", "n", "f"), [1, np.nan, 3])
    assert parse_column(frame["n"], "category", "n", "f").tolist() == ["1", None, "3"]
    assert parse_column(frame["b"], "boolean", "b", "f").tolist() == ["True", None, "False"]
    assert parse_column(frame["k"], "category", "k", "f").tolist() == ["u", None, "v"]


def test_parquet_index_of_pandas_is_a_column_only_if_named(tmp_path):
    plain = pd.DataFrame({"a": [1, 2]}, index=[7, 9])
    plain.to_parquet(tmp_path / "plain.parquet")
    plain.rename_axis("id").to_parquet(tmp_path / "named.parquet")
    assert list(read_table(tmp_path / "plain.parquet").columns) == ["a"]
    assert read_table(tmp_path / "named.parquet")["id"].tolist() == [7, 9]


def test_parquet_with_lists_twins_or_no_rows_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table([pa.array([[1], [2]]), [1, 2], [3, 4]], names=["l", "a", "a"]), path)
    problems = refused(path)
    assert "columns 2, 3" in problems[0] and "'l'" in problems[1]
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    assert "no rows" in refused(path)[0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-12", "0"], Reading("integer", False)),
        (["1", "2.0"], Reading("float", False, decimals=0)),
        (["1", ".25", "1e-3"], Reading("float", False, decimals=3)),
        (["1.5e2", "10e-1"], Reading("float", False, "0.#e0")),
        (["15e-1"], Reading("float", False, "0.#e0", 1)),
        (["1e-300"], Reading("float", False, "0.#e0", 15)),
        (["1.5", "-inf"], Reading("float", False, "0.0", 1)),
        (["1.5", "2.25"], Reading("float", False, decimals=2)),
        (["29.50", "3.00"], Reading("float", False, "0.00", 1)),
        (["007", "12"], Reading("category", False)),
        (["007.5", "12"], Reading("category", False)),
        (["9007199254740993"], Reading("integer", False)),
        (["9223372036854775807"], Reading("integer", False)),
        (["99999999999999999999"], Reading("category", False)),
        (["9007199254740992"], Reading("integer", False)),
        (["1" * 5000], Reading("category", False)),
        (["1_000"], Reading("category", False)),
        (["١٢"], Reading("category", False)),
        (["1,000"], Reading("integer", False, "#,##0")),
        (["12,5", "3"], Reading("float", False, "0,#", 1)),
        (["1.234,50 €", "-3,00 €"], Reading("float", False, "#.##0,00 €", 1)),
        (["$5", "$1,234"], Reading("integer", False, "$#,##0")),
        (["54%", "3.5%"], Reading("float", False, "0.#%", 1)),
        (["(1.2)", "3.4"], Reading("float", False, "0.0;(0.0)", 1)),
        (["R$ 5", "R$ 7,5"], Reading("float", False, "R$ 0,#", 1)),
        (["1'234.50", "2.00"], Reading("float", False, "#'##0.00", 1)),
        (["≤5", *"123456789" * 3], Reading("integer", False, bounds=1)),
        (["Total", *"123456789" * 3], Reading("integer", True, strays=1)),
        (["Total", *"123"], Reading("category", False, alike=0.75)),
        (["None", *"123"], Reading("integer", True)),
        (["None", "Some"], Reading("category", False)),
        (["Q1", "Q2"], Reading("category", False)),
        (["$5", "€5"], Reading("category", False, alike=0.5)),
        (["3/7/2021", "12/31/2020"], Reading("datetime", False, "%-m/%-d/%Y")),
        (["31-JAN-2024"], Reading("datetime", False, "%d-%^b-%Y")),
        (["4:05 PM", "11:10 AM"], Reading("datetime", False, "%-I:%M %p")),
        (["13:45"], Reading("datetime", False, "%H:%M")),
        (["20240131", "20231201"], Reading("datetime", False, "%Y%m%d")),
        (["20240131", "20231301"], Reading("integer", False)),
        (["2024-01-31T10:00:00.123+02:00"], Reading("datetime", False, "%Y-%m-%dT%H:%M:%S.%3f%:z")),
        (["TRUE", "false", None], Reading("boolean", True)),
        (["true", "yes"], Reading("category", False)),
        (["inf", "ok"], Reading("category", False, alike=0.5)),
        (["2020-02-30"], Reading("category", False)),
        (["now", "2020-01-01"], Reading("category", False, alike=0.5)),
        (["31.01.2020", "1.2.2021"], Reading("datetime", False, form="%d.%m.%Y")),
        (["12/31/2020", "01/02/2020"], Reading("datetime", False, form="%m/%d/%Y")),
        (["01/02/2020"], Reading("datetime", False, form="%d/%m/%Y")),
        (["2020-01-01", "2020-01-01 10:00"], Reading("category", False, alike=0.5)),
        ([None, None], Reading(None, True)),
        ([], Reading(None, False)),
    ],
)
def test_describe_text(cells, expected):
    assert describe(text(*cells)) == expected


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pd.Series([1, 2], dtype="uint8"), Reading("integer", False)),
        (pd.Series([1, None], dtype="Int64"), Reading("integer", True)),
        (pd.Series([2**60, 1]), Reading("integer", False)),
        (pd.Series([0.1, 0.25], dtype="float32"), Reading("float", False, decimals=2)),
        (pd.Series([0.1, None], dtype="Float64"), Reading("float", True, decimals=1)),
        (pd.Series([40.0, 3.0]), Reading("float", False, decimals=0)),
        (pd.Series([np.pi]), Reading("float", False, decimals=15)),
        (pd.Series([True, False]), Reading("boolean", False)),
        (pd.Series([True, None], dtype="boolean"), Reading("boolean", True)),
        (pd.Series([1, 2]).astype("category"), Reading("category", False)),
        (pd.Series(["1", None], dtype="string"), Reading("integer", True)),
        (pd.Series([np.nan, np.nan]), Reading(None, True)),
        (pd.Series([1, True, "x"], dtype=object), Reading("category", False, alike=1 / 3)),
        (
            pd.Series(pd.to_datetime(["2020-01-01T10:00:00Z"])),
            Reading("datetime", False, form="%Y-%m-%dT%H:%M:%S%:z"),
        ),
    ],
)
def test_describe_typed(series, expected):
    assert describe(series) == expected


@pytest.mark.parametrize("form", DATE_FORMS)
def test_every_date_form_is_recognised_and_read_back(form):
    moments = ["2021-12-31 23:59:58.25", "1969-07-05 09:17:04.123456", "2003-11-02 03:04:05"]
    index = pd.DatetimeIndex(moments)
    written = write_dates(index, form)
    series = text(*written, None)
    found = describe(series)
    assert (found.kind, found.missing, found.strays) == ("datetime", True, 0)
    # Of forms that write these moments alike, the first is taken.
    assert write_dates(index, found.form).tolist() == written.tolist()
    seconds = parse_column(series, "datetime", "t", "f", found.form)
    np.testing.assert_array_equal(seconds, [*read_dates(written, form), np.nan])
    again = write_dates(pd.DatetimeIndex((seconds[:-1] * 1e6).round().astype("M8[us]")), form)
    assert again.tolist() == written.tolist()
    assert has_day(form) or (seconds[:-1] < 86400).all()


def test_agreed_date_form_decides_what_a_site_alone_cannot():
    series = text("03/04/2021")
    days = [
        parse_column(series, "datetime", "t", "f", form=f)[0] / 86400
        for f in ("%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d")
    ]
    assert days == [18720, 18690, 18720]


def test_time_zones_are_turned_into_utc():
    aware = pd.Series(pd.to_datetime(["1970-01-01 01:00"])).dt.tz_localize("Europe/Paris")
    assert parse_column(aware, "datetime", "t", "f").tolist() == [0]
    offsets = text("1970-01-01T02:00:00+02:00", "1970-01-01T00:00:01Z")
    assert parse_column(offsets, "datetime", "t", "f").tolist() == [0, 1]


KINDS = ["integer", "float", "boolean", "datetime", "category"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("series", [text(None, None), pd.Series([np.nan, np.nan])])
def test_column_without_values_is_all_missing(kind, series):
    values = parse_column(series, kind, "x", "f")
    if kind in ("category", "boolean"):
        assert values.dtype == object and values.tolist() == [None, None]
    else:
        assert values.dtype == np.float64 and np.isnan(values).all()


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (text("007", "3.0", None), ["007", "3.0", None]),
        (pd.Series([1, 3]), ["1", "3"]),
        (pd.Series([1.0, 3.0, np.nan]), ["1", "3", None]),
        (pd.Series([0.1], dtype="float32"), ["0.1"]),
        (pd.Series([True, False]), ["True", "False"]),
        (pd.Series(["u", None]).astype("category"), ["u", None]),
        (pd.Series(pd.to_datetime(["2020-01-31"])), ["2020-01-31"]),
    ],
)
def test_canonical_categories_are_spelled_alike(series, expected):
    assert parse_column(series, "category", "x", "f").tolist() == expected


@given(st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1))
def test_text_and_typed_integers_agree(numbers):
    as_text = pd.Series([None if n is None else str(n) for n in numbers], dtype=object)
    typed = pd.Series(numbers, dtype="Int64")
    for kind in ("integer", "float", "category"):
        one, two = (parse_column(s, kind, "x", "f") for s in (as_text, typed))
        assert pd.Series(one).equals(pd.Series(two))
    assert describe(as_text) == describe(typed)
    assert count_cells(as_text)["present"] == count_cells(typed)["present"]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_text_of_floats_is_read_exactly(numbers):
    series = pd.Series([repr(n) for n in numbers], dtype=object)
    assert parse_column(series, "float", "x", "f").tolist() == numbers


@given(st.integers(0, 10), st.lists(st.integers(-999, 999), min_size=1))
def test_decimals_of_text_and_typed_agree(decimals, scaled):
    numbers = [s / 10**decimals for s in scaled]
    as_text = pd.Series([f"{n:.{decimals}f}" for n in numbers], dtype=object)
    assert describe(pd.Series(numbers)).decimals == describe(as_text).decimals


@pytest.mark.parametrize(
    "series",
    [
        text("1", "-inf", "2", "Infinity", "NAN", "1e999"),
        pd.Series([1.0, -np.inf, 2.0, np.inf, -np.inf, np.inf]),
    ],
)
@pytest.mark.parametrize("kind", ["integer", "float"])
def test_infinities_are_refused_with_their_rows(series, kind):
    with pytest.raises(DataError) as caught:
        parse_column(series, kind, "income", "site.csv")
    message = str(caught.value)
    assert "site.csv" in message and "'income'" in message
    assert "rows 2, 4, 5 (and 1 more)" in message


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        (text("1", "s3cret"), "integer"),
        (text("1", "s3cret"), "float"),
        (text("1", "2.5"), "integer"),
        (text("1", "99999999999999999999"), "integer"),
        (pd.Series([1.0, 2.5]), "integer"),
        (text("true", "s3cret"), "boolean"),
        (text("2020-01-01", "s3cret"), "datetime"),
        (text("2020-01-01", "now"), "datetime"),
    ],
)
def test_values_of_another_kind_are_refused_without_being_told(series, kind):
    with pytest.raises(DataError) as caught:
        parse_column(series, kind, "marital status", "site.csv")
    message = str(caught.value)
    assert "site.csv" in message and kind in message and "row 2;" in message
    assert 'data.columns."marital status".kind = "category"' in message
    for cell in ("s3cret", "2.5", "now", "9007199254740993000"):
        assert cell not in message


@pytest.mark.parametrize("series", [pd.Series([1, 2]), pd.Series([True, False])])
def test_numbers_and_booleans_are_no_dates(series):
    with pytest.raises(DataError, match="rows 1, 2"):
        parse_column(series, "datetime", "x", "f")
