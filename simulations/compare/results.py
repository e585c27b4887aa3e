"""What came out of a comparison: figures of each run, means and spreads, who is best."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everymode.server.evaluation.versions import versions
from everymode.simulations.compare.curve import read_curve
from everymode.simulations.compare.entries import ENTRIES, WITHOUT_TRAINING
from everymode.simulations.compare.plan import Comparison, Run
from everymode.simulations.compare.run import read_failure
from everymode.simulations.scenarios import Scenario, find_scenario
from everymode.wgan.errors import StateError

BOUNDS = ("pooled", "local", *WITHOUT_TRAINING)
"""Strategies without a federation: what others are measured by, never the best of them."""

UNEQUAL = 0.1
"""Budgets farther apart than this share are marked; rounding of batches stays below it."""

COVERAGE = "coverage_group_min"
SCORE = "scenario."


@dataclass(frozen=True)
class Figure:
    """A column of the table.

    Attributes:
        key: Its name in `compare.json`.
        title: For people.
        higher: Whether more is better; None where it is a cost, which has no best.
    """

    key: str
    title: str
    higher: bool | None


def collected(comparison: Comparison) -> dict[str, Any]:
    """Everything that `compare.json` holds, from the run directories as they are now."""
    found = {(run.strategy, run.seed): read_run(run) for run in comparison.runs}
    scenario = find_scenario(comparison.base)
    figures = compute_figures(scenario, [run["figures"] for run in found.values()])
    judged = _judged(found)
    rows: dict[str, dict[str, Any]] = {}
    for name in comparison.strategies:
        runs = [found[name, seed] for seed in comparison.seeds]
        strategy = ENTRIES[name]
        rows[name] = {
            "name": name,
            "title": strategy.title,
            "paper": strategy.paper,
            "note": strategy.note,
            "budget": _budget(comparison, name, runs),
            "figures": {
                figure.key: spread(run["figures"].get(figure.key) for run in runs)
                for figure in figures
            },
            "insufficient": [
                {"seed": run["seed"], "groups": lacking}
                for run in runs
                if (lacking := _lacking(run, judged[run["seed"]]))
            ],
            "runs": runs,
        }
    _share_budgets(rows)
    for figure in figures:
        marks(figure, rows)
    if "pooled" in rows:
        for row in rows.values():
            row["to_pooled"] = _ratios(figures, row["runs"], rows["pooled"]["runs"])
    base, first = comparison.base, next((r for r in found.values() if r["data"]), None)
    return {
        "version": 1,
        "config": comparison.config,
        "overrides": list(comparison.overrides),
        "data": {"path": base.data.path, "holdout": base.data.holdout}
        | {"scenario": scenario.name if scenario else None}
        | (first["data"] if first else {}),
        "seeds": list(comparison.seeds),
        "budget": compute_budget(comparison),
        "figures": [
            {"key": f.key, "title": f.title, "higher_is_better": f.higher} for f in figures
        ],
        "strategies": list(rows.values()),
        "notes": list(comparison.notes),
        "versions": versions(),
    }


def read_run(run: Run) -> dict[str, Any]:
    """One run as it stands: `status`, `figures`, what it cost and which groups were judged."""
    metrics = run.folder.read_metrics()
    failure = read_failure(run)
    status = "finished" if run.finished else failure["kind"] if failure else "unfinished"
    record: dict[str, Any] = {
        "seed": run.seed,
        "folder": str(run.folder.path),
        "status": status,
        "round": failure["round"] if failure else metrics[-1]["round"] if metrics else 0,
        "error": failure["error"] if failure else None,
        "figures": {},
        "critic_rows": None,
        "groups": [],
        "judged": [],
        "data": {},
    }
    if not run.finished:
        return record
    summary = run.folder.read_summary()
    try:
        return record | _figures(run, summary, metrics)
    except (KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"{run.folder.summary}: lacks what a run writes there ({type(error).__name__}: "
            f"{error}); remove it, and the same command writes it anew"
        ) from None


def _figures(
    run: Run, summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What a finished run's summary says."""
    drawn = [line["critic_rows"] for line in metrics if "critic_rows" in line]
    verdicts = {name: group["coverage_verdict"] for name, group in summary["per_group"].items()}
    utility = (summary["utility"] or {}).get("synthetic") or {}
    metric = utility.get("metric", "auc")
    return {
        "figures": {
            COVERAGE: summary[COVERAGE],
            f"{metric}_linear": utility.get("logistic"),
            f"{metric}_trees": utility.get("boosted_trees"),
            "tv_mean": summary["tv_mean"],
            "ks_mean": summary["ks_mean"],
            **{f"{SCORE}{k}": v for k, v in (read_curve(run)["scores"] or {}).items()},
            "seconds": summary["training_seconds"],
            "megabytes": (summary["bytes_up"] + summary["bytes_down"]) / 1e6,
        },
        "critic_rows": sum(drawn) if drawn and len(drawn) == len(metrics) else None,
        "groups": list(verdicts),
        "judged": [name for name, verdict in verdicts.items() if verdict in ("measured", "absent")],
        "data": {
            "rows": summary["rows"],
            "groups": summary["groups"],
            "coverage_reference": summary["coverage_reference"],
        },
    }


def compute_figures(scenario: Scenario | None, found: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """The columns that any run has a value for, in the order they are shown."""
    known = {key for figures in found for key, value in figures.items() if value is not None}
    return [figure for figure in _all_figures(scenario) if figure.key in known]


def spread(values: Iterable[float | None]) -> dict[str, Any]:
    """Mean and standard deviation (over n - 1) of the values that are known.

    >>> spread([1.0, 3.0, None])
    {'mean': 2.0, 'std': 1.4142135623730951, 'n': 2}
    >>> spread([5.0])
    {'mean': 5.0, 'std': None, 'n': 1}
    """
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    return {
        "mean": float(np.mean(known)) if known else None,
        "std": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "n": len(known),
    }


def marks(figure: Figure, rows: Mapping[str, dict[str, Any]]) -> None:
    """Writes into each row's figure a `mark`: `best`, `tie` or None.

    Only federated strategies are marked. A tie is a value whose distance to the best is no larger
    than the larger spread of the two. A strategy that left a group too small to judge, which
    another one did not, is no candidate for the best worst group: its worst group is not known.
    """
    candidates = {}
    for name, row in rows.items():
        value = row["figures"][figure.key]
        value["mark"] = None
        unknown = figure.key == COVERAGE and row["insufficient"]
        if name not in BOUNDS and value["n"] and not unknown:
            candidates[name] = value
    if figure.higher is None or not candidates:
        return
    sign = 1 if figure.higher else -1
    best = max(candidates.values(), key=lambda value: sign * value["mean"])
    for value in candidates.values():
        reach = max(value["std"] or 0.0, best["std"] or 0.0)
        if abs(value["mean"] - best["mean"]) <= reach:
            value["mark"] = "tie"
    best["mark"] = "best"


def compute_budget(comparison: Comparison) -> dict[str, int]:
    """What every strategy may spend, by the configuration."""
    train = comparison.base.train
    return {
        "exchanges": train.rounds,
        "generator_steps": train.rounds * train.generator_steps,
        "critic_steps": train.rounds * train.critic_steps,
        "critic_rows": train.rounds * train.critic_steps * train.batch,
    }


def _all_figures(scenario: Scenario | None) -> list[Figure]:
    scores = scenario.higher if scenario else {}
    return [
        Figure(COVERAGE, "worst group's coverage", True),
        Figure("auc_linear", "AUC linear", True),
        Figure("auc_trees", "AUC trees", True),
        Figure("r2_linear", "R2 linear", True),
        Figure("r2_trees", "R2 trees", True),
        Figure("tv_mean", "TV", False),
        Figure("ks_mean", "KS", False),
        *(Figure(f"{SCORE}{k}", k.replace("_", " "), better) for k, better in scores.items()),
        Figure("seconds", "seconds", None),
        Figure("megabytes", "MB in all", None),
    ]


def _judged(found: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[int, set[str]]:
    """Groups that any strategy's run had rows enough to judge, by seed."""
    judged: dict[int, set[str]] = {}
    for (_, seed), run in found.items():
        judged.setdefault(seed, set()).update(run["judged"])
    return judged


def _lacking(run: Mapping[str, Any], judged: set[str]) -> list[str]:
    """Groups that others made rows enough of to be judged, and this run did not."""
    return [g for g in run["groups"] if g in judged and g not in run["judged"]]


def _budget(comparison: Comparison, name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if name in WITHOUT_TRAINING:
        return {"exchanges": 0, "generator_steps": 0, "critic_rows": None}
    rows = [r["critic_rows"] for r in runs if r["critic_rows"] is not None]
    planned = compute_budget(comparison)
    return {
        "exchanges": planned["exchanges"],
        "generator_steps": planned["generator_steps"],
        "critic_rows": float(np.mean(rows)) if rows else None,
    }


def _share_budgets(rows: Mapping[str, dict[str, Any]]) -> None:
    """Writes each budget as a multiple of the first strategy's that is known."""
    drawn = (row["budget"]["critic_rows"] for row in rows.values())
    first = next((value for value in drawn if value), None)
    for row in rows.values():
        own = row["budget"]["critic_rows"]
        factor = own / first if own is not None and first else None
        row["budget"]["factor"] = factor
        row["budget"]["unequal"] = factor is not None and abs(factor - 1) > UNEQUAL


def _ratios(
    figures: Sequence[Figure],
    runs: Sequence[Mapping[str, Any]],
    pooled: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Figures over pooled's of the same seed: they share the data and its split."""
    found = {}
    for figure in figures:
        pairs = [
            (own["figures"].get(figure.key), other["figures"].get(figure.key))
            for own, other in zip(runs, pooled, strict=True)
        ]
        found[figure.key] = spread(a / b for a, b in pairs if a is not None and b)
    return found
