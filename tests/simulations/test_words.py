"""Hostile names through whole runs: nothing that leaves the program commands or hides anything."""

import csv
import json
import os
import sys
import tomllib
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from everymode.clients.site import Site, sites_in
from everymode.server.outputs.run_directory import RunFolder, default_folder
from everymode.simulations.streams import diverted
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError, SettingsError
from tests.command_line import Call, run_command

ESC, BELL = "\x1b[31m\x1b[2J", "\x1b]0;pwned\x07"
COLUMN = f"=cmd|'x'!A1 [red]$x_{{$ {ESC}\u202e"
GROUPS = ("=HYPERLINK(1)", f"[link=http://x]y[/link]{BELL}", "<script>alert(1)</script>", "-1 to 0")
OTHER = ("a|b\n# c", "+", "\x9bd\u2066$\\frac{$", "@x")
SITES = (f"s{ESC}", "north\u202e")

TINY = (
    "--backend=inline",
    "--set=model.generator_hidden=[16]",
    "--set=model.critic_hidden=[16]",
    "--set=model.noise=8",
    "--set=train.rounds=3",
    "--set=train.critic_steps=1",
    "--set=train.generator_steps=1",
    "--set=train.batch=40",
    "--set=train.generator_batch=20",
)

Ran = tuple[int, str, str]


def hostile(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            COLUMN: rng.choice(GROUPS, rows),
            "other": rng.choice(OTHER, rows),
            "\x1bage": rng.integers(-40, 40, rows).astype(str),
            "outcome": rng.choice(["yes", "=no"], rows),
        },
        dtype=object,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A finished run over two hostile sites, and what it said."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "tables").mkdir()
    for seed, name in enumerate(SITES):
        hostile(150, seed).to_csv(folder / "tables" / f"{name}.csv", index=False)
    config = folder / "mine $x_{$.toml"
    sensitive = json.dumps(COLUMN)
    config.write_text(
        f'[data]\npath = "tables"\nsensitive = [{sensitive}]\ntarget = "outcome"\n',
        encoding="utf-8",
    )
    said = []
    for stream in ("stdout", "stderr"):
        said.append((folder / stream).open("w+", encoding="utf-8"))
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = said
    try:
        code = run_command("simulate", config, *TINY, "--out", folder / "run")
    finally:
        sys.stdout, sys.stderr = kept
    out, err = ((folder / stream).read_text(encoding="utf-8") for stream in ("stdout", "stderr"))
    for file in said:
        file.close()
    return folder / "run", (code, out, err)


def harmful(text: str) -> list[str]:
    """Characters that a terminal obeys or that are not seen."""
    return [
        c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    ]


def test_a_run_over_hostile_tables_says_nothing_that_a_terminal_obeys(
    run: tuple[Path, Ran],
) -> None:
    code, out, err = run[1]
    assert code == 0, err
    assert harmful(out + err) == []
    assert "worst group" in err and "results in" in out
    # Names are told whole, with markup as it is, and on one line.
    assert r"\x1b[31m\x1b[2J\u202e" in err and "[red]" in err


def test_files_of_a_run_hide_nothing_and_are_read_back(run: tuple[Path, Ran]) -> None:
    path, _ = run
    names = {p.name for p in path.iterdir()}
    assert {"curves.png", "groups.png", "audit.html", "summary.json", "config.toml"} <= names
    for file in path.iterdir():
        if file.suffix in (".json", ".jsonl", ".toml", ".html", ".xml", ".txt"):
            assert harmful(file.read_bytes().decode()) == [], file.name
    summary = json.loads((path / "summary.json").read_text())
    assert set(summary["groups"]) == set(GROUPS)
    assert tomllib.loads((path / "config.toml").read_text())["data"]["sensitive"] == [COLUMN]
    page = (path / "audit.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    ElementTree.parse(path / "audit.junit.xml")
    assert [row["round"] for row in RunFolder(path).read_metrics()] == [1, 2, 3]


def test_the_synthetic_table_holds_no_formula_says_so_and_keeps_numbers(
    run: tuple[Path, Ran],
) -> None:
    path, (_, _, err) = run
    with (path / "synthetic.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header[0] == "'" + COLUMN
    firsts = {cell[0] for row in rows for cell in row if not cell.lstrip("+-").isdigit()}
    # A plus alone is no formula and stays as it is.
    assert firsts & set("=-@\t\r") == set()
    assert {row[1] for row in rows} <= {*OTHER[:3], "'@x"}
    assert any(int(row[2]) < 0 for row in rows)
    (note,) = [x for x in err.splitlines() if "begins like a formula" in x]
    assert "column 'outcome': 1 value in" in note and "column 'other': 1 value in" in note
    assert "the header" in note and "output.spreadsheet_safe = false" in note
    marks = json.loads((path / "summary.json").read_text())["apostrophes"]
    assert set(marks["cells"]) == {COLUMN, "other", "outcome"} and marks["headers"] == [COLUMN]


def test_an_audit_of_the_run_reads_what_was_meant(
    run: tuple[Path, Ran], call: Call, tmp_path: Path
) -> None:
    tables = run[0].parent / "tables"
    named = ("--real", tables, "--synthetic", run[0] / "synthetic.csv", "--sensitive", COLUMN)
    for words in (("--run", run[0]), (*named, "--target", "outcome")):
        code, out, err = call("audit", *words, "--out", tmp_path / words[0], "--rows", 60)
        assert code in (0, 1, 3), err
        assert harmful(out + err) == []
        assert "read without the apostrophes" in err
        found = json.loads((tmp_path / words[0] / "audit.json").read_text())
        assert all(column.get("unseen", 0) == 0 for column in found["columns"].values())
        groups = {g["name"] for g in found["groups"] if g["rows_synthetic"]}
        assert groups - {"all rows"} <= set(GROUPS) and len(groups) > 3
        assert harmful((tmp_path / words[0] / "audit.html").read_text()) == []


def test_drawn_rows_are_as_the_run_was_configured_or_as_asked_for(
    run: tuple[Path, Ran], call: Call, tmp_path: Path
) -> None:
    draw = ("sample", run[0], "-n", 60, "--where", "other=@x")
    code, out, err = call(*draw, "-o", tmp_path / "safe.csv")
    assert (code, err, harmful(out)) == (0, "", []) and "--no-spreadsheet-safe" in out
    made = read_table(tmp_path / "safe.csv")
    assert set(made["other"]) == {"'@x"} and "'-1 to 0" in set(made["'" + COLUMN])
    code, out, _ = call(*draw, "-o", tmp_path / "plain.csv", "--no-spreadsheet-safe")
    assert code == 0 and "apostrophe" not in out
    made = read_table(tmp_path / "plain.csv")
    assert set(made["other"]) == {"@x"} and "-1 to 0" in set(made[COLUMN])
    assert call(*draw, "-o", tmp_path / "s.parquet")[0] == 0
    assert set(pd.read_parquet(tmp_path / "s.parquet")["other"]) == {"@x"}


def test_errors_about_hostile_names_are_one_line_each_and_command_nothing(
    run: tuple[Path, Ran], call: Call, tmp_path: Path
) -> None:
    (tmp_path / "tables").mkdir()
    for seed, name in enumerate(SITES):
        frame = hostile(40, seed).rename(
            columns={"other": f"other{BELL}{seed}\nerror: all is well"}
        )
        frame.to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
    config = tmp_path / "c.toml"
    config.write_text('[data]\npath = "tables"\n')
    for arguments in (
        ("simulate", config, *TINY, "--out", tmp_path / "run"),
        ("sample", run[0], "-n", 5, "-o", tmp_path / "s.csv", "--where", "x=1"),
        ("sample", run[0], "-n", 5, "-o", tmp_path / "s.csv", "--where", f"{COLUMN}=x"),
        ("init", tmp_path / "tables", "-o", tmp_path / "i.toml", "--target", "x"),
    ):
        code, out, err = call(*arguments)
        assert code == 2 and harmful(out + err) == [], err
        assert all(line.startswith("error: ") for line in err.splitlines()), err


def test_a_table_is_looked_at_and_split_without_obeying_it(call: Call, tmp_path: Path) -> None:
    table = tmp_path / f"t{ESC}\n[data].csv"
    hostile(200, 0).to_csv(table, index=False)
    config = tmp_path / "c.toml"
    code, out, err = call("init", table, "-o", config, "--sensitive", COLUMN)
    assert (code, err, harmful(out)) == (0, "", [])
    assert harmful(config.read_text()) == []
    assert tomllib.loads(config.read_text())["data"]["sensitive"] == [COLUMN]
    for option, first in (("--no-spreadsheet-safe", COLUMN), ("--spreadsheet-safe", "'" + COLUMN)):
        folder = tmp_path / option
        split = ("split", table, "--by", "column", "--column", COLUMN, "--out", folder)
        code, out, err = call(*split, option)
        assert (code, err, harmful(out)) == (0, "", [])
        assert ("begins like a formula" in out) == (option == "--spreadsheet-safe")
        assert next(iter(read_table(folder / "site-00.csv").columns)) == first


@pytest.mark.parametrize("value", ["..", "../x", "/etc/x", "a\0b", ".hidden", "x" * 300])
def test_a_value_that_names_a_site_never_names_its_file(
    call: Call, tmp_path: Path, value: str
) -> None:
    frame = pd.DataFrame({"site": [value] * 25 + ["b"] * 25, "age": [*map(str, range(50))]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    folder = tmp_path / "out" / "sites"
    split = ("split", tmp_path / "t.csv", "--by", "column", "--column", "site", "--out", folder)
    assert call(*split)[0] == 0
    assert sorted(p.name for p in folder.iterdir()) == ["site-00.csv", "site-01.csv"]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "site-00.csv",
        "site-01.csv",
        "t.csv",
    ]


@pytest.mark.parametrize("name", ["..", "../x", "a/b", ".hidden", "a\0b", "", "x" * 300])
def test_a_site_s_name_that_is_more_than_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="a site cannot be called"):
        Site(name, tmp_path / "t.csv", tmp_path / "work")


def test_all_files_that_can_name_no_site_are_told_at_once(tmp_path: Path) -> None:
    for name in (" ", os.fsdecode(b"\xff"), "good"):
        (tmp_path / f"{name}.csv").write_text("a\n1\n")
    with pytest.raises(DataError) as error:
        sites_in(tmp_path, tmp_path / "work")
    assert len(error.value.problems) == 2
    assert "is empty" in str(error.value) and r"'\udcff': the name is not in UTF-8" in str(
        error.value
    )


@pytest.mark.parametrize("name", ["..", ".hidden", "x" * 300])
def test_a_configuration_s_name_that_can_name_no_run_is_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match="no run can be named after"):
        default_folder(name)


def test_the_log_is_harmless_once_the_run_is_over(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with diverted(log):
        print(f"\x1b[92mINFO\x1b[0m :\tsite {ESC}{BELL}\xe9", file=sys.__stderr__, flush=True)
    text = log.read_text()
    assert text == r"INFO :  site \x1b[31m\x1b[2J\x1b]0;pwned\x07é" + "\n"
    with diverted(log):
        pass
    assert log.read_text() == text
