"""One round at a site: local steps from the shared state, and what they changed, as a sum."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clients.gate.mechanism import Answer
from clients.protocol.messages import SCORES, CountBatchRows, Tensors, Train
from clients.protocol.plan import Plan, plan_of, resident, seed_of
from clients.rows import Rows, Urn, opened
from clients.site import Site
from fairness.matching.kernels import bandwidth, mmd2
from fairness.weighting.group_weights import row_weights
from wgan.numerics import flush_denormals
from wgan.optimizers import UpdateBound
from wgan.players import Batch, Players
from wgan.slopes import slope_histogram

RISK_ROWS = 256
"""Rows of a site, and as many made, that its risk is measured on."""


@dataclass
class _Steps:
    """A player's local steps: what corrects each gradient, and what they had in common.

    With mu > 0 each step minimises the loss plus mu / 2 |w - w_0|^2 (Li et al., "Federated
    Optimization in Heterogeneous Networks", 2020, equation 2). Control variates turn a gradient g
    into g - c_k + c, where c_k is the mean gradient of the site's own last round and c the sites'
    mean of those (Karimireddy et al., "SCAFFOLD", 2020, algorithm 1, with option II's mean of local
    gradients taken as such, since the steps here are not plain gradient steps).
    """

    vector: Tensor
    start: Tensor
    proximal: float
    correction: Tensor | None
    guard: UpdateBound | None
    count: int = 0
    first: Tensor | None = None
    total: Tensor | None = None

    def correct(self, gradient: Tensor) -> Tensor:
        """The gradient `(P,)` that the step is taken along."""
        self.count += 1
        if self.first is None and self.guard is not None:
            self.first = gradient.clone()
        if self.correction is not None:
            self.total = gradient.clone() if self.total is None else self.total.add_(gradient)
            gradient = gradient + self.correction
        if self.proximal:
            gradient = gradient + self.proximal * (self.vector - self.start)
        return gradient

    @property
    def mean(self) -> Tensor:
        """The mean of the round's own gradients, `(P,)`."""
        return torch.zeros_like(self.start) if self.total is None else self.total / self.count


def urns(order: Train, plan: Plan, data: Rows) -> tuple[Urn, float]:
    """What a site draws its rows from, and what its update counts."""
    counts = plan.conditions.group_counts
    mass = np.array(order.mass) if order.mass else plan.mass
    alike = np.full(len(counts), 1 / max(int(counts.sum()), 1))
    urn = data.urn(row_weights(mass, counts) if order.draw == "groups" else alike)
    if urn.weight == 0.0:
        return urn, 0.0
    match order.weights:
        case "groups":
            return urn, data.urn(row_weights(mass, counts)).weight
        case "rows":
            return urn, data.urn(alike).weight
        case "equal":
            return urn, 1 / order.sites


def count_batch_rows(order: CountBatchRows, site: Site) -> Answer:
    """How many rows the site would take, for every size of the batch."""
    text, data = opened(site, order.train.plan, site.stamp(order.train.plan), order.train.device)
    plan, layout = plan_of(text), order.layout()
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

    Players and statistics that are the site's own come with `tensors` and go back as letters.
    """
    text, data = opened(site, order.plan, site.stamp(order.plan), order.device)
    plan, layout = plan_of(text), order.layout()
    urn, weight = urns(order, plan, data)
    if weight == 0.0:
        return Answer.zero(layout)
    players = resident(text, order.device)
    start = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    seen = start.pop("seen", torch.tensor([order.critic_seen, order.generator_seen]))
    players.load(_blank(players, order) | start, int(seen[0]), int(seen[1]))
    risk = _risk(order, plan, players, data, urn, site) if order.risk == "before" else 0.0
    rng = torch.Generator(order.device).manual_seed(seed_of(plan.seed, site.name, order.round))
    pack = plan.recipe.pack
    batch = _rows(order, order.batch, weight, pack)
    ones = torch.ones(batch, device=order.device)
    critic = _steps(players.critic.vector, "critic", order, start, weight)
    generator = _steps(players.generator.vector, "generator", order, start, weight)
    estimates: list[Tensor] = []
    groups_drawn: list[Tensor] = []
    penalties: list[Tensor] = []
    losses: list[Tensor] = []
    # A site's generator steps are spread evenly between its critic steps.
    turns = _turns(order.critic_steps, order.generator_steps)
    done = (order.round - 1) * order.critic_steps
    for steps in turns:
        # The generator stands still in a turn: its rows are made in one go, which for small
        # batches costs a fraction of making them step by step.
        drawn = urn.draw(steps * batch, rng)
        made = players.fake(data.conditions[drawn], rng)
        for step in range(steps):
            part = slice(step * batch, (step + 1) * batch)
            index, fake = drawn[part], made[part]
            real = Batch(data.rows[index], data.conditions[index], ones)
            gradient, report = players.critic_gradient(real, fake, rng, done)
            players.step_critic(critic.correct(gradient), order.factor, critic.guard)
            done += 1
            estimates.append(report.estimate)
            penalties.append(report.penalty)
        groups_drawn.append(data.groups[drawn])
        if order.generator_steps:
            conditions = data.conditions[urn.draw(batch, rng)]
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
        "penalty": np.array([weight * float(penalty.double().mean())]),
        "penalties": _by_group(penalty, members, order.groups),
        "generator_loss": np.array([weight * _mean(losses)]),
    }
    if order.inspect:
        seed = seed_of(plan.seed, site.name, order.round, "inspect")
        looking = torch.Generator(order.device).manual_seed(seed)
        if int(data.held_out.sum()) < site.floor:
            urn = urn.without_held
        sums |= inspect(players, data, urn, weight, batch, plan.held_out > 0, order.groups, looking)
    after = players.tensors()
    # Differences in float64: rounding to the resolution of the sums is then the only one.
    changes = {
        name: after[name].double().numpy() - start[name].double().numpy()
        for name in start.keys() & after.keys()
    }
    own: dict[str, npt.NDArray[Any]] = {}
    for name, steps_taken in (("critic", critic), ("generator", generator)):
        if steps_taken.first is not None:
            changes[f"{name}_gradient"] = steps_taken.first.double().cpu().numpy()
        if f"{name}_control_own" in start:
            own[f"{name}_control_own"] = mean = steps_taken.mean.cpu().numpy()
            changes[f"{name}_control"] = mean - start[f"{name}_control_own"].double().numpy()
    fields = {field.name for field in layout.fields}
    sums |= {name: weight * value for name, value in changes.items() if name in fields}
    if not layout.letters:
        return Answer(layout, sums)
    if order.risk == "after":
        risk = _risk(order, plan, players, data, urn, site)
    statistics = players.critic_statistics, players.generator_statistics
    own |= {name: tensor.numpy() for name, tensor in after.items()}
    own |= {"seen": np.array([s.steps for s in statistics]), "risk": np.array([risk])}
    # What is averaged is sent as a change, apart or not.
    own |= {name: changes[name] for name in order.updates() if name not in fields}
    return Answer(layout, sums, own)


def _blank(players: Players, order: Train) -> dict[str, Tensor]:
    """What a site needs nothing of, since it does not train it."""
    idle = torch.zeros(len(players.generator.vector))
    blank = {"average": idle, "generator_first": idle, "generator_second": idle}
    blank["strength"] = torch.tensor([order.strength], dtype=torch.float64)
    return blank


def _steps(
    vector: Tensor, name: str, order: Train, start: dict[str, Tensor], weight: float
) -> _Steps:
    correction = None
    if f"{name}_control_own" in start:
        shared, own = start[f"{name}_control"], start[f"{name}_control_own"]
        correction = (shared - own).to(vector.device)
    guard = UpdateBound(weight) if order.frozen else None
    return _Steps(vector, vector.clone(), order.proximal, correction, guard)


def _risk(order: Train, plan: Plan, players: Players, data: Rows, urn: Urn, site: Site) -> float:
    """Squared MMD between the site's rows and what the generator makes of their conditions."""
    seed = seed_of(plan.seed, site.name, order.round, "risk")
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
