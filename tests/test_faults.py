"""What happens to a run between real processes when they are killed, hang, or stay away.

Each of these takes a minute or more, so they are for the night. What the docs say of faults,
`server/deployment/runbook.md`, is what is asserted here.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w

from everymode.server.config.files import parse
from everymode.server.in_process import simulate
from everymode.server.outputs.locks import in_use
from tests.conftest import TINY, TRAINING_ALONE
from tests.deployed import Deployed, until
from tests.disturbed import Wire, fill, small_disk
from tests.federated import people

pytestmark = pytest.mark.nightly

NAMES = ("north", "south")
PATIENCE = 300.0
ROUNDS = 8


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """South alone has rows of a third group."""
    folder = tmp_path_factory.mktemp("data") / "tables"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        table = people(120, number)
        if name == "south":
            table.loc[:39, "sex"] = "x"
        table.to_csv(folder / f"{name}.csv", index=False)
    return {name: str(folder / f"{name}.csv") for name in NAMES}


@pytest.fixture(scope="module")
def deployed(
    tables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with Deployed(tmp_path_factory.mktemp("deployed"), tables, apart=True) as running:
        yield running
    assert not running.left(), "processes outlive the deployment"


@pytest.fixture(scope="module")
def same(tables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of an undisturbed run in one process."""
    values = {key: value for key, value in configuration().items() if key != "deployment"}
    values["data"] = {**values["data"], "path": str(Path(tables["north"]).parent)}
    return simulate(
        parse(values), tmp_path_factory.mktemp("same") / "out"
    ).folder.synthetic.read_bytes()


def configuration(**train: Any) -> dict[str, Any]:
    return {
        "data": {"sensitive": ["sex"], "target": "income"},
        "deployment": {
            "sites": list(NAMES),
            "columns": ["age", "job", "sex", "income"],
            "wait": 180.0,
        },
        **TINY,
        # What follows training takes most of a tiny run.
        "model": {**TINY["model"], **TRAINING_ALONE, "trees": 0},
        "train": {**TINY["train"], "rounds": ROUNDS, **train},
        "output": {**TINY.get("output", {}), "checkpoint_every": 1, "keep": 3},
    }


def begin(deployed: Deployed, out: Path, **train: Any) -> str:
    """Starts a run, and waits for two rounds."""
    path = deployed.folder / f"{out.parent.name}.toml"
    path.write_text(tomli_w.dumps(configuration(**train)))
    run = deployed.run(config=str(path), out=str(out))
    until(lambda: rounds(out) >= 2, PATIENCE, "two rounds")
    return run


def rounds(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def supervise(deployed: Deployed, port: int = 0) -> None:
    """Starts again what has ended, as the units of a kit do; `port`: south's way."""
    for name in NAMES:
        if deployed.processes[name].poll() is not None:
            deployed.start(name, port=port if name == "south" else 0)


def until_done(deployed: Deployed, run: str, out: Path, port: int = 0) -> None:
    def over() -> bool:
        supervise(deployed, port)
        if (out / "summary.json").exists():
            return True
        waited[0] += 1
        if waited[0] % 100 == 0 and "finished" in deployed.status(run):
            pytest.fail(deployed.flwr("log", "--show", run, "here") + deployed.logs())
        return False

    waited = [0]
    until(over, PATIENCE, "results")


def until_ended(deployed: Deployed, run: str, out: Path) -> None:
    def ended() -> bool:
        time.sleep(1)
        return "finished" in deployed.status(run) and not in_use(out)

    until(ended, PATIENCE, "the run ends")


def ended(process: psutil.Process) -> bool:
    """Whether a process has ended; its parent may be busy with a SuperLink that is away."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def said(deployed: Deployed, run: str) -> str:
    return " ".join(deployed.flwr("log", "--show", run, "here").split())


@pytest.mark.parametrize("pause", [0, 5, 30])
def test_a_site_that_is_killed_in_mid_round_comes_back(
    pause: int, deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = begin(deployed, out)
    deployed.kill("south")
    time.sleep(pause)
    until_done(deployed, run, out)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_site_that_hangs_is_asked_again_and_counted_once(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    """It hangs for longer than `train.timeout`; what it answers late is not counted."""
    out = tmp_path / "out"
    run = begin(deployed, out, timeout=10.0, retries=6, retry_pause=2.0)
    group = deployed.processes["south"].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        seen = rounds(out)
        time.sleep(25)
        assert rounds(out) <= seen + 1, "no round goes on without it"
    finally:
        os.killpg(group, signal.SIGCONT)
    until_done(deployed, run, out)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_site_that_is_slow_is_waited_for(deployed: Deployed, same: bytes, tmp_path: Path) -> None:
    """It takes less than `train.timeout`."""
    out = tmp_path / "out"
    run = begin(deployed, out, timeout=60.0, retries=0)
    group = deployed.processes["south"].pid
    for _ in range(3):
        os.killpg(group, signal.SIGSTOP)
        time.sleep(4)
        os.killpg(group, signal.SIGCONT)
        time.sleep(1)
    until_done(deployed, run, out)
    assert "no reply" not in said(deployed, run)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_run_goes_on_without_a_site_that_is_gone_and_names_the_group(
    deployed: Deployed, tmp_path: Path
) -> None:
    """Half of them are. Only training does: what rests on all tables waits for the site."""
    out = tmp_path / "out"
    run = begin(deployed, out, on_failure="skip", retries=1, retry_pause=0.5)
    deployed.kill("south")
    until(lambda: rounds(out) == ROUNDS, PATIENCE, "rounds without the site")
    told = said(deployed, run)
    assert "goes on without a site's part: site 'south'" in told
    assert told.count("group 'x' is no longer represented") == 1
    until_done(deployed, run, out)


def test_a_run_that_is_to_stop_at_a_failure_goes_on_when_told_to(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = begin(deployed, out, on_failure="stop")
    deployed.kill("south")
    until_ended(deployed, run, out)
    assert not (out / "summary.json").exists()
    assert (out / "checkpoints" / f"round-{rounds(out):06d}.safetensors").exists()
    again = deployed.run(resume=str(out))
    until_done(deployed, again, out)
    assert (out / "synthetic.csv").read_bytes() == same


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_is_killed_anywhere_goes_on_to_the_same_bytes(
    seed: int, deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = begin(deployed, out)
    time.sleep(random.Random(seed).uniform(0, 3))
    deployed.server_app().kill()
    until_ended(deployed, run, out)
    again = deployed.run(resume=str(out))
    until_done(deployed, again, out)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_checkpoint_that_was_cut_is_passed_over_and_said(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = begin(deployed, out)
    deployed.server_app().kill()
    until_ended(deployed, run, out)
    *_, before, last = sorted((out / "checkpoints").glob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:-100])
    again = deployed.run(resume=str(out))
    until_done(deployed, again, out)
    assert f"going on from {before.name}" in said(deployed, again)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_second_server_on_a_run_directory_is_refused(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = begin(deployed, out, retries=6, retry_pause=2.0)
    # The first would be done before the second is there.
    group = deployed.processes["south"].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        second = deployed.run(resume=str(out))
        until(lambda: "is in use by process" in said(deployed, second), PATIENCE, "the refusal")
    finally:
        os.killpg(group, signal.SIGCONT)
    until_done(deployed, run, out)
    assert (out / "synthetic.csv").read_bytes() == same


@pytest.mark.parametrize("pause", [0, 15])
def test_a_superlink_that_is_killed_comes_back_and_the_run_goes_on(
    pause: int, deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    """With a database it still knows its sites, and the run has a process of its own."""
    out = tmp_path / "out"
    run = begin(deployed, out)
    deployed.kill("link")
    time.sleep(pause)
    deployed.start_link()
    until(deployed.answers, 60, "the SuperLink listens")
    until_done(deployed, run, out)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_server_that_is_to_end_while_the_superlink_is_away_ends(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    begin(deployed, out)
    server = deployed.server_app()
    deployed.kill("link")
    time.sleep(5)
    server.terminate()
    until(lambda: ended(server), 30, "the server ends")
    assert not in_use(out)
    assert (out / "checkpoints" / f"round-{rounds(out):06d}.safetensors").exists()
    deployed.start_link()
    until(deployed.answers, 60, "the SuperLink listens")
    again = deployed.run(resume=str(out))
    until_done(deployed, again, out)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_server_whose_machine_loses_both_its_services_leaves_no_process(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    """What started it is gone, and so is the SuperLink: nobody is left to tell it to end."""
    out = tmp_path / "out"
    begin(deployed, out)
    server = deployed.server_app()
    deployed.kill("link")
    os.kill(deployed.processes["superexec"].pid, signal.SIGKILL)
    until(lambda: ended(server), 60, "the server ends")
    assert not in_use(out)
    deployed.start_link()
    until(deployed.answers, 60, "the SuperLink listens")
    deployed.start_superexec()
    again = deployed.run(resume=str(out))
    until_done(deployed, again, out)
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_connection_that_is_cut_in_mid_message_loses_nothing(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    """Every connection of a site's is cut after some bytes, of questions and of answers."""
    out = tmp_path / "out"
    deployed.kill("south", signal.SIGTERM)
    with Wire(deployed.port) as wire:
        deployed.start("south", port=wire.port)
        run = begin(deployed, out)
        seen = rounds(out)
        for most in (40_000, 4_000, 700):
            wire.most = most
            for _ in range(5):
                supervise(deployed, wire.port)
                time.sleep(1)
        assert wire.cuts > 3 and rounds(out) < ROUNDS
        wire.most = None
        until_done(deployed, run, out, port=wire.port)
        assert rounds(out) > seen
        deployed.kill("south", signal.SIGTERM)
    deployed.start("south")
    assert (out / "synthetic.csv").read_bytes() == same


def test_a_full_disk_at_the_coordinator_ends_the_run_and_costs_no_round_that_was_kept(
    deployed: Deployed, same: bytes, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "out"
        run = begin(deployed, out)
        filler = fill(disk)
        until_ended(deployed, run, out)
        told = said(deployed, run)
        assert "No space left on device" in told
        kept = sorted((out / "checkpoints").glob("round-*.safetensors"))
        assert kept and not (out / "summary.json").exists()
        filler.unlink()
        again = deployed.run(resume=str(out))
        until_done(deployed, again, out)
        assert (out / "synthetic.csv").read_bytes() == same


def test_plain_supernodes_make_the_same_table(
    tables: dict[str, str], same: bytes, tmp_path: Path
) -> None:
    """Flower's own mode: a process for each message, which runs what comes with a run."""
    with Deployed(tmp_path / "plain", tables, warm=False) as running:
        path, out = tmp_path / "run.toml", tmp_path / "out"
        path.write_text(tomli_w.dumps(configuration()))
        run = running.run(config=str(path), out=str(out))
        until_done(running, run, out)
        assert (out / "synthetic.csv").read_bytes() == same
