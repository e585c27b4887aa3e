"""Databases for tests: SQLite and DuckDB files, and a real PostgreSQL on the loopback interface."""

import contextlib
import getpass
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

USER, PASSWORD = "reader", "p@ss:w/rd#'${x}"
"""A login, and a password in which everything that a URL minds occurs."""

_FOLDERS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),)


def binaries() -> Path | None:
    """The folder with PostgreSQL's programs."""
    found = shutil.which("initdb")
    folders = [*_FOLDERS, *([Path(found).resolve().parent] if found else [])]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@dataclass(frozen=True)
class Postgres:
    """A running server; `owner` runs SQL as its superuser, without a password, on a socket."""

    port: int
    socket: Path
    psql: Path

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{USER}:${{EVERYMODE_TEST_PASSWORD}}@127.0.0.1:{self.port}/postgres"

    def owner(self, sql: str) -> None:
        command = [self.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.socket]
        command += ["-p", str(self.port), "-U", "owner", "-d", "postgres", "-f", "-"]
        done = subprocess.run(list(map(str, command)), input=sql, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Starts a server as an unprivileged user, and ends it; skips where there is none."""
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    # PostgreSQL refuses root. Its socket's name has to be short.
    user = "nobody" if getpass.getuser() == "root" and os.getuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    home.chmod(0o755)
    if user is not None:
        shutil.chown(home, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, log = home / "data", home / "log"

    def run(*words: object) -> None:
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, user=user, cwd=home
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run(folder / "initdb", "-D", data, "-U", "owner", "-E", "UTF8", "--no-sync", "-A", "trust")
    rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    (data / "pg_hba.conf").write_text(rules)
    options = f"-c fsync=off -c listen_addresses=127.0.0.1 -p {port} -k {home}"
    run(folder / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
    try:
        server = Postgres(port, home, folder / "psql")
        quoted = PASSWORD.replace("'", "''")
        server.owner(f"create role {USER} login password '{quoted}'")
        yield server
    finally:
        run(folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(home)


def write_sqlite(frame: pd.DataFrame, path: Path, table: str = "people") -> None:
    """A table with the frame's types, by pandas."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        frame.to_sql(table, connection, index=False)
        connection.commit()


def write_duckdb(frame: pd.DataFrame, path: Path, table: str = "people") -> None:
    """A table with the frame's types, by DuckDB."""
    duckdb = pytest.importorskip("duckdb")
    with contextlib.closing(duckdb.connect(str(path))) as connection:
        connection.register("given", frame)
        connection.execute(f"create table {table} as select * from given")
