"""A folder is held by one process at a time, and freed by whatever ends it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from everymode.server.config.files import load
from everymode.server.outputs.locks import LOCK, InUseError, in_use, locked
from everymode.server.outputs.run_directory import RunFolder
from everymode.wgan.errors import StateError
from tests.command_line import Call

ROOT = Path(__file__).resolve().parents[2]

HOLD = """
import sys
from pathlib import Path
from everymode.server.outputs.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def program(source: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `tmp_path / "run"` until it is told to end."""
    process = program(HOLD, tmp_path / "run")
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n", process.communicate()[1]
    yield process
    process.kill()
    process.communicate()


def test_who_comes_second_is_told_who_holds_it_and_what_to_do(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    since = json.loads((run.path / LOCK).read_text())["since"]
    with pytest.raises(InUseError) as caught, run.locked():
        pytest.fail("two processes hold one folder")
    for word in (str(run.path), f"process {holder.pid}", since, f"kill {holder.pid}", "--out"):
        assert word in str(caught.value)
    assert in_use(run.path)
    assert [p.name for p in run.path.iterdir()] == [LOCK]


def test_the_kernel_frees_it_whatever_the_process_dies_of(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists(), "a killed process cannot clean up"
    assert not in_use(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert list((tmp_path / "run").iterdir()) == []


def test_children_do_not_keep_it(tmp_path: Path) -> None:
    source = HOLD.replace(
        'print("held", flush=True)',
        "import subprocess; child = subprocess.Popen(['sleep', '600'], stdout=-3, stderr=-3); "
        "print(child.pid, flush=True)",
    )
    process = program(source, tmp_path / "run")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.communicate()
        os.kill(child, 0)
        with locked(tmp_path / "run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_of_many_that_make_the_folder_at_once_one_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    # All wait for one line, so that they begin together.
    source = HOLD.replace("with locked", "sys.stdin.readline()\nwith locked")
    processes = [program(source, folder) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    # A loser ends by itself; the winner only once it is told to.
    winners = []
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline() == "held\n":
            winners.append(process)
        else:
            assert "InUseError" in process.communicate()[1]
            assert folder.exists()
    assert len(winners) == 1
    winners[0].communicate("end\n")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_new_run_leaves_the_folder_of_a_living_one_alone(
    tmp_path: Path, holder: subprocess.Popen[str], call: Call
) -> None:
    RunFolder(tmp_path / "run").create(load("quick"))
    for words in (("quick", "--out", tmp_path / "run"), ("--resume", tmp_path / "run")):
        code, _, err = call("simulate", *words, "--backend", "inline")
        assert code == 2
        assert err.count("error: ") == 1
        assert f"in use by process {holder.pid}" in err
    assert load(tmp_path / "run" / "config.toml") == load("quick")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [LOCK, "config.toml"]


def test_a_lock_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run" / LOCK).symlink_to(precious)
    with pytest.raises(StateError, match="cannot be made and locked"), locked(tmp_path / "run"):
        pytest.fail("a link was followed")
    assert precious.read_text() == "mine"


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(StateError, match="Not a directory"), locked(tmp_path / "run"):
        pytest.fail("a file was locked")


def test_another_process_may_take_a_folder_that_was_moved_away(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "moved")
        with locked(tmp_path / "run"):
            pass
        assert not (tmp_path / "run").exists()
    # Its own lock is gone with the folder; that of others was left to them.
    assert [p.name for p in (tmp_path / "moved").iterdir()] == [LOCK]
