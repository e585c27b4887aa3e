"""Reads a table from a database as Arrow, through SQLAlchemy: read-only, in pieces, with its types.

Tested with PostgreSQL (psycopg), SQLite and DuckDB; other dialects of SQLAlchemy are read the same
way, in a transaction that is rolled back. Messages hold no cell, no password and no driver's text,
which may hold either: they may travel from a site to the server.
"""

import datetime
import decimal
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from everymode.wgan.data.database_source import DatabaseSource, expand
from everymode.wgan.errors import DataError, suggest

ROWS: Final = 20_000
"""Rows that are fetched at once."""

CONNECT: Final = 10
"""Seconds in which PostgreSQL must answer."""

_INSTALL: Final = 'pip install "everymode[sql]"'

_OPEN: Final = "cannot be reached or opened"

_AWAY: Final = "is it running, and are host, port, database, name and password right?"

_STATES: Final = {
    "28P01": "refuses the password; correct it where the URL names it",
    "28000": "refuses the login; correct its name, or let it in (pg_hba.conf)",
    "3D000": "has no such database; correct its name in the URL",
    "42P01": "has no table of that name; correct it, or name its schema: schema.table",
    "42703": "has no column of that name; correct the query",
    "42601": "does not understand the query; correct it",
    "42501": "does not let this login read the table; grant select on it",
    "57014": "cancelled the query, for it took too long; raise statement_timeout, or ask for less",
    "25006": "is asked to change something, and is read only; write a query that only selects",
}
"""SQLSTATE codes in words; see the PostgreSQL documentation, appendix A."""

_DUCKDB: Final = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float64(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
}
"""Names of types in DuckDB's catalog; others are what their values are."""

_READ_ONLY: Final = {
    "postgresql": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET LOCAL TIME ZONE 'UTC'",
        # Rows in the order in which they lie, every time: which are held out goes by the order.
        "SET LOCAL synchronize_seqscans = off",
        "SET LOCAL max_parallel_workers_per_gather = 0",
    ),
    "mysql": ("START TRANSACTION READ ONLY",),
    "mariadb": ("START TRANSACTION READ ONLY",),
    "oracle": ("SET TRANSACTION READ ONLY",),
    "sqlite": ("PRAGMA query_only = ON",),
    "duckdb": ("SET TimeZone = 'UTC'",),
}
"""What makes a transaction read only; of SQLite and DuckDB the file is opened so, too."""


def read_database(source: DatabaseSource, rows: int = ROWS) -> pa.Table:
    """All rows of a table or query, with the database's types.

    Integers, decimals, floats, truth values, text, dates, times, durations and timestamps (with a
    zone: in UTC) keep their types; codes (UUID) and enumerations are text. NULL is missing.

    Args:
        source: Where.
        rows: How many are fetched at once.

    Raises:
        DataError: A package is missing, the database is away or refuses, there is no such table,
            the query fails, or its columns cannot be told apart; one sentence.
    """
    try:
        import sqlalchemy as sa
    except ImportError:
        raise DataError(f"{source}: databases are read by SQLAlchemy; {_INSTALL}") from None
    where = str(source)
    with _said(source, _OPEN), _engine(source, sa).connect() as connection:
        for statement in _READ_ONLY.get(connection.dialect.name, ()):
            connection.exec_driver_sql(statement)
        with _said(source, "cannot be read"):
            statement, types = _statement(source, sa, connection)
            options = {"stream_results": True, "yield_per": rows}
            result = connection.execution_options(**options).execute(statement)
        with closing(result):
            keys = result.keys()
            names = [str(name) for name in keys]
            _check_names(names, where)
            with _said(source, "cannot be read to its end"):
                pieces = [_piece(part, names, types, where) for part in result.partitions()]
        connection.rollback()
    return _joined(pieces, names, where)


def _check_names(names: Sequence[str], where: str) -> None:
    if not names:
        raise DataError(f"{where}: gives no columns; name one at least")
    twice = [name for name, times in Counter(map(str.strip, names)).items() if times > 1]
    if twice or not all(names):
        are = f"{', '.join(map(repr, twice))} {'is' if len(twice) == 1 else 'are'} there twice"
        raise DataError(
            f"{where}: columns need names of their own, and {are if twice else 'one has none'}; "
            "name each: select a as b"
        )


@contextmanager
def _said(source: DatabaseSource, what: str) -> Iterator[None]:
    """Errors of SQLAlchemy and of drivers in words, by SQLSTATE where there is one."""
    try:
        yield
    except (DataError, KeyboardInterrupt, MemoryError):
        raise
    except ImportError as error:
        name = f" ({error.name})" if error.name else ""
        raise DataError(f"{source}: its driver is not installed{name}; {_INSTALL}") from None
    except Exception as error:
        original = getattr(error, "orig", None)
        state = str(getattr(original, "sqlstate", "") or "")
        words = _STATES.get(state)
        if words is None:
            advice = _AWAY if what == _OPEN else "try the query with the database's own client"
            code = f", SQLSTATE {state}" if state else ""
            words = f"{what} ({type(original or error).__name__}{code}); {advice}"
        raise DataError(f"{source}: {words}") from None


def _engine(source: DatabaseSource, sa: Any) -> Any:
    """An engine that keeps no connection and shows no values."""
    # It has the secret, and so may what SQLAlchemy says of it.
    text = expand(source.url)
    try:
        url = sa.engine.make_url(text)
        dialect = url.get_dialect().name
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ValueError):
        raise DataError(
            f"{source}: not a URL of a database that SQLAlchemy knows here; for instance "
            f"postgresql+psycopg://..., sqlite:///..., duckdb:///... ({_INSTALL})"
        ) from None
    options: dict[str, Any] = {}
    if dialect in ("sqlite", "duckdb"):
        path = Path(str(url.database or ""))
        if not path.is_file():
            raise DataError(f"{source}: no such file; correct the path")
        if dialect == "sqlite":
            query = {**url.query, "mode": "ro", "uri": "true"}
            url = url.set(database=f"file:{quote(str(path.absolute()))}", query=query)
        else:
            options["connect_args"] = {"read_only": True}
    elif dialect == "postgresql" and "connect_timeout" not in url.query:
        options["connect_args"] = {"connect_timeout": CONNECT}
    return sa.create_engine(
        url, poolclass=sa.pool.NullPool, hide_parameters=True, echo=False, **options
    )


def _statement(
    source: DatabaseSource, sa: Any, connection: Any
) -> tuple[Any, dict[str, pa.DataType | None]]:
    """What to ask for, and the Arrow types of the columns that are known before."""
    if source.query is not None:
        # As it is: a colon in it stands for no parameter.
        return sa.text(source.query.replace(":", "\\:")), {}
    if connection.dialect.name == "duckdb":
        return _of_duckdb(source, sa, connection)
    try:
        table = sa.Table(
            source.table,
            sa.MetaData(),
            schema=source.schema,
            autoload_with=connection,
            resolve_fks=False,
        )
    except sa.exc.NoSuchTableError:
        inspector = sa.inspect(connection)
        schema = source.schema
        known = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        raise _no_table(source, known) from None
    types = {str(c.name): _arrow(c.type, sa, connection.dialect.name) for c in table.columns}
    return sa.select(table), types


def _of_duckdb(
    source: DatabaseSource, sa: Any, connection: Any
) -> tuple[Any, dict[str, pa.DataType | None]]:
    """As `_statement`, by its catalog: its SQLAlchemy dialect looks for PostgreSQL's."""
    asked = (
        "select table_schema, table_name, column_name, data_type from information_schema.columns"
    )
    found = [tuple(map(str, row)) for row in connection.exec_driver_sql(asked)]
    schema = source.schema or "main"
    types = {c: _duckdb_type(t) for s, n, c, t in found if (s, n) == (schema, source.table)}
    if not types:
        raise _no_table(source, sorted({n for s, n, _, _ in found if s == schema}))
    quoted = connection.dialect.identifier_preparer.quote_identifier
    text = f"select * from {quoted(schema)}.{quoted(source.table)}"
    return sa.text(text.replace(":", "\\:")), types


def _duckdb_type(name: str) -> pa.DataType | None:
    if found := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name):
        return pa.decimal128(int(found[1]), int(found[2]))
    return _DUCKDB.get(name)


def _no_table(source: DatabaseSource, known: Sequence[str]) -> DataError:
    hint = suggest(str(source.table), known) if known else "this login sees no table there"
    return DataError(f"{source}: no such table or view; {hint}")


def _arrow(kind: Any, sa: Any, dialect: str) -> pa.DataType | None:
    """The Arrow type of a column; None: what its values are."""
    types = sa.types
    if isinstance(kind, types.Boolean):
        return pa.bool_()
    if isinstance(kind, types.Integer):
        # SQLite's integers have 64 bits whatever they are declared as.
        if dialect == "sqlite" or isinstance(kind, types.BigInteger):
            return pa.int64()
        return pa.int16() if isinstance(kind, types.SmallInteger) else pa.int32()
    if isinstance(kind, types.Float):
        return pa.float64()
    if isinstance(kind, types.Numeric):
        known = kind.precision is not None and 0 < kind.precision <= 38
        return pa.decimal128(kind.precision, kind.scale or 0) if known else None
    if isinstance(kind, types.DateTime):
        return pa.timestamp("us", "UTC") if kind.timezone else pa.timestamp("us")
    for known, arrow in (
        (types.Date, pa.date32()),
        (types.Time, pa.time64("us")),
        (types.Interval, pa.duration("us")),
        (types.String, pa.string()),
        (types.Uuid, pa.string()),
    ):
        if isinstance(kind, known):
            return arrow
    return None


def _piece(
    rows: Sequence[Any], names: list[str], types: dict[str, pa.DataType | None], where: str
) -> pa.Table:
    """Some rows as Arrow."""
    columns = zip(*rows, strict=True)
    arrays = [_array(c, types.get(n), n, where) for n, c in zip(names, columns, strict=True)]
    return pa.Table.from_arrays(arrays, [name.strip() for name in names])


def _array(values: Sequence[Any], kind: pa.DataType | None, name: str, where: str) -> pa.Array:
    cells = [_cell(value) for value in values]
    for wanted in dict.fromkeys((kind, None)):
        try:
            return _normal(pa.array(cells, wanted))
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            continue
    if all(c is None or isinstance(c, int | float | decimal.Decimal) for c in cells):
        # Beyond 64 bits, or a decimal that is no number.
        return pa.array([None if c is None else float(c) for c in cells], pa.float64())
    raise DataError(
        f"{where}: column '{name}' holds values of several types, or of one that is no number, "
        "text, truth value, date or time; convert it in a query: select cast(... as text)"
    )


def _cell(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    return value


def _normal(array: pa.Array) -> pa.Array:
    """The array with zones in UTC and without Arrow's extension types."""
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        return array.cast(pa.timestamp("us", "UTC"))
    return array


def _joined(pieces: list[pa.Table], names: list[str], where: str) -> pa.Table:
    if not pieces:
        return pa.table({name.strip(): pa.array([], pa.string()) for name in names})
    try:
        return pa.concat_tables(pieces, promote_options="permissive").combine_chunks()
    except (pa.ArrowException, TypeError):
        raise DataError(
            f"{where}: a column holds values of one type in some rows and of another in others; "
            "convert it in a query: select cast(... as text)"
        ) from None
