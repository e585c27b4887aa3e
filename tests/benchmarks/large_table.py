"""A million rows by 30 columns at ten sites: `init`, agreeing, encoding; time and memory.

    python tests/benchmarks/large_table.py NAME [--rows 1000000] [--backend inline|ray]

The table is made up: amounts, counts, measurements, dates, date-times and categories that depend on
one another, three columns with gaps. `everymode init` is run on it, then `everymode simulate` with
what `init` wrote, until training begins. Seconds are those of the clock and of the processors;
memory is the largest sum over all processes of a run, in which pages that several share count once
(proportional set size). `large_table.json` gets the figures under NAME.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RECORD = Path(__file__).resolve().with_suffix(".json")

TICKS = os.sysconf("SC_CLK_TCK")


def write_table(path: Path, rows: int) -> None:
    """Thirty columns that depend on four numbers that are not written."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rows, 4))
    noise = lambda: rng.normal(size=rows)  # noqa: E731
    columns: dict[str, Any] = {}
    for i in range(8):
        columns[f"amount_{i}"] = np.exp(hidden[:, i % 4] + noise() / 2).round(4) * 100
    for i in range(6):
        columns[f"count_{i}"] = rng.poisson(np.exp(1 + hidden[:, i % 4] / 2))
    for i in range(3):
        columns[f"measured_{i}"] = (hidden[:, i] + noise()).round(6)
    days = np.datetime64("2020-01-01") + rng.integers(0, 1500, (2, rows))
    columns |= {f"day_{i}": own.astype(str) for i, own in enumerate(days)}
    start = np.datetime64("2020-01-01T00:00:00")
    columns["moment"] = (start + rng.integers(0, 10**8, rows)).astype(str)
    for i, size in enumerate((2, 3, 5, 8, 20, 60, 300)):
        place = np.abs(hidden[:, i % 4] + noise()) * size / 4
        names = np.array([f"v{j:03d}" for j in range(size)])
        columns[f"kind_{i}"] = names[np.minimum(place.astype(int), size - 1)]
    columns["sex"] = np.where(rng.random(rows) < 0.5, "F", "M")
    columns["income"] = np.where(hidden[:, 0] > 1, ">50K", "<=50K")
    columns["age"] = np.clip(rng.normal(40, 15, rows).astype(int), 17, 90)
    frame = pd.DataFrame(columns)
    for name in ("amount_1", "count_2", "kind_4"):
        frame.loc[rng.random(rows) < 0.1, name] = None
    frame.to_csv(path, index=False, float_format="%.6g")


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, open_ = [], [root]
    while open_:
        process = open_.pop()
        found.append(process)
        open_ += parents.get(process, [])
    return found


def footprint(root: int) -> tuple[float, float]:
    """Megabytes and processor seconds so far of a process and its descendants."""
    size = spent = 0.0
    for process in family(root):
        home = Path("/proc") / str(process)
        try:
            lines = (home / "smaps_rollup").read_text().splitlines()
            size += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
            fields = (home / "stat").read_text().rpartition(")")[2].split()
            spent += (int(fields[11]) + int(fields[12])) / TICKS
        except OSError:
            continue
    return size, spent


def watched(arguments: list[str], until: str = "") -> dict[str, float]:
    """Runs `everymode` to its end, or until a line begins with `until`; what it took."""
    command = [sys.executable, "-u", "-m", "everymode", *arguments]
    started = time.monotonic()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    most = spent = 0.0
    over = threading.Event()

    def look() -> None:
        nonlocal most, spent
        pause = 0.5
        while not over.wait(pause):
            began = time.monotonic()
            size, seconds = footprint(child.pid)
            most, spent = max(most, size), max(spent, seconds)
            # The kernel holds a process up while it adds up its pages: a twentieth of its time.
            pause = max(0.5, 20 * (time.monotonic() - began))

    watcher = threading.Thread(target=look)
    watcher.start()
    said = []
    assert child.stdout is not None
    for line in child.stdout:
        said.append(line)
        if until and line.startswith(until):
            break
    else:
        if child.wait() or until:
            raise SystemExit("".join(said[-20:]))
    wall = time.monotonic() - started
    over.set()
    watcher.join()
    if until:
        os.killpg(child.pid, signal.SIGINT)
        child.stdout.read()
        child.wait()
    return {
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(spent, 1),
        "megabytes": round(most),
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--backend", choices=["inline", "ray"], default="inline")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-table-") as folder:
        table, config = Path(folder) / "t.csv", Path(folder) / "t.toml"
        write_table(table, options.rows)
        asked = ["--sensitive", "sex", "--target", "income", "-o", str(config)]
        found: dict[str, Any] = {
            "rows": options.rows,
            "backend": options.backend,
            "cores": len(os.sched_getaffinity(0)),
            "file_megabytes": round(table.stat().st_size / 2**20),
            "init": watched(["init", str(table), *asked]),
        }
        run = ["simulate", str(config), "--backend", options.backend]
        found["until_training"] = watched([*run, "--out", str(Path(folder) / "run")], "training")
    # What else the machine did is in the clock's seconds.
    found["load_of_the_machine"] = round(os.getloadavg()[1], 1)
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    known[options.name] = found
    RECORD.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
