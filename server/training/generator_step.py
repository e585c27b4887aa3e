"""The server's generator steps, from noise alone, against the shared critic or the sites' own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.weighting.group_weights import cell_mass
from everymode.server.federation.recipe import TrainingRecipe
from everymode.wgan.mixtures import ScoreFn, judged_by_odds, judged_in_parts
from everymode.wgan.penalties import GeneratorPenalty
from everymode.wgan.players import Players


@dataclass(frozen=True)
class CriticEnsemble:
    """The sites' own critics.

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
        recipe: Steps, rows and the seed.
        plan: What server and sites agreed on.
        penalties: Further terms of its loss.
    """

    recipe: TrainingRecipe
    plan: Plan
    penalties: Sequence[GeneratorPenalty]

    def __call__(
        self,
        players: Players,
        number: int,
        factor: float,
        mass: npt.NDArray[np.float64],
        critics: CriticEnsemble | None = None,
        previous_critic: Tensor | None = None,
        score: ScoreFn | None = None,
    ) -> float:
        """The steps of round `number`; returns their mean loss.

        Args:
            players: The shared point; its generator moves.
            number: The round, from 1.
            factor: What the learning rates are multiplied with.
            mass: pi_g, how often each group is asked for, `(G,)`.
            critics: The sites' own critics; None: the shared one.
            previous_critic: The last round's critic, `(P,)`. If given, step i of n uses the critic
                interpolated i / n of the way to the current one, imitating alternating updates.
            score: What scores rows in place of any critic; None: they do.
        """
        train, pack, device = self.recipe, self.plan.recipe.pack, players.device
        seed = derive_seed(train.seed, "generator", number)
        rng = torch.Generator(device).manual_seed(seed)
        batch = -(-train.generator_batch // pack) * pack
        ones = torch.ones(batch, device=device)
        conditions = self.plan.conditions
        masses = cell_mass(mass, conditions.table).reshape(-1)
        cumulative = torch.from_numpy(np.cumsum(masses)).to(device)
        encoded = torch.from_numpy(conditions.encode(np.arange(len(masses)))).to(device)
        current = players.critic.vector.clone()
        losses = []
        for step in range(train.generator_steps):
            point = torch.rand(batch, generator=rng, dtype=torch.float64, device=device)
            cells = torch.searchsorted(cumulative, point * cumulative[-1], right=True)
            cells = cells.clamp_max(len(cumulative) - 1)
            if previous_critic is not None:
                way = (step + 1) / train.generator_steps
                players.critic.load(torch.lerp(previous_critic, current, way))
            judge = score
            if critics is not None:
                judge = _score_fn(players, critics, cells[::pack])
            gradient, loss = players.generator_gradient(
                encoded[cells], ones, rng, self.penalties, judge
            )
            players.step_generator(gradient, factor)
            players.update_ema()
            losses.append(float(loss.mean()))
        return float(np.mean(losses))


def _score_fn(players: Players, critics: CriticEnsemble, cells: Tensor) -> ScoreFn:
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
