"""JSON lines and workbooks: a string stays a string, a number a number, a date cell a date cell."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.wgan.data.codec import TableCodec, typed
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.frame import read_table, table_types
from everymode.wgan.data.write import write_table

ROWS = [
    {"code": "007", "text": "12", "n": 1, "x": 1.0, "f": 2.5, "b": True, "day": "2024-01-05"},
    {"code": "010", "text": "13", "n": 2, "x": 2.0, "f": None, "b": None, "day": None},
    {"code": "123", "text": None, "n": 3, "x": 3.0, "f": 1.25, "b": False, "day": "2024-02-29"},
]


def copied(path: Path) -> Path:
    """The table, read, encoded, decoded and written again."""
    frame, types = read_table(path), table_types(path)
    schema = fit_schema(frame, atom_share=0.01)
    columns = tuple(replace(c, storage=types.get(c.name, "")) for c in schema.columns)
    codec, rng = TableCodec(replace(schema, columns=columns)), np.random.default_rng(0)
    out = path.with_stem("copy")
    write_table(codec.decode(codec.encode(frame, rng), rng), codec.schema, out)
    return out


def test_values_of_json_lines_keep_their_types(tmp_path):
    # Strings were read as numbers or date-times and written as such: "12" became 12.
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 4), encoding="utf-8")
    lines = copied(path).read_text(encoding="utf-8").splitlines()
    assert lines == [json.dumps(row) for row in ROWS * 4]


def test_cells_of_a_workbook_keep_their_kinds(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine")
    rows = [
        ["text", "n", "x", "b", "day", "moment"],
        *[
            [str(10 + i), i, i + 0.5, bool(i % 2), dt.date(2024, 1, 1 + i), moment]
            for i in range(9)
            if (moment := dt.datetime(2024, 1, 1 + i, 8, 30))
        ],
    ]
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "table.xlsx")
    out = copied(tmp_path / "table.xlsx")
    sheet = openpyxl.load_workbook(out).active
    first = dict(zip(rows[0], sheet[2], strict=True))
    assert first["text"].value == "10" and first["text"].data_type == "s"
    assert first["n"].value == 0 and first["n"].data_type == "n"
    assert first["b"].value is False and first["b"].data_type == "b"
    # A day shows no time of day.
    assert first["day"].is_date and first["day"].number_format == "yyyy-mm-dd"
    assert "h:mm" in first["moment"].number_format
    pd.testing.assert_frame_equal(read_table(out), read_table(tmp_path / "table.xlsx"))


def test_truth_values_of_a_series_of_text_may_be_missing():
    # pandas makes None of an array of text NaN: combinations of such a column failed.
    frame = pd.DataFrame({"b": ["True", None, "False"]})
    column = fit_schema(frame)["b"]
    made = typed(pd.Series(np.array(["True", None, "False"], dtype=object)), column)
    assert made.tolist() == [True, pd.NA, False]
