"""`everymode site`: what a site's administrator sees, and exit codes."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from everymode.clients.gate.log import NAME
from tests.command_line import Call
from tests.federated import Federation, people

CONFIG = """
[data]
path = "elsewhere.csv"
sensitive = ["sex"]
target = "income"
[model]
generator_hidden = [8]
critic_hidden = [8]
noise = 4
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "people.toml"
    path.write_text(CONFIG)
    people(200, 0).to_csv(tmp_path / "north.csv", index=False)
    return path


def test_a_preview_shows_every_question_in_its_order(call: Call, config: Path) -> None:
    table = config.with_name("north.csv")
    before = sorted(config.parent.iterdir())
    code, out, _ = call("site", "preview", config, "--data", table, "--floor", 5, "--json")
    assert code == 0
    answers = json.loads(out)["answers"]
    asked = [answer["question"] for answer in answers]
    assert asked[:4] == ["look", "values", "ranks", "prepare"] and "train" in asked
    assert asked.index("train") < asked.index("audit")
    assert all(answer["rows"] == 200 for answer in answers if answer["question"] != "values")
    assert all((answer["smallest_count"] or 5) >= 5 for answer in answers)
    assert sorted(config.parent.iterdir()) == before


def test_a_preview_reads_a_database_and_the_file_of_a_deployment(call: Call, config: Path) -> None:
    sites = '[deployment]\nsites = ["north"]\ncolumns = ["age", "job", "sex", "income"]\n'
    config.write_text(sites + CONFIG.replace('path = "elsewhere.csv"', ""))
    with contextlib.closing(sqlite3.connect(config.with_name("clinic.db"))) as database:
        people(200, 0).to_sql("people", database, index=False)
        database.commit()
    url = f"sqlite:///{config.with_name('clinic.db')}#people"
    code, out, _ = call("site", "preview", config, "--data", url, "--json")
    assert code == 0 and json.loads(out)["answers"][0]["rows"] == 200


def test_a_preview_says_what_the_policy_refuses(call: Call, config: Path) -> None:
    policy = config.with_name("policy.toml")
    policy.write_text('sensitive = []\nhours = ["00:00-00:01"]\nplans = "ask"\n')
    table = config.with_name("north.csv")
    code, out, _ = call("site", "preview", config, "--data", table, "--policy", policy)
    assert code == 1
    assert "policy sensitive: 'look': columns 'sex' are not allowed" in out
    assert "nothing was sent" in out


def test_the_log_is_shown_and_a_changed_line_is_found(call: Call, asked: Federation) -> None:
    workspace = asked.sites[0].workspace
    code, out, _ = call("site", "log", workspace)
    assert code == 0 and "3 lines, chain intact" in out and "ranks" in out
    path = workspace / NAME
    path.write_text(path.read_text().replace('"rows": 60', '"rows": 61', 1))
    code, out, _ = call("site", "log", workspace)
    assert code == 1 and "line 1 has been changed" in out
    code, out, _ = call("site", "log", workspace, "--json")
    found: dict[str, Any] = json.loads(out)
    assert (code, found["intact"], found["broken"]) == (1, False, 1)
    # The folder above names its sites.
    code, _, err = call("site", "log", workspace.parent)
    assert code == 2 and "name one of its sites: site-0, site-1" in err


def test_plans_are_listed_and_approved(call: Call, tmp_path: Path) -> None:
    assert call("site", "approve", tmp_path)[1] == "no plan waits\n"
    code, out, _ = call("site", "approve", tmp_path, "0123456789abcdef")
    assert (code, out) == (0, "plan 0123456789abcdef is approved\n")
    assert "approved already" in call("site", "approve", tmp_path, "0123456789abcdef")[1]
    assert call("site", "approve", tmp_path, "../../x")[0] == 2
    assert call("site", "approve", tmp_path / "none")[0] == 2


def test_a_policy_is_checked(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("min_rows = 10\nnoise = true\n")
    code, out, _ = call("site", "policy", "check", path)
    assert code == 0 and "min_rows = 10\n" in out and "releases = 0 (default)" in out
    assert "noise = true refuses questions without noise" in out
    path.write_text("min_row = 10\n")
    code, _, err = call("site", "policy", "check", path)
    assert code == 2 and "unknown key min_row; did you mean min_rows?" in err


def test_what_all_runs_have_spent_is_shown(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("site", "spent", tmp_path)
    assert code == 0 and "0 answers with noise; together epsilon 0 at" in out
    line = {"version": 1, "scope": "00000000000000ab", "task": "ranks", "question": "q"}
    lines = [{**line, "rho": 0.02, "masked": False}, {**line, "rho": 0.1, "masked": True}]
    lines.append({**line, "task": "moments", "rho": 0.4, "masked": True})
    (tmp_path / "spent.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    code, out, _ = call("site", "spent", tmp_path, "--json")
    value = json.loads(out)
    # One question that was asked twice counts once, as what was seen of it most.
    assert code == 0 and value["rho"] == pytest.approx(0.5) and len(value["answers"]) == 2
    assert value["epsilon"] == pytest.approx(4.377178, abs=1e-5)
    code, _, err = call("site", "spent", tmp_path, "--delta", "2")
    assert code == 2 and "--delta 2: expected" in err
    code, _, err = call("site", "spent", tmp_path / "none")
    assert code == 2 and "no such folder" in err
