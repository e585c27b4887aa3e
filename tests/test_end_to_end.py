"""Real runs through Flower and Ray: equal to the run in process, for any number of actors.

Every run is a process of its own, as a user starts it.
"""

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

# One Ray at a time: two that start at once on two cores may give up.
pytestmark = pytest.mark.xdist_group("ray")

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "train.rounds=6",
    "split.sites=5",
    "data.drop=['fnlwgt','native-country','education','occupation']",
)

TRAINING_ALONE = ("model.projection=false", "model.marginals=false")
"""What follows training takes most of such a run, and sites have no part in it."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simulations.cli", *arguments]


def simulate(out: Path, backend: str, *sets: str) -> subprocess.Popen[str]:
    options = [part for item in (*SMALL, *sets) for part in ("--set", item)]
    return subprocess.Popen(
        command("simulate", "quick", "--backend", backend, "--out", str(out), *options),
        cwd=ROOT,
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
def inline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inline") / "run"
    code, text = finished(simulate(out, "inline"))
    assert code == 0, text
    return out


def without_costs(run: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    costs = ("seconds", "bytes_up", "bytes_down")
    return [{k: v for k, v in row.items() if k not in costs} for row in rows]


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.nightly), 4])
def test_flower_equals_the_run_in_process_for_any_number_of_actors(
    tmp_path: Path, inline: Path, count: int
) -> None:
    out = tmp_path / "run"
    sets = (f"simulation.actors={count}", "simulation.num_cpus=0.5")
    process = simulate(out, "ray", *sets)
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


@pytest.mark.parametrize(
    "sets",
    [
        # Letters down and up, of the sites drawn; and all that rules of weights ask for.
        ("strategy=md_gan", "federation.swap_every=2", "federation.sites_per_round=3"),
        ("strategy=ifl_gan",),
        ("data.clusters=4", "groups.weights=minimax", "data.held_out=0.2"),
    ],
    ids=["own critics", "apart", "clusters and minimax"],
)
def test_flower_equals_the_run_in_process_for_every_way_of_sending(
    tmp_path: Path, sets: tuple[str, ...]
) -> None:
    sets = (*sets, "groups.minimax_every=2", "simulation.actors=2", *TRAINING_ALONE)
    for backend in ("inline", "ray"):
        code, text = finished(simulate(tmp_path / backend, backend, *sets))
        assert code == 0, text
    tables = [(tmp_path / n / "synthetic.csv").read_bytes() for n in ("inline", "ray")]
    assert tables[0] == tables[1]
    assert without_costs(tmp_path / "ray") == without_costs(tmp_path / "inline")


def test_a_site_process_that_dies_costs_no_round(tmp_path: Path) -> None:
    sets = ("train.rounds=120", "simulation.actors=2", *TRAINING_ALONE)
    calm, struck = tmp_path / "calm", tmp_path / "struck"
    code, text = finished(simulate(calm, "inline", *sets))
    assert code == 0, text
    process = simulate(struck, "ray", *sets)
    wait_for_rounds(struck, 3, process)
    victims = actors(process)
    assert victims
    victims[0].send_signal(signal.SIGKILL)
    code, text = finished(process)
    assert code == 0, text
    assert (struck / "synthetic.csv").read_bytes() == (calm / "synthetic.csv").read_bytes()


def test_ctrl_c_leaves_a_checkpoint_and_no_process_and_resume_goes_on(tmp_path: Path) -> None:
    sets = ("train.rounds=120", "output.checkpoint_every=1000", *TRAINING_ALONE)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert finished(simulate(whole, "inline", *sets))[0] == 0
    process = simulate(broken, "ray", *sets)
    wait_for_rounds(broken, 2, process)
    # A terminal sends Ctrl-C to the whole group: actors must not die of it in mid-round.
    os.killpg(process.pid, signal.SIGINT)
    code, text = finished(process)
    assert code == 130, text
    assert f"--resume {broken}" in text
    assert relatives(process) == []
    resumed = subprocess.run(
        command("simulate", "--resume", str(broken)), cwd=ROOT, capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert (broken / "synthetic.csv").read_bytes() == (whole / "synthetic.csv").read_bytes()
    assert without_costs(broken) == without_costs(whole)
