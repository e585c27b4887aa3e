"""Date-times in nanoseconds, and times of day and durations of workbooks."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.dates import read_dates, to_seconds, write_dates
from everymode.wgan.data.frame import read_table, table_types
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.storage import stored
from everymode.wgan.data.values import describe, parse_column
from everymode.wgan.data.write import write_table

DAY = "2021-05-21 15:20:33"


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        ([f"{DAY}.559001088", f"{DAY}.000000001"], "%Y-%m-%d %H:%M:%S.%9f"),
        ([f"{DAY}.559001", f"{DAY}.000001"], "%Y-%m-%d %H:%M:%S.%f"),
        ([f"{DAY}.559", f"{DAY}.001"], "%Y-%m-%d %H:%M:%S.%3f"),
        ([DAY, "2021-05-22 00:00:01"], "%Y-%m-%d %H:%M:%S"),
    ],
)
def test_the_finest_digits_are_recognised_in_text_and_in_typed_columns(cells, form) -> None:
    assert describe(pd.Series(cells, dtype=object)).form == form
    assert describe(pd.Series(pd.to_datetime(cells)).astype("datetime64[ns]")).form == form


def test_moments_are_read_and_written_to_what_a_double_holds() -> None:
    text = f"{DAY}.559001088"
    form = "%Y-%m-%d %H:%M:%S.%9f"
    index = pd.DatetimeIndex([text]).as_unit("ns")
    assert write_dates(index, form).tolist() == [text]
    assert read_dates([text], form)[0] == pytest.approx(to_seconds(index)[0], abs=2e-7)
    # Microseconds are what they were.
    whole = index.floor("us")
    assert to_seconds(whole)[0] == to_seconds(whole.as_unit("us"))[0]


def test_a_column_in_nanoseconds_comes_back_in_nanoseconds() -> None:
    start = np.datetime64("2021-01-01", "ns").astype(np.int64)
    ticks = start + np.random.default_rng(0).integers(0, 10**9, 500)
    series = pd.Series(ticks.view("datetime64[ns]"))
    form = describe(series).form
    seconds = parse_column(series, "datetime", "t", "", form)
    low, high = float(seconds.min()), float(seconds.max())
    column = Column(
        "t",
        "datetime",
        edges=(low, high),
        cumulative=(0.0, 1.0),
        low=low,
        high=high,
        form=form,
        storage="timestamp[ns]",
    )
    codec = TableCodec(Schema((column,)))
    rows = codec.encode(series.to_frame("t"), np.random.default_rng(0))
    made = codec.decode(rows)["t"]
    assert made.dtype == "datetime64[ns]"
    assert (made.astype("int64") % 1000 != 0).mean() > 0.9
    array = stored(made, column.storage)
    assert array is not None and array.type == pa.timestamp("ns")
    assert array.cast(pa.int64()).to_pylist() == made.astype("int64").tolist()


def test_times_and_durations_of_workbooks_keep_their_type(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine")
    book = openpyxl.Workbook()
    cells = [
        ("at", "took"),
        (dt.time(13, 45, 10), dt.timedelta(hours=30)),
        (None, dt.timedelta(0, 5)),
    ]
    for row in cells:
        book.active.append(row)
    book.save(tmp_path / "w.xlsx")
    frame = read_table(tmp_path / "w.xlsx")
    types = table_types(tmp_path / "w.xlsx")
    assert types == {"at": "time64[us]", "took": "duration[us]"}
    assert describe(frame["at"]).form == "%H:%M:%S"
    seconds = parse_column(frame["took"], "float", "took", "")
    assert seconds.tolist() == [30 * 3600, 5]
    schema = Schema(
        (
            Column("at", "datetime", missing=True, form="%H:%M:%S", storage=types["at"]),
            Column("took", "float", missing=True, storage=types["took"]),
        )
    )
    moments = pd.Series(pd.to_datetime(["1970-01-01 13:45:10", None]))
    made = pd.DataFrame({"at": moments, "took": seconds})
    write_table(made, schema, tmp_path / "made.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "made.xlsx").active
    assert [tuple(cell.value for cell in row) for row in sheet.iter_rows()] == cells
    assert table_types(tmp_path / "made.xlsx") == types
