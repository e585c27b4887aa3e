"""The run directory: written whole, read back, refused where it does not fit."""

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from everymode.clients.protocol.plan import fingerprint
from everymode.server.config.files import load
from everymode.server.outputs.run_directory import RunFolder, default_folder
from everymode.server.training.state import TrainingState
from everymode.wgan.errors import StateError
from everymode.wgan.files import compute_digest, read_json, write_json
from everymode.wgan.state import read_tensors, write_tensors
from everymode.wgan.stopping import PlateauState


def row(number: int, group: str = "東京\u2028\x85") -> dict[str, Any]:
    return {"round": number, "estimate_by_group": {group: 0.5}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def save(run: RunFolder, number: int, keep: int = 3, plan: str = "plan") -> None:
    run.save({"x": torch.full((3,), float(number))}, TrainingState(round=number), plan, "s", keep)


def test_create_and_discard_leave_what_was_there(tmp_path: Path) -> None:
    settings = load("quick")
    deep = RunFolder(tmp_path / "a" / "b" / "run")
    with deep.locked():
        deep.create(settings)
        assert load(deep.config) == settings
        (deep.fresh_sites() / "site-00.csv").write_text("private")
        deep.discard()
    assert list(tmp_path.iterdir()) == []

    (tmp_path / "a" / "empty").mkdir(parents=True)
    empty = RunFolder(tmp_path / "a" / "empty")
    with empty.locked():
        empty.create(settings)
        empty.discard()
    assert list((tmp_path / "a" / "empty").iterdir()) == []

    one, two = RunFolder(tmp_path / "runs" / "one"), RunFolder(tmp_path / "runs" / "two")
    with one.locked():
        one.create(settings)
        with two.locked():
            two.create(settings)
        one.discard()
    assert load(two.config) == settings
    assert [p.name for p in two.path.iterdir()] == ["config.toml"]
    assert not one.path.exists()


def test_discard_does_not_follow_links(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    with run.locked():
        run.create(load("quick"))
        os.symlink(tmp_path / "mine", run.path / "link")
        os.symlink(tmp_path / "mine", run.sites)
        run.discard()
    assert not run.path.exists()
    assert (tmp_path / "mine" / "precious").exists()


def test_create_refuses_what_is_not_empty(run: RunFolder) -> None:
    run.create(load("quick"))
    with pytest.raises(StateError, match=r"is not empty; .*--resume"):
        run.create(load("quick"))
    run.config.rename(run.path / "other.txt")
    with pytest.raises(StateError) as caught:
        run.create(load("quick"))
    assert "--resume" not in str(caught.value)


def test_the_command_to_resume_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "a b's $x"
    assert shlex.split(RunFolder(path).resume)[-1] == str(path)


def test_a_plan_comes_back_with_the_same_fingerprint(finished: Any, tmp_path: Path) -> None:
    run, summary = finished
    order, rows = run.read_plan()
    assert rows == summary["rows"]
    assert fingerprint(order) == summary["plan"]
    again = RunFolder(tmp_path)
    again.write_plan(order, rows, load(run.config))
    assert again.read_plan() == (order, rows)
    assert read_json(tmp_path / "schema.json") == read_json(run.path / "schema.json")


@pytest.mark.parametrize("key", ["schema", "conditions", "recipe", "mass", "rows", "held_out"])
def test_a_plan_that_lacks_something(finished: Any, tmp_path: Path, key: str) -> None:
    value = read_json(finished[0].path / "schema.json")
    del value[key]
    write_json(tmp_path / "schema.json", value)
    with pytest.raises(StateError, match=f"schema.json: not a plan of this version .*{key}"):
        RunFolder(tmp_path).read_plan()


def test_a_plan_from_before_files_could_be_declared_is_read(finished: Any, tmp_path: Path) -> None:
    value = read_json(finished[0].path / "schema.json")
    assert value.pop("form") and value.pop("digest")
    write_json(tmp_path / "schema.json", value | {"digest": compute_digest(value)})
    assert RunFolder(tmp_path).read_plan() == finished[0].read_plan()


def test_no_plan_and_no_run_directory(run: RunFolder) -> None:
    with pytest.raises(StateError, match="is missing"):
        run.read_plan()
    assert not run.planned
    assert run.read_metrics() == []
    assert run.load("plan", "s") is None


def test_metrics_come_back(run: RunFolder) -> None:
    run.rewrite_metrics([])
    rows = [row(number) for number in (1, 2, 3)]
    for each in rows:
        run.append(each)
    assert run.read_metrics() == rows
    assert run.read_metrics(upto=2) == rows[:2]
    run.rewrite_metrics(rows[:1])
    assert run.read_metrics() == rows[:1]


@pytest.mark.parametrize("cut", [1, 5, 20, 45, 46, 47, 48])
def test_a_line_cut_short_ends_the_metrics(run: RunFolder, cut: int) -> None:
    run.rewrite_metrics([row(1), row(2)])
    line = json.dumps(row(3), ensure_ascii=False).encode()
    assert cut < len(line)
    with run.metrics.open("ab") as file:
        file.write(line[:cut])
    assert run.read_metrics() == [row(1), row(2)]


def test_metrics_that_cannot_be_written_say_how_to_go_on(run: RunFolder) -> None:
    run.metrics.mkdir(parents=True)
    with pytest.raises(StateError, match=r"cannot write .*everymode simulate --resume"):
        run.append(row(1))
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append({"round": float("nan")})


def test_the_newest_checkpoint_is_loaded_and_the_oldest_go(run: RunFolder) -> None:
    for number in (1, 2, 10, 100, 1_000_000):
        save(run, number, keep=3)
    assert [p.stem for p in run.checkpoints()] == ["round-000010", "round-000100", "round-1000000"]
    assert len(list((run.path / "checkpoints").iterdir())) == 6
    loaded = run.load("plan", "s")
    assert loaded is not None
    assert loaded[0]["x"].tolist() == [1e6] * 3
    assert loaded[1] == TrainingState(round=1_000_000)


def test_a_checkpoint_beyond_keep_goes_only_once_the_new_one_is_whole(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 1, keep=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StateError, match=r"the last whole checkpoint is round-000001"):
            save(run, 2, keep=1)
    assert [p.name for p in (run.path / "checkpoints").iterdir() if p.suffix != ".json"] == [
        "round-000001.safetensors"
    ]
    loaded = run.load("plan", "s")
    assert loaded is not None
    assert loaded[1].round == 1


def test_another_plan_is_refused_by_name(run: RunFolder) -> None:
    save(run, 1, plan="aaaa")
    with pytest.raises(StateError, match=r"plan aaaa, but .* give bbbb"):
        run.load("bbbb", "s")


def test_a_damaged_checkpoint_is_told_and_passed_over(run: RunFolder) -> None:
    save(run, 1)
    save(run, 2)
    write_tensors(run.checkpoints()[-1], {"x": torch.zeros(1)}, {"plan": "plan"})
    told: list[str] = []
    loaded = run.load("plan", "s", told.append)
    assert loaded is not None
    assert loaded[1].round == 1
    assert len(told) == 1
    assert "round-000002" in told[0]
    assert "going on from round-000001" in told[0]
    run.checkpoints()[0].write_bytes(b"")
    with pytest.raises(StateError) as caught:
        run.load("plan", "s")
    assert len(caught.value.problems) == 2


def test_other_files_among_the_checkpoints_are_left_alone(run: RunFolder) -> None:
    save(run, 1)
    other = run.path / "checkpoints" / "round-best.safetensors"
    other.write_bytes(b"mine")
    for number in (2, 3):
        save(run, number, keep=1)
    assert [p.stem for p in run.checkpoints()] == ["round-000003"]
    assert other.exists()


def test_default_folders_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folder("quick") == Path("runs/quick")
    Path("runs/quick").mkdir(parents=True)
    assert default_folder("quick") == Path("runs/quick-2")
    os.symlink("nowhere", "runs/quick-2")
    assert default_folder("quick") == Path("runs/quick-3")


def test_what_a_plateau_remembers_comes_back(run: RunFolder) -> None:
    state = PlateauState(0.1 + 0.2, 3, 1 / 3, 0.7, 1.1, 9)
    progress = TrainingState(9, 100, 80, 1.5, 7, 8, state.to_dict())
    run.save({"x": torch.zeros(1)}, progress, "plan", "s", 3)
    loaded = run.load("plan", "s")
    assert loaded is not None
    assert loaded[1] == progress
    assert loaded[1].plateau is not None
    assert PlateauState.from_dict(loaded[1].plateau) == state
    # A checkpoint without one: nothing to remember yet.
    save(run, 10)
    assert (run.load("plan", "s") or ({}, progress))[1].plateau is None


@pytest.mark.parametrize("share", [0.0, 0.1 + 0.2])
def test_a_plan_knows_the_share_of_rows_held_out(
    finished: Any, tmp_path: Path, share: float
) -> None:
    order, rows = finished[0].read_plan()
    told = replace(order, held_out=share)
    RunFolder(tmp_path).write_plan(told, rows, load("quick"))
    again, _ = RunFolder(tmp_path).read_plan()
    assert again == told
    assert fingerprint(again) == fingerprint(told)
    assert (fingerprint(told) == fingerprint(order)) == (share == 0.0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"[3]", "expected an object"),
        (b'"round"', "expected an object"),
        (b"null", "expected an object"),
        (b'{"seconds": 1}', "lacks 'round'"),
        (b'{"round": 5}', "'round' is 5, expected 3"),
        (b'{"round": 2}', "'round' is 2, expected 3"),
        (b'{"round": true}', "'round' is True"),
        (b'{"round": "3"}', "'round' is '3'"),
        (b'{"round": 3, "estimate": NaN}', "holds NaN"),
        (b'{"round": 3, "estimate": "high"}', "'estimate' is 'high', expected a number"),
        (b'{"round": 3, "estimate_by_group": [1]}', "'estimate_by_group' is no object"),
        (b'{"round": 3, "site_weights": {"a": "b"}}', "'site_weights' is no object"),
        (b'{"round": 3, "worst_group": 7}', "'worst_group' is 7"),
        (b'{"round": 3, "evaluation": {"slopes": 1}}', "lacks"),
        (b'{"round": 3, "evaluation": 1}', "not iterable"),
        (b'{"round": 3, "worst_group": "\xff"}', "codec can't decode"),
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_odd_metrics_are_an_error_that_names_the_line(
    run: RunFolder, line: bytes, words: str
) -> None:
    run.rewrite_metrics([row(1), row(2)])
    with run.metrics.open("ab") as file:
        file.write(line + b"\n" + json.dumps(row(4)).encode() + b"\n")
    with pytest.raises(StateError) as caught:
        run.read_metrics()
    assert f"{run.metrics}: line 3 is not what a run wrote there" in str(caught.value)
    assert words in str(caught.value)
    # What lies behind the checkpoint is done again: it need not be whole.
    assert run.read_metrics(upto=2) == run.read_history(2) == [row(1), row(2)]


def test_metrics_that_end_before_the_checkpoint_are_told(run: RunFolder) -> None:
    run.rewrite_metrics([row(1), row(2)])
    with pytest.raises(StateError, match="ends with round 2, but the checkpoint is of round 5"):
        run.read_history(5)
    run.metrics.unlink()
    with pytest.raises(StateError, match="ends with round 0"):
        run.read_history(5)
    run.metrics.mkdir()
    with pytest.raises(StateError, match=r"cannot read .*Is a directory"):
        run.read_metrics()


def test_metrics_are_on_the_disk_before_the_checkpoint_behind_them(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[bool] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        order.append(os.path.samestat(os.fstat(descriptor), run.metrics.stat()))
        real(descriptor)

    run.rewrite_metrics([])
    run.append(row(1))
    monkeypatch.setattr("os.fsync", fsync)
    run.append(row(2))
    assert order == []
    save(run, 2)
    assert order[0]
    assert not any(order[1:])


def test_a_plan_that_was_changed_is_told(finished: Any, tmp_path: Path) -> None:
    again = RunFolder(tmp_path)
    value = read_json(finished[0].plan)
    for key, changed in (("rows", value["rows"] + 1), ("seed", 7), ("settings", {"seed": 7})):
        write_json(again.plan, value | {key: changed})
        with pytest.raises(StateError, match=r"schema\.json: was changed since the run wrote it"):
            again.read_plan()
    write_json(again.plan, value | {"version": 99})
    with pytest.raises(StateError, match=r"schema\.json: has version 99, .* reads version 2"):
        again.read_plan()
    for odd in ([], "x", {}, 7):
        write_json(again.plan, odd)
        with pytest.raises(StateError, match=r"schema\.json: is no plan"):
            again.read_plan()
    # How it is laid out means nothing.
    again.plan.write_text(json.dumps(value))
    assert again.read_plan() == finished[0].read_plan()


def test_a_checkpoint_of_other_settings_or_another_version_is_told(run: RunFolder) -> None:
    save(run, 1)
    with pytest.raises(StateError, match=r"made under settings s, but .* give t"):
        run.load("plan", "t")
    (path,) = run.checkpoints()
    tensors, meta = read_tensors(path)
    write_tensors(path, tensors, meta | {"format": json.dumps({"version": 99})})
    with pytest.raises(StateError, match="is no checkpoint of this version; start anew"):
        run.load("plan", "s")


def test_a_flipped_bit_makes_way_for_the_checkpoint_before(run: RunFolder) -> None:
    save(run, 1)
    save(run, 2)
    content = bytearray(run.checkpoints()[-1].read_bytes())
    # The least bit of the last number: nothing but the digest shows it.
    content[-4] ^= 1
    run.checkpoints()[-1].write_bytes(content)
    told: list[str] = []
    loaded = run.load("plan", "s", told.append)
    assert loaded is not None
    assert loaded[1].round == 1
    assert loaded[0]["x"].tolist() == [1.0] * 3
    (text,) = told
    assert "does not match the digest" in text
    assert "going on from round-000001" in text


@pytest.mark.parametrize("content", [b"[]", b"7", b'{"rows": 1}', b'{"version": 2}', b"\xff", b"{"])
def test_a_summary_that_is_none_is_told(run: RunFolder, content: bytes) -> None:
    run.path.mkdir()
    run.summary.write_bytes(content)
    with pytest.raises(StateError, match=r"summary\.json"):
        run.read_summary()
