"""Text in CSV files that a spreadsheet would run: written so that it does not, and read back."""

import csv
import io
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everymode.wgan.data.frame import read_table
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.spreadsheets import (
    guessed_marks,
    read_back,
    safe_cell,
    safe_table,
    table_read_back,
)
from everymode.wgan.data.write import write_table

FORMULAS = [
    '=HYPERLINK("http://x","y")',
    "=cmd|' /C calc'!A0",
    "+1+cmd|'x'!A1",
    "-1 to 0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\tx",
    "  =1",
    "\u3000=1",
    "\ufeff=1",
    "\uff1d1+1",
    "-5;=1",
]
ALPHABET = st.sampled_from(list("'=+-@;\t\r\n \"a1\uff1d\u3000\0,"))
NASTY = st.text(ALPHABET, max_size=12)


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text).startswith("'")
    assert read_back(safe_cell(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "+3",
        "-1.5e-3",
        "-.5",
        "-",
        "+",
        "--",
        "= =",
        "a",
        "a-b",
        "'a",
        "a; b",
        "(-1)",
        "東京",
    ],
)
def test_numbers_signs_alone_and_plain_text_stay_as_they_are(text: str) -> None:
    assert safe_cell(text) == text == read_back(text)


@given(NASTY)
def test_every_text_is_read_back(text: str) -> None:
    assert read_back(safe_cell(text)) == text


@given(NASTY, NASTY)
def test_two_texts_never_become_one(one: str, other: str) -> None:
    assert one == other or safe_cell(one) != safe_cell(other)


@given(NASTY)
def test_no_spreadsheet_finds_a_formula_whatever_separates_its_cells(text: str) -> None:
    """Split as another list separator would; an oracle that does not know how it is written."""
    for cell in re.split(r"[;\t\r\n\0]", safe_cell(text)):
        begins = cell.lstrip(' \u3000"')
        operand = begins.strip("=+-@\uff1d ")
        number = re.fullmatch(r"[+-]?\d+", begins)
        assert not (begins[:1] in tuple("=+-@\uff1d") and operand and not number), (text, cell)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "=cmd": ["a", "b", None, "a"],
            "band": ["-1 to 0", "+", "-1 to 0", "'=x"],
            "gain": [-5, 3, -7, 0],
            "loss": [-0.5, None, 1.0, 2.0],
        }
    )


SCHEMA = Schema(
    (
        Column("=cmd", "category", ("a", "b")),
        Column("band", "category", ("'=x", "+", "-1 to 0")),
        Column("gain", "integer"),
        Column("loss", "float"),
    )
)


def test_a_table_tells_what_was_changed_and_how_much() -> None:
    safe, marked = safe_table(frame())
    assert list(safe.columns) == ["'=cmd", "band", "gain", "loss"]
    assert safe["band"].tolist() == ["'-1 to 0", "+", "'-1 to 0", "''=x"]
    assert safe["gain"].tolist() == [-5, 3, -7, 0]
    assert (marked.values, marked.cells, marked.headers) == ({"band": 2}, {"band": 3}, ("=cmd",))
    told = marked.sentence("s.csv")
    assert "column 'band': 2 values in 3 cells" in told and "the header '=cmd'" in told
    assert not safe_table(frame()[["gain", "loss"]])[1]
    pd.testing.assert_frame_equal(table_read_back(safe, marked.cells, marked.headers), frame())


@pytest.mark.parametrize("name", ["s.csv", "s.tsv", "s.csv.gz"])
def test_a_file_holds_no_formula_and_is_read_back(tmp_path: Path, name: str) -> None:
    marked = write_table(frame(), SCHEMA, tmp_path / name, spreadsheet_safe=True)
    found = read_table(tmp_path / name)
    assert next(iter(found.columns)) == "'=cmd" and set(found["gain"]) == {"-5", "3", "-7", "0"}
    meant = table_read_back(found, marked.cells, marked.headers)
    assert meant["band"].tolist() == frame()["band"].tolist()


def test_without_the_option_and_in_parquet_text_stays_as_it_is(tmp_path: Path) -> None:
    assert not write_table(frame(), SCHEMA, tmp_path / "s.csv")
    assert read_table(tmp_path / "s.csv")["band"].tolist() == frame()["band"].tolist()
    assert not write_table(frame(), SCHEMA, tmp_path / "s.parquet", spreadsheet_safe=True)
    assert pd.read_parquet(tmp_path / "s.parquet")["band"].tolist() == frame()["band"].tolist()


def test_a_table_without_formulas_is_the_same_to_the_byte(tmp_path: Path) -> None:
    plain = frame()[["gain", "loss"]].assign(band=["a", "-", "b;c", "it's"])
    for name, safe in (("a.csv", False), ("b.csv", True)):
        write_table(plain, SCHEMA, tmp_path / name, spreadsheet_safe=safe)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_apostrophes_are_found_again_where_nobody_knows_how_a_file_was_written() -> None:
    real = frame()
    safe, marked = safe_table(real)
    columns, headers = guessed_marks(safe, real)
    assert (columns, headers) == (["band"], ["=cmd"])
    pd.testing.assert_frame_equal(table_read_back(safe, columns, headers), real)
    # A table that was written as it is, with an apostrophe of its own, is left alone.
    assert guessed_marks(real, real) == ([], [])
    assert list(marked.cells) == columns


def test_a_quoted_cell_does_not_help_which_is_why_the_text_itself_is_changed() -> None:
    safe, _ = safe_table(pd.DataFrame({"a": ["=1,2", 'x";=1']}))
    rows = list(csv.reader(io.StringIO(safe.to_csv(index=False))))
    assert rows == [["a"], ["'=1,2"], ["x\";'=1"]]
