"""A site's table is parsed once, and what is kept of it is never taken for another table."""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import everymode.clients.parsed
from everymode.clients.parsed import FOLDER, forget, parsed
from everymode.clients.protocol.schema_messages import KMeansStep
from everymode.clients.site import Site
from everymode.clients.tasks import schema as schema_task
from everymode.wgan.data.file_form import FileForm
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.values import count_cells, describe, parse_column
from everymode.wgan.errors import DataError
from tests.federated import Federation

TEXT = '''age,job,"born, where",when,flag
1, smith ,"a ""b""",2024-01-31,true
2.5,,"c,
d",2024-02-01,False
?,clerk,é,,TRUE
'''


@pytest.fixture(autouse=True)
def nothing_in_memory() -> None:
    forget()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "a.csv").write_text(TEXT, encoding="utf-8")
    return Site("a", tmp_path / "a.csv", tmp_path / "work")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were parsed."""
    seen: list[Path] = []

    def counted(path: Path, missing: Any, form: Any) -> Any:
        seen.append(path)
        return original(path, missing, form)

    original = everymode.clients.parsed.read_delimited
    monkeypatch.setattr(everymode.clients.parsed, "read_delimited", counted)
    return seen


def same(found: pd.DataFrame, plain: pd.DataFrame) -> None:
    """Everything that is read of either is read of both."""
    assert list(found.columns) == list(plain.columns) and len(found) == len(plain)
    for name in plain.columns:
        coded, text = found[name], plain[name]
        assert describe(coded) == describe(text)
        assert (count_cells(coded).vector == count_cells(text).vector).all()
        for kind in ("category", "boolean", "integer", "float", "datetime"):
            for form in ("", "%Y-%m-%d"):
                assert outcome(coded, kind, form) == outcome(text, kind, form)


def outcome(series: "pd.Series[Any]", kind: Any, form: str) -> Any:
    try:
        values = parse_column(series, kind, "x", "where", form)
    except DataError as error:
        return error.problems
    return values.dtype, repr(values.tolist())


def test_codes_are_read_as_text_is(site: Site) -> None:
    plain = read_table(site.table)
    for _ in range(2):
        found = parsed(site, ())
        same(found, plain)
        keep = np.array([True, False, True])
        same(found.loc[keep], plain.loc[keep])
        forget()


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_every_kind_of_file_is_read_as_before(ending: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1.5, None, 2.0] * 60, "t": ["a", None, "é"] * 60})
    table = tmp_path / f"a{ending}"
    if ending == ".parquet":
        frame.to_parquet(table)
    else:
        frame.to_csv(table, index=False, sep="\t" if "tsv" in ending else ",")
    site = Site("a", table, tmp_path / "work")
    same(parsed(site, ()), read_table(table))


def test_a_file_is_parsed_once_by_all_processes(site: Site, reads: list[Path]) -> None:
    parsed(site, ("",))
    # As another process would: nothing in memory.
    forget()
    parsed(site, ("",))
    assert reads == [site.table]
    # The control: other spellings of a missing value are other cells.
    parsed(site, ("?",))
    assert len(reads) == 2
    assert len(list((site.workspace / FOLDER).iterdir())) == 1


def test_a_changed_file_is_parsed_anew_even_with_its_old_time_and_size(
    site: Site, reads: list[Path]
) -> None:
    first = parsed(site, ())
    before = site.table.stat()
    site.table.write_text(TEXT.replace("smith", "baker"), encoding="utf-8")
    os.utime(site.table, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert site.table.stat().st_size == before.st_size
    assert [parsed(site, ())["job"][0], first["job"][0]] == ["baker", "smith"]
    assert len(reads) == 2


def test_a_file_in_another_form_is_parsed_anew(site: Site, reads: list[Path]) -> None:
    named, form = parsed(site, ()), FileForm(header=False)
    found = parsed(site, (), form)
    assert len(found) == len(named) + 1 and found.columns[0] == "column_1"
    same(parsed(site, ()), read_table(site.table))
    assert len(reads) == 3


def test_only_the_site_s_user_may_read_what_is_kept(site: Site) -> None:
    parsed(site, ())
    (kept,) = (site.workspace / FOLDER).iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"ARROW1\0\0 no more", None])
def test_a_damaged_copy_is_parsed_anew(damage: bytes | None, site: Site, reads: list[Path]) -> None:
    parsed(site, ())
    (kept,) = (site.workspace / FOLDER).iterdir()
    kept.write_bytes(kept.read_bytes()[:-40] if damage is None else damage)
    forget()
    same(parsed(site, ()), read_table(site.table))
    assert len(reads) == 2


def test_a_disk_that_takes_no_copy_costs_time_only(site: Site) -> None:
    site.workspace.write_text("a file where the folder should be", encoding="utf-8")
    same(parsed(site, ()), read_table(site.table))


def test_what_is_wrong_with_a_file_is_said_each_time(site: Site) -> None:
    site.table.write_text("a,b\n1\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(DataError, match=r"line 2 \(1 cells\): expected 2 cells"):
            parsed(site, ())
    site.table.unlink()
    with pytest.raises(DataError, match="no such file"):
        parsed(site, ())


def test_all_questions_before_training_and_the_audit_parse_each_file_once(
    tmp_path: Path, reads: list[Path]
) -> None:
    federation = Federation(tmp_path).prepared()
    assert sorted(reads) == [site.table for site in federation.sites]


def test_rows_that_k_means_read_are_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path, held_out=0.25)
    order = federation.prepare
    points = [[0.0] * federation.plan.shape.width, [1.0] * federation.plan.shape.width]
    counted = federation.plan.conditions.clustered(np.array(points))
    site = federation.sites[0]
    prepare = replace(order, conditions=counted.to_json())
    plan = federation.plan
    fresh = schema_task.encoded(site, plan.schema, counted, prepare)
    calls = []
    original = schema_task._encode

    def encode(*arguments: Any) -> Any:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(schema_task, "_encode", encode)
    step = KMeansStep(order.schema, counted.to_json(), 0, order.missing, held_out=0.25)
    schema_task.kmeans_step(step, site)
    again = schema_task.encoded(site, plan.schema, counted, prepare)
    assert len(calls) == 1 and again.left_out == fresh.left_out
    for name in ("pairs", "rows", "held_out"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fresh, name))
    assert fresh.held_out.any() and not fresh.held_out.all()
