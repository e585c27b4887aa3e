"""Trainings that several claims share: a critic between two fixed distributions, a small GAN."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from everymode.simulations.toys import plain
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import MLPGeneratorSpec
from everymode.wgan.gradients import CriticReport
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import slopes
from everymode.wgan.players import Batch, Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.schedules import Linear
from everymode.wgan.shape import Shape
from everymode.wgan.training import Schedule, Source, train

SMALL = Recipe(
    generator=MLPGeneratorSpec(hidden=(64, 64), noise=2),
    critic=MLPCriticSpec(hidden=(64, 64)),
    critic_optimizer=Adam(1e-3, 0.5, 0.9),
    generator_optimizer=Adam(1e-3, 0.5, 0.9),
)
"""Networks for points in the plane; claims change what they are about."""


@dataclass(frozen=True)
class Whole:
    """Fixed rows in random order, each as often as any other (a `everymode.wgan.training.Source`).

    Attributes:
        rows: `(N, D)`.
    """

    rows: Tensor

    def __call__(self, count: int, rng: torch.Generator) -> Batch:
        """`count` rows; best a multiple of N."""
        passes = -(-count // len(self.rows))
        order = [torch.randperm(len(self.rows), generator=rng) for _ in range(passes)]
        return plain(self.rows[torch.cat(order)[:count]])


@dataclass(frozen=True)
class Fitted:
    """A trained critic.

    Attributes:
        players: Whose critic was trained.
        real: The real distribution.
        fake: The fake one.
        estimates: The critic's mean estimate at every step.
    """

    players: Players
    real: Source
    fake: Source
    estimates: list[float]

    def score(self, points: Tensor, condition: Tensor | None = None) -> Tensor:
        """Scores of points `(n, D)`, `(n,)`."""
        empty = points.new_zeros((len(points), 0))
        with torch.no_grad():
            scores: Tensor = self.players.critic.module(
                points, empty if condition is None else condition
            )
        return scores

    def pull(self, points: Tensor) -> Tensor:
        """Minus the gradient of the generator's loss at fake points `(n, D)`: where they are sent.

        For a Wasserstein objective it is the critic's own gradient.
        """
        critic, loss = self.players.critic.module, self.players.recipe.objective.generator
        empty = points.new_zeros((len(points), 0))
        return -slopes(lambda x, c: loss(critic(x, c)), points, empty, graph=False)

    def estimate(self, count: int = 4096, seed: int = 1) -> float:
        """E C(real) - E C(fake) on fresh batches of `count`."""
        rng = torch.Generator().manual_seed(seed)
        real, fake = self.real(count, rng), self.fake(count, rng)
        gap = (
            self.score(real.real, real.condition).mean()
            - self.score(fake.real, fake.condition).mean()
        )
        return float(gap)


def fit_critic(
    recipe: Recipe,
    shape: Shape,
    real: Source,
    fake: Source,
    *,
    steps: int,
    batch: int = 256,
    seed: int = 0,
    decay: bool = True,
    watch: Callable[[int, Players, CriticReport], None] | None = None,
) -> Fitted:
    """Trains the critic of `recipe` between two distributions that stand still.

    Args:
        recipe: The parts; its generator is built but not used.
        shape: Layout of the samples.
        real: The real distribution.
        fake: The fake one; its condition is passed over, the pair has the real row's.
        steps: Critic steps.
        batch: Rows of a step.
        seed: Of the weights and the batches.
        decay: Whether the rate falls linearly to 0.
        watch: Is told after every step.
    """
    players = Players(recipe, shape, seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    estimates = []
    for step in range(steps):
        gradient, report = players.critic_gradient(real(batch, rng), fake(batch, rng).real, rng)
        players.step_critic(gradient, Linear().factor(step, steps) if decay else 1.0)
        estimates.append(float(report.estimate.mean()))
        if watch is not None:
            watch(step, players, report)
    return Fitted(players, real, fake, estimates)


def fit_gan(
    recipe: Recipe,
    shape: Shape,
    real: Source,
    schedule: Schedule,
    *,
    seed: int = 0,
    held_out: Source | None = None,
    watch: Callable[[int, Players, CriticReport], None] | None = None,
) -> Players:
    """Trains both players; `watch` is told after every generator step, counted from 1."""
    players = Players(recipe, shape, seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    for step, report in enumerate(train(players, real, schedule, rng, held_out=held_out), 1):
        if watch is not None:
            watch(step, players, report)
    return players


def samples(
    players: Players,
    count: int,
    seed: int = 0,
    condition: Tensor | None = None,
    averaged: bool = False,
) -> Tensor:
    """Rows of the generator, of its averaged weights if so wished, `(count, D)`."""
    rng = torch.Generator().manual_seed(seed)
    given = torch.zeros((count, players.shape.condition)) if condition is None else condition
    if not averaged:
        return players.fake(given, rng)
    kept = players.generator.vector.clone()
    players.generator.load(players.average)
    rows = players.fake(given, rng)
    players.generator.load(kept)
    return rows
