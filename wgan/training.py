"""The loop in one process: critic steps, a generator step, its average, augmentation strength.

    >>> from everymode.wgan.diagnostics import diagnose
    >>> from everymode.wgan.recipe import Recipe
    >>> from everymode.wgan.shape import Shape
    >>> def real(count, rng):
    ...     rows = 1 + torch.randn((count, 2), generator=rng)
    ...     return Batch(rows, rows[:, :0], torch.ones(count))
    >>> rng, players = torch.Generator().manual_seed(0), Players(Recipe(), Shape((), 2, 0))
    >>> reports = list(train(players, real, Schedule(steps=2, batch=16), rng))
    >>> observation = observe(players, real, 64, torch.Generator().manual_seed(1))
    >>> [finding.verdict for finding in diagnose([observation])][0]
    'unknown'

Sites take the same steps in the same order (`everymode.clients.tasks.train`), with an exchange in
between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from everymode.wgan.diagnostics import Observation
from everymode.wgan.errors import NumericalError
from everymode.wgan.gradients import CriticReport, weighted_mean
from everymode.wgan.penalties import GeneratorPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.schedules import Constant, ScheduleSpec
from everymode.wgan.slopes import slope_histogram, slope_quantiles
from everymode.wgan.strength import held_out_statistic, sign_statistic

LOOKS = 4
"""Generator steps between looks at the overfitting statistic (Karras et al., 2020, section 3.1)."""


class Source(Protocol):
    """Where batches come from."""

    def __call__(self, count: int, rng: torch.Generator) -> Batch:
        """Draws `count` real rows."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long, and who steps when.

    Attributes:
        steps: Generator steps in all.
        n_critic: Critic steps before each of them.
        first: Further critic steps before the first of them, so that the generator never follows
            a critic that knows nothing.
        batch: Rows of a step.
        rates: What both learning rates are multiplied with.
    """

    steps: int = 1000
    n_critic: int = 5
    first: int = 0
    batch: int = 256
    rates: ScheduleSpec = field(default_factory=Constant)


def train(
    players: Players,
    source: Source,
    schedule: Schedule,
    rng: torch.Generator,
    *,
    held_out: Source | None = None,
    penalties: Sequence[GeneratorPenalty] = (),
) -> Iterator[CriticReport]:
    """Trains, and after each generator step yields what the last critic step showed.

    All state is in `players` and `rng`: whoever saves both may stop after any step and go on later,
    to the bit. It starts where the generator's statistics stand.

    Args:
        players: The networks, moved in place.
        source: Real rows.
        schedule: Steps and batches.
        rng: Source of all randomness.
        held_out: Real rows never trained on, for a strength that follows them.
        penalties: Terms of the generator's loss.

    Raises:
        ValueError: The strength follows held-out rows and there are none, the batch is empty or
            cannot be packed, or no critic steps are taken.
        NumericalError: Training has diverged.
    """
    rule, pack = players.recipe.strength, players.recipe.pack
    if players.recipe.augmentations and rule.reads == "held_out" and held_out is None:
        raise ValueError("the strength of the augmentations follows held-out rows: pass `held_out`")
    if schedule.batch < 1 or schedule.batch % pack:
        raise ValueError(f"batches of {schedule.batch} rows cannot be packed by {pack}")
    if schedule.n_critic < 1:
        raise ValueError(f"n_critic = {schedule.n_critic}: expected at least 1 critic step")
    while (done := players.generator_statistics.steps) < schedule.steps:
        factor = schedule.rates.factor(done, schedule.steps)
        for _ in range(schedule.n_critic + (schedule.first if done == 0 else 0)):
            batch = source(schedule.batch, rng)
            fake = players.fake(batch.condition, rng)
            gradient, report = players.critic_gradient(batch, fake, rng)
            players.step_critic(gradient, factor)
        batch = source(schedule.batch, rng)
        gradient, _ = players.generator_gradient(batch.condition, batch.weights, rng, penalties)
        players.step_generator(gradient, factor)
        players.update_ema()
        if not bool(torch.isfinite(players.generator.vector).all()):
            raise NumericalError(
                f"step {done + 1}: the generator's weights are not finite: training has diverged; "
                "lower the rates or hold the critic's slope more tightly"
            )
        if players.recipe.augmentations:
            statistic = None
            if done % LOOKS == 0:
                statistic = overfitting(players, report, held_out, schedule.batch, rng)
            progress = (done + 1) / schedule.steps
            players.strength = rule.next(players.strength, progress, statistic)
        yield report


def observe(
    players: Players,
    source: Source,
    count: int,
    rng: torch.Generator,
    *,
    held_out: Source | None = None,
    quality: float | None = None,
) -> Observation:
    """Looks at both players as they stand; moves neither.

    What it finds is for `everymode.wgan.diagnostics.diagnose`.

    Args:
        players: The networks.
        source: Real rows trained on.
        count: Rows of the look, a multiple of the recipe's `pack`.
        rng: Source of the look's own randomness; not that of the training, which would then
            depend on how often it is looked at.
        held_out: Real rows never trained on.
        quality: A distance of samples to real rows, measured by the caller.
    """
    batch = source(count, rng)
    fake = players.fake(batch.condition, rng)
    _, report = players.critic_gradient(batch, fake, rng)
    _, loss = players.generator_gradient(batch.condition, batch.weights, rng)
    target = players.recipe.lipschitz.target
    histogram = slope_histogram(players.slopes(batch, fake, rng), target)
    held = None
    if held_out is not None:
        unseen = held_out(count, rng)
        held = float(players.scores(unseen.real, unseen.condition, rng).mean())

    def mean(values: torch.Tensor) -> float:
        return float(weighted_mean(values, batch.weights))

    return Observation(
        step=players.generator_statistics.steps,
        estimate=mean(report.estimate),
        penalty=mean(report.penalty),
        generator_loss=mean(loss),
        slopes=slope_quantiles(histogram),
        train_score=mean(report.real),
        held_score=held,
        fake_score=mean(report.fake),
        strength=players.strength if players.recipe.augmentations else 0.0,
        quality=quality,
    )


def overfitting(
    players: Players,
    report: CriticReport,
    held_out: Source | None,
    count: int,
    rng: torch.Generator,
) -> float | None:
    """The statistic that the recipe's strength follows; None where it follows none."""
    reads = players.recipe.strength.reads
    if reads == "sign":
        return sign_statistic(float(report.real.sign().mean()))
    if reads == "held_out" and held_out is not None:
        unseen = held_out(count, rng)
        held = float(players.scores(unseen.real, unseen.condition, rng).mean())
        return held_out_statistic(float(report.real.mean()), held, float(report.fake.mean()))
    return None
