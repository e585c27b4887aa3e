"""From sums over sites to the next common point."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from clients.orders import Train
from clients.sums import SiteSums
from wgan.errors import NumericalError
from wgan.optimizers import Optimizer, Statistics
from wgan.players import Players


def apply_mean(players: Players, order: Train, sums: SiteSums) -> None:
    """Moves the shared players by the weighted mean of the sites' updates.

    Every site k sent p_k times its change; the mean is their sum over sum_k p_k, which is 1 when
    all sites took part. The optimizers' statistics move the same way. Where they were frozen, they
    take in the mean gradient at the common point instead (Karimireddy et al., Mime, 2020,
    algorithm 1).

    Raises:
        NumericalError: No site took part.
    """
    weight = float(sums["weight"][0])
    if weight <= 0.0:
        raise NumericalError(
            f"round {order.round}: no site with rows took part, so there is nothing to average"
        )
    means = {
        field.name: torch.from_numpy(sums[field.name] / weight)
        for field in order.layout().fields
        if field.name.startswith(("critic", "generator")) and field.name != "generator_loss"
    }
    recipe = players.recipe
    critic, statistics = players.critic.vector, players.critic_statistics
    _move(critic, statistics, recipe.critic_optimizer, "critic", means, order.critic_steps)
    if order.buffers:
        mean = means["critic_buffers"].to(players.device, torch.float32)
        players.critic.buffers.add_(mean)
    # The mean of critics that keep a constraint need not keep it.
    players.settle()
    if order.generator_steps:
        generator, statistics = players.generator.vector, players.generator_statistics
        steps = order.generator_steps
        _move(generator, statistics, recipe.generator_optimizer, "generator", means, steps)
        players.follow(steps)


def _move(
    vector: Tensor,
    statistics: Statistics,
    rule: Optimizer,
    name: str,
    means: Mapping[str, Tensor],
    steps: int,
) -> None:
    def mean(field: str) -> Tensor:
        return means[field].to(vector.device, torch.float32)

    with torch.no_grad():
        vector.add_(mean(name))
        if f"{name}_gradient" in means:
            rule.observe(statistics, mean(f"{name}_gradient"))
            return
        statistics.first.add_(mean(f"{name}_first"))
        # Rounding to the sums' resolution may leave a square a hair below zero.
        statistics.second.add_(mean(f"{name}_second")).clamp_min_(0.0)
        statistics.steps += steps


def group_estimates(sums: SiteSums) -> list[float | None]:
    """The Wasserstein estimate of each group, `(G,)`; None for one that no batch held."""
    totals, counts = sums["estimate"], sums["estimated"]
    means = np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0)
    return [None if np.isnan(m) else float(m) for m in means]
