"""Conditional trees in a run: what sites are asked for, what is drawn, and what goes without."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import everymode.server.synthesis.trees as trees
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.steps import DropForbidden, KeepByLeaves
from everymode.wgan.files import read_json


def table(rows: int = 3000) -> pd.DataFrame:
    """A column that is the exclusive or of two others: pairs of columns say nothing of it."""
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 2, (2, rows))
    noise = rng.random(rows) < 0.02
    return pd.DataFrame(
        {
            "left": np.where(left, "l", "r"),
            "right": np.where(right, "u", "d"),
            "size": rng.gamma(2, 3, rows).round(1),
            "both": np.where(left ^ right ^ noise, "yes", "no"),
            "group": rng.choice(["a", "b"], rows, p=[0.8, 0.2]),
            "outcome": rng.choice(["win", "lose"], rows),
        }
    )


def exclusive(rows: pd.DataFrame) -> float:
    return float(
        (((rows["left"] == "l") ^ (rows["right"] == "u")) == (rows["both"] == "yes")).mean()
    )


@pytest.fixture(scope="module")
def runs(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A run by the number of exchanges; trained for one round, so that nothing is owed to it."""
    folder = tmp_path_factory.mktemp("trees")
    table().to_csv(folder / "t.csv", index=False)
    for exchanges in (0, 2):
        model = {"trees": exchanges, "projection": False}
        kit.run(
            kit.tiny(folder / "t.csv", model=model, train={"rounds": 1}),
            folder / f"run-{exchanges}",
        )
    return {exchanges: folder / f"run-{exchanges}" for exchanges in (0, 2)}


def test_a_tie_of_three_columns_comes_from_the_counts(runs: dict[int, Path]) -> None:
    made = pd.read_csv(runs[2] / "synthetic.csv")
    assert exclusive(made) > 0.85 and exclusive(table()) > 0.97
    # The control has nothing but a generator of one round.
    assert exclusive(pd.read_csv(runs[0] / "synthetic.csv")) < 0.7
    assert abs((made["group"] == "b").mean() - (table()["group"] == "b").mean()) < 0.001
    assert made["size"].between(table()["size"].min(), table()["size"].max()).all()


def test_what_was_asked_is_in_the_records(runs: dict[int, Path]) -> None:
    summary = read_json(runs[2] / "summary.json")
    found, pairs = summary["trees"], summary["forbidden"]
    assert found["exchanges"] == 2 and len(found["leaves"]) == len(found["counts"]) == 2
    assert found["leaf"] == [50, 50]
    released = read_json(runs[2] / "releases.json")["releases"]
    leaves = [release for release in released if release["task"] == "leaves"]
    shapes = [tuple(a["shape"]) for release in leaves for a in release["arrays"]]
    assert {(n,) for n in (*found["counts"], pairs["counts"])} == set(shapes)
    assert "trees" not in read_json(runs[0] / "summary.json")
    assert "leaves" not in {r["task"] for r in read_json(runs[0] / "releases.json")["releases"]}


def test_a_saved_generator_draws_with_its_trees(runs: dict[int, Path]) -> None:
    synthesizer = load_generator(RunFolder(runs[2]))
    assert synthesizer.proposal is not None
    made = pd.read_csv(runs[2] / "synthetic.csv")
    again = synthesizer.sample_matching_data(len(made), 0)
    assert (again["left"].to_numpy() == made["left"].to_numpy()).mean() > 0.99
    assert exclusive(synthesizer.draw(2000, 1, where={"size": (0, 4)})) > 0.85
    assert load_generator(RunFolder(runs[0])).proposal is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fairness": {"bias_head": 1.0}}, "moves groups on purpose"),
        ({"strategy": "fedgan"}, None),
    ],
)
def test_runs_that_cannot_have_trees_do_without_and_say_so(
    kit: Any, tmp_path: Path, changes: dict[str, Any], why: str | None
) -> None:
    table(300).to_csv(tmp_path / "t.csv", index=False)
    reporter = kit.Recorder()
    settings = kit.tiny(
        tmp_path / "t.csv",
        **{"model": {"trees": 1}, "train": {"rounds": 1}, **changes},
    )
    summary = kit.run(settings, tmp_path / "run", reporter=reporter)
    assert "trees" not in summary
    if why is not None:
        assert any(
            "no trees are grown (model.trees)" in note and why in note for note in reporter.told
        )


def test_leaves_are_made_larger_where_counts_would_be_too_many(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_COUNTS", 1500)
    table(900).to_csv(tmp_path / "t.csv", index=False)
    model = {"trees": 1, "tree_leaf": 5, "projection": False}
    summary = kit.run(
        kit.tiny(tmp_path / "t.csv", model=model, train={"rounds": 1}), tmp_path / "run"
    )
    found = summary["trees"]
    assert found["leaf"][0] > 5 and found["counts"][0] <= 1500


def test_too_many_columns_are_said(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_COLUMNS", 3)
    table(300).to_csv(tmp_path / "t.csv", index=False)
    reporter = kit.Recorder()
    settings = kit.tiny(tmp_path / "t.csv", model={"trees": 1}, train={"rounds": 1})
    assert "trees" not in kit.run(settings, tmp_path / "run", reporter=reporter)
    assert any("4 columns are more than 3; leave some out" in note for note in reporter.told)


@pytest.fixture(scope="module")
def judged(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose rows are weighted by trees as critics, without a column drawn from counts."""
    folder = tmp_path_factory.mktemp("judged")
    table().to_csv(folder / "t.csv", index=False)
    model = {"critic_trees": 60, "projection": False}
    kit.run(kit.tiny(folder / "t.csv", model=model, train={"rounds": 1}), folder / "run")
    return folder / "run"


def test_critics_bring_a_tie_that_the_generator_lacks(judged: Path, runs: dict[int, Path]) -> None:
    made = pd.read_csv(judged / "synthetic.csv")
    control = pd.read_csv(runs[0] / "synthetic.csv")
    assert exclusive(made) > exclusive(control) + 0.15
    assert abs((made["group"] == "b").mean() - (table()["group"] == "b").mean()) < 0.001
    found = read_json(judged / "summary.json")["critic_trees"]
    assert found["asked"] == 60 and found["trees"] == 20 and 0 < found["kept"] < 1
    assert found["leaves_off_after"] < found["leaves_off_before"] / 4
    released = read_json(judged / "releases.json")["releases"]
    assert [r["task"] for r in released].count("leaves") >= 1
    assert "critic_trees" not in read_json(runs[0] / "summary.json")


def test_a_saved_generator_keeps_its_critics(judged: Path) -> None:
    synthesizer = load_generator(RunFolder(judged))
    assert synthesizer.find(KeepByLeaves) is not None
    made = pd.read_csv(judged / "synthetic.csv")
    again = synthesizer.sample_matching_data(len(made), 0)
    assert (again["both"].to_numpy() == made["both"].to_numpy()).mean() > 0.99


def never_together(rows: int = 3000) -> pd.DataFrame:
    """Nobody on the left has the size large, though hundreds would by chance."""
    frame = table(rows).drop(columns=["size"])
    rng = np.random.default_rng(1)
    frame["size"] = rng.choice(["small", "large"], rows)
    frame.loc[frame["left"] == "l", "size"] = "small"
    return frame


def test_what_never_occurs_is_not_made_and_is_listed(kit: Any, tmp_path: Path) -> None:
    never_together().to_csv(tmp_path / "t.csv", index=False)
    model = {"trees": 1, "projection": False}
    found: dict[str, Any] = {}
    for name, more in {
        "learn": {},
        "off": {"forbidden": "off"},
        "allowed": {"allowed": ["size:left", "no:pair"]},
    }.items():
        reporter = kit.Recorder()
        settings = kit.tiny(
            tmp_path / "t.csv", model={**model, **more}, train={"rounds": 1}, output={"rows": 20000}
        )
        found[name] = kit.run(settings, tmp_path / name, reporter=reporter)
        made = pd.read_csv(tmp_path / name / "synthetic.csv")
        wrong = int(((made["left"] == "l") & (made["size"] == "large")).sum())
        assert (wrong == 0) or name != "learn"
        assert any("'no:pair' names no two columns" in n for n in reporter.told) == (
            name == "allowed"
        )
    report = found["learn"]["forbidden"]
    assert report["pairs"] == 1 and report["columns_withheld"] == 0
    assert report["listed"] == [{"left": "l", "size": "large"}]
    assert "forbidden" not in found["off"] and found["allowed"]["forbidden"]["pairs"] == 0
    # A saved generator forbids them as well.
    drawn = load_generator(RunFolder(tmp_path / "learn"))
    assert drawn.find(DropForbidden) is not None and drawn.proposal is not None
    assert drawn.proposal.forbidden is not None
    rows = drawn.draw(5000, 3)
    assert not ((rows["left"] == "l") & (rows["size"] == "large")).any()


def test_under_a_floor_of_sites_a_withheld_count_is_no_zero(kit: Any, tmp_path: Path) -> None:
    frame = never_together()
    # Five rows have the pair, too few for any site to say so.
    at = frame.index[(frame["left"] == "l")][:5]
    frame.loc[at, "size"] = "large"
    frame.to_csv(tmp_path / "t.csv", index=False)
    settings = kit.tiny(
        tmp_path / "t.csv",
        model={"trees": 1, "projection": False},
        train={"rounds": 1},
        site={"floor": 10},
    )
    report = kit.run(settings, tmp_path / "run")["forbidden"]
    assert report["columns_withheld"] > 0
    assert {"left": "l", "size": "large"} not in report["listed"]
