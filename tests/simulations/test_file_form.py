"""Tables whose form is declared, from `init` to the audit; and `split` of one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.server.config.files import load
from everymode.server.config.sections import DataSettings
from everymode.wgan.data.file_form import FileForm
from everymode.wgan.data.frame import read_table
from tests.command_line import Call
from tests.simulations.test_cli import TINY, refused

FORM = FileForm(";", "cp1250", "%", header=False)

OPTIONS = ("--separator", ";", "--encoding", "cp1250", "--comment", "%", "--no-header")

COLUMNS = ["column_1", "column_2", "column_3"]


def rows(count: int, seed: int) -> str:
    """Lines without headers; the comments hold a separator, and numbers a decimal comma."""
    rng = np.random.default_rng(seed)
    lines = ["% price list", "% city; sold; price"]
    for _ in range(count):
        city = rng.choice(["Łódź", "Žilina", "Győr"])
        lines.append(
            f"{city};{rng.choice(['ano', 'ne'])};{rng.normal(50, 9):.2f}".replace(".", ",")
        )
    return "\n".join(lines) + "\n"


@pytest.fixture
def call(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The same in a directory with such tables."""
    monkeypatch.chdir(tmp_path)
    Path("sites").mkdir()
    for name, count in (("prices", 400), ("held", 120), ("sites/a", 200), ("sites/b", 200)):
        Path(f"{name}.csv").write_bytes(rows(count, count).encode("cp1250"))
    return call


@pytest.mark.parametrize("source", ["prices.csv", "sites"])
def test_what_init_writes_is_run_and_audited(call: Call, source: str) -> None:
    used = ("--sensitive", "column_1", "--target", "column_2")
    code, out, err = call("init", source, "-o", "p.toml", *used, *OPTIONS)
    assert code == 0, err
    # What is declared is not recognised as well.
    assert "400 rows" in out and "recognised" not in out
    assert load("p.toml").data.form == FORM
    held = ("--set", "data.holdout=held.csv")
    code, _, err = call("simulate", "p.toml", *TINY, *held, "--out", "run")
    assert code == 0, err
    # The synthetic table is in UTF-8, and has headers.
    made = read_table(Path("run/synthetic.csv"))
    assert list(made.columns) == COLUMNS
    assert set(made["column_1"]) == {"Łódź", "Žilina", "Győr"}
    assert made["column_3"].str.fullmatch(r"-?\d+,\d\d").all()
    code, out, err = call("audit", "--run", "run", "--out", "audit", "--rows", 100)
    assert code in (0, 1, 3), err
    assert "Žilina" in out


def test_sites_by_a_column_and_a_pooled_folder(call: Call) -> None:
    assert call("init", "prices.csv", "-o", "p.toml", *OPTIONS)[0] == 0
    by = ("--set", "split.by=column", "--set", "split.column=column_2")
    code, _, err = call("simulate", "p.toml", *TINY, *by, "--out", "by")
    assert code == 0, err
    assert list(read_table(Path("by/synthetic.csv")).columns) == ["column_1", "column_3"]
    pooled = ("--set", "data.path=sites", "--set", "strategy=pooled")
    code, _, err = call("simulate", "p.toml", *TINY, *pooled, "--out", "pooled")
    assert code == 0, err


def test_split_keeps_lines_and_writes_no_headers(call: Call) -> None:
    split = ("split", "prices.csv", "--sites", 3, "--by", "group", "--column", "column_1")
    code, out, err = call(*split, "--out", "parts", *OPTIONS)
    assert code == 0, err
    assert "Žilina" in out
    parts = [p.read_bytes().splitlines() for p in sorted(Path("parts").iterdir())]
    lines = Path("prices.csv").read_bytes().splitlines()
    assert all(part[:2] == lines[:2] for part in parts)
    assert sorted(line for part in parts for line in part[2:]) == sorted(lines[2:])
    frames = [read_table(p, form=FORM) for p in sorted(Path("parts").iterdir())]
    assert list(pd.concat(frames).columns) == COLUMNS


def test_tab_is_a_name_of_the_separator(call: Call) -> None:
    # Commas are as even as tabs, and come first.
    lines = [f"x {i},5\t{i % 3},{i}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["a,b\tc,d", *lines]))
    assert call("init", "t.csv", "-o", "t.toml", "--separator", "tab")[0] == 0
    data = load("t.toml").data
    assert data.separator == "\t"
    assert list(read_table(Path("t.csv"), form=data.form).columns) == ["a,b", "c,d"]
    assert DataSettings(path="t.csv", separator="TAB").form == data.form


def test_a_wrong_declaration_is_one_error(call: Call) -> None:
    init = ("init", "prices.csv", "-o", "p.toml")
    wrong = ("--separator", ";;", "--encoding", "klingon")
    refused(call(*init, *wrong), "--separator = ';;'", "--encoding = 'klingon'", lines=2)
    refused(call(*init, "--encoding", "utf-8"), "prices.csv: line ", "data.encoding = 'utf-8'")
    refused(call("split", "prices.csv", "--out", "s", *wrong), "--separator", lines=2)
    assert not Path("p.toml").exists() and not Path("s").exists()
    assert call(*init, *OPTIONS)[0] == 0
    for change, words in [
        ("data.separator=;;", ("data.separator: expected one character",)),
        ("data.encoding=klingon", ("data.encoding: no encoding",)),
        ("data.encoding=utf-8", ("prices.csv: line ", "data.encoding = 'utf-8'")),
    ]:
        refused(call("simulate", "p.toml", *TINY, "--set", change, "--out", "run"), *words)
        assert not Path("run").exists()


def test_a_file_that_begins_with_a_row_is_asked_about(call: Call) -> None:
    Path("n.csv").write_text("".join(f"{i % 7},{i % 5}.5\n" for i in range(60)))
    refused(call("init", "n.csv", "-o", "n.toml"), "data.header = false", "--no-header")
    assert call("init", "n.csv", "-o", "n.toml", "--no-header")[0] == 0
    code, _, err = call("simulate", "n.toml", *TINY, "--out", "run")
    assert code == 0, err
    assert list(read_table(Path("run/synthetic.csv")).columns) == ["column_1", "column_2"]


def test_names_that_were_joined_by_a_comma(call: Call) -> None:
    init = ("init", "prices.csv", "-o", "p.toml", *OPTIONS)
    refused(
        call(*init, "--sensitive", "column_1,column_2", "--sensitive", "colum_3"),
        "write --sensitive column_1 --sensitive column_2",
        "did you mean 'column_3'?",
        lines=2,
    )
    one = "write --target column_1 or --target column_2"
    refused(call(*init, "--target", "column_1,column_2"), one)
    split = ("split", "prices.csv", "--out", "s", *OPTIONS)
    both = "write --column column_1 --column column_2"
    refused(call(*split, "--column", "column_1, column_2"), both)
    Path("r.csv").write_text("a,b b,c\n" + "1,x,y\n" * 30)
    audit = ("audit", "--real", "r.csv", "--synthetic", "r.csv", "--out", "audit")
    refused(
        call(*audit, "--sensitive", "a,b b", "--drop", "a,c", "--target", "a,c"),
        "write --sensitive a --sensitive 'b b'",
        "write --drop a --drop c",
        "write --target a or --target c",
        lines=3,
    )
