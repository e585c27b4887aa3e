"""Strategies side by side on every scenario, and schedules of our own: figures of the README.

    python tests/benchmarks/federation.py --out runs/federation [--jobs 2] [--only grid]
        [--seeds 0,1,2]

Each scenario is an `everymode compare` of its own under --out, three seeds unless told, one
thread a run; what is there already is kept. The results, without the runs' own folders, go to
`federation.json` beside this script. All strategies of a scenario have the budget that its entry
says.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SOME = "pooled,everymode,fedgan,md_gan,fed_tgan,fegan,ua_gan,local"
MAIN = "everymode,fedgan,md_gan,fed_tgan,fegan,dp_fedavg_gan,local"
SHORT = ("train.rounds=60", "train.critic_steps=6")
"""A fifth of the preset's exchanges with half of its critic steps: a minute a run on one core."""

TOLD = ("data.condition=group_and_label",)
"""What is told to ours, clusters included, is told to rivals too."""

EVERY = "train.rounds={0} train.critic_steps={1} train.generator_steps={1}"

AVERAGED, FROZEN = "federation.statistics=averaged", "federation.statistics=frozen"

COMPARISONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # The full matrix.
    "grid": ("grid", "all", ()),
    # Strategies that came later, in the same budget.
    "grid-dyn-nova": ("grid", "feddyn,fednova", ()),
    "lost-class": ("lost-class", "all", ()),
    # What is told decides most: rivals with our condition, ours without its clusters.
    "grid-told": ("grid", "fedgan,md_gan,fed_tgan,dp_fedavg_gan,own_critics", TOLD),
    "grid-without-clusters": ("grid", "pooled,everymode", ("data.clusters=0",)),
    "grid-160": ("grid", "pooled,everymode,fedgan", ("train.rounds=160",)),
    # On one site the split does not matter: `pooled` serves all splits of the table. Results of
    # `adult`, `-told`, `-without-matching`, `-1` and `-8` are from before trained generators were
    # held to shares of categories, which `adult-calibrated` brought; `adult-projected` added the
    # projection, `adult-binned` numbers in bins. Splits, `-sampled`, `schedule-*` and what is ours
    # and pooled in `*-full` have all of it; `-kernel` and `-sliced` the shares; the other terms of
    # the loss the projection too.
    "adult": ("adult", f"pooled,{MAIN}", SHORT),
    "adult-told": ("adult", "fedgan,md_gan,dp_fedavg_gan,own_critics", (*SHORT, *TOLD)),
    "adult-without-matching": ("adult", "pooled,everymode", (*SHORT, "model.matching=0")),
    "digits-class": ("digits-class", SOME, ()),
    "adult-group": ("adult-group", "everymode", SHORT),
    # Steps of each player between exchanges, four hundred in all.
    "grid-1": ("grid", "everymode", (*EVERY.format(400, 1).split(), AVERAGED)),
    "grid-2": ("grid", "everymode", (*EVERY.format(200, 2).split(), AVERAGED)),
    "grid-8": ("grid", "everymode", (*EVERY.format(50, 8).split(), AVERAGED)),
    "grid-16": ("grid", "everymode", (*EVERY.format(25, 16).split(), AVERAGED)),
    "grid-averaged": ("grid", "everymode", (AVERAGED,)),
    "grid-16-frozen": ("grid", "everymode", (*EVERY.format(25, 16).split(), FROZEN)),
    # The same on Adult, 480 in all.
    "adult-1": ("adult", "pooled,everymode", tuple(EVERY.format(480, 1).split())),
    "adult-8": ("adult", "everymode", tuple(EVERY.format(60, 8).split())),
    "adult-16": ("adult", "everymode", tuple(EVERY.format(30, 16).split())),
    # The best use of a number of exchanges: critic and generator steps in each, batches, rates.
    # `adult-long` and `adult` (figures.json) are 1,000 and 300 exchanges of 12 and 8 steps.
    **{
        f"schedule-{rounds}-{critic}-{generator}{name}": (
            "adult",
            "everymode",
            tuple(
                f"train.{key}={value}"
                for key, value in (
                    ("rounds", rounds),
                    ("critic_steps", critic),
                    ("generator_steps", generator),
                )
            )
            + keys,
        )
        for rounds, critic, generator, name, keys in (
            *((100, 12, 8, "", ()), (100, 12, 24, "", ()), (100, 24, 16, "", ())),
            *((100, 36, 24, "", ()), (300, 6, 4, "", ()), (300, 12, 4, "", ())),
            *((300, 24, 16, "", ()), (1000, 4, 3, "", ())),
            (100, 12, 8, "-batch-500", ("train.batch=500",)),
            (100, 12, 8, "-rates-2", ("model.critic_rate=2e-3", "model.generator_rate=4e-3")),
        )
    },
    # What is said to help against drift, at eight steps.
    **{
        f"grid-8-{name}": ("grid", "everymode", (*EVERY.format(50, 8).split(), *key.split()))
        for name, key in {
            "frozen": FROZEN,
            "controls": f"federation.control_variates=true {AVERAGED}",
            "proximal": f"federation.proximal=0.01 {AVERAGED}",
            "momentum": f"federation.optimizer=momentum federation.rate=0.5 {AVERAGED}",
            "glide": f"federation.glide=true {AVERAGED}",
        }.items()
    },
    "adult-minimax": (
        "adult",
        "everymode",
        (*SHORT, "groups.weights=minimax", "data.held_out=0.1", "groups.minimax_every=5"),
    ),
    # Terms of the generator's loss, and categories held to their shares.
    "adult-calibrated": ("adult", "pooled,everymode", SHORT),
    "adult-projected": ("adult", "pooled,everymode", SHORT),
    "adult-binned": ("adult", "pooled,everymode", SHORT),
    "adult-kernel": ("adult", "everymode", (*SHORT, "model.matching_by=kernel")),
    "adult-sliced": ("adult", "everymode", (*SHORT, "model.matching_by=sliced")),
    "adult-bias-head": ("adult", "everymode", (*SHORT, "fairness.bias_head=1")),
    "adult-multipliers": ("adult", "everymode", (*SHORT, "model.multipliers=true")),
    "adult-penalty-by-class": ("adult", "everymode", (*SHORT, "model.penalty_by_class=true")),
    "adult-sampled": ("adult", "everymode", (*SHORT, "federation.sites_per_round=5")),
    "adult-alpha-0.1": ("adult-alpha-0.1", "everymode", SHORT),
    "adult-alpha-1": ("adult-alpha-1", "everymode", SHORT),
    "adult-50": ("adult-50", "everymode", SHORT),
    "adult-200": ("adult-200", "everymode", (*SHORT, "federation.sites_per_round=20")),
    "ring": ("ring", "all", ()),
    "lines": ("lines", "all", ()),
    "adult-quantity": ("adult-quantity", "everymode", SHORT),
    "digits-style": ("digits-style", SOME, ()),
    "adult-frozen": ("adult", "everymode", (*SHORT, FROZEN)),
    # The preset's own budget: five minutes a run on one core.
    "adult-full": ("adult", f"pooled,{MAIN}", ()),
    "adult-group-full": ("adult-group", MAIN, ()),
    "adult-quantity-full": ("adult-quantity", MAIN, ()),
    # Trained since `compare` holds the rows equal that critics see (`train.exact_batch`): 250 a
    # step here. All others were trained before, with what `train.site_minimum` adds.
    "adult-exact": ("adult", "everymode", ()),
    "adult-group-exact": ("adult-group", "everymode", ()),
    "adult-quantity-exact": ("adult-quantity", "everymode", ()),
    # The schedule that did best at 100 exchanges, on a harder split than it was found on.
    "adult-group-100-12-24": (
        "adult-group",
        "everymode",
        ("train.rounds=100", "train.critic_steps=12", "train.generator_steps=24"),
    ),
    "digits-style-without-clusters": (
        "digits-style",
        "pooled,everymode",
        ("data.clusters=0",),
    ),
}

RESULTS = Path(__file__).with_suffix(".json")


def compact(found: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a `compare.json`: mean, spread and runs of every figure."""
    return {
        "overrides": found["overrides"],
        "seeds": found["seeds"],
        "budget": found["budget"],
        "strategies": {
            row["name"]: {
                "critic_rows": row["budget"]["critic_rows"],
                "failed": [
                    run["error"] or run["status"]
                    for run in row["runs"]
                    if run["status"] != "finished"
                ],
                "insufficient": row["insufficient"],
                "figures": {
                    key: {name: _rounded(value[name]) for name in ("mean", "std", "n")}
                    for key, value in row["figures"].items()
                },
            }
            for row in found["strategies"]
        },
        "versions": found["versions"],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def main() -> None:
    """Runs what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--only", action="append", choices=sorted(COMPARISONS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--collect", action="store_true", help="train nothing, read what is there")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.only or COMPARISONS:
        config, strategies, overrides = COMPARISONS[name]
        folder = options.out / name
        if not options.collect:
            command = [sys.executable, "-m", "everymode.simulations.cli", "compare", config]
            command += ["--strategies", strategies, "--seeds", options.seeds]
            command += ["--jobs", options.jobs]
            command += [part for key in overrides for part in ("--set", key)]
            subprocess.run([*command, "--out", str(folder)], check=True)
        file = folder / "compare.json"
        if file.exists():
            results[name] = compact(json.loads(file.read_text()))
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
