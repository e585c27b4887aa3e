"""Parity of a target that is a number: the gap over groups in the bins of `age`, by level.

    python tests/benchmarks/parity_of_numbers.py --out runs/parity-of-numbers [--jobs 2]

`told`: the generator is told group and bin, and rows are asked for in another mixture. `made`: it
is told the group only and makes the number itself, drawn by a penalty. Sixty exchanges of six steps
over ten sites, three seeds, a thread a run; finished runs are kept. Results go to
`parity_of_numbers.json`: the largest difference in a bin's share between two values of a feature,
in real and synthetic rows, and R2 on held-out real rows.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SHORT = ("train.rounds=60", "train.critic_steps=6")
CONDITIONS = {"told": "group_and_label", "made": "group"}
LEVELS: dict[str, tuple[float | str, ...]] = {"told": ("none", 0.0), "made": ("none", 0.0, 1.0)}
SEEDS = (0, 1, 2)
RESULTS = Path(__file__).with_suffix(".json")


def trained(out: Path, who: str, level: float | str, seed: int) -> dict[str, Any]:
    """One run's record; it is trained unless it is there."""
    folder = out / f"{who}-{level}-{seed}"
    if not (folder / "summary.json").exists():
        keys = [*SHORT, "data.target=age", f"data.condition={CONDITIONS[who]}", f"seed={seed}"]
        if level != "none":
            keys += ["fairness.parity=demographic", f"fairness.parity_level={level}"]
        command = [sys.executable, "-m", "everymode.simulations.cli", "simulate"]
        if folder.exists():
            command += ["--resume", str(folder)]
        else:
            command += ["adult", "--out", str(folder)]
            command += [word for key in keys for word in ("--set", key)]
        command += ["--backend", "inline", "--quiet"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    summary = json.loads((folder / "summary.json").read_text())
    parity, utility = summary.get("parity", {}), summary["utility"]
    return {
        "generator": who,
        "level": level,
        "seed": seed,
        "gaps_real": parity.get("gaps_real"),
        "gaps_made": parity.get("gaps_made"),
        "coverage_group_min": summary["coverage_group_min"],
        "r2": {by: [u["logistic"], u["boosted_trees"]] for by, u in utility.items()},
    }


def main() -> None:
    """Trains what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    wanted = [(options.out, w, lv, s) for s in SEEDS for w in CONDITIONS for lv in LEVELS[w]]
    with ThreadPoolExecutor(options.jobs) as pool:
        records = list(pool.map(lambda one: trained(*one), wanted))
    RESULTS.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
