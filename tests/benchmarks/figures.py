"""The figures of the README: presets, seeds and ablations, one after another, resumable.

    python tests/benchmarks/figures.py --work DIR [--only adult long ...] [--seeds 0 1 2]

Every run is `everymode simulate` as a user calls it. A run whose summary exists is not repeated.
`figures.json` beside this script gets, per row, the mean, the sample standard deviation and the
single values over seeds; a seed changes the split over sites, the first weights and every draw.

Rates, steps and the weight of matching were chosen beforehand in short runs of a prototype, over
another split into sites, scored on the same held-out file: the differences they were chosen by
(.02 and more in AUC) are far above what is at stake between seeds, but the held-out figures are not
those of an untouched test.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "adult": ("adult", ()),
    "long": ("adult-long", ()),
    "long-pooled": ("adult-long", ("strategy=pooled",)),
    "adult-pooled": ("adult", ("strategy=pooled",)),
    # Without bins of numbers, as it was before there were any (nor columns that follow).
    "adult-without-bins": ("adult", ("model.bins=0",)),
    "long-without-bins": ("adult-long", ("model.bins=0",)),
    # Without the projection onto second moments at the end; those below are from before it.
    "adult-unprojected": ("adult", ("model.projection=false",)),
    "long-unprojected": ("adult-long", ("model.projection=false",)),
    # What matching does without a critic that learns, and the critic without matching at the
    # steadier rates that it needs then.
    "adult-moments-only": ("adult", ("model.critic_rate=1e-12", "model.matching=10")),
    "adult-critic-only": (
        "adult",
        (
            "model.matching=0",
            "model.critic_rate=5e-4",
            "model.generator_rate=5e-4",
            "train.generator_steps=4",
        ),
    ),
    "adult-sites-generator": ("adult", ("federation.generator=sites",)),
}

FIGURES = {
    "auc_linear": lambda s: s["utility"]["synthetic"]["logistic"],
    "auc_trees": lambda s: s["utility"]["synthetic"]["boosted_trees"],
    "auc_linear_real": lambda s: s["utility"]["real"]["logistic"],
    "auc_trees_real": lambda s: s["utility"]["real"]["boosted_trees"],
    "tv_mean": lambda s: s["tv_mean"],
    "ks_mean": lambda s: s["ks_mean"],
    "coverage_group_min": lambda s: s["coverage_group_min"],
    "groups_lost": lambda s: sum(
        g["rows_synthetic"] == 0 < g["rows_real"] for g in s["per_group"].values()
    ),
    "wall_seconds": lambda s: s["wall_seconds"],
    "megabytes_up": lambda s: s["bytes_up"] / 1e6,
    "megabytes_down": lambda s: s["bytes_down"] / 1e6,
}


def run(name: str, seed: int, work: Path) -> dict[str, Any]:
    """One run; its summary."""
    preset, overrides = ROWS[name]
    folder = work / f"{name}-{seed}"
    summary = folder / "summary.json"
    if not summary.exists():
        sets = [part for o in (f"seed={seed}", *overrides) for part in ("--set", o)]
        command = [
            sys.executable,
            "-m",
            "everymode.simulations.cli",
            "simulate",
            preset,
            *sets,
            "-q",
        ]
        going_on = any((folder / "checkpoints").glob("*.safetensors"))
        if going_on:
            command = [sys.executable, "-m", "everymode.simulations.cli", "simulate", "-q"]
        target = ["--resume", str(folder)] if going_on else ["--out", str(folder)]
        subprocess.run([*command, *target], check=True, cwd=HERE.parents[1])
    value: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return value


def main() -> None:
    """Runs what is asked for and writes what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    path = HERE / "figures.json"
    table: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only:
        summaries = []
        for seed in arguments.seeds:
            summaries.append(run(name, seed, arguments.work))
            table[name] = {
                "preset": ROWS[name][0],
                "set": list(ROWS[name][1]),
                "seeds": [s["seed"] for s in summaries],
                "rounds": summaries[0]["rounds"],
                "versions": summaries[0]["versions"],
                **{
                    figure: spread([read(s) for s in summaries]) for figure, read in FIGURES.items()
                },
            }
            path.write_text(json.dumps(table, indent=1) + "\n")
            print(name, seed, {f: round(read(summaries[-1]), 4) for f, read in FIGURES.items()})


def spread(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": round(statistics.mean(values), 5),
        "deviation": None if deviation is None else round(deviation, 5),
        "values": [round(v, 5) for v in values],
    }


if __name__ == "__main__":
    main()
