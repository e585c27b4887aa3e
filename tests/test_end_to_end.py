"""Real runs through Flower and Ray: equal to the run in process, for any number of actors.

Every run through Ray is a process of its own, as a user starts it.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.command_line import run_command
from tests.decoys import lay_decoys

SMALL = (
    "train.rounds=6",
    "split.sites=5",
    "data.drop=['fnlwgt','native-country','education','occupation']",
)

TRAINING_ALONE = ("model.projection=false", "model.marginals=false")
"""What follows training takes most of such a run, and sites have no part in it."""

LONG = ("train.rounds=120", "output.checkpoint_every=1000", *TRAINING_ALONE)


def command(*arguments: str) -> list[str]:
    # The installed command: `python -m` would put the working directory first.
    return [str(Path(sys.executable).with_name("everymode")), *arguments]


def words(out: Path, backend: str, *sets: str) -> list[str]:
    options = [part for item in (*SMALL, *sets) for part in ("--set", item)]
    return ["simulate", "quick", "--backend", backend, "--out", str(out), *options]


def simulate(out: Path, *sets: str) -> subprocess.Popen[str]:
    """Starts a run, from a folder full of files with the names of our packages."""
    return subprocess.Popen(
        command(*words(out, "ray", *sets)),
        cwd=lay_decoys(out.with_name("decoys")),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=600)
    return process.returncode, out + err


def relatives(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """All processes of the session that the run leads."""
    found = []
    for other in psutil.process_iter():
        try:
            if os.getsid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                found.append(other)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def wait_for_rounds(out: Path, rounds: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    metrics = out / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < rounds:
        assert process.poll() is None, finished(process)
        assert time.monotonic() < deadline, "no round was finished in two minutes"
        time.sleep(0.05)


def actors(process: subprocess.Popen[str]) -> Sequence[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [c for c in children if "ClientAppActor" in " ".join(c.cmdline())]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training in this process, long enough to be disturbed in."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run_command(*words(out, "inline", *LONG)) == 0
    return out


def without_costs(run: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    costs = ("seconds", "bytes_up", "bytes_down")
    return [{k: v for k, v in row.items() if k not in costs} for row in rows]


WAYS: dict[str, tuple[str, ...]] = {
    "sums": (),
    # Arrays for each site, down and up, of the sites drawn.
    "own critics": (
        *("strategy=md_gan", "federation.swap_every=2", "federation.sites_per_round=3"),
        *TRAINING_ALONE,
    ),
    "apart": ("strategy=ifl_gan", *TRAINING_ALONE),
    # All that rules of weights ask for.
    "clusters and minimax": (
        *("data.clusters=4", "data.held_out=0.2"),
        *("groups.weights=minimax", "groups.minimax_every=2"),
        *TRAINING_ALONE,
    ),
}

SAMPLED = {("sums", 1), ("own critics", 2), ("clusters and minimax", 4)}


@pytest.mark.parametrize(
    ("way", "count"),
    [
        pytest.param(way, n, marks=() if (way, n) in SAMPLED else pytest.mark.nightly)
        for way, n in itertools.product(WAYS, (1, 2, 4))
    ],
)
def test_flower_equals_the_run_in_process_however_it_sends_for_any_number_of_actors(
    tmp_path: Path, way: str, count: int
) -> None:
    inline, out = tmp_path / "inline", tmp_path / "ray"
    assert run_command(*words(inline, "inline", *WAYS[way])) == 0
    process = simulate(out, f"simulation.actors={count}", "simulation.num_cpus=0.5", *WAYS[way])
    code, text = finished(process)
    assert code == 0, text
    assert (out / "synthetic.csv").read_bytes() == (inline / "synthetic.csv").read_bytes()
    assert without_costs(out) == without_costs(inline)
    assert relatives(process) == []
    shown = text.lower()
    assert "deprecat" not in shown and "traceback" not in shown and "warning" not in shown
    assert "deprecat" in (out / "log.txt").read_text().lower(), "Flower's talk goes to the log"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["bytes_up"] > 0 and summary["sites"] == 5
    assert not (out / "sites").exists(), "private rows must not outlive the run"


def test_a_site_process_that_dies_costs_no_round(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "struck"
    process = simulate(out, "simulation.actors=2", *LONG)
    wait_for_rounds(out, 3, process)
    victims = actors(process)
    assert victims
    victims[0].send_signal(signal.SIGKILL)
    code, text = finished(process)
    assert code == 0, text
    assert (out / "synthetic.csv").read_bytes() == (whole / "synthetic.csv").read_bytes()


def test_ctrl_c_leaves_a_checkpoint_and_no_process_and_resume_goes_on(
    tmp_path: Path, whole: Path
) -> None:
    out = tmp_path / "broken"
    process = simulate(out, *LONG)
    wait_for_rounds(out, 2, process)
    # A terminal sends Ctrl-C to the whole group: actors must not die of it in mid-round.
    os.killpg(process.pid, signal.SIGINT)
    code, text = finished(process)
    assert code == 130, text
    assert f"--resume {out}" in text
    assert relatives(process) == []
    resumed = subprocess.run(
        command("simulate", "--resume", str(out)), capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert (out / "synthetic.csv").read_bytes() == (whole / "synthetic.csv").read_bytes()
    assert without_costs(out) == without_costs(whole)


JOBS = """
import sys
import numpy as np, pandas as pd
import everymode
rng = np.random.default_rng(0)
frame = pd.DataFrame({"sex": rng.choice(["f", "m"], 400), "age": rng.integers(18, 90, 400)})
brief = {"train.rounds": 3, "model.projection": False, "simulation.num_cpus": 0.5}
tables = [
    everymode.fit(
        frame, sensitive_features=["sex"], sites=3, overrides=brief, n_jobs=jobs, progress=False
    ).sample(50)
    for jobs in (1, 2)
]
print("same" if tables[0].equals(tables[1]) else "different")
"""


def test_jobs_in_python_change_no_row(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", JOBS],
        cwd=lay_decoys(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "same\n" and done.stderr == ""
