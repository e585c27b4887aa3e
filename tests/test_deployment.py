"""Between real processes: SuperLink, four SuperNodes, TLS, registered keys, files and databases.

No mocks, no simulation. What happens when they fail: `tests/test_faults.py`.
"""

import contextlib
import importlib.util
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w

from everymode.clients.gate.noise import SECRET, write_secret
from everymode.clients.site import Site
from everymode.server.app import deployed_columns
from everymode.server.config.files import parse
from everymode.server.in_process import simulate
from everymode.server.outputs.locks import InUseError, locked
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.session import Session
from everymode.server.transport.exchange import InProcess
from tests.conftest import TINY, TRAINING_ALONE
from tests.databases import PASSWORD, USER, binaries, postgres, write_duckdb, write_sqlite
from tests.deployed import Deployed, until, write_key
from tests.federated import people

NAMES = ("north", "south", "east", "west")
"""Two hold files; east's table lies in DuckDB, west's in PostgreSQL."""

CONFIG: dict[str, Any] = {
    "data": {"sensitive": ["sex"], "target": "income"},
    "deployment": {"sites": list(NAMES), "columns": ["age", "job", "sex", "income"]},
    **TINY,
}
PATIENCE = 600.0
"""Seconds for a run; idle cores need a tenth."""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data") / "tables"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        people(90 + 30 * number, number).to_csv(folder / f"{name}.csv", index=False)
    return {name: folder / f"{name}.csv" for name in NAMES}


@pytest.fixture(scope="module")
def sources(tables: dict[str, Path]) -> Iterator[dict[str, str]]:
    """What each site is told of its table. Without PostgreSQL's server, west's lies in SQLite."""
    frames = {name: pd.read_csv(path) for name, path in tables.items()}
    folder = next(iter(tables.values())).parent.parent
    found = {name: str(path) for name, path in tables.items()}
    if importlib.util.find_spec("duckdb") is not None:
        write_duckdb(frames["east"], folder / "east.duckdb")
        found["east"] = f"duckdb:///{folder / 'east.duckdb'}#people"
    with contextlib.ExitStack() as stack:
        if binaries() is None or importlib.util.find_spec("psycopg") is None:
            write_sqlite(frames["west"], folder / "west.db")
            found["west"] = f"sqlite:///{folder / 'west.db'}#people"
        else:
            server = stack.enter_context(postgres())
            stack.enter_context(pytest.MonkeyPatch.context()).setenv(
                "EVERYMODE_TEST_PASSWORD", PASSWORD
            )
            server.owner(as_sql(frames["west"]))
            found["west"] = f"{server.url}#select age, job, sex, income from people order by id"
        yield found


def as_sql(frame: pd.DataFrame) -> str:
    """Makes the table `people` in PostgreSQL, with a key that says the rows' order."""
    rows = ",".join(
        f"({i}, {row.age}, '{row.job}', '{row.sex}', '{row.income}')"
        for i, row in enumerate(frame.itertuples())
    )
    return (
        "create table people (id integer primary key, age bigint, job text, sex text, income text);"
        f"insert into people values {rows}; grant select on people to {USER};"
    )


@pytest.fixture(scope="module")
def deployed(
    sources: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    with Deployed(tmp_path_factory.mktemp("deployed"), sources) as running:
        yield running
    assert not running.left(), "processes outlive the deployment"


def configured(deployed: Deployed, rounds: int, **sections: Any) -> dict[str, Any]:
    values = {**CONFIG, "train": {**CONFIG["train"], "rounds": rounds}, **sections}
    (deployed.folder / "run.toml").write_text(tomli_w.dumps(values))
    return values


def expected(values: dict[str, Any], tables: dict[str, Path], out: Path) -> bytes:
    pooled = {key: value for key, value in values.items() if key != "deployment"}
    pooled["data"] = {**values["data"], "path": str(next(iter(tables.values())).parent)}
    return simulate(parse(pooled), out).folder.synthetic.read_bytes()


def until_finished(deployed: Deployed, run: str, out: Path) -> None:
    """Waits for a run's results; one that failed shows what it said."""

    def over() -> bool:
        assert deployed.processes["link"].poll() is None, deployed.logs()
        if (out / "summary.json").exists():
            return True
        waited[0] += 1
        if waited[0] % 200 == 0 and "finished" in deployed.status(run):
            pytest.fail(deployed.flwr("log", "--show", run, "here") + deployed.logs())
        return False

    waited = [0]
    until(over, PATIENCE, "results")


def rounds(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def held(out: Path) -> bool:
    """Whether a process works in a run directory."""
    try:
        with locked(out):
            return False
    except InUseError:
        return True


def test_the_table_is_that_of_a_run_in_process(
    deployed: Deployed, tables: dict[str, Path], tmp_path: Path
) -> None:
    values, out = configured(deployed, 3), tmp_path / "out"
    run = deployed.run(config=str(deployed.folder / "run.toml"), out=str(out))
    until_finished(deployed, run, out)
    assert (out / "synthetic.csv").read_bytes() == expected(values, tables, tmp_path / "same")
    # Nobody unpacks at a site what came with the run.
    assert not list(deployed.folder.glob("home-*/apps"))
    # The copies that sites on databases made, and no password in any log.
    copies = {p.parents[1].name for p in deployed.folder.glob("work-*/*/database/*.parquet")}
    assert {"east", "west"} - copies <= {n for n in ("east",) if "#" not in deployed.tables[n]}
    assert not any(PASSWORD in deployed.log(name) for name in (*NAMES, "link"))


MASKED = {
    # A site answers each question of a plan once, so that each run here has a seed of its own.
    "seed": 1,
    "model": {**TINY["model"], **TRAINING_ALONE, "trees": 0},
    "federation": {**TINY.get("federation", {}), "sums_only": True},
    "secure": {"summation": "masked"},
}


def test_masked_sums_make_the_same_table_and_show_no_site(
    deployed: Deployed, tables: dict[str, Path], tmp_path: Path
) -> None:
    """Keys that sites were registered with sign; the run without masks in one process compares."""
    values, out = configured(deployed, 1, **MASKED), tmp_path / "out"
    run = deployed.run(config=str(deployed.folder / "run.toml"), out=str(out))
    until_finished(deployed, run, out)
    plain = {**values, "secure": {"summation": "none"}}
    assert (out / "synthetic.csv").read_bytes() == expected(plain, tables, tmp_path / "same")
    for name in NAMES:
        (log,) = deployed.folder.glob(f"work-{name}/*/log.jsonl")
        mine = [json.loads(line) for line in log.read_text().splitlines()]
        assert mine[-1]["masked"], "the last that left, left masked"
        # Nothing of a session stays once its run is over; sites hear of that after the results.
        secure = log.parent / "secure"
        until(lambda s=secure: os.listdir(s) == ["survivors.txt"], 30, f"{name} forgets")


PRIVATE: dict[str, Any] = {
    "seed": 3,
    "data": {
        **CONFIG["data"],
        "columns": {
            "age": {"kind": "integer", "low": 17, "high": 90},
            "job": {"kind": "category", "categories": ["clerk", "smith"]},
            "sex": {"kind": "category", "categories": ["f", "m"]},
            "income": {"kind": "category", "categories": ["high", "low"]},
        },
    },
    "groups": {"weights": "share"},
    "model": {**TINY["model"], "critic_trees": 3},
    "federation": {"critic": "none", "sums_only": True},
    "privacy": {"epsilon": 20.0, "delta": 1e-4},
}


@pytest.mark.nightly
def test_sites_draw_the_noise_of_a_private_run_from_secrets_of_their_own(
    deployed: Deployed, tables: dict[str, Path], tmp_path: Path
) -> None:
    """Sites in this process that are given these secrets afterwards answer to the bit alike."""
    values, out = configured(deployed, 2, **PRIVATE), tmp_path / "out"
    run = deployed.run(config=str(deployed.folder / "run.toml"), out=str(out))
    until_finished(deployed, run, out)
    secrets = {name: deployed.folder / f"work-{name}" / name / SECRET for name in NAMES}
    assert len({path.read_bytes() for path in secrets.values()}) == len(NAMES)
    assert not (out / SECRET).exists(), "the coordinator has none"
    settings, sites = parse(values), []
    for name in NAMES:
        sites.append(Site(name, tables[name], tmp_path / "work" / name))
        write_secret(sites[-1].workspace, secrets[name].read_bytes())
    here = RunFolder(tmp_path / "here", True)
    with here.locked():
        here.create(settings)
        Session(
            settings=settings,
            folder=here,
            exchange=InProcess(sites),
            columns=deployed_columns(settings),
            form=settings.data.form,
        )()
    for name in ("synthetic.csv", "privacy.json", "schema.json"):
        assert (out / name).read_bytes() == (here.path / name).read_bytes(), name
    value = json.loads((out / "privacy.json").read_text())
    assert value["guarantee"]["epsilon"] <= 20.0 and not value["guarantee"]["known_seed"]
    assert [e["task"] for e in value["releases"] if e["protection"] == "noised"] == [
        *("ranks", "moments", "leaves")
    ]


@pytest.mark.nightly
def test_a_public_key_that_is_not_the_sites_ends_the_run_before_training(
    deployed: Deployed, tmp_path: Path
) -> None:
    configured(deployed, 1, **MASKED)
    key, out = deployed.folder / "east.pub", tmp_path / "out"
    own = key.read_bytes()
    key.write_bytes((deployed.folder / "west.pub").read_bytes())
    try:
        run = deployed.run(config=str(deployed.folder / "run.toml"), out=str(out))
        until(lambda: "finished" in deployed.status(run), PATIENCE, "the run ends")
    finally:
        key.write_bytes(own)
    said = " ".join(deployed.flwr("log", "--show", run, "here").split())
    assert "the keys that came as those of site 'east' were not signed by it" in said
    assert not (out / "synthetic.csv").exists()


def test_a_site_with_a_key_that_is_not_registered_is_refused(deployed: Deployed) -> None:
    write_key(deployed.folder / "stranger")
    deployed.tables["stranger"] = "stranger.csv"
    deployed.start("stranger")
    try:
        assert deployed.processes["stranger"].wait(120) != 0
        assert "2004" in deployed.log("stranger") or "not registered" in deployed.log("stranger")
    finally:
        del deployed.tables["stranger"], deployed.processes["stranger"]


@pytest.mark.nightly
def test_a_site_that_comes_back_and_a_run_that_is_stopped_lose_nothing(
    deployed: Deployed, tables: dict[str, Path], tmp_path: Path
) -> None:
    """A site ends in mid-run and starts again; then `flwr stop`, and the run goes on."""
    values, out = configured(deployed, 8), tmp_path / "out"
    run = deployed.run(config=str(deployed.folder / "run.toml"), out=str(out))
    until(lambda: rounds(out) >= 2, PATIENCE, "two rounds")
    deployed.kill("south", signal.SIGTERM)
    deployed.start("south")
    seen = rounds(out)

    def went_on() -> bool:
        # As a supervisor does: one that comes too early is refused, and ends.
        if deployed.processes["south"].poll() is not None:
            deployed.start("south")
        return rounds(out) >= seen + 2

    until(went_on, PATIENCE, "rounds after the site's return")
    deployed.flwr("stop", run, "here")
    until(lambda: not held(out), 120, "the run ends")
    assert (out / "checkpoints" / f"round-{rounds(out):06d}.safetensors").exists()
    assert not (out / "synthetic.csv").exists()
    again = deployed.run(resume=str(out))
    until_finished(deployed, again, out)
    assert (out / "synthetic.csv").read_bytes() == expected(values, tables, tmp_path / "same")
