"""From sums over sites to the next shared point."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.parts.placement import PLAYERS, Player
from everymode.clients.protocol.sums import SiteSums
from everymode.server.federation.aggregation import Aggregation, Mean, Updates
from everymode.server.federation.bounds import Floats, UpdateBound
from everymode.server.federation.optimizers import ServerMean, ServerOptimizer
from everymode.server.training.state import Vectors
from everymode.wgan.errors import NumericalError
from everymode.wgan.players import Players

Means = dict[str, npt.NDArray[np.float64]]


def means(
    order: Train,
    sums: SiteSums,
    shares: Mapping[str, float] | None = None,
    rule: Aggregation | None = None,
    bound: UpdateBound | None = None,
    shortened: dict[str, float] | None = None,
) -> Means:
    """The weighted mean of the sites' updates, by name, or what another rule makes of them.

    Every site k sent p_k times its change; the mean is their sum over sum_k p_k. Where each site
    sent its change apart, `shares` weighs them instead: one weight a site, any sum.

    Args:
        order: What was asked.
        sums: What the sites sent.
        shares: Weights of sites by a rule of the server; None: what they say they count.
        rule: How updates that were sent apart become one; None: by their mean.
        bound: How long each of them may be before that; None: any length.
        shortened: Gets the smallest factor of each site whose updates were shortened.

    Raises:
        NumericalError: Fewer sites took part than the rule needs.
    """
    weight, rule = total_weight(order, sums, shares), rule or Mean()
    if not order.training.per_site_updates:
        return {name: sums[name] / weight for name in order.updates()}
    if shares is None:
        shares = {site: float(sent["share"][0]) for site, sent in sums.per_site.items()}
    # In the order of names: sums of floating-point numbers depend on it.
    taking = sorted(site for site in sums.per_site if shares[site] > 0)
    if len(taking) < rule.fewest:
        raise NumericalError(
            f"round {order.round}: {len(taking)} sites took part, and federation.aggregation = "
            f"'{rule.name}' with hostile_sites = {rule.hostile} needs {rule.fewest}; continue with "
            "--resume once they are back"
        )
    weights = np.array([shares[site] for site in taking])
    found: Means = {}
    for name in order.updates():
        updates: Updates = np.stack([sums.per_site[site][name] for site in taking])
        if bound is not None:
            factors = bound.factors(updates, squared=name.endswith("_second"))
            updates = updates * factors[:, None]
            if shortened is not None:
                _note(shortened, taking, factors)
        found[name] = rule.combine(updates, weights)
    return found


def _note(shortened: dict[str, float], sites: Sequence[str], factors: Floats) -> None:
    """Keeps the smallest factor of each site that has one below 1."""
    for site, factor in zip(sites, factors.tolist(), strict=True):
        if factor < 1:
            shortened[site] = min(factor, shortened.get(site, 1.0))


def total_weight(order: Train, sums: SiteSums, shares: Mapping[str, float] | None) -> float:
    """Sum of p_k over the sites that took part.

    Raises:
        NumericalError: No site took part.
    """
    weight = float(sums["weight"][0])
    if shares is not None:
        weight = sum(shares[site] for site in sums.per_site)
    if weight <= 0.0:
        raise NumericalError(
            f"round {order.round}: no site with rows took part, so there is nothing to average"
        )
    return weight


def apply_means(
    players: Players,
    order: Train,
    found: Means,
    optimizer: ServerOptimizer | None = None,
    memory: Vectors | None = None,
    scale: float = 1.0,
    corrections: Mapping[str, Vectors] | None = None,
    sums: SiteSums | None = None,
) -> None:
    """Moves the shared players by the sites' mean update.

    The optimizers' statistics move by their rule (`everymode.clients.protocol.parts.statistics`),
    and every correction has its say (`everymode.clients.protocol.parts.base.Correction.receive`).

    Args:
        players: The shared point.
        order: What was asked.
        found: The means.
        optimizer: The server's; None: updates are added as they are.
        memory: What that remembers of each player; moved in place.
        scale: What a sample of sites stands for, over what it weighs: makes updates unbiased.
        corrections: Vectors of each correction and player; moved in place.
        sums: What the sites sent, for the totals of corrections; None: no correction has a say.
    """
    optimizer, memory = optimizer or ServerMean(), memory or {}
    live = {
        "critic": (players.critic, players.critic_statistics, players.recipe.critic_optimizer),
        "generator": (
            players.generator,
            players.generator_statistics,
            players.recipe.generator_optimizer,
        ),
    }
    for player in PLAYERS:
        if player not in found:
            continue
        packed, statistics, rule = live[player]
        with torch.no_grad():
            update = torch.from_numpy(found[player]).to(torch.float32)
            if sums is not None:
                update = _corrected(update, player, order, sums, corrections or {})
            update = update if scale == 1.0 else scale * update
            step = optimizer.step(update, memory.get(player, {}))
            packed.vector.add_(step.to(packed.vector.device))
        order.training.statistics.receive(player, statistics, rule, found, order.steps[player])
        if player == "generator":
            players.update_ema(order.generator_steps)
    if "critic_buffers" in found:
        players.critic.buffers.add_(
            torch.from_numpy(found["critic_buffers"]).to(players.device, torch.float32)
        )
    # The mean of critics that keep a constraint need not keep it.
    players.project_critic()


def _corrected(
    update: Tensor,
    player: Player,
    order: Train,
    sums: SiteSums,
    corrections: Mapping[str, Vectors],
) -> Tensor:
    """The mean update after the server's halves of all corrections."""
    weight = float(sums["weight"][0])
    for part in order.training.corrections:
        totals = {name: sums[f"{player}_{name}"] for name in part.totals}
        state = corrections.get(part.kind, {}).get(player, {})
        update = part.receive(update, weight, totals, state)
    return update


def group_means(sums: SiteSums, name: str, counted: str) -> list[float | None]:
    """A figure's mean over each group's rows, `(G,)`; None for a group that no batch held.

    Args:
        sums: What the sites sent.
        name: The field with the sums of the figure, `(G,)`.
        counted: The field with the numbers of rows, `(G,)`.
    """
    totals, counts = sums[name], sums[counted]
    found = np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0)
    return [None if np.isnan(m) else float(m) for m in found]
