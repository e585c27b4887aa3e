"""Whether rows of a small table are found: 700 rows of the built-in table over six sites.

    python tests/benchmarks/small_tables.py --work DIR [--only NAME ...] [--seeds 0 1 2]

For each seed other rows are drawn to train on, and 6,000 others to attack with; the networks and
rounds are those of the preset `quick` but for what a row of the table sets. `fresh` is no generator
at all: rows that nothing was trained on, which is what chance gives. Membership by the nearest row
and by a density ratio, over all rows and over the tenth most isolated, as `everymode attack` has
it. What exists in DIR is not made again; `small_tables.json` gets mean, standard error and values.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from everymode.fairness.attacks.findings import ALL, ISOLATED
from everymode.fairness.attacks.limits import AttackEffort
from everymode.fairness.attacks.membership import ATTACKS, score_all
from everymode.fairness.attacks.rows import Rows
from everymode.fairness.attacks.suite import find_groups, membership_findings
from everymode.fairness.metrics.coverage import embed
from everymode.fairness.metrics.streams import stream
from everymode.simulations.compare.cart import cart_rows
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.frame import read_table

HERE = Path(__file__).resolve().parent
RECORD = HERE / "small_tables.json"
ROWS, OTHERS, MADE, SITES = 700, 6000, 700, 6
TARGET = "income"

VARIANTS: dict[str, tuple[str, ...] | None] = {
    "fresh": None,
    "cart, leaves of 5": None,
    "cart, leaves of 30": None,
    "as configured": (),
    "no projection": ("model.projection=false",),
    "no projection, no marginals": ("model.projection=false", "model.marginals=false"),
    "no sums of moments": ("model.matching=0",),
    "no critic, sums alone": ("train.rounds=1",),
    "no bins": ("model.bins=0",),
    "trees": ("model.trees=2",),
    "trees, leaves of 30": ("model.trees=2", "model.tree_leaf=30"),
    "critic trees": ("model.critic_trees=300",),
}
"""What is set on top of the preset; None: made without the product."""


def tables(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Rows to train on, others to attack with, and fresh ones."""
    data = HERE.parents[1] / "simulations" / "data"
    frame = pd.concat(
        [read_table(data / f"adult-{part}.csv.gz") for part in ("train", "test")],
        ignore_index=True,
    ).drop(columns=["fnlwgt", "native-country"])
    order = stream(seed, "small tables").permutation(len(frame))
    parts = np.split(order, np.cumsum([ROWS, OTHERS, MADE]))
    one, two, three = (frame.iloc[places].reset_index(drop=True) for places in parts[:3])
    return one, two, three


def made(name: str, seed: int, work: Path, rows: int) -> pd.DataFrame:
    """The synthetic table of a variant."""
    members, _, fresh = tables(seed)
    if name == "fresh":
        return fresh
    if name.startswith("cart"):
        leaf = int(name.split()[-1])
        rng = stream(seed, name)
        return cart_rows(members, fit_schema(members), ("sex", TARGET), rows, rng, leaf)
    run = work / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    if not (run / "summary.json").exists():
        path = work / f"members-{seed}.csv"
        if not path.exists():
            members.to_csv(path, index=False)
        sets = (
            f"seed={seed}",
            f"data.path={path}",
            "data.drop=[]",
            f"split.sites={SITES}",
            f"output.rows={rows}",
            *(VARIANTS[name] or ()),
        )
        words = [part for one in sets for part in ("--set", one)]
        command = [sys.executable, "-m", "everymode", "simulate", "quick", *words]
        command += ["--out", str(run), "--backend", "inline", "-q"]
        subprocess.run(command, check=True)
    return read_table(run / "synthetic.csv")


def attacked(name: str, seed: int, work: Path, rows: int) -> dict[str, dict[str, float]]:
    """Areas under the ROC curves of membership attacks, by attack and rows."""
    members, others, _ = tables(seed)
    synthetic = made(name, seed, work, rows)
    schema = fit_schema(pd.concat([members, others], ignore_index=True))
    # Ranks among all real rows, of which none shows which were trained on.
    every = pd.concat([members, others], ignore_index=True)
    points = [embed(frame[list(schema.names)], schema, every) for frame in (members, others)]
    one_group = [np.zeros(len(own), dtype=np.int64) for own in points]
    rng = stream(seed, "membership")
    target = embed(synthetic[list(schema.names)], schema, every)
    scores = score_all(Rows(points[0]), Rows(points[1]), target, one_group, OTHERS, rng)
    effort, found = AttackEffort(rows=OTHERS), {}
    groups = list(find_groups(schema, members, others, ()))
    for attack in ATTACKS:
        for one in membership_findings(scores, attack, groups, effort, 0.0, 0.95, seed):
            part = {ALL: "all", ISOLATED: "isolated"}[one.group]
            found[f"{attack}, {part}"] = asdict(one.auc)
    return found


def main() -> None:
    """Makes and attacks what is asked for, and writes what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(20)))
    parser.add_argument("--rows", type=int, default=MADE, help="synthetic rows of each table")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for seed in options.seeds:
        for name in options.only:
            own = record.setdefault(name, {"set": list(VARIANTS[name] or ()), "values": {}})
            for figure, value in attacked(name, seed, options.work, options.rows).items():
                own["values"].setdefault(figure, {})[str(seed)] = round(value["value"], 4)
            for figure, values in own["values"].items():
                known = list(values.values())
                error = statistics.stdev(known) / math.sqrt(len(known)) if known[1:] else None
                own[figure] = {
                    "mean": round(statistics.mean(known), 4),
                    "error": None if error is None else round(error, 4),
                    "seeds": len(known),
                }
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
            print(seed, name, {f: own["values"][f][str(seed)] for f in own["values"]}, flush=True)


if __name__ == "__main__":
    main()
