"""Runs that are killed: what stays, what the next run does about it, what `clean` removes."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import everymode.simulations.cli
import everymode.simulations.simulate
from everymode.server.outputs.leftovers import MARK, Scratch, leftovers
from everymode.server.outputs.locks import LOCK, locked
from everymode.server.outputs.run_directory import RunFolder
from everymode.wgan.files import is_temporary, temporary_beside
from tests.command_line import Call

pytestmark = pytest.mark.usefixtures("few_rows")

ROOT = Path(__file__).resolve().parent.parent

KILL = """
import os, signal, sys
def end(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
{patch}
import everymode.simulations.cli
sys.argv = ["everymode", *sys.argv[1:]]
os.umask(0)
everymode.simulations.cli.main()
"""

IN_TRAINING = """
from everymode.server.outputs.run_directory import RunFolder
real = RunFolder.append
def append(run, metrics):
    real(run, metrics)
    if metrics["round"] == 3:
        end()
RunFolder.append = append
"""

FIRST_FILE = """
import everymode.wgan.files
os.fsync = end
"""

QUICK = ("--backend", "inline", "--set", "train.rounds=4", "--set", "output.checkpoint_every=2")


def killed(patch: str, *arguments: object, **environment: str) -> None:
    """Runs `everymode ...` in a process that is killed where `patch` says."""
    done = subprocess.run(
        [sys.executable, "-c", KILL.format(patch=patch), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr


@pytest.fixture
def config(kit: Any, table: Path) -> Path:
    import tomli_w

    path = table.with_name("tiny.toml")
    path.write_text(
        tomli_w.dumps(
            kit.tiny(table, model=kit.training_alone).model_dump(mode="json", exclude_unset=True)
        )
    )
    return path


@pytest.fixture
def call(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """The same with a temporary folder of the system that is its own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return call


def modes(folder: Path) -> dict[bool, set[int]]:
    """Permissions of files and folders under a folder and of itself, by whether it is a folder."""
    found: dict[bool, set[int]] = {True: set(), False: set()}
    for path in (folder, *folder.rglob("*")):
        found[path.is_dir()].add(stat.S_IMODE(path.lstat().st_mode))
    return found


def test_rows_of_a_killed_run_are_for_its_user_only_and_gone_after_its_resume(
    call: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    assert call("simulate", config, *QUICK, "--out", whole.path)[0] == 0
    killed(IN_TRAINING, "simulate", config, *QUICK, "--out", broken.path)
    # The umask was 0: everybody could have read what it does not forbid.
    assert modes(broken.sites) == {True: {0o700}, False: {0o600}}
    names = {p.name for p in broken.sites.rglob("*")}
    assert {"site-00.csv", "plan.json", MARK} <= names
    stale = broken.sites / "work" / "site-00" / "stale.npy"
    stale.write_text("rows of before")
    seen: list[bool] = []
    real = everymode.simulations.simulate.create_simulated_sites

    def create_simulated_sites(settings: Any, folder: Path) -> Any:
        seen.append((folder / "tables").exists() or stale.exists())
        return real(settings, folder)

    monkeypatch.setattr(
        everymode.simulations.simulate, "create_simulated_sites", create_simulated_sites
    )
    assert call("simulate", "--resume", broken.path, "--backend", "inline")[0] == 0
    assert seen == [False], "what a killed run left goes before new rows are dealt"
    assert not broken.sites.exists()
    assert broken.synthetic.read_bytes() == whole.synthetic.read_bytes()
    assert not [p for p in broken.path.rglob("*") if is_temporary(p.name) or p.name == LOCK]


def test_a_table_of_a_scenario_is_private_too(kit: Any, tmp_path: Path) -> None:
    from everymode.server.config.files import load
    from everymode.simulations.scenarios import place

    run = RunFolder(tmp_path / "run")
    before = os.umask(0)
    try:
        with run.locked():
            place(load("lines"), run.fresh_sites())
            assert modes(run.sites) == {True: {0o700}, False: {0o600}}
    finally:
        os.umask(before)


@pytest.mark.parametrize("command", ["simulate", "compare"])
def test_a_kill_in_the_first_file_blocks_nothing(
    call: Any, config: Path, tmp_path: Path, command: str
) -> None:
    words = [command, config, "--out", tmp_path / "out", "-q"]
    words += QUICK if command == "simulate" else ["--strategies", "fedgan", "--seeds", "0"]
    killed(FIRST_FILE, *words)
    left = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert left, "the file that was being written lies there"
    assert all(is_temporary(name) or name == LOCK for name in left)
    code, _, err = call(*words)
    assert code == 0, err
    assert not [p for p in (tmp_path / "out").rglob("*") if p.name == LOCK]


def test_leftovers_are_named_at_the_next_start_and_removed_by_clean(
    call: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "my runs"
    killed(IN_TRAINING, "simulate", config, *QUICK, "--out", runs / "a")
    killed(IN_TRAINING, "simulate", config, *QUICK, "--out", runs / "living")
    ray = "from everymode.server.outputs.leftovers import Scratch\nscratch = Scratch()\nend()"
    killed(ray, TMPDIR=str(tmp_path / "tmp"))
    (scratch,) = (tmp_path / "tmp").iterdir()
    # Neither ours, nor a run's, nor dead.
    precious = [runs / "other" / "sites", tmp_path / "tmp" / "em-mine", tmp_path / "elsewhere"]
    for folder in precious:
        folder.mkdir(parents=True)
        (folder / "precious").write_text("x")
    (runs / "linked").symlink_to(runs / "a")
    (runs / "a" / "sites" / "link").symlink_to(tmp_path / "elsewhere")
    (runs / "other" / "sites" / MARK).symlink_to(runs / "a" / "sites" / MARK)
    with locked(runs / "living"):
        code, _, err = call("simulate", config, *QUICK, "--out", runs / "b")
        assert code == 0
        (note,) = [line for line in err.splitlines() if line.startswith("note: killed")]
        assert f"{runs / 'a' / 'sites'} (" in note
        assert str(scratch) in note
        assert note.count(" MB)") == 2
        assert f"everymode clean '{runs}'" in note
        monkeypatch.setattr("typer.confirm", lambda text: False)
        code, out, _ = call("clean", runs)
        assert code == 0
        assert out.splitlines()[-1] == "nothing was removed"
        assert (runs / "a" / "sites").exists()
        code, out, _ = call("clean", runs, "--yes")
        assert code == 0
        assert [line.partition(" (")[0] for line in out.splitlines()] == [
            str(runs / "a" / "sites"),
            str(scratch),
            "removed the 2 folders",
        ]
    assert not (runs / "a" / "sites").exists()
    assert (runs / "a" / "config.toml").exists()
    assert not scratch.exists()
    assert (runs / "living" / "sites").exists()
    assert all((folder / "precious").exists() for folder in precious)
    # Once its process is gone it is a leftover as well; clean takes a run directory too.
    assert call("clean", runs / "living", "--yes")[0] == 0
    assert not (runs / "living" / "sites").exists()
    assert call("clean", runs)[1] == "nothing is left of killed runs\n"
    assert call("simulate", config, *QUICK, "--out", runs / "c", "-q")[1:] == ("", "")


def test_what_somebody_holds_by_now_is_not_removed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.locked():
        run.fresh_sites()
        assert leftovers(tmp_path) == []
        sites = run.sites.rename(tmp_path / "kept")
    run.path.mkdir()
    sites.rename(run.sites)
    (left,) = leftovers(tmp_path)
    with locked(run.path), pytest.raises(Exception, match="in use by process"):
        left.remove()
    assert run.sites.exists()
    left.remove()
    assert not run.sites.exists()


def test_scratch_is_gone_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scratch = Scratch()
    (scratch.path / "session").mkdir()
    assert modes(scratch.path)[True] <= {0o700, 0o755}
    assert leftovers(tmp_path / "none") == []
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_was_writing_goes_with_the_next_lock(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    folder = run.path / "checkpoints"
    folder.mkdir(parents=True)
    for path in (run.config, folder / "round-000001.safetensors"):
        temporary_beside(path).write_bytes(b"half")
    with run.locked():
        assert sorted(p.name for p in run.path.rglob("*")) == [LOCK, "checkpoints"]


def test_a_lock_that_was_left_holds_nobody_up(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / LOCK).write_text(json.dumps({"pid": 1, "host": "x", "since": "yesterday"}))
    with run.locked():
        pass
