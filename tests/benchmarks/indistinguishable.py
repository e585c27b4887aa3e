"""Whether synthetic Adult can be told from real rows: with and without trees, and CART beside it.

    python tests/benchmarks/indistinguishable.py --work DIR [--only NAME ...] [--seeds 0 1 2]

Every table is made and audited as a user would: `everymode simulate` or `everymode compare`, then
`everymode audit --run`, whose figures for all rows these are. The two baselines see the same split
into ten sites: `cart` pools the rows, `local_cart` is CART at each site alone, tables put together.
What exists in DIR is not made again. `indistinguishable.json` gets mean, sample standard deviation
and single values over seeds; `--readme` prints its table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECORD = HERE / "indistinguishable.json"

ROWS: dict[str, tuple[str, ...]] = {
    "generator": ("model.trees=0",),
    "trees": ("model.trees=2",),
    "trees and critics": ("model.trees=2", "model.critic_trees=300"),
    "critics": ("model.critic_trees=300",),
    "trees, no critic": ("model.trees=2", "federation.critic=none"),
    "trees, no training": ("model.trees=2", "federation.critic=none", "train.rounds=1"),
    "trees, one exchange": ("model.trees=1",),
    "trees, leaves of 30": ("model.trees=2", "model.tree_leaf=30"),
    "trees, unprojected": ("model.trees=2", "model.projection=false"),
    "cart": (),
    "local_cart": (),
}
"""Baselines by their names in `compare`; else what is set on top of the preset `adult`."""

Groups = Mapping[str, Any]


def _estimate(name: str) -> Callable[[Groups], float]:
    return lambda audit: audit["groups"][0][name]["value"]


def _plain(name: str) -> Callable[[Groups], float]:
    return lambda audit: audit["groups"][0][name]


def _auc(learner: str) -> Callable[[Groups], float]:
    return lambda audit: next(
        p["overall"]["auc"]["value"]
        for p in audit["utility"]["predictions"]
        if (p["trained_on"], p["learner"]) == ("synthetic", learner)
    )


def _membership(kind: Callable[[Groups], bool]) -> Callable[[Groups], float]:
    """The largest area of the audit's two attacks, over groups of a kind."""
    names = ("membership_nearest", "membership_density")

    def read(audit: Groups) -> float:
        found = [g[name]["value"] for g in audit["groups"] if kind(g) for name in names]
        return max((value for value in found if value is not None), default=0.5)

    return read


def failures(audit: Groups) -> list[str]:
    """What fails in an audit, and what it fails on."""
    return [f"{c['name']}: {c['subject']}" for c in audit["checks"] if c["verdict"] == "fail"]


FIGURES: dict[str, tuple[str, Callable[[Groups], float]]] = {
    "c2st_trees": ("C2ST trees", _estimate("c2st_trees")),
    "c2st_logistic": ("C2ST logistic", _estimate("c2st_logistic")),
    "tv_triples": ("3-way TV", _plain("tv_triples")),
    "impossible": ("impossible rows", _plain("impossible")),
    "beta_recall": ("beta-recall", _plain("beta_recall")),
    "closer_to_training": ("nearer to training rows", _estimate("closer_to_training")),
    "coverage_group_min": ("worst group's coverage", lambda audit: audit["coverage_group_min"]),
    "auc_logistic": ("AUC logistic", _auc("logistic")),
    "auc_trees": ("AUC trees", _auc("boosted_trees")),
    "efficacy": ("efficacy", _plain("efficacy")),
    "membership": ("best membership attack", _membership(lambda group: not group["sensitive"])),
    "membership_groups": ("in a group", _membership(lambda group: bool(group["sensitive"]))),
}


def everymode(*words: object) -> None:
    """Runs the command line; a failed audit is a result."""
    command = [sys.executable, "-m", "everymode", *map(str, words)]
    code = subprocess.run(command, cwd=HERE.parents[1], check=False).returncode
    if code not in (0, 1, 3) or (code and words[0] != "audit"):
        raise SystemExit(f"{' '.join(command)}: exit code {code}")


def made(name: str, seed: int, work: Path, config: str = "adult") -> Path:
    """The run directory of a table, which is made if it is not there.

    Args:
        name: What makes it, of `ROWS`.
        seed: Of the run.
        work: Where runs lie.
        config: A preset or a file.
    """
    if not ROWS[name]:
        folder = work / f"{name}-{seed}"
        run = folder / name / f"seed-{seed}"
        if not (run / "summary.json").exists():
            everymode("compare", config, "--strategies", name, "--seeds", seed, "--out", folder)
        return run
    run = work / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    if (run / "summary.json").exists():
        return run
    if any((run / "checkpoints").glob("*.safetensors")):
        everymode("simulate", "--resume", run, "--backend", "inline", "-q")
    else:
        sets = [part for key in (f"seed={seed}", *ROWS[name]) for part in ("--set", key)]
        everymode("simulate", config, *sets, "--out", run, "--backend", "inline", "-q")
    return run


def audited(run: Path) -> dict[str, Any]:
    """The audit of a run, and how fast its rows are drawn."""
    found = run / "told-apart" / "audit.json"
    if not found.exists():
        everymode("audit", "--run", run, "--out", found.parent, "-q")
    value: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return value


def rows_a_second(run: Path) -> float | None:
    """Rows drawn a second in one process; None where there is no generator."""
    if not (run / "generator.safetensors").exists():
        return None
    from everymode.server.outputs.run_directory import RunFolder
    from everymode.server.synthesis.generator_file import load_generator

    synthesizer = load_generator(RunFolder(run))
    synthesizer.sample_matching_data(2000, 0)
    started = time.process_time()
    synthesizer.sample_matching_data(30_000, 1)
    return 30_000 / (time.process_time() - started)


def spread(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {
        "mean": round(statistics.mean(values), 5),
        "deviation": None if deviation is None else round(deviation, 5),
        "values": [round(v, 5) for v in values],
    }


def readme(table: Mapping[str, Any]) -> str:
    """The record as a table of Markdown."""
    heads = [head for head, _ in FIGURES.values()]
    lines = [
        f"| made by | {' | '.join(heads)} | rows a CPU second | verdict |",
        "|---" * (len(heads) + 3) + "|",
    ]
    for name, own in table.items():
        cells = []
        for figure in FIGURES:
            value = own.get(figure)
            if value is None:
                cells.append("")
                continue
            about = "" if value["deviation"] is None else f" ({value['deviation']:.4f})"
            cells.append(f"{value['mean']:.4f}{about}")
        fast = own.get("rows_a_second")
        cells.append(f"{fast['mean']:,.0f}" if fast else "")
        passed = own.get("verdicts", [])
        cells.append(f"{passed.count('pass')} of {len(passed)} pass" if passed else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Makes and audits what is asked for, and writes what there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--readme", action="store_true", help="print the table and end")
    arguments = parser.parse_args()
    table: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if arguments.readme:
        print(readme(table))
        return
    if arguments.work is None:
        parser.error("name a folder for the runs with --work")
    for name in arguments.only:
        audits, speeds = [], []
        for seed in arguments.seeds:
            run = made(name, seed, arguments.work)
            audits.append(audited(run))
            speeds.append(rows_a_second(run))
            known = [speed for speed in speeds if speed is not None]
            table[name] = {
                "set": list(ROWS[name]),
                "seeds": arguments.seeds[: len(audits)],
                "versions": audits[0]["versions"],
                **{
                    figure: spread([read(a) for a in audits])
                    for figure, (_, read) in FIGURES.items()
                },
                **({"rows_a_second": spread(known)} if known else {}),
                "verdicts": [a["verdict"] for a in audits],
                "failed": [failures(a) for a in audits],
            }
            order = [row for row in ROWS if row in table]
            RECORD.write_text(json.dumps({row: table[row] for row in order}, indent=1) + "\n")
            print(name, seed, {f: round(read(audits[-1]), 4) for f, (_, read) in FIGURES.items()})


if __name__ == "__main__":
    main()
