"""Tables in databases: types, pieces, what is refused, and that no password shows."""

import contextlib
import datetime
import logging
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from everymode.wgan.data.database import read_database
from everymode.wgan.data.database_source import (
    anchored,
    expand,
    is_database,
    parse_source,
    secret_files,
)
from everymode.wgan.errors import DataError
from tests.databases import PASSWORD, Postgres, postgres

pytest.importorskip("sqlalchemy")

ROWS = 1000


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("lite") / "clinic.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "create table people (id integer, age smallint, pay numeric(10,2), ok boolean, "
            "born date, seen datetime, name text, score real)"
        )
        rows = [
            (
                *(2**40 + i, i % 90, i / 4, i % 2, "1990-01-02", "2020-01-02 03:04:05.000000"),
                *(f"n{i}" if i % 3 else None, i / 3),
            )
            for i in range(ROWS)
        ]
        connection.executemany("insert into people values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("create table mixed (a integer)")
        connection.executemany("insert into mixed values (?)", [(1,), ("secret",)])
        connection.execute("create table none (a integer, b text)")
        connection.execute("create view adults as select * from people where age >= 18")
        connection.commit()
    return f"sqlite:///{path}"


def test_types_of_sqlite_are_those_that_the_table_declares(lite: str) -> None:
    table = read_database(parse_source(f"{lite}#people"), rows=300)
    assert {f.name: str(f.type) for f in table.schema} == {
        "id": "int64",
        "age": "int64",
        "pay": "decimal128(10, 2)",
        "ok": "bool",
        "born": "date32[day]",
        "seen": "timestamp[us]",
        "name": "string",
        "score": "double",
    }
    assert table.num_rows == ROWS
    assert table.slice(5, 1).to_pylist() == [
        {
            "id": 2**40 + 5,
            "age": 5,
            "pay": Decimal("1.25"),
            "ok": True,
            "born": datetime.date(1990, 1, 2),
            "seen": datetime.datetime(2020, 1, 2, 3, 4, 5),
            "name": "n5",
            "score": 5 / 3,
        }
    ]
    assert table["name"].null_count == (ROWS + 2) // 3


def test_pieces_make_no_difference(lite: str) -> None:
    source = parse_source(f"{lite}#select * from people order by id")
    whole = read_database(source, rows=ROWS)
    assert read_database(source, rows=7).equals(whole)
    # A piece in which a column has no value, or whole numbers among others.
    query = f"{lite}#select case when id % 2 = 0 then null else id / 2.0 end as x from people"
    pieces = read_database(parse_source(query), rows=1)
    assert pieces.schema.field("x").type == pa.float64() and pieces["x"].null_count == ROWS // 2


def test_views_and_queries_with_colons_are_read(lite: str) -> None:
    assert read_database(parse_source(f"{lite}#adults")).num_rows < ROWS
    query = "select ':x' as a, '12:30' as b from people limit 1;"
    assert read_database(parse_source(f"{lite}#{query}")).to_pylist() == [{"a": ":x", "b": "12:30"}]


def test_an_empty_table_is_read_as_one(lite: str) -> None:
    assert read_database(parse_source(f"{lite}#none")).column_names == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("#peeple", "no such table or view; did you mean 'people'?"),
        ("#select nope from people", "cannot be read (OperationalError)"),
        ("#select 1 as a, 2 as a", "'a' is there twice"),
        ("#mixed", "column 'a' holds values of several types"),
        ("#delete from people", "neither the name of a table nor a query"),
        ("#people; drop table people", "neither the name of a table nor a query"),
        ("", "names no table"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(lite: str, name: str, expected: str) -> None:
    with pytest.raises(DataError) as refused:
        read_database(parse_source(f"{lite}{name}"))
    (problem,) = refused.value.problems
    assert expected in problem and "secret" not in problem and "nope" not in problem


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for kind in ("sqlite", "duckdb"):
        if kind == "duckdb":
            pytest.importorskip("duckdb_engine")
        with pytest.raises(DataError, match="no such file"):
            read_database(parse_source(f"{kind}:///{tmp_path}/none.db#people"))
    assert list(tmp_path.iterdir()) == []


def test_sqlite_is_opened_to_read_only(lite: str) -> None:
    # A function of SQLite's that writes cannot stand in a select: the file's own mode is tried.
    path = Path(lite.removeprefix("sqlite:///"))
    before = path.stat().st_mtime_ns, path.read_bytes()
    query = "with a as (select 1 as x) delete from people returning id"
    with pytest.raises(DataError):
        read_database(parse_source(f"{lite}#{query}"))
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_types_of_duckdb_are_those_that_the_table_declares(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("duckdb_engine")
    path = tmp_path / "clinic.duckdb"
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        connection.execute(
            "create table people as select i::integer as id, (i % 90)::smallint as age, "
            "(i / 4)::decimal(10, 2) as pay, i % 2 = 0 as ok, date '1990-01-02' as born, "
            "timestamp '2020-01-02 03:04:05' as seen, "
            "timestamptz '2020-01-02 03:04:05+02' as there, "
            "case when i % 3 = 0 then null else 'n' || i end as name, i / 3.0 as score, "
            f"uuid() as code from range({ROWS}) r(i)"
        )
    for name in ("people", "main.people"):
        table = read_database(parse_source(f"duckdb:///{path}#{name}"), rows=300)
        assert {f.name: str(f.type) for f in table.schema} == {
            "id": "int32",
            "age": "int16",
            "pay": "decimal128(10, 2)",
            "ok": "bool",
            "born": "date32[day]",
            "seen": "timestamp[us]",
            "there": "timestamp[us, tz=UTC]",
            "name": "string",
            "score": "double",
            "code": "string",
        }
        assert table["id"].to_pylist() == list(range(ROWS))
    moment = datetime.datetime(2020, 1, 2, 1, 4, 5, tzinfo=datetime.UTC)
    assert table["there"][0].as_py() == moment
    with pytest.raises(DataError, match="did you mean 'people'"):
        read_database(parse_source(f"duckdb:///{path}#peple"))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    pytest.importorskip("psycopg")
    with postgres() as running:
        running.owner(
            "create type colour as enum ('red', 'blue'); "
            "create schema clinic; grant usage on schema clinic to reader; "
            "create table clinic.people as select i as id, (i % 90)::smallint as age, "
            "i::bigint * 1000000000 as large, (i / 4.0)::numeric(10, 2) as pay, "
            "i::numeric / 3 as free, i % 2 = 0 as ok, date '1990-01-02' as born, "
            "timestamp '2020-01-02 03:04:05' as seen, "
            "timestamptz '2020-01-02 03:04:05+02' as there, time '03:04:05' as at, "
            "interval '3 days' as lasted, (array['red','blue'])[1 + i % 2]::colour as colour, "
            "case when i % 3 = 0 then null else 'n' || i end as name, i / 3.0::real as score, "
            f"gen_random_uuid() as code from generate_series(0, {ROWS - 1}) i; "
            "grant select on clinic.people to reader; "
            "create sequence clinic.numbers; grant usage on sequence clinic.numbers to reader; "
            "create table hidden (a integer)"
        )
        yield running


def test_types_of_postgresql_are_those_that_the_table_declares(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERYMODE_TEST_PASSWORD", PASSWORD)
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    table = read_database(parse_source(f"{server.url}#clinic.people"), rows=300)
    types = {f.name: str(f.type) for f in table.schema}
    free = types.pop("free")
    assert free.startswith("decimal128")
    assert types == {
        "id": "int32",
        "age": "int16",
        "large": "int64",
        "pay": "decimal128(10, 2)",
        "ok": "bool",
        "born": "date32[day]",
        "seen": "timestamp[us]",
        "there": "timestamp[us, tz=UTC]",
        "at": "time64[us]",
        "lasted": "duration[us]",
        "colour": "string",
        "name": "string",
        "score": "double",
        "code": "string",
    }
    assert table["id"].to_pylist() == list(range(ROWS))
    assert table["there"][0].as_py() == datetime.datetime(2020, 1, 2, 1, 4, 5, tzinfo=datetime.UTC)
    query = "select id, pay from clinic.people where id < 5 order by id"
    assert read_database(parse_source(f"{server.url}#{query}")).num_rows == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("#clinic.peeple", "did you mean 'people'"),
        ("#hidden", "does not let this login read"),
        ("#select nope from clinic.people", "no column of that name"),
        ("#select from clinic.people", "gives no columns"),
        ("#select name::integer as x from clinic.people where id > 0", "SQLSTATE 22P02"),
        ("#with x as (delete from clinic.people returning id) select * from x", "0A000"),
        ("#select nextval('clinic.numbers') as a", "read only"),
    ],
)
def test_what_postgresql_refuses_is_one_sentence_without_a_cell(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.setenv("EVERYMODE_TEST_PASSWORD", PASSWORD)
    with pytest.raises(DataError) as refused:
        read_database(parse_source(f"{server.url}{name}"))
    (problem,) = refused.value.problems
    assert expected in problem
    # The driver's text has the cell: invalid input syntax for type integer: "n1".
    assert "n1" not in problem and PASSWORD not in problem


def test_no_password_shows_anywhere(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EVERYMODE_TEST_PASSWORD", wrong := "wrong-geheim")
    with pytest.raises(DataError) as refused:
        read_database(parse_source(f"{server.url}#clinic.people"))
    assert "refuses the password" in str(refused.value) or "cannot be reached" in str(refused.value)
    assert refused.value.__suppress_context__
    monkeypatch.setenv("EVERYMODE_TEST_PASSWORD", PASSWORD)
    read_database(parse_source(f"{server.url}#clinic.people"))
    said = str(refused.value) + caplog.text
    assert wrong not in said and PASSWORD not in said and "geheim" not in said


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://reader:geheim@db/clinic#people",
        "postgresql+psycopg://reader@db/clinic?password=geheim#people",
        "mysql+pymysql://reader:geheim${X}@db/clinic#people",
        "postgresql://reader:ge#heim@db/clinic#people",
    ],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(text: str) -> None:
    # So that a configuration, a log or a message may hold the name of the table.
    assert is_database(text)
    with pytest.raises(DataError) as refused:
        parse_source(text)
    assert "heim" not in str(refused.value)


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a@b/c\n")
    url = f"postgresql+psycopg://u:${{file:{tmp_path}/password}}@${{HOST}}/d"
    assert expand(url, {"HOST": "db"}) == "postgresql+psycopg://u:a%40b%2Fc@db/d"
    assert secret_files(url) == [tmp_path / "password"]
    # One variable alone is a whole URL.
    assert expand("${URL}", {"URL": "x://u:p@h/d"}) == "x://u:p@h/d"
    assert str(parse_source("${URL}#people")) == "${URL}#people"
    with pytest.raises(DataError, match="no such environment variable"):
        expand(url, {})
    with pytest.raises(DataError, match="cannot be read"):
        expand(f"x://${{file:{tmp_path}/none}}@h", {})


def test_paths_that_are_files_are_no_databases() -> None:
    for text in ("x.csv", "C:\\x.csv", "/a/b.parquet", "book.xlsx#June", "builtin:a", "scenario:b"):
        assert not is_database(text)


def test_a_relative_file_belongs_to_the_folder_of_the_configuration() -> None:
    folder = Path("/srv/study")
    assert anchored("sqlite:///x.db#a", folder) == "sqlite:////srv/study/x.db#a"
    for same in ("sqlite:////x.db#a", "duckdb:///:memory:#a", "postgresql://u@h/d#a"):
        assert anchored(same, folder) == same


def test_a_package_that_is_missing_is_named(lite: str) -> None:
    with pytest.raises(DataError, match="everymode\\[sql\\]"):
        read_database(parse_source("mysql+nosuchdriver://u@h/d#people"))
    with pytest.raises(DataError, match="SQLAlchemy knows"):
        read_database(parse_source("https://h/d#people"))
