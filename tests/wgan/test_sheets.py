"""Workbooks, JSON lines and the files of other packages are read with their types."""

import base64
import datetime as dt
import gzip
import sys
import warnings

import numpy as np
import openpyxl
import pandas as pd
import pytest

from everymode.wgan.data import packed, sheets
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.values import describe
from everymode.wgan.data.write import write_table
from everymode.wgan.errors import DataError


def workbook(path, **content):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in content.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)


ROWS = [
    ["id", "price", "name", "born", "ok", 2019],
    [1, 1.5, " x ", dt.date(2020, 1, 2), True, 7],
    [2, 2, "NA", dt.date(2021, 3, 4), False, None],
    [],
]


def test_a_sheet_keeps_types(tmp_path):
    workbook(tmp_path / "b.xlsx", Data=ROWS, Empty=[])
    frame = read_table(tmp_path / "b.xlsx")
    assert list(frame.columns) == ["id", "price", "name", "born", "ok", "2019"]
    kinds = [describe(frame[name]).kind for name in frame]
    assert kinds == ["integer", "float", "category", "datetime", "boolean", "integer"]
    assert frame["name"].tolist() == ["x", None] and frame["2019"].isna().tolist() == [False, True]


def test_one_of_several_sheets_is_named(tmp_path):
    path = tmp_path / "b.xlsx"
    workbook(path, June=[["a"], [1]], **{"July 24": [["b"], [2]]})
    with pytest.raises(DataError, match=r"2 sheets hold data \(June, July 24\).*'b.xlsx#June'"):
        read_table(path)
    assert list(read_table(tmp_path / "b.xlsx#July 24").columns) == ["b"]
    with pytest.raises(DataError, match="no sheet 'May'; it has June, July 24"):
        read_table(tmp_path / "b.xlsx#May")


def test_a_workbook_that_cannot_be_read_says_why(tmp_path, monkeypatch):
    path = tmp_path / "b.xlsx"
    workbook(path, Data=[["a"]])
    with pytest.raises(DataError, match="no rows"):
        read_table(path)
    workbook(path, Data=[])
    with pytest.raises(DataError, match="its sheets are empty"):
        read_table(path)
    workbook(path, Data=[["a"], *[[1]] * 5000])
    monkeypatch.setattr(sheets, "ALWAYS", 1)
    monkeypatch.setattr(sheets, "RATIO", 1)
    with pytest.raises(DataError, match="decompresses to"):
        read_table(path)
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(DataError, match=r"pip install 'everymode\[excel\]'"):
        read_table(path)


def test_json_lines_keep_types(tmp_path):
    text = b'{"n": 1, "s": " x ", "b": true}\n{"n": null, "s": "NA"}\n{"s": "z", "x": 0.5}\n'
    for name, content in (("t.jsonl", text), ("t.ndjson.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(content)
        frame = read_table(tmp_path / name)
        assert frame["s"].tolist() == ["x", None, "z"]
        assert [describe(frame[c]).kind for c in "nsbx"] == [
            *("integer", "category", "boolean", "float"),
        ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": ' + b"[" * 100_000, "nested"),
        (b'{"a": {"b": 1}}\n', "hold lists or structures"),
        (b'{"a": 1}\n{"a": "x"}\n', "not one JSON object a line with values of one type"),
        (b"a,b\n1,2\n", "not one JSON object a line"),
        (b"", "not one JSON object a line"),
    ],
)
def test_json_that_is_no_table_is_refused(tmp_path, content, said):
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.jsonl")
    assert said in str(caught.value)


def test_json_that_decompresses_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "ALWAYS", 1 << 10)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * (1 << 18)))
    with pytest.raises(DataError, match="over 300 times its size"):
        read_table(tmp_path / "t.jsonl.gz")


def test_stata_and_feather_are_read(tmp_path):
    frame = pd.DataFrame({"n": [1, 2, 3], "s": pd.Categorical(["u", None, "v"])})
    frame.to_stata(tmp_path / "t.dta", write_index=False)
    frame.to_feather(tmp_path / "t.feather")
    for name in ("t.dta", "t.feather"):
        found = read_table(tmp_path / name)
        assert found["n"].tolist() == [1, 2, 3]
        assert found["s"].astype(object).replace({np.nan: None}).tolist() == ["u", None, "v"]


def test_what_pandas_only_warns_of_is_read(tmp_path, monkeypatch):
    # Stata's times with leap seconds stay numbers; pandas writes none.
    def read(file):
        warnings.warn("Encountered %tC format. Leaving in Stata Internal Format.", stacklevel=2)
        return pd.DataFrame({"n": [1.5e12, None]})

    monkeypatch.setattr(pd, "read_stata", read)
    (tmp_path / "t.dta").write_bytes(b"x")
    assert read_table(tmp_path / "t.dta")["n"].tolist()[0] == 1.5e12


TRANSPORT = (
    "ABzY8000000t54Kb#!qJQV4Q&_78H=f&d>+ry$3mNCgjMIYkICzzY-<f*peuKmdsb8mFLOre|OV;wKfSnCKZP-~>h%"
    "e*R%bW>$uVR;DIarpD-e1qy)&7XSLX`Z@u{i1V+Z8JuNefZaToVCSHKkRXb}&&4ssG1xT(#0N14b@=%?`nm=a@~;VY|"
    "1vN#Ffed1Feav_lI0!-5CEEi!Y3C%+`^Qen3+dKw{TG47UrVFl2j_XMSv`~FoDftDNd~*KaLnM+#*4aQ?R8!f2Ux~v`"
    "J)sb5h4{kDHSbgyG!&08Bfcfbf0w&{R4&Ky`rK000m$%6U))000"
)
"""A SAS transport file that ReadStat wrote (version 5), compressed."""


def test_numbers_of_sas_are_whole_where_all_are_and_zeros_are_zeros(tmp_path):
    (tmp_path / "t.xpt").write_bytes(gzip.decompress(base64.b85decode(TRANSPORT)))
    found = read_table(tmp_path / "t.xpt")
    assert found["gain"].dtype == "Int64" and found["gain"].tolist() == [0, 2174, 0]
    assert found["age"].dtype == "Int64" and found["age"].tolist()[:2] == [39, 50]
    assert found["age"].isna().tolist() == [False, False, True]
    assert found["rate"].tolist() == [0.0, 12.5, 0.25]
    assert found["sex"].tolist() == ["F", "M", "F"]


def test_a_transport_file_of_another_version_says_which_one_is_read(tmp_path):
    (tmp_path / "t.xpt").write_bytes(b"HEADER RECORD*******LIBV8   HEADER RECORD!!!!!!!" * 20)
    with pytest.raises(DataError, match="a transport file of version 5 is expected"):
        read_table(tmp_path / "t.xpt")


@pytest.mark.parametrize("name", ["t.dta", "t.sas7bdat", "t.xpt", "t.feather", "t.xls", "t.ods"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"a,b\n1,2\n" * 300)
    with pytest.raises(DataError, match=r"not an? (Stata|SAS|Arrow|workbook)"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("name", ["t.feather", "t.jsonl", "t.xlsx", "t.parquet"])
def test_what_is_written_is_read_back(tmp_path, name):
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3], "Int64"),
            "x": [0.5, 2.25, np.nan],
            "s": pd.Series(["u", None, "=1+1"], dtype=object),
            "t": pd.to_datetime(["2020-01-02 03:04:05", None, "2021-05-06 07:08:09"]),
        }
    )
    write_table(frame, Schema(()), tmp_path / name, spreadsheet_safe=True)
    found = read_table(tmp_path / name)
    assert found["n"].astype("Int64").tolist() == frame["n"].tolist()
    assert found["x"].tolist()[:2] == [0.5, 2.25] and np.isnan(found["x"][2])
    # A spreadsheet would run it.
    assert found["s"].tolist() == ["u", None, "'=1+1" if name == "t.xlsx" else "=1+1"]
    found["t"] = pd.to_datetime(found["t"])
    assert found["t"].dt.tz_localize(None).tolist() == frame["t"].tolist()


def test_what_cannot_be_written_says_what_can(tmp_path, monkeypatch):
    frame = pd.DataFrame({"a": [1]})
    for name in ("t.sas7bdat", "t.xls", "t.dta"):
        with pytest.raises(DataError, match=r"not written so; end its name in \.csv, .*\.xlsx"):
            write_table(frame, Schema(()), tmp_path / name)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'everymode\[excel\]'"):
        write_table(frame, Schema(()), tmp_path / "t.xlsx")
