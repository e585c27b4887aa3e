"""The whole of `everymode compare`, as a person meets it: a preset, and a scenario."""

import json
from pathlib import Path

import pytest

from everymode.simulations.compare.plan import planned
from everymode.simulations.compare.run import perform
from everymode.wgan.files import read_json


def test_two_strategies_from_the_preset_to_the_table(tmp_path, call):
    out = tmp_path / "out"
    shrunk = (
        "train.rounds=2",
        "output.rows=400",
        "model.projection=false",
        "model.marginals=false",
        "data.drop=['fnlwgt','native-country','education','occupation','relationship']",
        "model.generator_hidden=[16]",
        "model.critic_hidden=[16]",
    )
    words = ["compare", "quick", "--strategies", "fedgan,everymode", "--seeds", "1"]
    words += ["--out", str(out), *(word for s in shrunk for word in ("--set", s))]
    _, printed, said = call(*words)
    assert "EveryMode" in printed and "one seed has no spread" in printed
    assert "Budget of every run: 2 exchanges, 4 generator steps" in said
    assert "FedGAN, seed 1: finished" in said
    report = json.loads((out / "compare.json").read_text())
    for row in report["strategies"]:
        assert row["budget"]["factor"] == pytest.approx(1, abs=0.01)
        (found,) = row["runs"]
        assert found["status"] == "finished" and found["figures"]["coverage_group_min"] is not None
        points = read_json(Path(found["folder"]) / "curve.json")["points"]
        assert [point["round"] for point in points] == [1, 2]
        assert {point["rows"] for point in points} == {400}
    assert {"curves.png", "final.png", "compare.md"} <= {path.name for path in out.iterdir()}
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/*/*")}
    call(*words)
    assert kept == {path: path.stat().st_mtime_ns for path in out.glob("*/*/*")}


def test_a_scenario_is_scored_at_every_checkpoint_and_at_the_end(tmp_path):
    sets = ["train.rounds=2", "train.critic_steps=1", "output.rows=600"]
    (run,) = planned("ring", "everymode", "0", tmp_path / "out", sets).runs
    assert perform(run, "inline", lambda: False).kind == "finished"
    found = read_json(run.curve)
    assert [sorted(point["scores"]) for point in found["points"]] == [sorted(found["scores"])] * 2
    assert 0 <= found["scores"]["modes"] <= 8
    # Both are made of the same generator with the same seed.
    assert found["points"][-1]["scores"] == found["scores"]
    assert not run.folder.sites.exists()
