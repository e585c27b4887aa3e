"""What stands for no value in a file: recognised column by column, and written back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.clients.datasets.columns import _styles
from everymode.clients.parsed import marks
from everymode.clients.site import Site
from everymode.server.schema.agreement import agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.delimited import load_table, missing_marks, parse_delimited, save_table
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.readings import Reading
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.write import write_table

LINES = ["a,b,c", "1,?,x", "NA,?,", " NA ,2.5,null", ",,y", '"NA",?,"x y"']
# A quote within a cell: only the slower parser knows.
ODD = [*LINES, '3,1,5" pipe']


@pytest.mark.parametrize("lines", [LINES, ODD])
def test_a_parsed_file_keeps_how_its_gaps_are_spelled(lines: list[str], tmp_path: Path) -> None:
    table = parse_delimited("\n".join(lines).encode(), Path("t.csv"), frozenset(MISSING))
    expected = {"a": {"NA": 3, "": 1}, "b": {"?": 3, "": 1}, "c": {"": 1, "null": 1}}
    assert missing_marks(table) == expected
    assert table.column("a").null_count == 4
    with (tmp_path / "t.arrow").open("wb") as file:
        save_table(table, file)
    loaded = load_table(tmp_path / "t.arrow")
    assert loaded is not None and missing_marks(loaded) == expected


def sites(folder: Path, *tables: dict[str, list[str]]) -> tuple[Site, ...]:
    found = []
    for k, cells in enumerate(tables):
        pd.DataFrame(cells).to_csv(folder / f"s{k}.csv", index=False)
        found.append(Site(f"s{k}", folder / f"s{k}.csv", folder / "work" / str(k)))
    return tuple(found)


def test_the_commonest_spelling_over_all_sites_is_agreed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def cells(mark: str, gaps: int) -> list[str]:
        return [*map(str, rng.integers(10, 30, 100)), *[mark] * gaps]

    one = {"n": cells("NA", 20), "t": cells("", 20), "d": cells("-", 20), "full": cells("7", 20)}
    other = {"n": cells("?", 15), "t": cells("?", 15), "d": cells("-", 15), "full": cells("7", 15)}
    exchange = InProcess(sites(tmp_path, one, other))
    agreed = agree(exchange, ("n", "t", "d", "full"), TableSpec())
    assert [column.gap for column in agreed.schema.columns] == ["NA", "", "-", ""]
    assert [column.missing for column in agreed.schema.columns] == [True, True, True, False]


def test_a_spelling_of_fewer_cells_than_a_site_s_floor_is_not_told() -> None:
    cells = pd.Series(["1", None])
    reading = Reading("integer", True)
    assert _styles(cells, reading, "", {"NA": 9}, 10) == {}
    assert _styles(cells, reading, "", {"NA": 10, "?": 9}, 10) == {"missing NA": 10}
    # The longest is no more than what a sketch carries.
    assert _styles(cells, reading, "", {"N" * 200: 50}, 0) == {}


def test_a_file_that_is_gone_says_nothing_of_its_gaps(tmp_path: Path) -> None:
    assert marks(Site("x", tmp_path / "x.csv", tmp_path), ()) == {}


def test_gaps_are_written_as_the_schema_has_them(tmp_path: Path) -> None:
    schema = Schema(
        (
            Column("n", "integer", missing=True, gap="NA"),
            Column("x", "float", missing=True, gap="?", decimals=2, form="0.00"),
            Column("day", "datetime", missing=True, gap="null", form="%Y-%m-%d"),
            Column("flag", "boolean", ("True", "False"), missing=True, gap="-"),
            Column("t", "category", ("a",), missing=True),
        )
    )
    frame = pd.DataFrame(
        {
            "n": pd.Series([1, None], dtype="Int64"),
            "x": [None, 2.5],
            "day": pd.to_datetime(["2024-01-31", None]),
            "flag": pd.Series([None, True], dtype="boolean"),
            "t": pd.Series(["a", None], dtype="str"),
        }
    )
    write_table(frame, schema, tmp_path / "t.csv")
    expected = "n,x,day,flag,t\n1,?,2024-01-31,-,a\nNA,2.50,null,True,\n"
    assert (tmp_path / "t.csv").read_text() == expected
    # Other files have a value for it.
    write_table(frame, schema, tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet")["n"].isna().tolist() == [False, True]
