"""Tables written piece by piece: as at once, whole or not at all."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.wgan.data.frame import read_table
from everymode.wgan.data.pieces import write_pieces
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.write import write_table
from everymode.wgan.errors import DataError

SCHEMA = Schema(
    (
        Column("born", "datetime", form="%d.%m.%Y", edges=(0.0, 1e9), low=0, high=1e9),
        Column("town", "category", categories=("=A1", "Berlin", "-x y"), missing=True),
        Column("age", "integer", edges=(0.0, 99.0), low=0, high=99, missing=True),
    )
)


def people(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = pd.array(rng.integers(0, 99, rows), dtype="Int64")
    age[rng.random(rows) < 0.1] = pd.NA
    towns = np.array(["=A1", "Berlin", "-x y", None], dtype=object)
    born = pd.Timestamp("1970-01-01") + pd.to_timedelta(rng.integers(0, 9999, rows), unit="D")
    return pd.DataFrame({"born": born, "town": towns[rng.integers(0, 4, rows)], "age": age})


def parts(frame: pd.DataFrame, rows: int = 100) -> Iterator[pd.DataFrame]:
    for start in range(0, len(frame), rows):
        yield frame[start : start + rows].reset_index(drop=True)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".jsonl", ".feather", ".xlsx"])
def test_pieces_give_what_the_whole_table_gives(tmp_path: Path, ending: str) -> None:
    frame = people(350)
    rows, marked = write_pieces(parts(frame), SCHEMA, tmp_path / f"a{ending}", True)
    same = write_table(frame, SCHEMA, tmp_path / f"b{ending}", True)
    one, two = ((tmp_path / f"{name}{ending}").read_bytes() for name in "ab")
    if ending == ".csv.gz":
        one, two = gzip.decompress(one), gzip.decompress(two)
    assert rows == 350 and marked == same
    assert bool(marked) == (ending not in (".jsonl", ".feather"))
    if ending in (".xlsx", ".feather"):  # one holds the time, the other the paddings of arrays
        both = [read_table(tmp_path / f"{name}{ending}") for name in "ab"]
        pd.testing.assert_frame_equal(*both)
    else:
        assert one == two


def test_equal_pieces_give_equal_gzip_files(tmp_path: Path) -> None:
    for name in "ab":
        write_pieces(parts(people(350)), SCHEMA, tmp_path / f"{name}.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_parquet_grows_by_a_row_group_a_piece(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    frame = people(350)
    write_pieces(parts(frame), SCHEMA, tmp_path / "a.parquet")
    write_table(frame, SCHEMA, tmp_path / "b.parquet")
    one, two = (pq.ParquetFile(tmp_path / f"{name}.parquet") for name in "ab")
    assert one.num_row_groups == 4 and one.read().equals(two.read())


def test_pieces_are_asked_for_one_by_one(tmp_path: Path) -> None:
    """The control of flat memory: no piece is held when the one after the next is made."""
    import gc
    import weakref

    alive: list[int] = []
    held: list[weakref.ref[pd.DataFrame]] = []

    def made() -> Iterator[pd.DataFrame]:
        for seed in range(6):
            gc.collect()
            alive.append(sum(ref() is not None for ref in held))
            frame = people(50, seed)
            held.append(weakref.ref(frame))
            yield frame
            del frame

    write_pieces(made(), SCHEMA, tmp_path / "a.csv")
    assert max(alive) <= 2


def test_what_a_piece_raises_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    def broken() -> Iterator[pd.DataFrame]:
        yield from parts(people(300))
        raise DataError("no more rows")

    for ending in (".csv", ".parquet", ".csv.gz"):
        path = tmp_path / f"a{ending}"
        path.write_bytes(b"old")
        with pytest.raises(DataError, match="no more rows"):
            write_pieces(broken(), SCHEMA, path)
        assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_piece_that_does_not_fit_parquet_is_refused_by_its_column(tmp_path: Path) -> None:
    one = pd.DataFrame({"x": np.arange(3)})
    two = pd.DataFrame({"x": ["a", "b", "c"]})
    with pytest.raises(DataError, match=r"a\.parquet: a later row does not fit .* write CSV"):
        write_pieces(iter([one, two]), Schema(()), tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())
