"""The curve of a run: every kept checkpoint's synthetic table, judged as the last one is."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.server.config.files import resolve
from everymode.server.config.settings import Settings, settings_digest
from everymode.server.evaluation.figures import compute_coverage
from everymode.server.outputs.checkpoint_file import load_checkpoint
from everymode.server.session import Interrupted
from everymode.server.simulated_sites import SimulatedSites
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.synthesis.trained import trained_generators
from everymode.simulations.compare.plan import Run
from everymode.simulations.scenarios import Scenario
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json, write_json

ROWS = 5_000
"""Rows of a checkpoint's synthetic table at most, so that a curve costs little of a training."""


def read_curve(run: Run) -> dict[str, Any]:
    """What `draw` has written so far: `points` by round, `scores` of the final table."""
    if not run.curve.exists():
        return {"version": 1, "points": [], "scores": None}
    curve = read_json(run.curve)
    try:
        points, known = curve["points"], isinstance(curve["scores"], dict | None)
        if not known or curve["version"] != 1 or not all(_whole(point) for point in points):
            raise ValueError("its points or scores are not those of a curve")
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"{run.curve}: is not as everymode compare writes it ({type(error).__name__}: "
            f"{error}); remove it, and the same command draws it anew"
        ) from None
    found: dict[str, Any] = curve
    return found


def _whole(point: Any) -> bool:
    round_, scores = point["round"], point["scores"]
    value = point["coverage_group_min"]
    return (
        isinstance(round_, int)
        and isinstance(scores, dict)
        and (value is None or isinstance(value, int | float))
    )


def drawn(run: Run) -> bool:
    """Whether nothing is left to do for `draw`."""
    if not run.curve.exists():
        return False
    curve = read_curve(run)
    seen = [point["round"] for point in curve["points"]]
    return seen == [*_checkpoints(run)] and curve["scores"] is not None


def draw(
    run: Run, stage: SimulatedSites, scenario: Scenario | None, stop: Callable[[], bool]
) -> None:
    """Judges every checkpoint of a finished run, and writes each as soon as it is judged.

    A point has `round`, `rows`, `coverage_group_min`, `coverage` by group (None where rows do not
    suffice) and `scores` of the scenario.

    Args:
        run: The run.
        stage: Its sites, for real rows where none are held out.
        scenario: What the data come from, if that is known.
        stop: Whether the user asked to stop.

    Raises:
        Interrupted: `stop` said so; what is done is kept.
        StateError: A checkpoint is damaged.
    """
    if run.baseline is not None:
        _score_table(run, scenario)
        return
    order, rows = run.folder.read_plan()
    plan, final = Plan.of(order), load_generator(run.folder)
    digest = settings_digest(run.settings)
    curve = read_curve(run)
    done = {point["round"]: point for point in curve["points"]}
    rows = run.settings.output.rows or rows
    reference: pd.DataFrame | None = None
    for number, path in _checkpoints(run).items():
        if number in done:
            continue
        if stop():
            raise Interrupted(f"{run.curve}: {len(done)} points are kept")
        if reference is None:
            reference = _reference(run.settings, stage)
        tensors, _ = load_checkpoint(path, fingerprint(order), digest)
        # Sites' own generators make rows in the proportions of the final table.
        vectors, _ = trained_generators(plan, tensors)
        maker = Synthesizer.from_players(plan, vectors, final.counts, final.parity)
        table = maker.sample_matching_data(min(rows, ROWS), run.seed)
        found = compute_coverage(plan, reference, table, run.seed, "the reference table")
        values = [group["value"] for group in found["groups"]]
        done[number] = {
            "round": number,
            "rows": len(table),
            "coverage_group_min": found["coverage_group_min"],
            "coverage": dict(zip(plan.conditions.names, values, strict=True)),
            "scores": _scores(scenario, table, run.seed),
        }
        curve["points"] = [done[key] for key in sorted(done)]
        write_json(run.curve, curve)
    if curve["scores"] is None:
        table = final.sample_matching_data(rows, run.seed) if scenario else pd.DataFrame()
        write_json(run.curve, curve | {"scores": _scores(scenario, table, run.seed)})


def _checkpoints(run: Run) -> dict[int, Any]:
    """Checkpoints on the grid, by round; an interrupted run has others too."""
    if not run.grid:
        return {}
    found = {int(p.stem.removeprefix("round-")): p for p in run.folder.checkpoints()}
    if run.grid[-1] not in found:
        raise StateError(
            f"{run.folder.path}: lacks the checkpoint of round {run.grid[-1]}; put it back, or "
            "remove the folder to train it again"
        )
    return {number: found[number] for number in run.grid if number in found}


def _score_table(run: Run, scenario: Scenario | None) -> None:
    """The curve of a run without training: no points, and the scores of its table."""
    table = pd.DataFrame()
    if scenario:
        table = read_table(run.folder.synthetic, run.settings.data.missing)
    curve = {"version": 1, "points": [], "scores": _scores(scenario, table, run.seed)}
    write_json(run.curve, curve)


def _scores(scenario: Scenario | None, table: pd.DataFrame, seed: int) -> dict[str, float | None]:
    found = scenario.score(table, seed) if scenario else {}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _reference(settings: Settings, stage: SimulatedSites) -> pd.DataFrame:
    data = settings.data
    if data.holdout is None:
        return stage.frame(data.missing)
    return read_table(resolve(data.holdout), data.missing, data.form)[list(stage.columns)]
