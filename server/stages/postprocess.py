"""Stage 4, *postprocess*: fits calibration, dependencies and projection to the sites' sums."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from everymode.clients.protocol.plan import Plan
from everymode.server.config.settings import settings_digest
from everymode.server.config.training import build_mixture
from everymode.server.stages.context import RunContext
from everymode.server.stages.encode import Encoded
from everymode.server.stages.train import TrainingResult
from everymode.server.synthesis.critic_trees import FitCriticTrees
from everymode.server.synthesis.fitting import build_fits
from everymode.server.synthesis.forbidden import FitForbidden
from everymode.server.synthesis.generator_file import save_generator
from everymode.server.synthesis.number_calibration import (
    CalibrateNumbers,
    wants_calibrated_numbers,
)
from everymode.server.synthesis.steps import DropForbidden
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.synthesis.trees import FitTrees, TreeSpec, find_obstacle


@dataclass(frozen=True)
class Postprocessed:
    """A generator that is ready to make the table.

    Attributes:
        synthesizer: The generator with its postprocessing.
        reports: What each fit did, by its name.
    """

    synthesizer: Synthesizer
    reports: Mapping[str, Mapping[str, Any]]


def postprocess(run: RunContext, encoded: Encoded, training: TrainingResult) -> Postprocessed:
    """Fits the postprocessing and writes `generator.safetensors`.

    Raises:
        Interrupted: The user asked to stop.
        StateError: The run directory cannot be written.
    """
    settings, agreed = run.settings, encoded.agreed
    run.begin("postprocess", "postprocessing of the generator")
    synthesizer = Synthesizer.from_players(
        agreed.plan, training.vectors, training.counts, build_mixture(settings)
    )
    reports: dict[str, Mapping[str, Any]] = {}
    moments = encoded.moments if settings.projected else None
    trees, critics, forbidden = None, None, None
    model = settings.model
    learnt = bool(model.trees) and model.forbidden == "learn"
    wanted = [key for key in ("trees", "critic_trees") if getattr(model, key)]
    if wanted and (obstacle := _obstacle(run, agreed.plan)):
        keys = ", ".join(f"model.{key}" for key in wanted)
        run.listener.on_note(f"no trees are grown ({keys}): {obstacle}")
    else:
        if model.trees:
            trees = FitTrees(run.exchange, agreed.name, TreeSpec(model.trees, model.tree_leaf))
        if learnt:
            forbidden = FitForbidden(
                run.exchange, agreed.name, model.trees + 1, _allowed(run, agreed.plan)
            )
        if model.critic_trees:
            critics = FitCriticTrees(
                run.exchange,
                agreed.name,
                model.critic_trees,
                model.tree_leaf,
                model.trees + learnt + 1,
                None if run.budget is None else run.budget.noise("leaves"),
            )
    numbers = None
    if model.marginals and wants_calibrated_numbers(agreed.plan):
        numbers = CalibrateNumbers()
    for fit in build_fits(
        agreed.plan, encoded.marginals, moments, trees, critics, forbidden, numbers
    ):
        run.begin("postprocess", fit.text)
        synthesizer, reports[fit.name] = fit(synthesizer, run.progress)
    # Last, whatever other steps have filled in.
    last = sorted(synthesizer.post, key=lambda step: isinstance(step, DropForbidden))
    synthesizer = replace(synthesizer, post=tuple(last))
    save_generator(synthesizer, run.folder, agreed.name, settings_digest(settings))
    return Postprocessed(synthesizer, reports)


def _allowed(run: RunContext, plan: Plan) -> tuple[str, ...]:
    """`model.allowed`; notes what of it names no two columns."""
    names = (*plan.schema.names, *plan.conditions.given)
    known = {f"{one}:{two}" for one in names for two in names if one != two}
    allowed = run.settings.model.allowed
    for pair in allowed:
        if pair not in known:
            run.listener.on_note(
                f"model.allowed: '{pair}' names no two columns of the table, and allows nothing; "
                "write 'age:education', say"
            )
    return allowed


def _obstacle(run: RunContext, plan: Plan) -> str:
    """Why a run does without trees; "" where it has them."""
    if run.settings.groups_moved:
        return (
            "a term of the generator's loss moves groups on purpose, and counts of the data's rows "
            "would undo that"
        )
    return find_obstacle(plan)
