"""Tables of all types come back as they went in: files, schema, codec and writer together."""

import datetime as dt
import decimal
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everymode.clients.site import Site
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.notation import AFFIXES, BRACKETS, MARKS, Notation, parse_notation
from everymode.wgan.data.numbers import read_numbers, write_numbers
from everymode.wgan.data.readings import Reading
from everymode.wgan.data.storage import arrow_type, name_storage
from everymode.wgan.data.values import describe, parse_values
from everymode.wgan.data.write import write_table

ROWS = 300

SLACK = 4e-4
"""Ranges are read from a histogram, to this share of a number."""


def within(made: Any, real: Any) -> bool:
    """Whether numbers lie in the range of others, as far as that is known."""
    low, high = float(np.nanmin(real)), float(np.nanmax(real))
    lowest, highest = float(np.nanmin(made)), float(np.nanmax(made))
    return lowest >= low - SLACK * abs(low) and highest <= high + SLACK * abs(high)


def as_numbers(cells: list[Any]) -> Any:
    """Cells of any typed column as numbers; moments in seconds."""
    first = cells[0]
    if isinstance(first, dt.datetime):
        return np.array([c.timestamp() for c in cells])
    if isinstance(first, dt.date):
        return np.array([c.toordinal() for c in cells])
    if isinstance(first, dt.time):
        return np.array([c.hour * 3600 + c.minute * 60 + c.second for c in cells])
    if isinstance(first, dt.timedelta):
        return np.array([c.total_seconds() for c in cells])
    return np.array(cells, dtype=np.float64)


def agreed(path: Path, folder: Path, spec: TableSpec | None = None) -> Agreement:
    site = Site("a", path, folder / "work")
    columns = tuple(read_table(path).columns)
    return agree(InProcess((site,)), columns, spec or TableSpec(floor=1))


def passed_through(path: Path, folder: Path, name: str, spec: TableSpec | None = None) -> Path:
    """Encodes the rows of a file, decodes them, and writes them."""
    found = agreed(path, folder, spec)
    codec = TableCodec(found.schema)
    rows = codec.encode(read_table(path), np.random.default_rng(0))
    out = folder / name
    write_table(codec.decode(rows, np.random.default_rng(1)), found.schema, out)
    return out


moments = st.datetimes(dt.datetime(1930, 1, 1), dt.datetime(2060, 1, 1))
TEXT: dict[str, tuple[Any, Callable[[Any], str], str]] = {
    "two decimals": (st.integers(-9999, 9999), lambda i: f"{i / 100:.2f}", "0.00"),
    "thousands": (st.integers(-(10**7), 10**7), lambda i: f"{i:,}", "#,##0"),
    "euros": (
        st.integers(1, 10**7),
        lambda i: f"{i / 100:,.2f} €".translate(str.maketrans(",.", ".,")),
        "#.##0,00 €",
    ),
    "dollars": (st.integers(0, 10**6), lambda i: f"${i / 100:,.2f}", "$#,##0.00"),
    "percent": (st.integers(0, 1000), lambda i: f"{i / 10:.1f}%", "0.0%"),
    "brackets": (
        st.integers(-500, 500),
        lambda i: f"({-i / 10:.1f})" if i < 0 else f"{i / 10:.1f}",
        "0.0;(0.0)",
    ),
    "iso": (moments, lambda m: m.strftime("%Y-%m-%dT%H:%M:%S"), "%Y-%m-%dT%H:%M:%S"),
    "offset": (moments, lambda m: f"{m:%Y-%m-%d %H:%M}+02:00", "%Y-%m-%d %H:%M%:z"),
    "unpadded": (moments, lambda m: f"{m.month}/{m.day}/{m.year}", "%-m/%-d/%Y"),
    "named": (
        st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2030, 1, 1)),
        lambda m: m.strftime("%d-%b-%Y"),
        "%d-%b-%Y",
    ),
    "afternoon": (moments, lambda m: m.strftime("%I:%M %p"), "%I:%M %p"),
    "clock": (moments, lambda m: m.strftime("%H:%M"), "%H:%M"),
    "milliseconds": (
        moments,
        lambda m: f"{m:%Y-%m-%d %H:%M:%S}.{m.microsecond // 1000:03d}",
        "%Y-%m-%d %H:%M:%S.%3f",
    ),
    "decimal comma": (
        st.integers(-9999, 9999),
        lambda i: f"{i / 10:.1f}".replace(".", ","),
        "0,0",
    ),
    "exponents": (st.integers(1, 999), lambda i: f"{i / 100:.2f}e{i % 7}", "0.00e0"),
    "compact": (moments, lambda m: m.strftime("%Y%m%d"), "%Y%m%d"),
    "codes": (st.integers(0, 30), lambda i: f"{i:05d}", ""),
    "words": (st.sampled_from(["yes", "no, never", 'so "so"', "é ü"]), str, ""),
    "whole": (st.integers(-(2**40), 2**40), str, ""),
}


# The same tables each time: that a form shows in them is a matter of chance.
@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.data(), st.booleans())
def test_text_comes_back_in_its_form_range_and_categories(
    tmp_path_factory: pytest.TempPathFactory, data: Any, gaps: bool
) -> None:
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    columns: dict[str, list[str]] = {}
    for name, (values, spell, _) in TEXT.items():
        # Few drawn, many repeated: a hundred thousand cells a run.
        drawn = [spell(v) for v in data.draw(st.lists(values, min_size=12, max_size=24))]
        cells = [*drawn, *rng.choice(drawn, ROWS - len(drawn))]
        columns[name] = ["" if gaps and rng.random() < 0.1 else str(c) for c in cells]
    real = folder / "real.csv"
    pd.DataFrame(columns).to_csv(real, index=False)
    made = read_table(passed_through(real, folder, "made.csv"))
    before = read_table(real)
    for name, (_, _, form) in TEXT.items():
        own, other = describe(before[name]), describe(made[name])
        assert own.kind == other.kind, name
        assert own.missing == other.missing, name
        if form and len(set(before[name].dropna())) > 8:
            # Without a number of a thousand nothing shows what separates thousands.
            bare = form.replace("#,##0", "0").replace("#.##0", "0")
            assert own.form in (form, bare if bare != "0" else ""), name
        if own.kind == "category":
            assert set(made[name].dropna()) <= set(before[name].dropna()), name
            continue
        assert other.form == own.form or _written_alike(made[name], own), name
        was, now = (_values(frame, name, own) for frame in (before, made))
        assert within(now, was), name
        assert np.isnan(was).sum() == np.isnan(now).sum(), name


def _values(frame: pd.DataFrame, name: str, reading: Reading) -> Any:
    from everymode.wgan.data.values import parse_column

    assert reading.kind is not None
    return parse_column(frame[name], reading.kind, name, "t", reading.form)


def _written_alike(series: "pd.Series[Any]", reading: Reading) -> bool:
    """Whether what was written fits the form, though another fits, too: 1.50 and 2.5 as 1.5."""
    return describe(series).kind == reading.kind and not describe(series).strays


def _whole(kind: pa.DataType) -> Callable[[np.random.Generator, int], Any]:
    """Whole numbers of a part of a type's range, which may be all of it."""
    bits = np.iinfo(str(kind))

    def make(rng: np.random.Generator, part: int) -> int:
        span = (bits.max - bits.min) >> part
        return int(bits.min) // (part + 1) + int(rng.integers(0, min(span, 2**63 - 1)))

    return make


def _moment(rng: np.random.Generator, part: int, unit: int) -> dt.datetime:
    """A moment from 1700 on, in a span of days to centuries, on steps of `unit` microseconds."""
    span = int(400 * 365.25 * 86_400e6 / 10**part)
    return dt.datetime(1700, 1, 1) + dt.timedelta(
        microseconds=int(rng.integers(0, span)) // unit * unit
    )


def _lasting(unit: int) -> Callable[[np.random.Generator, int], dt.timedelta]:
    return lambda rng, part: dt.timedelta(
        microseconds=(int(rng.integers(0, 10 ** (14 - part))) - 10**9) // unit * unit
    )


def _clock(rng: np.random.Generator, part: int) -> dt.time:
    second = int(rng.integers(0, 86_400 // (part + 1)))
    return dt.time(second // 3600, second // 60 % 60, second % 60)


Make = Callable[[np.random.Generator, int], Any]

TYPED: dict[str, tuple[pa.DataType, Make]] = {
    **{
        str(kind): (kind, _whole(kind))
        for kind in (
            *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
            *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        )
    },
    "half": (pa.float16(), lambda r, part: np.float16(r.integers(0, 64 << part) / 4)),
    "single": (pa.float32(), lambda r, part: float(np.float32(r.normal() * 10.0 ** (3 * part)))),
    "double": (pa.float64(), lambda r, part: float(r.normal() * 10.0 ** (30 * part - 60))),
    "money": (
        pa.decimal128(12, 2),
        lambda r, part: decimal.Decimal(int(r.integers(-(10**part), 10 ** (9 - part)))) / 100,
    ),
    "wide money": (
        pa.decimal256(40, 3),
        lambda r, part: decimal.Decimal(int(r.integers(1, 10 ** (6 + part)))) / 1000,
    ),
    "flag": (pa.bool_(), lambda r, part: bool(r.random() < 0.5)),
    "text": (
        pa.string(),
        lambda r, part: str(r.choice(["a", 'b "c"', "-", "NaN?", "ü"][: part + 1])),
    ),
    "large": (pa.large_string(), lambda r, part: str(r.choice(["a", "b"]))),
    "level": (
        pa.dictionary(pa.int8(), pa.string()),
        lambda r, part: str(r.choice(["low", "high"])),
    ),
    "coded": (pa.dictionary(pa.int16(), pa.int32()), lambda r, part: int(r.integers(0, 9))),
    "day": (pa.date32(), lambda r, part: _moment(r, part, 1).date()),
    "day in ms": (pa.date64(), lambda r, part: _moment(r, part, 1).date()),
    "clock": (pa.time32("s"), _clock),
    "clock in ms": (pa.time32("ms"), lambda r, part: _clock(r, part).replace(microsecond=5000)),
    "fine clock": (pa.time64("us"), lambda r, part: _clock(r, part).replace(microsecond=123)),
    "finest clock": (pa.time64("ns"), lambda r, part: _clock(r, part).replace(microsecond=7)),
    **{
        f"lasting {unit}": (pa.duration(unit), _lasting(size))
        for unit, size in (("s", 10**6), ("ms", 1000), ("us", 1), ("ns", 1))
    },
    **{
        f"moment {unit}": (
            pa.timestamp(unit),
            lambda r, part, size=size: _moment(r, part, size),
        )
        for unit, size in (("s", 10**6), ("ms", 1000), ("us", 1), ("ns", 1))
    },
    **{
        f"moment {unit} {zone}": (
            pa.timestamp(unit, zone),
            lambda r, part, size=size: _moment(r, part, size).replace(tzinfo=dt.UTC),
        )
        for unit, size, zone in (
            ("ms", 1000, "Europe/Berlin"),
            ("ns", 1, "UTC"),
            ("us", 1, "+05:30"),
            ("s", 10**6, "America/St_Johns"),
        )
    },
}


# The same tables each time, as above: with those, more than a hundred thousand cells a run.
@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.integers(0, 2**32), st.integers(0, 4), st.booleans())
def test_types_of_parquet_come_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, part: int, gaps: bool
) -> None:
    folder = tmp_path_factory.mktemp("typed")
    rng = np.random.default_rng(seed)
    arrays = {
        name: pa.array(
            [None if gaps and rng.random() < 0.1 else make(rng, part) for _ in range(ROWS)], kind
        )
        for name, (kind, make) in TYPED.items()
    }
    real = folder / "real.parquet"
    pq.write_table(pa.table(arrays), real)
    # Parquet has no seconds of a day: what it makes of them is what comes back.
    table = pq.read_table(real)
    made = pq.read_table(passed_through(real, folder, "made.parquet"))
    for name in TYPED:
        assert made[name].type == table[name].type, name
        was, now = (t[name].drop_null().to_pylist() for t in (table, made))
        assert made[name].null_count == table[name].null_count, name
        if isinstance(was[0], str | bool):
            assert set(now) <= set(was), name
        else:
            assert within(as_numbers(now), as_numbers(was)), name


def test_columns_of_bytes_are_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1, 2], "raw": pa.array([b"x", b"y"])}), path)
    with pytest.raises(Exception, match="'raw' hold bytes"):
        read_table(path)


@pytest.mark.parametrize("kind", [kind for kind, _ in TYPED.values()], ids=list(TYPED))
def test_types_are_named_and_found_again(kind: pa.DataType) -> None:
    assert arrow_type(name_storage(kind)) == kind


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e-3, 1.0, 1e9, 1e16, 1e100, 1e300])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_numbers_of_any_size_stay_in_their_range(
    tmp_path: Path, size: float, spread: float
) -> None:
    rng = np.random.default_rng(1)
    numbers = size * np.exp(
        rng.uniform(0, np.log(spread), ROWS) if spread > 1 else rng.random(ROWS)
    )
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": [repr(float(n)) for n in numbers], "y": "a"}).to_csv(path, index=False)
    made = read_table(passed_through(path, tmp_path, "made.csv"))["x"].astype(float)
    assert within(made, numbers)
    np.testing.assert_allclose(np.sort(made), np.sort(numbers), rtol=0.05)


@pytest.mark.parametrize("top", [2**53 - 1, 2**60, 2**63 - 1])
def test_whole_numbers_stay_whole_up_to_63_bits(tmp_path: Path, top: int) -> None:
    rng = np.random.default_rng(0)
    numbers = [top - int(rng.integers(0, top // 3)) for _ in range(ROWS)]
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{n},a\n" for n in numbers))
    made = [int(cell) for cell in read_table(passed_through(path, tmp_path, "m.csv"))["x"]]
    assert within(made, numbers)


def test_money_is_exact_to_the_cent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "t.csv"
    cents = rng.integers(10**9, 10**13, ROWS)
    path.write_text("x,y\n" + "".join(f"{c // 100}.{c % 100:02d},a\n" for c in cents))
    made = read_table(passed_through(path, tmp_path, "m.csv"))["x"]
    assert made.str.fullmatch(r"\d+\.\d\d").all()


notations = st.builds(
    lambda mark, affix, digits, negative: Notation(*mark, digits, *affix, negative, ""),
    st.sampled_from(MARKS),
    st.sampled_from(AFFIXES),
    st.none() | st.integers(0, 4),
    st.sampled_from(BRACKETS),
)


@given(notations, st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=8))
def test_what_a_notation_writes_it_reads(notation: Notation, scaled: list[int]) -> None:
    digits = 3 if notation.digits is None else notation.digits
    numbers = np.array([s / 10**digits for s in scaled])
    pattern = notation.pattern
    again = parse_notation(pattern)
    assert again.pattern == pattern
    texts = write_numbers(numbers, pattern)
    read, wrong, _ = read_numbers(texts.tolist(), pattern)
    assert not wrong.any(), texts
    np.testing.assert_allclose(read, numbers, rtol=1e-12)


def test_declared_forms_are_read_and_written(tmp_path: Path) -> None:
    from everymode.server.schema.table_spec import DeclaredColumn

    path = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    rows = [f"2024-W{w:02d},{w} kg,{w},{w / 8}" for w in rng.integers(1, 53, ROWS)]
    path.write_text("week,mass,n,y\n" + "\n".join(rows) + "\n")
    columns = {"week": DeclaredColumn(format="%G-W%V"), "mass": DeclaredColumn(format="0 kg")}
    made = read_table(passed_through(path, tmp_path, "m.csv", TableSpec(floor=1, columns=columns)))
    assert made["week"].str.fullmatch(r"2024-W\d\d").all()
    assert made["mass"].str.fullmatch(r"\d+ kg").all()
    assert made["week"].nunique() > 20


def test_declared_marks_decide_what_cells_leave_open(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    rows = [f'"{n // 1000},{n % 1000:03d}",a' for n in rng.integers(1000, 99_999, ROWS)]
    path.write_text("x,y\n" + "\n".join(rows) + "\n")
    found = agreed(path, tmp_path).schema["x"]
    assert (found.kind, found.form) == ("integer", "#,##0") and found.low >= 1000
    declared = agreed(path, tmp_path / "b", TableSpec(floor=1, decimal=",")).schema["x"]
    assert (declared.kind, declared.form) == ("float", "0,000") and declared.high < 100
    none = TableSpec(floor=1, decimal=".", thousands="")
    assert agreed(path, tmp_path / "c", none).schema["x"].kind == "category"


def test_strays_are_missing_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    cells = [*map(str, range(200)), "Total", "#N/A", "None"]
    path.write_text("x,y\n" + "".join(f"{c},a\n" for c in cells))
    found = agreed(path, tmp_path)
    assert found.schema["x"].kind == "integer" and found.schema["x"].lenient
    assert any("'x': 1 cell (0.5%) is no numbers" in note for note in found.notes), found.notes
    values = parse_values(read_table(path), found.schema["x"], "t")
    assert np.isnan(values).sum() == 3


def test_bytes_of_equal_tables_are_equal(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array(np.arange(50) / 4, pa.float32()), "y": ["a"] * 50})
    buffers = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        pq.write_table(table, folder / "t.parquet")
        buffers.append(passed_through(folder / "t.parquet", folder, "m.parquet").read_bytes())
    assert buffers[0] == buffers[1]
    assert pq.read_table(io.BytesIO(buffers[0])).schema.field("x").type == pa.float32()
