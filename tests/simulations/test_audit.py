"""`everymode audit` from the command line: exit codes, files, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everymode.fairness.audit.thresholds import Thresholds
from everymode.simulations.cli import app
from everymode.simulations.limits import parse_limits
from everymode.wgan.errors import SettingsError


@pytest.fixture(scope="module")
def tables(tmp_path_factory, kit):
    folder = tmp_path_factory.mktemp("tables")
    for seed, name in enumerate(("real", "made", "held")):
        kit.people(400, seed=seed).to_csv(folder / f"{name}.csv", index=False)
    return folder


def audit(*words):
    return CliRunner().invoke(app, ["audit", *map(str, words)])


def files(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_two_files_are_audited(tables, tmp_path):
    out = tmp_path / "audit"
    found = audit(
        *("--real", tables / "real.csv", "--synthetic", tables / "made.csv"),
        *("--holdout", tables / "held.csv", "--sensitive", "sex", "--target", "outcome"),
        *("--out", out, "--rows", 200),
    )
    assert found.exit_code in (0, 1, 3), found.output
    assert files(out) == {"audit.html", "audit.json", "audit.junit.xml"}
    value = json.loads((out / "audit.json").read_text())
    assert (found.exit_code == 1) == (value["verdict"] == "fail")
    assert (found.exit_code == 0) == value["fit_for_release"]
    assert value["verdict"].upper() in found.output and "audit.html" in found.output


def test_a_table_is_audited_against_itself(tables, tmp_path):
    both = ("--real", tables / "real.csv", "--synthetic", tables / "real.csv")
    found = audit(*both, "--sensitive", "sex", "--out", tmp_path / "a", "-q", "--rows", 200)
    assert found.exit_code in (0, 1), found.exception
    groups = json.loads((tmp_path / "a" / "audit.json").read_text())["groups"]
    assert all(group["copied"] == 1 for group in groups if group["state"] == "measured")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Tables of one law, large enough to judge, their names without and with held-out rows."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    for name in ("real", "made", "held"):
        sex = rng.choice(["f", "m"], 1500)
        numbers = {f"x{i}": rng.normal(size=1500).round(3) + (sex == "m") for i in range(4)}
        pd.DataFrame({"sex": sex, **numbers}).to_csv(folder / f"{name}.csv", index=False)
    words = (
        "--real",
        folder / "real.csv",
        "--synthetic",
        folder / "made.csv",
        "--sensitive",
        "sex",
    )
    return words, ("--holdout", folder / "held.csv")


def test_exit_code_0_is_for_what_is_fit_for_release(large, tmp_path):
    words, held = large
    found = audit(*words, *held, "--out", tmp_path / "a", "--rows", 1500)
    assert found.exit_code == 0, found.output
    assert "PASS, fit for release: " in found.output


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "PASS (copies: not judged): "),
        (["held", "--set", "closer_to_training=off"], "PASS (copies: not judged): "),
        (["held", "--set", "coverage_group_min=off"], "INSUFFICIENT: "),
        # Limits that no interval of so few rows can clear, one way or the other.
        (["held", "--set", "coverage_group_min=1"], "INSUFFICIENT: "),
    ],
)
def test_what_is_undecided_is_exit_code_3(large, tmp_path, more, words):
    options, held = large
    more = [*held, *more[1:]] if more else more
    found = audit(*options, *more, "--out", tmp_path / "a", "--rows", 1500)
    assert found.exit_code == 3 and words in found.output, found.output
    assert "PASS, fit for release" not in found.output


def test_a_threshold_that_is_missed_is_exit_code_1(tables, tmp_path):
    off = ("precision", "ks", "tv", "pairwise", "modes", "auc_ratio")
    words = [word for name in off for word in ("--set", f"{name}=off")]
    found = audit(
        *("--real", tables / "real.csv", "--synthetic", tables / "made.csv", "-q"),
        *("--sensitive", "sex", "--out", tmp_path / "a", "--set", "coverage_group_min=3", *words),
    )
    assert found.exit_code == 1 and found.output == ""


def test_a_run_names_its_own_tables(finished, tmp_path):
    folder, _ = finished
    found = audit("--run", folder.path, "--out", tmp_path / "a", "-q", "--minimum", 20)
    assert found.exit_code in (0, 1, 3), found.exception
    value = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert value["sensitive_features"] == ["group", "sex"]
    assert value["utility"]["target"] == "outcome"
    assert value["settings"]["rows_holdout"] == 200
    assert value["federated"] and value["training"]
    # The generator was told groups and labels: nothing that follows from them has passed.
    assert set(value["given"]) == {"group", "sex", "outcome"} and value["vocabulary_given"]
    for name in ("share_ratio", "unseen_categories", "base_rate_difference"):
        verdicts = {c["verdict"] for c in value["checks"] if c["name"] == name}
        assert verdicts and verdicts <= {"given", "fail"}, name


def test_thresholds_come_from_a_file_and_the_command_line_is_stronger(tables, tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text('[audit]\ncoverage_group_min = 3\nprecision = "off"\n')
    out = tmp_path / "a"
    words = (
        *("--real", tables / "real.csv", "--synthetic", tables / "made.csv", "-q"),
        *("--sensitive", "sex", "--out", out, "--thresholds", file, "--set", "ks=0.5"),
    )
    assert audit(*words).exit_code == 1
    used = json.loads((out / "audit.json").read_text())["settings"]["thresholds"]
    assert (used["coverage_group_min"], used["precision"], used["ks"]) == (3.0, None, 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[audit]\ncoverage_group = 1", "did you mean coverage_group_min"),
        ("[audit]\ncoverage_group_min = -1", "coverage_group_min = -1"),
        ("coverage_group_min = 1", r"expected a table [audit]"),
        ("[audit", "cannot be read as TOML"),
    ],
)
def test_a_bad_file_of_thresholds_says_what_is_wrong(text, message, tmp_path):
    file = tmp_path / "limits.toml"
    file.write_text(text)
    words = ("--real", "r.csv", "--synthetic", "m.csv", "--sensitive", "sex")
    found = audit(*words, "--out", tmp_path / "a", "--thresholds", file)
    assert isinstance(found.exception, SettingsError) and message in str(found.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --synthetic FILE or --run RUN"),
        (["--synthetic", "made.csv"], "--real FILE"),
        (["--run", "nowhere"], "no finished run there"),
        (["--synthetic", "m.csv", "--set", "coverage=1"], "expected KEY=VALUE with one of"),
    ],
)
def test_bad_options_say_what_to_write(words, message, tmp_path):
    found = audit(*words, "--out", tmp_path / "a")
    assert isinstance(found.exception, SettingsError)
    assert message in str(found.exception) and not (tmp_path / "a").exists()


def test_nothing_is_written_for_tables_that_do_not_fit(tables, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    found = audit(
        *("--real", tables / "real.csv", "--synthetic", tmp_path / "other.csv"),
        *("--sensitive", "sex", "--out", tmp_path / "a"),
    )
    assert "lacks the column 'sex'" in str(found.exception)
    assert not (tmp_path / "a").exists()


def test_wrong_thresholds_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        parse_limits(Thresholds, ["tv=much", "ks=-1"])
    assert len(caught.value.problems) == 2
    assert parse_limits(Thresholds, ["tv=off", "ks=0.2"]).model_dump()["tv"] is None


def test_help_lists_every_threshold():
    found = CliRunner().invoke(app, ["audit", "--help"], env={"COLUMNS": "120"})
    assert "coverage_group_min" in found.output and "3 if none fails" in " ".join(
        found.output.split()
    )
    assert "closer_to_training" in found.output
