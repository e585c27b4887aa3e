"""`everymode attack` from the command line: exit codes, files, and what is refused."""

import json
import shutil

import jsonschema
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everymode.fairness.attacks.limits import AttackLimits
from everymode.server.config.files import load
from everymode.server.outputs.records import json_schema
from everymode.simulations.cli import app
from everymode.simulations.limits import parse_limits
from everymode.wgan.errors import DataError, SettingsError


def people(count, seed):
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], count)
    numbers = {f"x{i}": rng.normal(size=count).round(3) + (sex == "m") for i in range(4)}
    return pd.DataFrame({"sex": sex, **numbers, "c": rng.choice(list("abcd"), count)})


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for seed, name in enumerate(("members", "others", "fresh")):
        people(700, seed).to_csv(folder / f"{name}.csv", index=False)
    people(700, 0).sample(900, replace=True, random_state=0).to_csv(
        folder / "copies.csv", index=False
    )
    return folder


def attack(*words):
    return CliRunner().invoke(app, ["attack", *map(str, words)])


def named(tables, synthetic="fresh", members="members", others="others"):
    return (
        *("--members", tables / f"{members}.csv", "--nonmembers", tables / f"{others}.csv"),
        *("--synthetic", tables / f"{synthetic}.csv", "--sensitive", "sex", "--secret", "c"),
    )


def files(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_fresh_rows_are_exit_code_0(tables, tmp_path):
    out = tmp_path / "a"
    found = attack(*named(tables), "--out", out, "--claimed-epsilon", 1)
    assert found.exit_code == 0, found.output
    assert files(out) == {"attack.json", "attack.html"}
    value = json.loads((out / "attack.json").read_text())
    validator = jsonschema.Draft202012Validator(json_schema("attack"))
    assert [e.message for e in validator.iter_errors(value)] == []
    assert (value["verdict"], value["version"], value["claimed_epsilon"]) == ("pass", 1, 1.0)
    assert "PASS: no attack succeeds" in found.output and "attack.html" in found.output
    for words in ("density ratio", "linkability", "singling out", "the tenth most"):
        assert words in found.output


def test_copies_are_exit_code_1_and_a_limit_moves_it(tables, tmp_path):
    words = (*named(tables, "copies"), "-q")
    found = attack(*words, "--out", tmp_path / "a", "--claimed-epsilon", 0.5)
    assert found.exit_code == 1 and found.output == ""
    checks = json.loads((tmp_path / "a" / "attack.json").read_text())["checks"]
    names = {check["name"] for check in checks if check["verdict"] == "fail"}
    assert names == {"membership_auc", "membership_tpr", "risk", "epsilon"}
    off = ("--set", "membership_auc=1", "--set", "membership_tpr=off", "--set", "risk=off")
    assert attack(*words, *off, "--out", tmp_path / "b").exit_code == 0


def test_too_few_rows_to_judge_are_exit_code_3(tables, tmp_path):
    found = attack(*named(tables), "--out", tmp_path / "a", "--minimum", 2000)
    assert found.exit_code == 3 and "INSUFFICIENT" in found.output


def test_a_run_names_its_own_tables_and_its_critic_is_attacked(finished, tmp_path):
    folder, _ = finished
    found = attack(folder.path, "--out", tmp_path / "a", "-q", "--minimum", 100)
    assert found.exit_code in (0, 1), found.exception
    value = json.loads((tmp_path / "a" / "attack.json").read_text())
    assert value["sensitive_features"] == ["group", "sex"]
    assert {m["attack"] for m in value["membership"]} == {
        "nearest row",
        "density ratio",
        "critic's score",
    }
    scores = [m for m in value["membership"] if m["attack"] == "critic's score"]
    assert scores[0]["nonmembers"] == 200 and 0.3 < scores[0]["auc"]["value"] < 0.8
    assert value["notes"] == []
    # Another table's rows were not what the critic was trained against.
    found = attack(folder.path, "--synthetic", folder.synthetic, "--out", tmp_path / "b", "-q")
    notes = json.loads((tmp_path / "b" / "attack.json").read_text())["notes"]
    assert "the critic's score is not attacked: another table is attacked" in notes


def test_what_a_run_guarantees_is_held_against_its_table(finished, tmp_path):
    """A run without noise that claims an epsilon is caught; one that keeps its word is not."""
    run = tmp_path / "run"
    shutil.copytree(finished[0].path, run)
    guarantee = {"epsilon": 0.5, "delta": 1e-6}

    def attacked(name):
        words = (run, "-q", "--minimum", 100, "--secret", "sex", "--out", tmp_path / name)
        found = attack(*words, "--set", "membership_auc=off", "--set", "membership_tpr=off")
        value = json.loads((tmp_path / name / "attack.json").read_text())
        failed = [c["name"] for c in value["checks"] if c["verdict"] == "fail"]
        return found.exit_code, value["claimed_epsilon"], "epsilon" in failed

    written = json.loads((run / "privacy.json").read_text())
    assert written["guarantee"] is None and attacked("none")[1:] == (None, False)
    (run / "privacy.json").write_text(json.dumps({**written, "guarantee": guarantee}))
    assert attacked("kept")[1:] == (0.5, False)
    # The table is the rows that it was made from: no noise at all.
    settings = load(run / "config.toml", [])
    members = pd.read_csv(settings.data.path, dtype=str, keep_default_na=False)
    made = pd.read_csv(run / "synthetic.csv", dtype=str, keep_default_na=False)
    members[list(made.columns)].to_csv(run / "synthetic.csv", index=False)
    assert attacked("memorised") == (1, 0.5, True)
    (run / "privacy.json").write_text(json.dumps({**written, "guarantee": {"epsilon": "?"}}))
    found = attack(run, "-q", "--out", tmp_path / "bad")
    assert "put the file back" in str(found.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "with --members FILE"),
        (["nowhere"], "no finished run there"),
        (["--claimed-epsilon", "0"], "expected more than 0"),
        (["--delta", "1"], "expected at least 0 and less than 1"),
        (["--set", "auc=1"], "expected KEY=VALUE with one of membership_auc"),
        (["--set", "risk=2"], "--set risk=2"),
    ],
)
def test_bad_options_say_what_to_write(words, message, tmp_path):
    found = attack(*words, "--out", tmp_path / "a")
    assert isinstance(found.exception, SettingsError)
    assert message in str(found.exception) and not (tmp_path / "a").exists()


def test_all_names_that_are_wrong_are_told_at_once(tables, tmp_path):
    found = attack(*named(tables), "--out", tmp_path / "a", "--sensitive", "sax", "--secret", "y")
    assert isinstance(found.exception, SettingsError)
    assert len(found.exception.problems) == 2
    assert "--sensitive sax" in str(found.exception) and "'sex'" in str(found.exception)
    both = attack(*named(tables), "--drop", "c", "--out", tmp_path / "a")
    assert "--secret c: is left out by --drop" in str(both.exception)


def test_members_are_no_nonmembers(tables, tmp_path):
    found = attack(*named(tables, others="members"), "--out", tmp_path / "a")
    assert isinstance(found.exception, DataError) and "--nonmembers" in str(found.exception)
    assert not (tmp_path / "a").exists()


def test_help_lists_the_limits():
    found = CliRunner().invoke(app, ["attack", "--help"], env={"COLUMNS": "120"})
    text = " ".join(found.output.split())
    assert "membership_auc" in text and "singling out as in anonymeter" in text
    assert parse_limits(AttackLimits, ["risk=off"]).risk is None
