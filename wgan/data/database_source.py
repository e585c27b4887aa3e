"""A table in a database, as it is named: `URL#TABLE` or `URL#select ...`.

The URL is SQLAlchemy's. Passwords do not stand in it but in the environment or in a file, so that
the name may be shown, logged and kept:

    postgresql+psycopg://reader:${PGPASSWORD}@db.local/clinic#people
    postgresql+psycopg://reader:${file:/run/secrets/db}@db.local/clinic#select age from people
    ${DATABASE_URL}#audit.people
    sqlite:///clinic.db#people

No SQLAlchemy is needed here.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from everymode.wgan.errors import DataError
from everymode.wgan.words import brief

_URL: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9]*(?:\+[A-Za-z0-9_]+)?://|\$\{[^}]+\}(?:#|$))")
_FILE: Final = re.compile(r"(?i:sqlite|duckdb)(?:\+\w+)?:///")
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_QUERY: Final = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)
_TABLE: Final = re.compile(r"[^\s;'\"`\[\]()]+(?:\.[^\s;'\"`\[\]().]+)?")
_SECRET: Final = re.compile(r"(?i)(?:password|passwd|pwd|secret|token)[^=&]*=(?!\$\{)[^&]")
# What follows the host, where a '#' in a password cut the URL short.
_CUT: Final = re.compile(r"://[^/@?]*:(?!\d*(?:[/?]|$)|\$\{[^}]*\}(?:[/?]|$))[^/@?\]]*$")
_LOGIN: Final = re.compile(r"://[^:/@?#]*:(?P<password>[^@]*)@")

FORM: Final = "write URL#TABLE or URL#select ..., for instance sqlite:///clinic.db#people"


@dataclass(frozen=True)
class DatabaseSource:
    """A table, or the rows of a query, in a database.

    Attributes:
        url: SQLAlchemy's URL, with `${...}` in place of secrets.
        table: The table or view; None: there is a query.
        schema: The schema of the table; None: the login's own.
        query: One `select`; None: there is a table.
    """

    url: str
    table: str | None = None
    schema: str | None = None
    query: str | None = None

    def __str__(self) -> str:
        """The source as messages name it, without a secret and without the query's text."""
        name = "a query" if self.query is not None else self.label
        return f"{brief(self.url, 120)}#{name}"

    @property
    def label(self) -> str:
        """The table's name with its schema; `query` for a query."""
        if self.query is not None:
            return "query"
        return f"{self.schema}.{self.table}" if self.schema else str(self.table)

    @property
    def text(self) -> str:
        """What `parse_source` reads."""
        return f"{self.url}#{self.query if self.query is not None else self.label}"


def is_database(text: str) -> bool:
    """Whether a text names a table in a database and no file.

    >>> is_database("sqlite:///x.db#people"), is_database("${URL}#people"), is_database("x.csv")
    (True, True, False)
    """
    return _URL.match(text) is not None


def parse_source(text: str) -> DatabaseSource:
    """Reads `URL#TABLE` or `URL#select ...`.

    Raises:
        DataError: A password stands in the URL, or neither table nor query is named. Such a message
            holds no part of the text.

    >>> parse_source("sqlite:///x.db#people").table
    'people'
    >>> parse_source("sqlite:///x.db#select a from b;").query
    'select a from b'
    """
    url, _, name = text.partition("#")
    name = name.strip()
    scheme = brief(url.partition(":")[0], 30) if "://" in url else "the database"
    login = _LOGIN.search(url)
    plain = login is not None and not _is_variable(login["password"])
    if plain or _SECRET.search(url) or _CUT.search(url):
        raise DataError(
            f"{scheme}: a password stands in the URL; write ${{NAME}} for the environment's, or "
            "${file:PATH} for the content of a file, and a '#' in a name as %23"
        )
    if not name:
        raise DataError(f"{brief(url, 120)}: names no table; {FORM}")
    if _QUERY.match(name):
        query = name.rstrip().rstrip(";").rstrip()
        return DatabaseSource(url, query=query)
    if not _TABLE.fullmatch(name):
        raise DataError(
            f"{brief(url, 120)}: what follows '#' is neither the name of a table nor a query that "
            f"begins with select or with; {FORM}"
        )
    schema, _, table = name.rpartition(".")
    return DatabaseSource(url, table, schema or None)


def expand(url: str, environment: Mapping[str, str] | None = None) -> str:
    """The URL with its secrets: not to be shown.

    Args:
        url: With `${NAME}` and `${file:PATH}`. One that is nothing else stands for a whole URL.
        environment: Variables; None: those of this process.

    Raises:
        DataError: A variable is not set, or a file cannot be read.

    >>> expand("x://u:${P}@h/d", {"P": "a@b"})
    'x://u:a%40b@h/d'
    """
    variables = os.environ if environment is None else environment
    whole = _VARIABLE.fullmatch(url) is not None

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("file:"):
            path = Path(name.removeprefix("file:")).expanduser()
            try:
                text = path.read_text(encoding="utf-8").strip("\r\n")
            except (OSError, ValueError):
                raise DataError(
                    f"${{{brief(name)}}}: the file cannot be read; make it, of mode 600, for the "
                    "user that EveryMode runs as"
                ) from None
        elif name in variables:
            text = variables[name]
        else:
            raise DataError(
                f"${{{brief(name)}}}: no such environment variable; set it where EveryMode "
                "runs, or write ${file:PATH}"
            )
        return text if whole else quote(text, safe="")

    return _VARIABLE.sub(value, url)


def secret_files(url: str) -> list[Path]:
    """Files that a URL names secrets by."""
    names = _VARIABLE.findall(url)
    return [Path(n.removeprefix("file:")).expanduser() for n in names if n.startswith("file:")]


def anchored(text: str, folder: Path) -> str:
    """The source with a relative path of SQLite's or DuckDB's file made absolute.

    >>> anchored("sqlite:///x.db#people", Path("/srv"))
    'sqlite:////srv/x.db#people'
    """
    found = _FILE.match(text)
    if found is None:
        return text
    path, separator, rest = _split_path(text[found.end() :])
    if not path or path == ":memory:" or path.startswith(("/", "${")):
        return text
    return f"{found[0]}{(folder / path).resolve()}{separator}{rest}"


def _split_path(text: str) -> tuple[str, str, str]:
    found = re.search(r"[?#]", text)
    return (
        (text, "", "")
        if found is None
        else (
            text[: found.start()],
            found[0],
            text[found.end() :],
        )
    )


def _is_variable(text: str) -> bool:
    return not text or _VARIABLE.fullmatch(text) is not None
