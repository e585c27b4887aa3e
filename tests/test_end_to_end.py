"""Real runs through Flower and Ray, each in a process of its own, as a user starts it.

They equal the run in process, for any number of actors. Nobody else can join them. To start Ray
takes long, so each run is looked at from several sides.
"""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w

from tests.command_line import run_command
from tests.conftest import TINY
from tests.decoys import lay_decoys
from tests.private import private
from tests.ray_runs import (
    PATIENCE,
    actors,
    assert_closed,
    build_run_folder,
    installed,
    join,
    listening,
    relatives,
    rounds,
    running,
    tree,
    wait_for,
)

ROOT = Path(__file__).resolve().parents[1]

# What stays: numbers with and without atoms, and categories, of which one has rare values.
SMALL = (
    "train.rounds=6",
    "split.sites=5",
    "data.drop=['fnlwgt','native-country','education','occupation','education-num','workclass',"
    "'relationship','marital-status','capital-gain']",
)

TRAINING_ALONE = ("model.projection=false", "model.marginals=false")
"""What follows training takes most of such a run, and sites have no part in it."""

LONG = ("train.rounds=60", "output.checkpoint_every=1000", *TRAINING_ALONE)
"""Rounds enough to be disturbed in."""

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


def options(*sets: str) -> list[str]:
    return [part for item in (*SMALL, *sets) for part in ("--set", item)]


def words(out: Path, backend: str, *sets: str) -> list[str]:
    return ["simulate", "quick", "--backend", backend, "--out", str(out), *options(*sets)]


def without_costs(run: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    costs = ("seconds", "bytes_up", "bytes_down")
    return [{k: v for k, v in row.items() if k not in costs} for row in rows]


def assert_same(run: Path, inline: Path) -> None:
    """A run through Flower has the rows and the metrics of the run in process."""
    assert (run / "synthetic.csv").read_bytes() == (inline / "synthetic.csv").read_bytes()
    assert without_costs(run) == without_costs(inline)


# Two ways more are compared below, by other commands; by night all of them are.
@pytest.mark.parametrize(
    ("way", "count"),
    [
        pytest.param(way, n, marks=() if (way, n) == ("sums", 1) else pytest.mark.nightly)
        for way, n in itertools.product(WAYS, (1, 2, 4))
    ],
)
def test_flower_equals_the_run_in_process_however_it_sends_for_any_number_of_actors(
    tmp_path: Path, way: str, count: int
) -> None:
    inline, out = tmp_path / "inline", tmp_path / "ray"
    spread = (f"simulation.actors={count}", "simulation.num_cpus=0.5")
    command = installed(*words(out, "ray", *spread, *WAYS[way]))
    with running(command, tmp_path / "shown") as process:
        # Ray starts meanwhile.
        assert run_command(*words(inline, "inline", *WAYS[way])) == 0
        text = (tmp_path / "shown").read_text
        assert process.wait(PATIENCE) == 0, text()
    assert_same(out, inline)
    assert relatives(process.pid) == []
    shown = text().lower()
    assert "deprecat" not in shown and "traceback" not in shown and "warning" not in shown
    assert "deprecat" in (out / "log.txt").read_text().lower(), "Flower's talk goes to the log"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["bytes_up"] > 0 and summary["sites"] == 5
    assert not (out / "sites").exists(), "private rows must not outlive the run"


@pytest.mark.nightly
def test_a_private_run_through_flower_is_that_in_process(kit: Any, tmp_path: Path) -> None:
    """Noise from a known seed, so that both runs draw it alike; and the same account of it."""
    kit.people(600).to_csv(tmp_path / "people.csv", index=False)
    values = private(tmp_path / "people.csv", model={**TINY["model"], "critic_trees": 3})
    values |= {"split": {"sites": 3}, "train": {**TINY["train"], "rounds": 2}}
    config, inline, out = tmp_path / "run.toml", tmp_path / "inline", tmp_path / "ray"
    config.write_text(tomli_w.dumps(values))
    ray = ("--backend", "ray", "--set", "simulation.actors=2", "--set", "simulation.num_cpus=0.5")
    command = installed("simulate", str(config), "--out", str(out), *ray)
    with running(command, tmp_path / "shown") as process:
        here = ("simulate", str(config), "--backend", "inline", "--out", str(inline))
        assert run_command(*here) == 0
        assert process.wait(PATIENCE) == 0, (tmp_path / "shown").read_text()
    assert_same(out, inline)
    accounts = [json.loads((run / "privacy.json").read_text()) for run in (out, inline)]
    assert accounts[0] == accounts[1] and accounts[0]["guarantee"]["epsilon"] <= 20.0
    assert not (out / "noise.key").exists()


def assert_nobody_joins(process: psutil.Popen, out: Path) -> Path:
    """Listens on loopback alone, and runs code for those alone who have the token.

    Returns: The private folder of Ray's session files.
    """
    processes = tree(process)
    port = assert_closed(processes)["gcs_server"][0][1]
    (raylet,) = (p for p in processes if p.name() == "raylet")
    token = raylet.environ()["RAY_AUTH_TOKEN"]
    assert raylet.environ()["RAY_AUTH_MODE"] == "token" and len(token) == 64
    assert not any(token in word for p in processes for word in p.cmdline())

    private = build_run_folder(processes).parent
    assert private.stat().st_mode & 0o777 == 0o700
    files = [p for top in (private, out) for p in top.rglob("*") if p.is_file()]
    assert files and not any(token.encode() in path.read_bytes() for path in files)

    # The one who has the token shows that the others would have joined if they could.
    joins = {
        "no token": join(port),
        "a wrong token": join(port, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64),
        "the token": join(port, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token),
    }
    said = {who: stranger.communicate(timeout=PATIENCE)[0] for who, stranger in joins.items()}
    assert {who: "ran as" in text for who, text in said.items()} == {
        "no token": False,
        "a wrong token": False,
        "the token": True,
    }, said
    return private


@pytest.mark.slow
def test_masked_sums_through_flower_give_the_table_of_plain_ones(tmp_path: Path) -> None:
    sums = "federation.sums_only=true"
    masked, plain = tmp_path / "masked", tmp_path / "plain"
    spread = ("simulation.actors=2", "simulation.num_cpus=0.5")
    sets = (sums, "secure.summation=masked", *spread, *TRAINING_ALONE)
    with running(installed(*words(masked, "ray", *sets)), tmp_path / "shown") as process:
        assert run_command(*words(plain, "inline", sums, *TRAINING_ALONE)) == 0
        assert process.wait(PATIENCE) == 0, (tmp_path / "shown").read_text()
    assert (masked / "synthetic.csv").read_bytes() == (plain / "synthetic.csv").read_bytes()
    assert without_costs(masked) == without_costs(plain)
    for run, mechanisms in ((masked, [{"name": "secure summation"}]), (plain, [])):
        told = json.loads((run / "releases.json").read_text())["releases"]
        assert told and all(entry["mechanisms"] == mechanisms for entry in told)


def test_a_run_lets_nobody_in_outlives_an_actor_and_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    out, whole = tmp_path / "broken", tmp_path / "whole"
    metrics = out / "metrics.jsonl"
    command = installed(*words(out, "ray", "simulation.actors=2", "simulation.num_cpus=0.5", *LONG))
    with running(command, tmp_path / "shown") as process:
        wait_for(lambda: rounds(metrics) >= 2, process)
        # The run itself would end while others try; Ray's processes go on.
        process.suspend()
        private = assert_nobody_joins(process, out)
        struck = rounds(metrics)
        actors(process)[0].kill()
        process.resume()
        # Of the rounds, it costs none.
        wait_for(lambda: rounds(metrics) >= struck + 3, process)
        assert len(actors(process)) >= 1
        # A terminal sends Ctrl-C to the whole group: actors must not die of it in mid-round.
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert f"--resume {out}" in (tmp_path / "shown").read_text()
    assert relatives(process.pid) == []
    assert not private.exists()
    assert struck + 3 <= rounds(metrics) < 60
    with running(installed("simulate", "--resume", str(out)), tmp_path / "more") as resumed:
        # Ray starts meanwhile.
        assert run_command(*words(whole, "inline", *LONG)) == 0
        assert resumed.wait(PATIENCE) == 0, (tmp_path / "more").read_text()
    assert_same(out, whole)


def test_a_comparison_on_ray_is_closed_and_equals_the_one_in_process(tmp_path: Path) -> None:
    ray, inline = tmp_path / "ray", tmp_path / "inline"
    # MD-GAN swaps its critics in round 10.
    rounds_and_sites = ("train.rounds=11", "federation.sites_per_round=3", *TRAINING_ALONE)
    sets = options(*rounds_and_sites, "simulation.actors=2", "simulation.num_cpus=0.5")
    compare = ["compare", "quick", "--strategies", "md_gan", "--seeds", "0", *sets]
    run = Path("md_gan", "seed-0")
    command = installed(*compare, "--backend", "ray", "--out", str(ray))
    with running(command, tmp_path / "shown") as process:
        wait_for(lambda: rounds(ray / run / "metrics.jsonl") > 0, process)
        assert_closed(tree(process))
        assert process.wait(PATIENCE) == 0
    assert run_command(*compare, "--out", inline) == 0
    assert_same(ray / run, inline / run)


def test_flowers_own_command_is_closed_and_equals_the_run_in_process(tmp_path: Path) -> None:
    """`flwr run`, where Flower starts Ray and nothing is set in the environment."""
    inline, out = tmp_path / "inline", tmp_path / "run"
    more = ("train.rounds=30", *WAYS["clusters and minimax"])
    assert run_command(*words(inline, "inline", *more)) == 0
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        "FLWR_HOME": str(tmp_path / "flower"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
    }
    programs = Path(sys.executable).parent
    # As `flwr run` starts it, but with more patience on a busy machine.
    superlink = [str(programs / "flower-superlink"), "--insecure", "--simulation"]
    superlink += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
    run = [str(programs / "flwr"), "run", str(ROOT), "--stream"]
    run += ["--run-config", f'config="{inline / "config.toml"}" out="{out}"']
    with running(superlink, tmp_path / "link.log", **variables) as link:
        wait_for(lambda: bool(listening([link])), link)
        with running(run, tmp_path / "run.log", **variables) as command:
            wait_for(lambda: rounds(out / "metrics.jsonl") > 0, command)
            processes = tree(link)
            assert_closed(processes)
            private = build_run_folder(processes).parent
            assert private.stat().st_mode & 0o777 == 0o700
            command.wait(PATIENCE)
        assert (out / "summary.json").exists()
        wait_for(lambda: not private.exists(), link)
    assert_same(out, inline)


def test_doctor_starts_ray_as_closed_and_leaves_nothing(tmp_path: Path) -> None:
    """In a folder of its own, which it removes: Ray's usual one is open to all users."""
    usual = {entry.name for entry in Path("/tmp/ray").glob("session_2*")}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = installed("doctor", "--ray", "--json")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert found["Flower and Ray"]["found"] == "started and stopped", done
    assert {entry.name for entry in Path("/tmp/ray").glob("session_2*")} == usual
    assert list(tmp_path.iterdir()) == []


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
