"""Seconds of an exchange between real processes, besides training.

    python tests/benchmarks/deployment_speed.py --work DIR [--exchanges 100] [--masked]

A SuperLink and three SuperNodes on the loopback interface, with TLS and registered keys, sites by
`everymode site serve`. Two runs: a table of a few hundred rows and networks of one small layer,
whose training takes milliseconds, so that an exchange is all that is measured; and `adult` over
three sites with the networks and the steps of its preset, 12 and 24. Each is made in process as
well, and the tables must be equal. `deployment_speed.json` beside this script gets the results. Run
it alone: what else runs is given by the load before it, and seconds grow with it; CPU seconds of an
exchange hardly do.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tomli_w

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from everymode.server.config.files import load, parse, resolve  # noqa: E402
from everymode.server.in_process import simulate  # noqa: E402
from everymode.wgan.data.frame import read_table  # noqa: E402
from tests.deployed import OURS, Deployed, until  # noqa: E402

RESULTS = Path(__file__).with_suffix(".json")
SITES = ("north", "south", "east")
PATIENCE = 1800.0


def deal(table: Any, folder: Path) -> dict[str, str]:
    """A third of the rows for each site."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(0).permutation(len(table))
    for name, rows in zip(SITES, np.array_split(order, len(SITES)), strict=True):
        table.iloc[np.sort(rows)].to_csv(folder / f"{name}.csv", index=False)
    return {name: str(folder / f"{name}.csv") for name in SITES}


def small(exchanges: int) -> tuple[Any, dict[str, Any]]:
    """A table and a configuration that hardly train."""
    rng = np.random.default_rng(0)
    import pandas as pd

    rows = 300
    table = pd.DataFrame(
        {
            "age": rng.integers(17, 90, rows),
            "job": rng.choice(["clerk", "smith"], rows),
            "sex": rng.choice(["f", "m"], rows),
            "income": rng.choice(["high", "low"], rows),
        }
    )
    return table, {
        "data": {"sensitive": ["sex"], "target": "income"},
        "model": {"generator_hidden": [16], "critic_hidden": [16], "noise": 8},
        "train": {
            **{"rounds": exchanges, "critic_steps": 1, "generator_steps": 1},
            **{"batch": 20, "generator_batch": 20},
        },
    }


def adult(exchanges: int) -> tuple[Any, dict[str, Any]]:
    """The built-in table, as the preset trains on it."""
    preset = load("adult").model_dump(mode="json", exclude_defaults=True)
    table = read_table(resolve("builtin:adult-train.csv.gz"))
    train = {**preset["train"], "rounds": exchanges, "critic_steps": 12, "generator_steps": 24}
    return table, {
        "seed": 0,
        "data": {"sensitive": ["sex", "race"], "target": "income"},
        # What comes after training is the coordinator's alone, and asks sites hardly anything.
        "model": {**preset["model"], "projection": False, "marginals": False, "trees": 0},
        "train": train,
    }


def seconds(out: Path) -> list[float]:
    """Seconds of every exchange but the first."""
    rows = (out / "metrics.jsonl").read_text().splitlines()
    return [float(json.loads(row)["seconds"]) for row in rows][1:]


def processor(deployed: Deployed) -> dict[str, float]:
    """CPU seconds of the coordinator's services, of the server and of a site, so far."""
    total = {"superlink": 0.0, "server": 0.0, "site": 0.0}
    for name, process in deployed.processes.items():
        for each in (found := psutil.Process(process.pid), *found.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times, server = each.cpu_times(), "flwr-serverapp" in " ".join(each.cmdline())
                spent = times.user + times.system
                what = "server" if server else "superlink" if name in OURS else "site"
                total[what] += spent / (len(SITES) if what == "site" else 1)
    return total


def rounds(out: Path) -> int:
    """Exchanges so far."""
    path = out / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def measure(case: Any, exchanges: int, masked: bool, work: Path) -> dict[str, Any]:
    """One case, deployed and in process."""
    table, values = case(exchanges)
    tables = deal(table, work / "tables")
    if masked:
        values["federation"] = {"sums_only": True}
        values["secure"] = {"summation": "masked"}
    load_before = os.getloadavg()[0]
    columns = [str(name) for name in table.columns]
    deployment = {"sites": list(SITES), "columns": columns}
    with Deployed(work / "deployed", tables, apart=True) as deployed:
        config, out = work / "run.toml", work / "out"
        config.write_text(tomli_w.dumps({**values, "deployment": deployment}))
        until(lambda: "SuperNode ID" in deployed.log("east"), 120, "the sites connect")
        started, between = time.monotonic(), list[tuple[int, dict[str, float]]]()
        run = deployed.run(config=str(config), out=str(out))

        def over() -> bool:
            done = rounds(out)
            # From the third on, when all have started, to the last but one.
            if (not between and done >= 3) or (len(between) == 1 and done >= exchanges - 1):
                between.append((done, processor(deployed)))
            if (out / "summary.json").exists():
                return True
            ended = not int(time.monotonic() - started) % 20 and "finished" in deployed.status(run)
            assert not ended, deployed.flwr("log", "--show", run, "here")
            return False

        until(over, PATIENCE, "results")
        wall = time.monotonic() - started
    started = time.monotonic()
    path = str(work / "tables")
    here = simulate(parse({**values, "data": {**values["data"], "path": path}}), work / "here")
    here_wall = time.monotonic() - started
    assert (out / "synthetic.csv").read_bytes() == here.folder.synthetic.read_bytes()
    exchanged, alone = seconds(out), seconds(work / "here")
    (first, before), (last, after) = between
    spent = {what: (after[what] - before[what]) / (last - first) for what in before}
    return {
        "exchanges": exchanges,
        "masked": masked,
        "rows": len(table),
        "seconds_an_exchange": {
            "median": round(statistics.median(exchanged), 3),
            "quartiles": [round(q, 3) for q in statistics.quantiles(exchanged)[::2]],
            "longest": round(max(exchanged), 3),
        },
        "in_process_seconds_an_exchange": round(statistics.median(alone), 3),
        "besides_training": round(statistics.median(exchanged) - statistics.median(alone), 3),
        "seconds_of_all_exchanges": round(sum(exchanged), 1),
        "seconds_of_the_run": round(wall, 1),
        "in_process_seconds_of_the_run": round(here_wall, 1),
        "cpu_seconds_an_exchange": {what: round(value, 3) for what, value in spent.items()},
        "load_before": round(load_before, 2),
        "equal_tables": True,
    }


def main() -> None:
    """Measures and writes the results, one case after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--exchanges", type=int, default=100)
    parser.add_argument("--cases", nargs="+", default=["small", "small_masked", "adult"])
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.cases:
        case = adult if name.startswith("adult") else small
        masked = name.endswith("_masked")
        results[name] = measure(case, options.exchanges, masked, options.work / name)
        results[name]["cores"] = os.cpu_count()
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        print(name, json.dumps(results[name]))


if __name__ == "__main__":
    main()
