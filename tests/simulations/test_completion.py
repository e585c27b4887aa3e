"""Partial rows completed from the command line and from Python, and the patience of `sample`."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import everymode.simulations.sample
from everymode.server.synthesis.drawing import Search
from everymode.wgan.data.frame import read_table
from tests.command_line import Call
from tests.simulations.test_cli import refused

PARTIAL = "outcome,group,age,member\nyes,b,33,\n,c,,TRUE\nno,,41.0,false\n"


@pytest.fixture
def call(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The same in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return call


def test_given_cells_stay_in_the_table_s_columns_and_the_file_s_rows(
    call: Call, finished: Any
) -> None:
    run, _ = finished
    Path("partial.csv").write_text(PARTIAL)
    code, out, _ = call("sample", run.path, "--complete", "partial.csv", "-o", "s.csv")
    assert code == 0 and "wrote 3 rows to s.csv" in out
    made = read_table(Path("s.csv"))
    assert list(made.columns) == list(read_table(run.synthetic).columns)
    # As they are written in the file, whatever the table's own spelling.
    assert made["outcome"].tolist()[::2] == ["yes", "no"]
    assert made["group"].tolist()[:2] == ["b", "c"]
    assert made["age"].tolist()[::2] == ["33", "41.0"]
    assert made["member"].tolist()[1:] == ["TRUE", "false"]
    assert made[["outcome", "group", "age", "member", "sex"]].notna().all(axis=None)
    call("sample", run.path, "--complete", "partial.csv", "-o", "again.csv")
    call("sample", run.path, "--complete", "partial.csv", "-o", "other.csv", "--seed", 1)
    assert Path("s.csv").read_bytes() == Path("again.csv").read_bytes()
    assert Path("s.csv").read_bytes() != Path("other.csv").read_bytes()


def test_what_cannot_be_completed_is_refused(call: Call, finished: Any) -> None:
    run, _ = finished
    completing = ("sample", run.path, "--complete", "partial.csv", "-o", "s.csv")
    refused(call(*completing), "partial.csv: no such file")
    Path("partial.csv").write_text("group,age,gruop\nz,old,a\n")
    words = ("column 'gruop': the run has no such column", "no value 'z'", "'old' is not of kind")
    refused(call(*completing), *words, lines=3)
    Path("partial.csv").write_text(PARTIAL)
    refused(call(*completing, "-n", 5), "leave out -n and --where")
    refused(call(*completing, "--where", "sex=f"), "leave out -n and --where")
    refused(call("sample", run.path, "-o", "s.csv"), "-n", "--complete FILE")
    assert not Path("s.csv").exists()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which an hour passes whenever the time is asked for."""
    hours = itertools.count(0, 3600)

    def search(patience: float, progress: Callable[[int, int, float | None], None]) -> Search:
        return Search(patience, progress, lambda: next(hours))

    monkeypatch.setattr(everymode.simulations.sample, "Search", search)


@pytest.mark.usefixtures("slow")
def test_what_takes_longer_than_patience_is_refused_with_an_estimate(
    call: Call, finished: Any
) -> None:
    run, _ = finished
    drawing = ("sample", run.path, "-o", "s.csv", "-n", 5000, "--where", "age=30")
    refused(call(*drawing, "--patience", 60), "would take about", "--patience ")
    Path("partial.csv").write_text(PARTIAL)
    completing = ("sample", run.path, "-o", "s.csv", "--complete", "partial.csv")
    refused(call(*completing, "--patience", 60), "completing 3 rows would take", "--patience ")
    assert not Path("s.csv").exists()
    # The control: with patience for it, the same rows come.
    assert call(*completing, "--patience", 1_000_000)[0] == 0
    assert len(read_table(Path("s.csv"))) == 3
    assert call(*completing, "--patience", 0)[0] == 2
