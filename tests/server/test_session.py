"""Whole runs in this process: what they write, and that they go on bit for bit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import everymode.server.synthesis.projection
import everymode.server.training.monitor
from everymode.clients.protocol.refusal import RefusedError
from everymode.fairness.metrics.marginals import Marginals, compare
from everymode.fairness.report.report import read_report
from everymode.server.config.files import load
from everymode.server.config.settings import harmless_keys, settings_digest
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.session import Interrupted, choose_device
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.steps import ImputeDependencies, ProjectByRejection
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.values import describe
from everymode.wgan.data.write import write_table
from everymode.wgan.errors import DataError, SettingsError, StateError
from everymode.wgan.files import read_json
from tests.conftest import TRAINING_ALONE

pytestmark = pytest.mark.usefixtures("few_rows")

FILES = (
    "config.toml",
    "schema.json",
    "metrics.jsonl",
    "generator.safetensors",
    "synthetic.csv",
    "summary.json",
    "curves.png",
    "groups.png",
    "audit.json",
    "audit.html",
    "audit.junit.xml",
    "watch.html",
    "metrics.prom",
)

NIGHTLY = pytest.mark.nightly

Finished = tuple[RunFolder, dict[str, Any]]


def untimed(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.read_metrics()]


def counts(frame: pd.DataFrame, names: list[str]) -> dict[Any, int]:
    return frame.fillna("").groupby(names).size().to_dict()


def test_every_file_is_there(finished: Finished) -> None:
    run, summary = finished
    for name in FILES:
        assert (run.path / name).stat().st_size > 0, name
    assert [p.name for p in run.checkpoints()] == [
        "round-000002.safetensors",
        "round-000004.safetensors",
    ]
    for name in ("curves.png", "groups.png"):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")
    assert load(run.config).train.rounds == 4
    assert read_json(run.path / "summary.json") == json.loads(json.dumps(summary))


def test_the_synthetic_table_is_like_the_real_one(finished: Finished) -> None:
    run, _ = finished
    real, made = read_table(run.path.parent / "people.csv"), read_table(run.synthetic)
    assert list(made.columns) == list(real.columns)
    assert len(made) == len(real)
    for name in real.columns:
        assert describe(made[name]).kind == describe(real[name]).kind, name
        if describe(real[name]).kind in ("category", "boolean"):
            assert set(made[name].dropna()) <= set(real[name].dropna()), name
        assert describe(real[name]).missing or not describe(made[name]).missing, name
    numbers = made["age"].astype(int)
    assert numbers.between(real["age"].astype(int).min(), real["age"].astype(int).max()).all()


def test_groups_count_as_in_the_data(finished: Finished) -> None:
    run, summary = finished
    real, made = read_table(run.path.parent / "people.csv"), read_table(run.synthetic)
    before, after = counts(real, ["group", "sex"]), counts(made, ["group", "sex"])
    assert set(after) == set(before)
    # Labels that are too rare within a group are left out, and the rest is scaled up.
    slack = summary["rows"] - summary["rows_modelled"] + 2
    assert all(abs(after[g] - n) <= slack for g, n in before.items())
    records = summary["per_group"]
    assert {tuple(r["sensitive"].values()): r["rows_synthetic"] for r in records.values()} == after


def test_the_summary_says_what_was_done(finished: Finished) -> None:
    run, summary = finished
    assert summary["rows"] == summary["rows_synthetic"] == 400
    assert 380 <= summary["rows_modelled"] <= 400
    assert (summary["sites"], summary["rounds"], summary["seed"]) == (3, 4, 0)
    assert set(summary["groups"]) == {f"{g}, {s}" for g in "abc" for s in "fm"}
    assert summary["wall_seconds"] >= summary["training_seconds"] > 0
    metrics = run.read_metrics()
    assert summary["bytes_up"] > sum(m["bytes_up"] for m in metrics) > 0
    assert summary["bytes_down"] > sum(m["bytes_down"] for m in metrics) > 0
    assert set(summary["versions"]) >= {"python", "torch", "numpy", "pandas", "flwr", "ray"}
    assert 0 <= summary["tv_mean"] <= 1
    assert 0 <= summary["ks_mean"] <= 1
    assert set(summary["ks"]) == {"age", "weight kg", "joined", "gain"}
    for record in summary["per_group"].values():
        assert record["rows_real"] > 0
        assert 0 <= record["tv"] <= 1
        assert 0 <= record["ks"] <= 1
        assert 1 <= record["sites"] <= 3
    assert sum(r["rows_real"] for r in summary["per_group"].values()) == summary["rows_modelled"]
    assert set(summary["utility"]) == {"synthetic", "real"}
    # The label follows from age and sex; a tiny run on real rows finds that out.
    assert summary["utility"]["real"]["boosted_trees"] > 0.9
    assert summary["coverage_reference"] == "held-out rows"


def test_metrics_have_a_line_for_each_round(finished: Finished) -> None:
    run, summary = finished
    rows = run.read_metrics()
    assert [row["round"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert set(row["estimate_by_group"]) == set(summary["groups"])
        assert row["worst_group"] in summary["groups"]


def test_the_seed_decides(kit: Any, table: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        kit.run(kit.tiny(table, seed=seed), tmp_path / name)
    one, same, other = ((tmp_path / n / "synthetic.csv").read_bytes() for n in "abc")
    assert one == same
    assert one != other
    assert untimed(RunFolder(tmp_path / "a")) == untimed(RunFolder(tmp_path / "b"))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("rounds", "changes"),
    [
        (1, {}),
        pytest.param(3, {"model": TRAINING_ALONE}, marks=NIGHTLY),
        (
            2,
            {
                "federation": {"generator": "sites", "statistics": "frozen", "warmup": 1},
                "model": TRAINING_ALONE,
            },
        ),
        (0, {"strategy": "pooled", "model": TRAINING_ALONE}),
        (
            3,
            {
                "data": {"held_out": 0.1},
                "model": {"lipschitz": "spectral_norm"},
                "views": {"use": ["noise"]},
                "train": {"evaluate_every": 2, "patience": 2},
            },
        ),
    ],
)
def test_stop_and_resume_equal_an_uninterrupted_run(
    kit: Any, table: Path, tmp_path: Path, rounds: int, changes: dict[str, Any]
) -> None:
    settings = kit.tiny(table, **changes)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    kit.run(settings, whole)
    with pytest.raises(Interrupted, match=rf"after round {rounds} of 4; .*--resume {parts}"):
        kit.run(settings, parts, stop=kit.stop_after(rounds))
    assert not (parts / "synthetic.csv").exists()
    reporter = kit.Recorder()
    kit.run(settings, parts, resume=True, reporter=reporter)
    assert f"begin {rounds}/4" in reporter.told
    assert (parts / "synthetic.csv").read_bytes() == (whole / "synthetic.csv").read_bytes()
    assert untimed(RunFolder(parts)) == untimed(RunFolder(whole))
    one, other = (read_json(p / "summary.json") for p in (whole, parts))
    keys = ("plan", "rounds", "tv_mean", "ks_mean", "per_group", "coverage_group_min")
    for key in (*keys, "objective", "stopped_at_plateau", "diagnosis"):
        assert one[key] == other[key], key


def test_rounds_after_the_checkpoint_are_done_again(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(table, model=kit.training_alone)
    kit.run(settings, tmp_path / "whole")
    run = RunFolder(tmp_path / "killed")
    with pytest.raises(Interrupted):
        kit.run(settings, run.path, stop=kit.stop_after(3))
    # As a kill in round 4 leaves it: checkpoint of round 2, three lines, and half of a fourth.
    run.checkpoints()[-1].unlink()
    with run.metrics.open("ab") as file:
        file.write('{"round": 4, "worst_group": "東'.encode()[:-1])
    kit.run(settings, run.path, resume=True)
    assert untimed(run) == untimed(RunFolder(tmp_path / "whole"))
    assert run.synthetic.read_bytes() == (tmp_path / "whole" / "synthetic.csv").read_bytes()


def test_resume_before_anything_was_agreed_starts_at_the_beginning(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings = kit.tiny(table, model=kit.training_alone)
    kit.run(settings, tmp_path / "whole")
    run = RunFolder(tmp_path / "early")
    run.create(settings)
    kit.run(settings, run.path, resume=True)
    assert run.synthetic.read_bytes() == (tmp_path / "whole" / "synthetic.csv").read_bytes()


def test_resume_of_a_finished_run_writes_the_same(
    kit: Any, finished: Finished, tmp_path: Path
) -> None:
    run, _ = finished
    again = RunFolder(tmp_path / "again")
    shutil.copytree(run.path, again.path)
    again.synthetic.unlink()
    kit.run(load(run.config), again.path, resume=True)
    assert again.synthetic.read_bytes() == run.synthetic.read_bytes()


def test_a_run_that_stops_at_a_plateau_says_so_and_goes_on_to_the_same_end(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        everymode.server.training.monitor, "calibrated", lambda estimate, slope: 1.0
    )
    settings = kit.tiny(
        table,
        model=kit.training_alone,
        train={"rounds": 9, "evaluate_every": 1, "patience": 2},
    )
    summary = kit.run(settings, tmp_path / "whole")
    # A constant estimate: as soon as the rule may fire at all.
    assert summary["stopped_at_plateau"] is True
    assert summary["rounds"] == 5
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted, match="after round 3 of 9"):
        kit.run(settings, parts, stop=kit.stop_after(3))
    for begin in ("begin 3/9", "begin 5/9"):
        # The second time the run has finished: nothing is trained, everything is written.
        reporter = kit.Recorder()
        again = kit.run(settings, parts, resume=True, reporter=reporter)
        assert begin in reporter.told
        assert (again["stopped_at_plateau"], again["rounds"]) == (True, 5)
        assert again["diagnosis"] == summary["diagnosis"]
        assert untimed(RunFolder(parts)) == untimed(RunFolder(tmp_path / "whole"))
        whole = tmp_path / "whole" / "synthetic.csv"
        assert (parts / "synthetic.csv").read_bytes() == whole.read_bytes()


def test_the_summary_says_what_the_training_showed(finished: Finished) -> None:
    run, summary = finished
    assert summary["objective"] == "wasserstein"
    assert summary["stopped_at_plateau"] is False
    aspects = [finding["aspect"] for finding in summary["diagnosis"]]
    assert aspects == ["estimate", "slopes", "overfitting", "generator loss", "penalty"]
    for finding in summary["diagnosis"]:
        assert set(finding) == {"aspect", "verdict", "what", "advice"}
        assert finding["verdict"] in ("good", "watch", "bad", "unknown")
    # The last round is always looked at.
    assert [m["round"] for m in run.read_metrics() if "evaluation" in m] == [4]


def test_a_checkpoint_of_another_schema_is_refused(kit: Any, table: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    settings = kit.tiny(table, model=kit.training_alone)
    kit.run(settings, one)
    kit.run(kit.tiny(table, data={"sensitive": ["sex"]}, model=kit.training_alone), other)
    shutil.rmtree(one / "checkpoints")
    shutil.copytree(other / "checkpoints", one / "checkpoints")
    with pytest.raises(StateError) as caught:
        kit.run(settings, one, resume=True)
    plans = [read_json(p / "summary.json")["plan"] for p in (one, other)]
    assert plans[0] != plans[1]
    assert all(plan in str(caught.value) for plan in plans)


def test_other_rows_than_the_run_was_started_with_are_refused(kit: Any, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    sites.mkdir()
    kit.people(100, 0).to_csv(sites / "a.csv", index=False)
    kit.people(100, 1).to_csv(sites / "b.csv", index=False)
    settings = kit.tiny(sites)
    with pytest.raises(Interrupted):
        kit.run(settings, tmp_path / "run", stop=kit.stop_after(1))
    kit.people(60, 1).to_csv(sites / "b.csv", index=False)
    with pytest.raises(RefusedError, match=r"site 'b' refuses: .* put the table back"):
        kit.run(settings, tmp_path / "run", resume=True)
    # A simulated site's disk is emptied with every command: it does not know, the server does.
    RunFolder(tmp_path / "run").clear_sites()
    with pytest.raises(StateError, match="put the tables back"):
        kit.run(settings, tmp_path / "run", resume=True)


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    match how:
        case "short":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "header":
            path.write_bytes(content.replace(b"progress", b"pr0gress", 1))
        case "noise":
            path.write_bytes(content[:8] + b"\xff" * size + content[8 + size :])


@pytest.mark.parametrize(
    "how", ["short", "header", *(pytest.param(h, marks=NIGHTLY) for h in ("empty", "noise"))]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    kit: Any, finished: Finished, tmp_path: Path, how: str
) -> None:
    run, _ = finished
    again = RunFolder(tmp_path / "again")
    shutil.copytree(run.path, again.path)
    damage(again.checkpoints()[-1], how)
    reporter = kit.Recorder()
    kit.run(load(run.config), again.path, resume=True, reporter=reporter)
    told = [text for text in reporter.told if "round-000004.safetensors" in text]
    assert len(told) == 1
    assert "going on from round-000002.safetensors" in told[0]
    assert "begin 2/4" in reporter.told
    assert again.synthetic.read_bytes() == run.synthetic.read_bytes()
    assert untimed(again) == untimed(run)


def test_nothing_but_damaged_checkpoints(kit: Any, finished: Finished, tmp_path: Path) -> None:
    run, _ = finished
    again = RunFolder(tmp_path / "again")
    shutil.copytree(run.path, again.path)
    for path in again.checkpoints():
        damage(path, "short")
    with pytest.raises(StateError) as caught:
        kit.run(load(run.config), again.path, resume=True)
    assert len(caught.value.problems) == 2
    assert all("damaged" in p and "start anew" in p for p in caught.value.problems)


def test_a_full_disk_leaves_the_last_checkpoint(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kit.tiny(table, model=kit.training_alone)
    kit.run(settings, tmp_path / "whole")
    run = RunFolder(tmp_path / "full")
    with monkeypatch.context() as patch:
        kit.full_disk(patch, "round-000004")
        with pytest.raises(StateError) as caught:
            kit.run(settings, run.path)
    assert "No space left on device" in str(caught.value)
    assert "the last whole checkpoint is round-000002.safetensors" in str(caught.value)
    assert f"--resume {run.path}" in str(caught.value)
    assert [p.name for p in (run.path / "checkpoints").iterdir() if "4" in p.name] == []
    kit.run(settings, run.path, resume=True)
    assert run.synthetic.read_bytes() == (tmp_path / "whole" / "synthetic.csv").read_bytes()


def test_a_disk_full_from_the_first_file_on(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.full_disk(monkeypatch)
    with pytest.raises(StateError, match=r"cannot write .*config.toml: No space left"):
        kit.run(kit.tiny(table), tmp_path / "run")


def test_only_so_many_checkpoints_are_kept(kit: Any, table: Path, tmp_path: Path) -> None:
    kit.run(
        kit.tiny(table, model=kit.training_alone, output={"checkpoint_every": 1, "keep": 2}),
        tmp_path / "run",
    )
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"round-00000{r}.{s}" for r in (3, 4) for s in ("json", "safetensors")]


# Tables of all sorts --------------------------------------------------------------------------


def check_run(kit: Any, settings: Any, path: Path, real: pd.DataFrame) -> pd.DataFrame:
    summary = kit.run(settings, path)
    made = read_table(path / "synthetic.csv")
    assert list(made.columns) == [n for n in real.columns if n not in settings.data.drop]
    assert len(made) == len(real) == summary["rows"]
    return made


# How rows are dealt is tested in test_partition.py, and every other run here is by Dirichlet.
@pytest.mark.parametrize(
    "by",
    ["group", *(pytest.param(b, marks=NIGHTLY) for b in ("iid", "dirichlet", "quantity"))],
)
def test_every_split(kit: Any, table: Path, tmp_path: Path, by: str) -> None:
    check_run(kit, kit.tiny(table, split={"by": by}), tmp_path / "run", read_table(table))


def test_parquet_with_typed_columns(kit: Any, tmp_path: Path) -> None:
    frame = kit.people().astype({"age": "int32", "weight kg": object})
    frame["weight kg"] = pd.to_numeric(frame["weight kg"])
    frame["member"] = frame["member"] == "true"
    frame["joined"] = pd.to_datetime(frame["joined"].replace("", None))
    frame["group"] = frame["group"].astype("category")
    frame.to_parquet(tmp_path / "p.parquet")
    made = check_run(kit, kit.tiny(tmp_path / "p.parquet"), tmp_path / "run", frame)
    kinds = {name: describe(made[name]).kind for name in made}
    assert kinds["age"] == "integer"
    assert kinds["weight kg"] == "float"
    assert kinds["member"] == "boolean"
    assert kinds["joined"] == "datetime"
    assert set(made["group"]) == {"a", "b", "c"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_folder_of_sites_that_differ(kit: Any, tmp_path: Path, suffix: str) -> None:
    """A category and a group at one site only, and a site of twenty rows."""
    sites = tmp_path / "sites"
    sites.mkdir()
    frames = [kit.people(150, 0), kit.people(150, 1), kit.people(20, 2)]
    frames[0]['city, "old"'] = frames[0]['city, "old"'].replace("東京", "Paris, France")
    frames[1]['city, "old"'] = ["Nur hier", *["Zürich"] * 142, *["Nur hier"] * 7]
    frames[0].loc[:29, "group"] = "only here"
    frames[2]["group"] = "a"
    for i, frame in enumerate(frames):
        path = sites / f"hospital {i}{suffix}"
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    real = pd.concat(frames, ignore_index=True)
    made = check_run(kit, kit.tiny(sites), tmp_path / "run", real)
    assert set(made["group"]) == set(real["group"])
    schema = Schema.from_json(read_json(tmp_path / "run" / "schema.json")["schema"])
    assert "Nur hier" in schema['city, "old"'].categories
    groups = read_json(tmp_path / "run" / "summary.json")["per_group"]
    assert groups["only here"]["sites"] == 1
    assert groups["a"]["sites"] == 3
    assert not any((sites / name).is_dir() for name in sites.iterdir())


def test_pooled_holds_all_rows_on_one_site(kit: Any, table: Path, tmp_path: Path) -> None:
    check_run(kit, kit.tiny(table, strategy="pooled"), tmp_path / "run", read_table(table))
    assert read_json(tmp_path / "run" / "summary.json")["sites"] == 1


def test_a_numeric_target(kit: Any, table: Path, tmp_path: Path) -> None:
    holdout = table.with_name("holdout.csv")
    holdout.write_bytes(table.read_bytes())
    settings = kit.tiny(table, data={"target": "weight kg", "holdout": str(holdout)})
    check_run(kit, settings, tmp_path / "run", read_table(table))
    utility = read_json(tmp_path / "run" / "summary.json")["utility"]
    assert utility["synthetic"]["metric"] != "auc"


def test_neither_target_nor_sensitive_features(kit: Any, table: Path, tmp_path: Path) -> None:
    settings = kit.tiny(
        table, data={"target": None, "sensitive": []}, split={"by": "iid"}, output={"rows": 33}
    )
    summary = kit.run(settings, tmp_path / "run")
    assert summary["groups"] == ["all"]
    assert summary["rows_synthetic"] == len(read_table(tmp_path / "run" / "synthetic.csv")) == 33
    assert summary["utility"] is None
    assert summary["per_group"]["all"]["rows_real"] == 400


def test_no_server_penalty_and_sites_that_train_the_generator(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    settings = kit.tiny(table, model={"matching": 0.0}, federation={"generator": "sites"})
    check_run(kit, settings, tmp_path / "run", read_table(table))


def test_a_missing_sensitive_feature_is_a_group(kit: Any, tmp_path: Path) -> None:
    frame = kit.people()
    frame.loc[:39, "group"] = ""
    frame.to_csv(tmp_path / "m.csv", index=False)
    settings = kit.tiny(tmp_path / "m.csv", data={"target": None})
    made = check_run(kit, settings, tmp_path / "run", frame)
    assert int(made["group"].isna().sum()) == 40


def test_names_that_look_like_markup(kit: Any, tmp_path: Path) -> None:
    frame = kit.people().rename(columns={"group": "[/bold] :smile:", "constant": "[red]"})
    frame["[/bold] :smile:"] = "[/" + frame["[/bold] :smile:"] + "]\u2028"
    frame.to_csv(tmp_path / "m.csv", index=False)
    settings = kit.tiny(tmp_path / "m.csv", data={"sensitive": ["[/bold] :smile:"]})
    check_run(kit, settings, tmp_path / "run", frame)


# What stops a run before it trains ------------------------------------------------------------


def test_a_holdout_that_lacks_columns_or_does_not_parse(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    path = tmp_path / "h.csv"
    kit.people(50, 1).drop(columns=["age", "sex"]).to_csv(path, index=False)
    settings = kit.tiny(table, data={"holdout": str(path)})
    with pytest.raises(DataError, match=r"lacks the columns 'age', 'sex'"):
        kit.run(settings, tmp_path / "a")
    bad = kit.people(50, 1)
    bad.loc[3, "age"] = "old"
    bad.loc[5, "weight kg"] = "heavy"
    bad.to_csv(path, index=False)
    with pytest.raises(DataError) as caught:
        kit.run(settings, tmp_path / "b")
    assert len(caught.value.problems) == 2
    assert "'age'" in str(caught.value)
    assert "'weight kg'" in str(caught.value)
    assert not (tmp_path / "b" / "metrics.jsonl").exists()


def test_a_holdout_of_one_class_and_new_values(kit: Any, table: Path, tmp_path: Path) -> None:
    holdout = kit.people(120, 1)
    holdout = holdout[holdout["outcome"] == "yes"]
    holdout['city, "old"'] = "Atlantis"
    holdout["group"] = np.where(np.arange(len(holdout)) < 5, "unheard of", "a")
    holdout.to_csv(tmp_path / "h.csv", index=False)
    settings = kit.tiny(table, data={"holdout": str(tmp_path / "h.csv")})
    summary = kit.run(settings, tmp_path / "run")
    assert set(summary["per_group"]) == {"a", "b", "c"}
    assert summary["per_group"]["b"]["coverage"] is None


def test_a_gpu_that_is_not_there(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="PyTorch sees no GPU"):
        kit.run(kit.tiny(table, device="cuda"), tmp_path / "run")
    assert choose_device(kit.tiny(table)) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(kit.tiny(table)) == choose_device(kit.tiny(table, device="cuda")) == "cuda"


def test_a_stop_after_the_last_round_is_heard_in_each_part_of_the_end(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    made = kit.tiny(table)
    whole = kit.Recorder()
    kit.run(made, tmp_path / "whole", reporter=whole)
    counts, most = zip(*whole.steps, strict=True)
    # The fit may settle before its last step; then the bar is full all the same.
    assert counts[:-1] == tuple(range(len(counts) - 1)) and counts[-1] == most[0]
    assert len(set(most)) == 1
    fit = 4 + len(counts)
    parts = {
        0: "before: postprocessing",
        1: "before: calibration",
        2: "before: columns",
        3: "before: projection",
        4: "in step 0 of at most",
        5: "in step 1 of",
        fit: "before: synth",
        fit + 1: "before: fig",
        fit + 2: "before: report",
    }
    for calls, part in parts.items():
        # As many calls of `stop` as there are rounds, and parts of the end let through.
        with pytest.raises(Interrupted, match=rf"after the last round, {part}.*--resume"):
            kit.run(
                made,
                tmp_path / "parts",
                stop=kit.stop_after(made.train.rounds * (calls == 0) + calls),
                resume=calls > 0,
            )
        assert not (tmp_path / "parts/summary.json").exists()
    kit.run(made, tmp_path / "parts", resume=True)
    one, other = (tmp_path / name / "synthetic.csv" for name in ("whole", "parts"))
    assert one.read_bytes() == other.read_bytes()


def test_every_run_ends_with_an_audit_of_its_sums(finished: Any) -> None:
    run, summary = finished
    found = read_report(run.path / "audit.json")
    assert found["verdict"] == summary["audit"]["verdict"]
    assert found["groups"][0]["name"] == "all rows"
    assert {c["name"] for c in found["checks"]} >= {"tv", "ks", "share_ratio"}
    assert found["training"] and found["federated"].keys() == summary["per_group"].keys()
    assert (run.path / "audit.html").exists() and (run.path / "audit.junit.xml").exists()


def test_the_generator_is_held_to_the_shares_of_categories(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    """After two rounds the networks know nothing yet, but categories have the data's shares."""
    tv = {}
    for told in (True, False):
        made = kit.tiny(table, model={"marginals": told, "projection": False})
        summary = kit.run(made, tmp_path / str(told))
        tv[told] = summary["tv_mean"]
        assert (summary["calibration"] is None) != told
    assert tv[True] < 0.5 * tv[False]
    order, _ = RunFolder(tmp_path / "True").read_plan()
    assert order.marginals and not RunFolder(tmp_path / "False").read_plan()[0].marginals


def test_rows_are_held_to_the_sites_second_moments(kit: Any, table: Path, tmp_path: Path) -> None:
    summary = kit.run(kit.tiny(table), tmp_path / "on")
    found = summary["projection"]
    assert found["moments_off_before"] > 2 * found["moments_off_after"]
    assert 0 < found["kept"] < 1
    # What is loaded draws as what was trained.
    again = load_generator(RunFolder(tmp_path / "on"))
    assert again.find(ProjectByRejection) is not None
    made = again.sample_matching_data(summary["rows_synthetic"], summary["seed"])
    write_table(made, again.plan.schema, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "on/synthetic.csv").read_bytes()


@pytest.mark.whole_fits
def test_bins_bring_the_shapes_of_numbers_back(kit: Any, table: Path, tmp_path: Path) -> None:
    ks = {}
    for bins in (0, 8):
        summary = kit.run(kit.tiny(table, model={"bins": bins}), tmp_path / str(bins))
        run = RunFolder(tmp_path / str(bins))
        assert run.read_plan()[0].bins == bins
        # Of many more rows than the data's, so that chance does not hide what is off.
        synthesizer, real = load_generator(run), read_table(table)
        made = synthesizer.sample_matching_data(8000, 0)
        marginals = Marginals.of(synthesizer.plan.schema, made)
        one, other = (
            marginals.count(rows, np.zeros(len(rows), dtype=np.int64), 1) for rows in (real, made)
        )
        ks[bins] = compare(one, other, marginals).ks_mean
        assert summary["projection"]["moments_off_after"] < 50
    assert ks[8] < 0.7 * ks[0]


def test_a_column_that_follows_from_another_is_filled_in(
    kit: Any, table: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(table)
    label = 'city, "old"'
    codes = {value: code for code, value in enumerate(sorted(frame[label].dropna().unique()), 1)}
    frame["code"] = frame[label].map(codes).fillna(0).astype(int)
    frame.to_csv(tmp_path / "coded.csv", index=False)
    made = kit.tiny(tmp_path / "coded.csv")
    summary = kit.run(made, tmp_path / "run")
    assert summary["projection"]["columns_that_follow"] == {"code": label}
    synthetic = pd.read_csv(tmp_path / "run/synthetic.csv")
    assert (synthetic["code"] == synthetic[label].map(codes).fillna(0)).all()
    assert synthetic["code"].nunique() > 1
    again = load_generator(RunFolder(tmp_path / "run"))
    imputation = again.find(ImputeDependencies)
    assert imputation is not None and len(imputation.dependencies) == 1
    drawn = again.sample_matching_data(summary["rows_synthetic"], summary["seed"])
    write_table(drawn, again.plan.schema, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "run/synthetic.csv").read_bytes()


def test_bins_are_halved_until_moments_are_not_too_many(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.run(kit.tiny(table, model={"bins": 2}), tmp_path / "two")
    run = load_generator(RunFolder(tmp_path / "two"))
    conditions, row = run.plan.conditions, run.plan.shape.width + run.plan.binning.width
    fits = (conditions.width + 1) * (row + conditions.width) ** 2
    for most, bins in ((fits, 2), (fits - 1, 0)):
        monkeypatch.setattr(everymode.server.synthesis.projection, "MAX_ENTRIES", most)
        reporter = kit.Recorder()
        path = tmp_path / f"{most}"
        summary = kit.run(kit.tiny(table, model={"bins": 9}), path, reporter=reporter)
        assert summary["projection"] is not None
        assert RunFolder(path).read_plan()[0].bins == bins
        assert any(f"{bins or 'no'} bins, not 9" in text for text in reporter.told)


@pytest.mark.parametrize(
    "keys",
    [
        {"model": {"projection": False}},
        {"model": {"matching": 0.0}},
        {"model": {"matching_by": "kernel"}},
        {"fairness": {"bias_head": 1.0}},
        {"data": {"clusters": 2}},
        {"strategy": "fedgan"},
    ],
)
def test_where_rows_are_not_held_to_second_moments(
    kit: Any, table: Path, tmp_path: Path, keys: dict[str, Any]
) -> None:
    summary = kit.run(kit.tiny(table, **keys), tmp_path / "off")
    assert summary["projection"] is None
    assert load_generator(RunFolder(tmp_path / "off")).find(ProjectByRejection) is None


def test_too_many_moments_to_project_onto_are_told(
    kit: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everymode.server.synthesis.projection, "MAX_ENTRIES", 10)
    reporter = kit.Recorder()
    summary = kit.run(kit.tiny(table), tmp_path / "wide", reporter=reporter)
    assert summary["projection"] is None
    assert any("leave columns of many categories out" in text for text in reporter.told)


@pytest.mark.parametrize("told", ["group_and_label", "none"])
def test_a_bias_head_goes_on_bit_for_bit(kit: Any, table: Path, tmp_path: Path, told: str) -> None:
    made = kit.tiny(
        table,
        data={"condition": told},
        groups={"weights": "share"},
        fairness={"bias_head": 2.0},
        model={"matching": 0.0},
        train={"rounds": 4},
        output={"checkpoint_every": 1},
    )
    kit.run(made, tmp_path / "whole")
    parts = tmp_path / "parts"
    calls = iter([False, False, True])
    with pytest.raises(Interrupted):
        kit.run(made, parts, stop=lambda: next(calls))
    kit.run(made, parts, resume=True)
    one, other = (RunFolder(tmp_path / name) for name in ("whole", "parts"))
    assert one.synthetic.read_bytes() == other.synthetic.read_bytes()
    plain = made.model_copy(update={"fairness": type(made.fairness)()})
    kit.run(plain, tmp_path / "plain")
    assert one.synthetic.read_bytes() != RunFolder(tmp_path / "plain").synthetic.read_bytes()


def test_each_matching_is_a_training_of_its_own(kit: Any, table: Path, tmp_path: Path) -> None:
    made = {}
    for kind in ("moments", "kernel", "sliced"):
        kit.run(kit.tiny(table, model={"matching_by": kind, **kit.training_alone}), tmp_path / kind)
        run = RunFolder(tmp_path / kind)
        assert run.read_plan()[0].matching == kind
        made[kind] = run.synthetic.read_bytes()
    assert len(set(made.values())) == 3


# Files that somebody changed ------------------------------------------------------------------


def test_a_configuration_that_was_edited_is_told_key_by_key(
    kit: Any, finished: Finished, tmp_path: Path
) -> None:
    again = RunFolder(tmp_path / "again")
    shutil.copytree(finished[0].path, again.path)
    text = again.config.read_text()
    text = text.replace("critic_steps = 2", "critic_steps = 3").replace("noise = 8", "noise = 9")
    again.config.write_text(text)
    with pytest.raises(StateError) as caught:
        kit.run(load(again.config), again.path, resume=True)
    for words in (
        f"{again.config}: was changed since the run began",
        "model.noise is 8 there and 9 now; train.critic_steps is 2 there and 3 now",
        "Put it back as it was, or start a new run",
    ):
        assert words in str(caught.value)
    # As long as there is no checkpoint too: the plan was made under it.
    shutil.rmtree(again.path / "checkpoints")
    with pytest.raises(StateError, match="was changed since the run began"):
        kit.run(load(again.config), again.path, resume=True)


def test_what_changes_no_result_may_be_edited(kit: Any, finished: Finished, tmp_path: Path) -> None:
    again = RunFolder(tmp_path / "again")
    shutil.copytree(finished[0].path, again.path)
    text = again.config.read_text().replace("\nkeep = 3", "\nkeep = 1")
    again.config.write_text(text.replace('device = "auto"', 'device = "cpu"'))
    settings = load(again.config)
    assert settings != load(finished[0].config)
    again.check_settings(settings)
    assert settings_digest(settings) == settings_digest(load(finished[0].config))


def test_keys_that_change_no_result_are_these() -> None:
    assert harmless_keys() == (
        "device",
        "deployment.wait",
        "train.on_failure",
        "train.retries",
        "train.retry_pause",
        "train.retry_longest",
        "train.timeout",
        "secure.summation",
        "secure.threshold",
        "secure.neighbours",
        "simulation.actors",
        "simulation.num_cpus",
        "simulation.num_gpus",
        "output.checkpoint_every",
        "output.keep",
        "output.trackers",
        "output.watch",
    )


def test_the_digest_of_settings_is_of_all_other_keys() -> None:
    before = load("quick")
    digests = {settings_digest(before)}
    for change in ("seed=1", "train.rounds=7", "output.rows=5", "data.target=sex", "audit.ks=0.5"):
        digests.add(settings_digest(load("quick", [change, "data.sensitive=[]"])))
    assert len(digests) == 6
    assert all(len(digest) == 64 for digest in digests)
    same = [f"{key}={value}" for key, value in (("device", "cpu"), ("simulation.actors", 2))]
    assert settings_digest(load("quick", same)) == settings_digest(before)
