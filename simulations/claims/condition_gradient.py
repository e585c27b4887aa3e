"""A conditional critic with and without a bound on its slope with respect to the condition.

Classes lie at different distances from one fake cloud, each a shifted copy of it, so that W1 is
exactly the shift. The penalty's optimum overshoots by W / (2 lambda), 1 % at the weight used here.
A condition halfway between two classes never occurs in training: what happens there is the
network's own affair unless the condition's gradient is penalised, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, near, noted, smaller, spread
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic, fit_gan, samples
from everymode.simulations.claims.page import BLUE, GREY, ORANGE
from everymode.simulations.toys import plain
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import ConditionPenalty, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.schedules import Linear
from everymode.wgan.shape import Shape
from everymode.wgan.training import Schedule

DEVIATION = 0.1
TICKS = 41
WITH, WITHOUT = "with the condition's gradient", "with respect to x alone"


@dataclass(frozen=True)
class Classes:
    """Gaussians, one a class, under one-hot conditions (a `everymode.wgan.training.Source`).

    Attributes:
        centres: `(K, 2)`.
    """

    centres: Tensor

    def __call__(self, count: int, rng: torch.Generator) -> Batch:
        """`count` samples, their classes at random."""
        kind = torch.randint(len(self.centres), (count,), generator=rng)
        noise = torch.randn((count, 2), generator=rng)
        return plain(self.centres[kind] + DEVIATION * noise, torch.eye(len(self.centres))[kind])


def around(distances: Sequence[float]) -> Classes:
    """Classes at these distances from 0, in directions all round."""
    angles = torch.arange(len(distances)) * (2 * math.pi / len(distances))
    return Classes(torch.tensor(distances)[:, None] * torch.stack([angles.cos(), angles.sin()], 1))


DISTANT = around([1.0, 2.0, 3.0, 4.0])
TRIANGLE = around([0.8, 0.8, 0.8])


def cloud(count: int, rng: torch.Generator) -> Batch:
    """The fake samples of every class: the same Gaussian around 0."""
    return plain(DEVIATION * torch.randn((count, 2), generator=rng))


def turning(curve: Tensor) -> float:
    """Total variation of a curve's velocity over its parameter from 0 to 1; `(T, ...)`.

    0 for a straight line run through evenly.

    >>> turning(torch.tensor([[0.0], [1.0], [2.0]])), turning(torch.tensor([[0.0], [1.0], [0.0]]))
    (0.0, 4.0)
    """
    velocity = curve.flatten(1).diff(dim=0) * (len(curve) - 1)
    return float(velocity.diff(dim=0).norm(dim=1).sum())


def between(first: int, second: int, classes: int) -> Tensor:
    """Conditions from one class to another, `(TICKS, K)`."""
    kinds = torch.eye(classes)
    return torch.lerp(kinds[first], kinds[second], torch.linspace(0, 1, TICKS)[:, None])


def class_estimates(fitted: Fitted, centres: Tensor, seed: int) -> list[float]:
    """E C(real, c) - E C(fake, c) of every class."""
    rng = torch.Generator().manual_seed(seed)
    found = []
    for centre, kind in zip(centres, torch.eye(len(centres)), strict=True):
        fake = cloud(4096, rng).real
        given = kind.expand(len(fake), -1)
        found.append(float((fitted.score(fake + centre, given) - fitted.score(fake, given)).mean()))
    return found


def score_curves(fitted: Fitted, centres: Tensor) -> list[Tensor]:
    """Scores at the centres of two classes while the condition goes from one to the other."""
    curves = []
    for first, second in combinations(range(len(centres)), 2):
        path = between(first, second, len(centres))
        for place in (first, second):
            curves.append(fitted.score(centres[place].expand(TICKS, -1), path))
    return curves


def mean_curves(players: Players, classes: int, count: int = 256) -> list[Tensor]:
    """The generator's mean while the condition goes from class to class, the noise unchanged."""
    return [
        torch.stack(
            [
                samples(players, count, 0, condition.expand(count, -1), averaged=True).mean(0)
                for condition in between(first, second, classes)
            ]
        )
        for first, second in combinations(range(classes), 2)
    ]


def penalties(weight: float, name: str) -> Penalised:
    """The penalty in x, and that in the condition if so named."""
    first = GradientPenalty(weight)
    return Penalised((first, ConditionPenalty()) if name == WITH else (first,))


def critic(name: str, seed: int, steps: int) -> Fitted:
    """Between the distant classes and the cloud."""
    recipe = replace(SMALL, lipschitz=penalties(200.0, name), critic_optimizer=Adam(2e-3, 0.5, 0.9))
    shape = Shape((), 2, len(DISTANT.centres))
    return fit_critic(recipe, shape, DISTANT, cloud, steps=steps, seed=seed)


def gan(name: str, seed: int, steps: int) -> Players:
    """Trained on the triangle, whose sides one unit of slope in the condition can tell apart."""
    recipe = replace(
        SMALL,
        lipschitz=penalties(1.0, name),
        generator_optimizer=Adam(5e-4, 0.5, 0.9),
        averaging=0.98,
    )
    schedule = Schedule(steps, n_critic=5, first=min(50, steps), batch=128, rates=Linear())
    return fit_gan(recipe, Shape((), 2, 3), TRIANGLE, schedule, seed=seed)


def measure(
    seeds: Sequence[int], figure: Figure, steps: int = 1000, generator_steps: int = 300
) -> list[Check]:
    """Estimates by class; turning of scores and of the generator's means between classes."""
    exact = DISTANT.centres.norm(dim=1).tolist()
    left, middle, right = figure.subplots(1, 3)
    estimates: list[list[float]] = []
    bends: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    turns: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for index, seed in enumerate(seeds):
        for name, colour in ((WITHOUT, BLUE), (WITH, ORANGE)):
            fitted = critic(name, seed, steps)
            found = class_estimates(fitted, DISTANT.centres, seed + 100)
            if name == WITHOUT:
                estimates.append(found)
            curves = score_curves(fitted, DISTANT.centres)
            bends[name].append(float(np.mean([turning(curve[:, None]) for curve in curves])))
            players = gan(name, seed, generator_steps)
            means = mean_curves(players, 3)
            turns[name].append(float(np.mean([turning(curve) for curve in means])))
            if index == 0:
                left.plot(exact, found, "o" if name == WITHOUT else "x", color=colour)
                for number, curve in enumerate(curves):
                    label = None if number else name
                    height = curve - curve[0]
                    middle.plot(np.linspace(0, 1, TICKS), height, color=colour, label=label)
                for path in means:
                    right.plot(path[:, 0], path[:, 1], ".-", color=colour, markersize=3)
    left.plot([0, 4.2], [0, 4.2], color=GREY, linewidth=1)
    left.set(xlabel="exact W1 of the class", ylabel="critic's estimate")
    left.set_title("Each class has its own W1")
    middle.set(xlabel="from one class to another", ylabel="change of the score")
    middle.set_title("Scores along the condition")
    figure.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    right.plot(*TRIANGLE.centres.T, "*", color="black", markersize=9)
    right.set(title="Generator's mean between classes", aspect="equal")
    right.set(xlabel="first coordinate", ylabel="second coordinate")
    return [
        *(
            near(f"{WITHOUT}: estimate of class {kind + 1}", list(values), exact[kind], 0.02)
            for kind, values in enumerate(zip(*estimates, strict=True))
        ),
        smaller("turning of the score between classes, with it", bends[WITH], bends[WITHOUT]),
        # It is never trained between classes: what it does there is its own network's affair.
        noted(
            "turning of the generator's mean, with it",
            turns[WITH],
            f"without it {spread(turns[WITHOUT])}",
        ),
    ]


CLAIM = Claim(
    16,
    "condition_gradient",
    "The penalty with respect to x alone gives each condition its own W1; adding the condition's "
    "gradient makes the critic's interpolation between conditions smoother.",
    "Kantorovich duality, condition by condition; Gulrajani et al., 2017, equation 3, taken with "
    "respect to the condition",
    measure,
    seconds=44,
)
