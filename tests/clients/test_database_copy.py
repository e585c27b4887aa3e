"""A site's copy of its table in a database, and what else reads one."""

import contextlib
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from everymode.clients.app import build_sites
from everymode.clients.database_copy import locate_table
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.schema_messages import CollectVocabulary, DescribeColumns
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.server.config.files import load, resolve
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError
from tests.command_line import Call
from tests.databases import write_sqlite

pytest.importorskip("sqlalchemy")


@pytest.fixture
def clinic(tmp_path: Path, kit: Any) -> Path:
    write_sqlite(kit.people(300), tmp_path / "clinic.db")
    return tmp_path / "clinic.db"


class Node:
    """A SuperNode's context: what the site's administrator configured."""

    def __init__(self, **config: Any) -> None:
        self.node_config = config


def asked(node: Node, order: Any) -> Path:
    (site,) = build_sites(node, Request(order), SimulationPaths())  # type: ignore[arg-type]
    return site.table


def test_a_database_is_read_as_a_run_begins_and_not_in_between(
    clinic: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{clinic}#people"
    node = Node(site="north", data=url, workspace=str(tmp_path / "work"))
    first, later = DescribeColumns(("age",)), CollectVocabulary((), (), ())
    path = asked(node, first)
    before = path.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600 and path.is_relative_to(tmp_path / "work/north")
    # Nothing has changed: the copy keeps its time, by which a site knows its table again.
    assert asked(node, first) == path and path.stat().st_mtime_ns == before.st_mtime_ns
    with contextlib.closing(sqlite3.connect(clinic)) as connection:
        connection.execute("delete from people where rowid = 1")
        connection.commit()
    assert len(read_table(asked(node, later))) == 300
    assert len(read_table(asked(node, first))) == 299


def test_a_copy_holds_what_the_table_holds(clinic: Path, tmp_path: Path, kit: Any) -> None:
    path = locate_table(f"sqlite:///{clinic}#people", tmp_path, True)
    expected = kit.people(300)
    expected.to_parquet(tmp_path / "people.parquet")
    pd.testing.assert_frame_equal(
        read_table(path), read_table(tmp_path / "people.parquet"), check_dtype=False
    )
    assert locate_table("a/b.csv", tmp_path, True) == Path("a/b.csv")


def test_a_table_in_a_database_gives_the_rows_that_its_file_gives(
    clinic: Path, tmp_path: Path, kit: Any, call: Call
) -> None:
    kit.people(300).to_parquet(tmp_path / "people.parquet")
    small = ("--set", "train.rounds=2", "--set", "split.sites=2", "--backend", "inline", "-q")
    made = []
    for name, data in (("db", f"sqlite:///{clinic}#people"), ("file", "people.parquet")):
        with contextlib.chdir(tmp_path):
            code, _, err = call("init", data, "--sensitive", "sex", "-o", f"{name}.toml")
            assert code == 0, err
            code, _, err = call("simulate", f"{name}.toml", "--out", name, *small)
            assert code == 0, err
        made.append((tmp_path / name / "synthetic.csv").read_bytes())
    assert made[0] == made[1]


def test_a_configuration_keeps_the_name_and_not_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clinic: Path
) -> None:
    monkeypatch.setenv("CLINIC", f"sqlite:///{clinic}")
    (tmp_path / "run.toml").write_text('[data]\npath = "${CLINIC}#people"\n')
    settings = load(tmp_path / "run.toml")
    assert settings.data.path == "${CLINIC}#people"
    assert len(read_table(resolve(settings.data.path))) == 300
    (tmp_path / "run.toml").write_text('[data]\npath = "sqlite:///clinic.db#people"\n')
    assert load(tmp_path / "run.toml").data.path == f"sqlite:///{clinic}#people"
    with pytest.raises(DataError, match="no such environment variable"):
        resolve("${NOT_SET_HERE}#people")


def test_a_site_is_checked_with_its_database(clinic: Path, tmp_path: Path) -> None:
    from everymode.server.deployment.kit import Role
    from everymode.server.deployment.table_check import table_findings

    role = Role(tmp_path, "north", None, 1, ("north",), {})  # type: ignore[arg-type]
    (found,) = table_findings(role, {"data": "sqlite:///clinic.db#people"}, "", "")
    assert found.advice == "" and "300 rows" in found.found
    (found,) = table_findings(role, {"data": "sqlite:///clinic.db#peple"}, "", "")
    assert "did you mean 'people'" in found.advice
