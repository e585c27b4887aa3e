"""Ranges are rounded outward, and never beyond what a column can hold."""

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from everymode.server.schema.table_spec import TableSpec
from everymode.wgan.data.extent import FIRST, LAST, extent
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.schema import Column
from everymode.wgan.data.storage import name_storage
from tests.wgan.test_round_trips import agreed, passed_through

ROWS = 60


def test_the_ends_of_the_calendar_can_be_written() -> None:
    moments = np.array([FIRST, LAST]).astype("datetime64[s]")
    assert moments.astype(str).tolist() == ["0001-01-01T00:00:00", "9999-12-31T23:59:59"]
    for zone in ("", "Asia/Tokyo"):
        form = "%Y-%m-%dT%H:%M:%S%:z" if zone else "%Y-%m-%d"
        low, high = extent(Column("x", "datetime", form=form, zone=zone))
        assert (low, high) == ((FIRST, LAST) if not zone else (FIRST + 86_400, LAST - 86_400))


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (pa.int8(), 127),
        (pa.uint16(), 65_535),
        (pa.int64(), 2**63 - 1),
        (pa.float16(), 65_504),
        (pa.decimal128(5, 2), 999.99),
        (pa.dictionary(pa.int8(), pa.uint8()), 255),
        (pa.timestamp("ns"), 2.0**63 / 1e9),
        (pa.string(), np.inf),
    ],
)
def test_types_end_where_arrow_does(kind: pa.DataType, most: float) -> None:
    column = Column("x", "float", storage=name_storage(kind))
    assert extent(column)[1] == pytest.approx(most, rel=1e-6)
    if not pa.types.is_dictionary(kind) and np.isfinite(most):
        assert extent(column)[1] <= most


def test_open_ends_and_first_years_come_back_as_dates(tmp_path: Path) -> None:
    # Few rows at the ends: their range is rounded outward by centuries.
    rng = np.random.default_rng(0)
    years = np.append(rng.integers(1950, 2020, ROWS - 8), [9000, 9400, 9800, 9999] * 2)
    first = np.append(rng.integers(1500, 2020, ROWS - 8), [1, 100, 400, 900] * 2)
    clock = np.append(rng.integers(0, 700, ROWS - 8), [1200, 1300, 1400, 1439] * 2)
    frame = pd.DataFrame(
        {
            "until": [f"{y:04d}-12-31" for y in years],
            "since": [f"{y:04d}-01-01" for y in first],
            "clock": [f"{m // 60:02d}:{m % 60:02d}" for m in clock],
        }
    )
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    schema = agreed(path, tmp_path, TableSpec()).schema
    assert schema["until"].high <= LAST and schema["since"].low >= FIRST
    assert 0 <= schema["clock"].low <= schema["clock"].high < 86_400
    made = read_table(passed_through(path, tmp_path / "again", "made.csv", TableSpec()))
    assert made["until"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()
    assert made["clock"].max() <= "23:59"


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.float16(), pa.decimal128(3, 1)])
def test_types_stay_where_a_range_is_rounded_outward(tmp_path: Path, kind: pa.DataType) -> None:
    rng = np.random.default_rng(0)
    most = extent(Column("x", "float", storage=name_storage(kind)))[1]
    tail = [0.5, 0.6, 0.75, 0.9, 1.0]
    numbers = np.append(rng.integers(0, 40, ROWS - 5), np.floor(np.array(tail) * min(most, 65_000)))
    column = pa.array(numbers).cast(kind, safe=False)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": column, "y": ["a"] * ROWS}), path)
    assert agreed(path, tmp_path / "first", TableSpec()).schema["x"].high <= most
    made = pq.read_table(passed_through(path, tmp_path, "made.parquet", TableSpec()))
    assert made["x"].type == kind


def test_moments_of_nanoseconds_end_in_2262(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    years = np.append(rng.integers(1990, 2020, ROWS - 5), [2100, 2150, 2200, 2250, 2262])
    moments = pa.array([dt.datetime(int(y), 4, 1, 7) for y in years], pa.timestamp("us"))
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": moments.cast(pa.timestamp("ns"))}), path)
    assert agreed(path, tmp_path / "first", TableSpec()).schema["x"].high <= 2.0**63 / 1e9
    made = pq.read_table(passed_through(path, tmp_path, "made.parquet", TableSpec()))
    assert made["x"].type == pa.timestamp("ns")
    assert max(made["x"].cast(pa.timestamp("us")).to_pylist()).year <= 2262
