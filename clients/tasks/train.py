"""One round at a site: local steps from the shared state, and what they changed, as a sum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import CountBatchRows, Tensors, Train
from everymode.clients.protocol.parts.arrays import SCORES
from everymode.clients.protocol.parts.base import LocalRule
from everymode.clients.protocol.parts.placement import PLAYERS, Player
from everymode.clients.protocol.parts.states import PlayerState, load_players
from everymode.clients.protocol.parts.statistics import change
from everymode.clients.protocol.plan import Plan, derive_seed, parse_plan, resident
from everymode.clients.rows import Rows, Urn, opened
from everymode.clients.site import Site
from everymode.fairness.matching.kernels import bandwidth, mmd2
from everymode.fairness.weighting.group_weights import row_weights
from everymode.wgan.numerics import flush_denormals
from everymode.wgan.optimizers import UpdateBound
from everymode.wgan.players import Batch, Players
from everymode.wgan.slopes import slope_histogram

SiteVectors = Mapping[str, Tensor]

RISK_ROWS = 256
"""Rows of a site, and as many made, that its risk is measured on."""


@dataclass
class LocalSteps:
    """One player's local steps: what corrects each gradient, and what bounds each step.

    Attributes:
        number: Steps that the site takes.
        rules: The corrections' halves at this site, in order.
        guard: What bounds steps along frozen statistics.
        first: The gradient of the first step, `(P,)`, where statistics are frozen.
    """

    number: int
    rules: Sequence[LocalRule] = ()
    guard: UpdateBound | None = None
    first: Tensor | None = None

    @staticmethod
    def of(
        order: Train, player: Player, vector: Tensor, memory: SiteVectors, weight: float
    ) -> "LocalSteps":
        """The steps of a round.

        Args:
            order: What is asked.
            player: Whose steps they are.
            vector: Its live parameters, `(P,)`.
            memory: Vectors of corrections, by the field's name.
            weight: What the site counts.
        """
        training, number = order.training, order.steps[player]
        guard = training.statistics.bound(weight)
        if player in training.placement.local_players or not number:
            return LocalSteps(number, (), guard)
        rules = []
        for part in training.corrections:
            names = part.shared_vectors + part.site_vectors
            own = {name: memory[f"{player}_{name}"] for name in names}
            rules.append(part.begin(vector, own))
            number = part.local_steps(number, weight, order.sites)
        return LocalSteps(number, rules, guard)

    def correct(self, gradient: Tensor) -> Tensor:
        """The gradient `(P,)` that the step is taken along."""
        if self.first is None and self.guard is not None:
            self.first = gradient.clone()
        corrected = gradient
        for rule in self.rules:
            corrected = rule.correct(corrected, gradient)
        return corrected


def urns(order: Train, plan: Plan, data: Rows) -> tuple[Urn, float]:
    """What a site draws its rows from, and what its update counts."""
    counts = plan.conditions.group_counts
    mass = np.array(order.mass) if order.mass else plan.mass
    grouped = row_weights(mass, counts)
    alike = np.full(len(counts), 1 / max(int(counts.sum()), 1))
    urn = data.urn(grouped if order.training.sampling == "groups" else alike)
    if urn.weight == 0.0:
        return urn, 0.0
    basis = order.training.weighting.basis
    if basis == "equal":
        return urn, 1 / order.sites
    if basis == order.training.sampling:
        return urn, urn.weight
    return urn, data.urn(grouped if basis == "groups" else alike).weight


def count_batch_rows(order: CountBatchRows, site: Site) -> Answer:
    """How many rows the site would take, for every size of the batch."""
    text, data = opened(site, order.train.plan, site.stamp(order.train.plan), order.train.device)
    plan, layout = parse_plan(text), order.layout()
    _, weight = urns(order.train, plan, data)
    if weight == 0.0:
        return Answer.zero(layout)
    sizes = range(1, order.most + 1)
    rows = [_rows(order.train, batch, weight, plan.recipe.pack) for batch in sizes]
    return Answer(layout, {"rows": np.array(rows)})


def _rows(order: Train, batch: int, weight: float, pack: int) -> int:
    """Of a critic step over all sites; a multiple of `pack`."""
    return -(-max(order.minimum, round(batch * weight)) // pack) * pack


@flush_denormals()
def train(order: Train, tensors: Tensors, site: Site) -> Answer:
    """Local steps from the shared state; sends p_k times what they changed.

    What the site carries from round to round comes with `tensors` and goes back apart.
    """
    text, data = opened(site, order.plan, site.stamp(order.plan), order.device)
    plan, layout = parse_plan(text), order.layout()
    urn, weight = urns(order, plan, data)
    if weight == 0.0:
        return Answer.zero(layout)
    players = resident(text, order.device)
    received = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    start = _start(order, received)
    load_players(players, start, strength=order.strength)
    risk_time = order.training.weighting.risk
    risk = _risk(order, plan, players, data, urn, site) if risk_time == "before" else 0.0
    rng = torch.Generator(order.device).manual_seed(derive_seed(plan.seed, site.name, order.round))
    batch = _rows(order, order.batch, weight, plan.recipe.pack)
    batches = urn.batches(batch, plan.recipe.gradient_rule.sampling)
    critic = LocalSteps.of(order, "critic", players.critic.vector, received, weight)
    generator = LocalSteps.of(order, "generator", players.generator.vector, received, weight)
    estimates: list[Tensor] = []
    groups_drawn: list[Tensor] = []
    penalties: list[Tensor] = []
    losses: list[Tensor] = []
    # A site's generator steps are spread evenly between its critic steps.
    turns = _turns(critic.number, generator.number)
    done = (order.round - 1) * order.critic_steps
    for steps in turns:
        # The generator stands still in a turn: its rows are made in one go, which for small
        # batches costs a fraction of making them step by step.
        drawn, sizes = batches.draw(steps, rng)
        made = players.fake(data.conditions[drawn], rng)
        for index, fake in zip(torch.split(drawn, sizes), torch.split(made, sizes), strict=True):
            ones = torch.ones(len(index), device=order.device)
            real = Batch(data.rows[index], data.conditions[index], ones, batches.expected)
            gradient, report = players.critic_gradient(real, fake, rng, done)
            players.step_critic(critic.correct(gradient), order.factor, critic.guard)
            done += 1
            estimates.append(report.estimate)
            penalties.append(report.penalty)
        groups_drawn.append(data.groups[drawn])
        if generator.number:
            conditions = data.conditions[urn.draw(batch, rng)]
            ones = torch.ones(batch, device=order.device)
            gradient, loss = players.generator_gradient(conditions, ones, rng)
            players.step_generator(generator.correct(gradient), order.factor, generator.guard)
            losses.append(loss.mean())
    members = torch.cat(groups_drawn)
    penalty = torch.cat(penalties)
    sums: dict[str, npt.NDArray[Any]] = {
        "sites": np.array([1]),
        "weight": np.array([weight]),
        "estimate": _by_group(torch.cat(estimates), members, order.groups),
        "estimated": torch.bincount(members, minlength=order.groups).cpu().numpy(),
        "penalty": np.array([weight * _mean([penalty.double().mean()] if len(penalty) else [])]),
        "penalties": _by_group(penalty, members, order.groups),
        "generator_loss": np.array([weight * _mean(losses)]),
    }
    if order.inspect:
        seed = derive_seed(plan.seed, site.name, order.round, "inspect")
        looking = torch.Generator(order.device).manual_seed(seed)
        if int(data.held_out.sum()) < site.floor:
            urn = urn.without_held
        sums |= inspect(players, data, urn, weight, batch, plan.held_out > 0, order.groups, looking)
    taken: dict[Player, LocalSteps] = {"critic": critic, "generator": generator}
    result = _result(order, start, players, taken, carried=bool(layout.per_site))
    sums |= {name: weight * value for name, value in result.totals.items()}
    if not order.training.per_site_updates:
        sums |= {name: weight * value for name, value in result.updates.items()}
    if not layout.per_site:
        return Answer(layout, sums)
    if risk_time == "after":
        risk = _risk(order, plan, players, data, urn, site)
    own = {**result.state, **result.updates}
    own |= {"risk": np.array([risk]), "share": np.array([weight])}
    return Answer(layout, sums, own)


def _start(order: Train, received: SiteVectors) -> dict[Player, PlayerState]:
    """Both players at the start of the round."""
    seen = dict(order.seen)
    if "seen" in received:
        seen = {p: int(steps) for p, steps in zip(PLAYERS, received["seen"], strict=True)}
    return {player: PlayerState.from_tensors(received, player, seen[player]) for player in PLAYERS}


@dataclass(frozen=True)
class _Result:
    """What a round leaves at a site: updates, totals of corrections, and what the site carries."""

    updates: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    totals: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    state: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


def _result(
    order: Train,
    start: Mapping[Player, PlayerState],
    players: Players,
    taken: Mapping[Player, LocalSteps],
    carried: bool,
) -> _Result:
    training, result = order.training, _Result()
    after = {player: PlayerState.of(players, player) for player in PLAYERS}
    for player, steps in taken.items():
        if carried:
            # All that a player may carry; the layout takes what it names.
            result.state.update({n: t.numpy() for n, t in after[player].to_tensors(player).items()})
        if player in training.placement.local_players:
            continue
        if player == "critic" and order.buffers:
            buffers = change(start[player].buffers, after[player].buffers)
            result.updates[f"{player}_buffers"] = buffers
        if not steps.number:
            continue
        update = change(start[player].vector, after[player].vector)
        for part, rule in zip(training.corrections, steps.rules, strict=True):
            update = part.scaled(update, steps.number)
            left = rule.finish(steps.number)
            result.totals.update({f"{player}_{name}": v for name, v in left.totals.items()})
            result.state.update({f"{player}_{n}": v.numpy() for n, v in left.state.items()})
        result.updates[player] = update
        result.updates.update(
            training.statistics.sent(player, start[player], after[player], steps.first)
        )
    result.state["seen"] = np.array([after[player].steps for player in PLAYERS])
    return result


def _risk(order: Train, plan: Plan, players: Players, data: Rows, urn: Urn, site: Site) -> float:
    """Squared MMD between the site's rows and what the generator makes of their conditions."""
    seed = derive_seed(plan.seed, site.name, order.round, "risk")
    rng = torch.Generator(order.device).manual_seed(seed)
    drawn = urn.draw(RISK_ROWS, rng)
    fake = players.fake(data.conditions[drawn], rng)
    kinds = [block.kind for block in plan.shape.blocks]
    deviation = bandwidth(kinds.count("value"), kinds.count("choice"))
    return max(mmd2(data.rows[drawn], fake, deviation), 0.0)


def inspect(
    players: Players,
    data: Rows,
    urn: Urn,
    weight: float,
    count: int,
    held_out: bool,
    groups: int,
    rng: torch.Generator,
) -> dict[str, npt.NDArray[Any]]:
    """What the site's critic shows after its steps: slopes on interpolates, and mean scores.

    Slopes are also summed by group, in units of the target.

    A site without rows held out, where others have some, leaves the scores to them: real, fake and
    held-out rows are then compared over the same sites.
    """
    drawn = urn.draw(count, rng)
    condition = data.conditions[drawn]
    real = Batch(data.rows[drawn], condition, torch.ones(count, device=condition.device))
    fake = players.fake(condition, rng)
    norms = players.slopes(real, fake, rng)
    seen = players.scores(real.real, condition, rng)
    means = {
        "train": seen.mean(),
        "sign": seen.sign().mean(),
        "fake": players.scores(fake, condition, rng).mean(),
        "held": torch.zeros(()),
    }
    counted = weight
    if urn.weight_held:
        held = urn.draw_held(count, rng)
        means["held"] = players.scores(data.rows[held], data.conditions[held], rng).mean()
    elif held_out:
        counted = 0.0
    target = players.recipe.lipschitz.target
    histogram = slope_histogram(norms, target).numpy() / count
    return {
        "slopes": weight * histogram,
        "group_slopes": _by_group(norms / target, data.groups[drawn], groups),
        "sloped": torch.bincount(data.groups[drawn], minlength=groups).cpu().numpy(),
        "scored": np.array([counted]),
        "scores": counted * np.array([float(means[name]) for name in SCORES]),
    }


def _by_group(values: Tensor, members: Tensor, groups: int) -> npt.NDArray[np.float64]:
    """Sums of values `(n,)` over the rows of each group, `(G,)`."""
    sums = torch.zeros(groups, dtype=torch.float64, device=values.device)
    total: npt.NDArray[np.float64] = sums.index_add_(0, members, values.double()).cpu().numpy()
    return total


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).double().mean()) if values else 0.0


def _turns(critic_steps: int, generator_steps: int) -> list[int]:
    """Critic steps before each generator step.

    >>> _turns(12, 4), _turns(5, 2), _turns(3, 0)
    ([3, 3, 3, 3], [3, 2], [3])
    """
    turns = max(generator_steps, 1)
    base, extra = divmod(critic_steps, turns)
    return [base + (i < extra) for i in range(turns)]
