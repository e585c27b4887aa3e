"""Stage 3, *train*: the rounds, with a line of metrics each and a checkpoint now and then."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from everymode.server.config.settings import settings_digest
from everymode.server.config.training import build_terms, build_training
from everymode.server.progress import Interrupted
from everymode.server.stages.context import RunContext
from everymode.server.stages.encode import Encoded
from everymode.server.synthesis.trained import trained_generators
from everymode.server.training.penalties import build_penalties
from everymode.server.training.rounds import Metrics, Rounds
from everymode.server.training.state import TrainingState
from everymode.server.transport.exchange import ExchangeError, Traffic
from everymode.wgan.diagnostics import Finding


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        vectors: Averaged parameters of each generator, `(P,)`: one, or one a site where sites
            share none.
        counts: Rows of each cell that each generator stands for, `(cells, K)`.
        progress: Rounds done, time spent.
        history: Metrics of every round.
        findings: What the training showed, with advice.
        stopped_at_plateau: Whether it ended before the last round.
        parameters: Length of each player's vector of parameters.
        earlier: Bytes carried in earlier sessions of the run.
    """

    vectors: tuple[Tensor, ...]
    counts: npt.NDArray[np.float64]
    progress: TrainingState
    history: tuple[Metrics, ...]
    findings: tuple[Finding, ...]
    stopped_at_plateau: bool
    parameters: dict[str, int]
    earlier: Traffic


def train(run: RunContext, encoded: Encoded) -> TrainingResult:
    """Trains to the last round, or from the checkpoint on.

    Raises:
        Interrupted: The user asked to stop; a checkpoint was written.
        NumericalError: Training has diverged.
        StateError: The run directory cannot be read or written.
    """
    settings, agreed, plan = run.settings, encoded.agreed, encoded.agreed.plan
    device = run.device
    for warning in plan.recipe.warnings():
        run.listener.on_note(warning)
    history: list[dict[str, Any]] = []
    earlier = Traffic()
    if agreed.checkpoint is not None:
        _, before = agreed.checkpoint
        history = run.folder.read_history(before.round)
        earlier = Traffic(before.down, before.up)
    terms, matching = build_terms(settings), agreed.order.matching
    penalties = build_penalties(terms, plan, matching, encoded.sums, encoded.moments, device)
    recipe = build_training(settings)
    if not plan.shape.width:
        # All of a row follows from its cell of group and label, of which the counts are known.
        recipe = replace(recipe, rounds=1)
        run.listener.on_note(
            "no column beside groups and labels has more than one value: rows are drawn from "
            "their counts, and nothing is trained"
        )
    rounds = Rounds(
        recipe,
        plan,
        agreed.name,
        run.exchange,
        penalties,
        device,
        agreed.checkpoint,
        history,
    )
    run.folder.rewrite_metrics(history)
    _train(run, rounds, recipe.rounds, agreed.name, history)
    vectors, counts = trained_generators(plan, rounds.tensors(), rounds.site_statistics)
    return TrainingResult(
        vectors=vectors,
        counts=counts,
        progress=rounds.progress,
        history=tuple(history),
        findings=tuple(rounds.findings),
        stopped_at_plateau=rounds.stopped,
        parameters={
            "generator": len(rounds.players.generator.vector),
            "critic": len(rounds.players.critic.vector),
        },
        earlier=earlier,
    )


def _train(run: RunContext, rounds: Rounds, total: int, name: str, history: list[Metrics]) -> None:
    """Runs the rounds that are left; `history` grows by a line each."""
    settings, folder = run.settings, run.folder
    output, digest = settings.output, settings_digest(settings)
    run.begin("train", "training")
    names = rounds.plan.conditions.names
    run.listener.on_train_begin(rounds.progress.round, total, names)
    saved = rounds.progress.round

    def save() -> None:
        nonlocal saved
        folder.write_releases(run.exchange.releases)
        folder.save(rounds.tensors(), rounds.progress, name, digest, output.keep)
        saved = rounds.progress.round

    try:
        for metrics in rounds.run(run.stop):
            folder.append(metrics)
            history.append(metrics)
            if rounds.progress.round % output.checkpoint_every == 0 or rounds.finished:
                save()
            run.listener.on_round_end(metrics)
    except (ExchangeError, Interrupted) as error:
        # The state is that after the last whole round: what broke off was asked of sites.
        if saved < rounds.progress.round:
            save()
        if isinstance(error, Interrupted):
            raise Interrupted(
                f"stopped in round {rounds.progress.round + 1} of {total}; "
                f"continue with: {folder.resume}"
            ) from error
        raise
    if not rounds.finished:
        save()
        raise Interrupted(
            f"stopped after round {rounds.progress.round} of {total}; "
            f"continue with: {folder.resume}"
        )
