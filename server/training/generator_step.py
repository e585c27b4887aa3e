"""The server's generator steps, on noise alone: against the shared critic, or against many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clients.protocol.plan import Plan, seed_of
from fairness.groups.conditions import MISSING, ConditionSpace
from fairness.matching.moments import MomentMatching
from fairness.parity.adversary import GroupAdversary, GroupAdversarySpec
from fairness.parity.mixture import ParityMixture
from fairness.parity.penalty import ParityPenalty
from fairness.weighting.group_weights import cell_mass
from server.config.settings import Settings
from wgan.errors import SettingsError
from wgan.mixtures import ScoreFn, judged_by_odds, judged_in_parts
from wgan.penalties import GeneratorPenalty
from wgan.players import Players


@dataclass(frozen=True)
class CriticEnsemble:
    """Critics of the sites' own.

    Attributes:
        vectors: Their parameters, `(K, P)`.
        log_prior: log of the share that each site holds of each cell, `(cells, K)`; None: every
            critic judges its part of a batch.
    """

    vectors: Tensor
    log_prior: Tensor | None = None


@dataclass(frozen=True)
class GeneratorSteps:
    """What the generator does between two exchanges.

    Attributes:
        settings: The configuration.
        plan: What server and sites agreed on.
        penalties: Further terms of its loss.
    """

    settings: Settings
    plan: Plan
    penalties: Sequence[GeneratorPenalty]

    def __call__(
        self,
        players: Players,
        number: int,
        factor: float,
        mass: npt.NDArray[np.float64],
        critics: CriticEnsemble | None = None,
        before: Tensor | None = None,
    ) -> float:
        """The steps of round `number`; returns their mean loss.

        Args:
            players: The common point; its generator moves.
            number: The round, from 1.
            factor: What the learning rates are multiplied with.
            mass: pi_g, how often each group is asked for, `(G,)`.
            critics: Judges of their own instead of the shared critic.
            before: The shared critic of the round before: the steps then meet it on its way from
                there to where it is, as they would if the two took turns, instead of each meeting
                its end.
        """
        train, pack, device = self.settings.train, self.plan.recipe.pack, players.device
        seed = seed_of(self.settings.seed, "generator", number)
        rng = torch.Generator(device).manual_seed(seed)
        batch = -(-train.generator_batch // pack) * pack
        ones = torch.ones(batch, device=device)
        conditions = self.plan.conditions
        masses = cell_mass(mass, conditions.table).reshape(-1)
        cumulative = torch.from_numpy(np.cumsum(masses)).to(device)
        encoded = torch.from_numpy(conditions.encode(np.arange(len(masses)))).to(device)
        there = players.critic.vector.clone()
        losses = []
        for step in range(train.generator_steps):
            point = torch.rand(batch, generator=rng, dtype=torch.float64, device=device)
            cells = torch.searchsorted(cumulative, point * cumulative[-1], right=True)
            cells = cells.clamp_max(len(cumulative) - 1)
            if before is not None:
                way = (step + 1) / train.generator_steps
                players.critic.load(torch.lerp(before, there, way))
            judge = None if critics is None else _judge(players, critics, cells[::pack])
            gradient, loss = players.generator_gradient(
                encoded[cells], ones, rng, self.penalties, judge
            )
            players.step_generator(gradient, factor)
            players.follow()
            losses.append(float(loss.mean()))
        return float(np.mean(losses))


def _judge(players: Players, critics: CriticEnsemble, cells: Tensor) -> ScoreFn:
    vectors = critics.vectors.to(players.device)
    if critics.log_prior is None:
        return judged_in_parts(players.critic, vectors)
    prior = critics.log_prior.to(players.device)[cells]
    return judged_by_odds(players.critic, vectors, prior)


def log_prior(
    counts: Sequence[npt.NDArray[np.float32]], encoded: npt.NDArray[np.float32]
) -> Tensor:
    """Log of each site's share of the rows of every class, `(cells, K)`.

    A class is what the generator is told: cells of one condition are one class. A class that no
    site holds is shared alike.

    Args:
        counts: Rows of each cell, `(cells,)`, a site each.
        encoded: The condition of each cell, `(cells, C)`.
    """
    table = np.stack(counts, 1).astype(np.float64)
    # A blank column, for conditions of no length are all the same.
    blank = np.zeros((len(encoded), 1), dtype=np.float32)
    _, member = np.unique(np.hstack([encoded, blank]), axis=0, return_inverse=True)
    classes = np.zeros((member.max() + 1, table.shape[1]))
    np.add.at(classes, member.reshape(-1), table)
    total = classes.sum(1, keepdims=True)
    share = np.where(total > 0, classes / np.maximum(total, 1), 1 / table.shape[1])
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(share[member.reshape(-1)])).float()


def build_mixture(settings: Settings) -> ParityMixture | None:
    """How labels are mixed when rows are asked for; None: as in the data.

    Training asks for the data's mixture all the same: what a row of a cell looks like does not
    depend on it, while the moments that a group's rows are matched with do.
    """
    fairness = settings.fairness
    if fairness.parity != "demographic" or settings.penalised:
        return None
    return ParityMixture(fairness.parity_level, fairness.parity_features)


def build_parity(
    settings: Settings, plan: Plan, matching: MomentMatching | None, device: str
) -> ParityPenalty | None:
    """The penalty that parity takes, if any.

    Raises:
        SettingsError: A level above 0 without moments of the label.
    """
    fairness = settings.fairness
    if not settings.penalised or not fairness.parity_weight:
        return None
    label = None
    if fairness.parity == "equal_opportunity":
        label = advantage(plan.conditions, fairness.parity_label)
    try:
        return ParityPenalty.of(
            plan.conditions,
            plan.schema,
            fairness.parity_weight,
            fairness.parity_level,
            fairness.parity_features,
            fairness.parity_shape,
            label,
            matching,
            device,
        )
    except ValueError as error:
        raise SettingsError(
            f"fairness.parity = '{fairness.parity}': {error}; write data.condition = "
            "'group_and_label', or fairness.parity_level = 0"
        ) from None


def build_adversary(settings: Settings, plan: Plan, device: str) -> GroupAdversary | None:
    """The bias head, if there is to be one.

    Raises:
        SettingsError: There is one group only, or no column to tell groups from.
    """
    fairness = settings.fairness
    if not fairness.bias_head:
        return None
    spec = GroupAdversarySpec(fairness.bias_head, reweighted=fairness.bias_head_reweighted)
    seed = seed_of(settings.seed, "bias head")
    try:
        return spec.build(plan.conditions, plan.schema, seed, device)
    except ValueError as error:
        raise SettingsError(f"fairness.bias_head: {error}; write 0") from None


def advantage(conditions: ConditionSpace, label: str | None) -> str:
    """The label that is the advantage: the one named, else the rarest, of a number the highest bin.

    Raises:
        SettingsError: The target has no such label.
    """
    rows = conditions.plain.table.sum(0)
    known = [name for name, count in zip(conditions.labels, rows, strict=True) if count]
    if label is None:
        if conditions.label_edges:
            return [name for name in known if name != MISSING or len(known) == 1][-1]
        return conditions.labels[_rarest(rows)]
    if label not in known:
        raise SettingsError(
            f"fairness.parity_label = '{label}': '{conditions.target}' has no such label with "
            f"enough rows; write one of {', '.join(known)}"
        )
    return label


def _rarest(rows: npt.NDArray[np.int64]) -> int:
    return int(np.where(rows > 0, rows, rows.max(initial=0) + 1).argmin())
