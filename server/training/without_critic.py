"""A round without a critic: nothing is asked of sites, and the generator follows its penalties.

What the generator learns is then a function of the sums that sites have sent already, so that under
differential privacy it is post-processing of them and costs nothing.
"""

import time
from typing import Any

import torch
from torch import Tensor

from everymode.server.training.round import Setup, next_state
from everymode.server.training.state import ServerState
from everymode.server.transport.exchange import Exchange, Traffic
from everymode.wgan.errors import NumericalError


def no_score(rows: Tensor, conditions: Tensor) -> Tensor:
    """Scores of 0 for rows `(B, D)`, `(B,)`, whose gradients are 0."""
    return 0.0 * rows.sum(1)


def run_round_without_critic(
    setup: Setup, state: ServerState, exchange: Exchange, before: Traffic
) -> tuple[ServerState, dict[str, Any]]:
    """The next state and the round's metrics; see `everymode.server.training.round.run_round`.

    Figures of a critic are 0 in the metrics.

    Raises:
        NumericalError: Training has diverged.
    """
    started = time.perf_counter()
    number, players = state.training.round + 1, setup.players
    factor = setup.recipe.factor(number)
    loss = setup.generator_steps(players, number, factor, setup.plan.mass, score=no_score)
    if not bool(torch.isfinite(players.generator.vector).all()):
        raise NumericalError(
            f"round {number}: the generator's weights are not finite: training has diverged; "
            "lower model.generator_rate"
        )
    names = setup.plan.conditions.names
    seconds = time.perf_counter() - started
    metrics: dict[str, Any] = {
        "round": number,
        "seconds": round(seconds, 4),
        "sites": 0,
        "estimate": 0.0,
        "estimate_by_group": dict.fromkeys(names, 0.0),
        "worst_group": names[0],
        "penalty": 0.0,
        "penalty_by_group": dict.fromkeys(names, 0.0),
        "generator_loss": loss,
        "critic_rows": 0,
        "rate": factor,
        "bytes_up": 0,
        "bytes_down": 0,
    }
    return next_state(setup, state, seconds, before + exchange.traffic), metrics
