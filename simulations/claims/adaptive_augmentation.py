"""Augmentation whose strength follows the critic's overfitting, on a few rows.

The original GAN in eight dimensions, as in the source: its critic, bounded by nothing, learns the
rows by heart, and the generator goes astray after it. Under a gradient penalty in the plane the
critic overfits as much and does no such harm: samples come to the rows and stay there, with views
or without (40 rows, W1 .27 either way), so there is nothing to be won. Where the generator has gone
astray the statistic is low, since its samples are told from any rows, seen or unseen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims.claim import Check, Claim, noted, smaller, spread
from everymode.simulations.claims.fitting import SMALL, fit_gan, samples
from everymode.simulations.claims.page import BLUE, GREY, RED
from everymode.simulations.toys import Cloud, Modes
from everymode.wgan.augmentations import TableAugmentation
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import MLPGeneratorSpec
from everymode.wgan.gradients import CriticReport
from everymode.wgan.lipschitz import Unconstrained
from everymode.wgan.objectives import JensenShannon
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.strength import Adaptive, Constant, held_out_statistic
from everymode.wgan.theory.checks import Array
from everymode.wgan.theory.transport import assignment
from everymode.wgan.training import LOOKS, Schedule

DIMENSION = 8
REAL = Modes(torch.randn((4, DIMENSION), generator=torch.Generator().manual_seed(5)), 0.5)
ROWS, HELD, UNSEEN, EVERY = 30, 300, 512, 40
RULE = Adaptive(target=0.3, speed=0.05, limit=1.0)
SLACK = 0.15
"""On either side of the target."""

AUGMENTED = replace(
    SMALL,
    generator=MLPGeneratorSpec(hidden=(64, 64), noise=DIMENSION),
    critic=MLPCriticSpec(hidden=(128, 128)),
    objective=JensenShannon(),
    lipschitz=Unconstrained(),
    averaging=0.99,
    augmentations=(TableAugmentation(mask=0.0, noise=0.5),),
    strength=RULE,
)
PLAIN = replace(AUGMENTED, strength=Constant(0.0))
"""Views at strength 0 draw as many numbers: both trainings are one until the rule acts."""


@dataclass
class Run:
    """One training on few rows.

    Attributes:
        overfitting: The rule's statistic, every `LOOKS` generator steps.
        strength: Of the views, at the same steps.
        exact: Exact W1, every `EVERY` steps, between rows that neither critic nor rule has seen
            and as many samples of the averaged generator.
    """

    overfitting: list[float] = field(default_factory=list)
    strength: list[float] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)

    @property
    def late(self) -> float:
        """Mean of the statistic in the second half."""
        return float(np.mean(self.overfitting[len(self.overfitting) // 2 :]))

    @property
    def distance(self) -> float:
        """W1 over the last quarter."""
        return float(np.mean(self.exact[-(len(self.exact) // 4 or 1) :]))


def trained(recipe: Recipe, seed: int, steps: int = 1000) -> Run:
    """Trains on `ROWS` rows; `HELD` others are held out for the statistic."""
    rng = torch.Generator().manual_seed(seed + 1000)
    rows, held, unseen = (REAL(count, rng) for count in (ROWS, HELD, UNSEEN))
    run = Run()

    def watch(step: int, players: Players, report: CriticReport) -> None:
        look = torch.Generator().manual_seed(step)
        if step % LOOKS == 0:
            unheard = players.scores(held, torch.zeros((len(held), 0)), look)
            run.overfitting.append(
                held_out_statistic(
                    float(report.real.mean()), float(unheard.mean()), float(report.fake.mean())
                )
            )
            run.strength.append(players.strength)
        if step % EVERY == 0:
            made = samples(players, UNSEEN, seed, averaged=True)
            run.exact.append(assignment(made.numpy(), unseen.numpy()).value)

    fit_gan(
        recipe,
        Shape((), DIMENSION, 0),
        Cloud(rows),
        Schedule(steps=steps, n_critic=3, batch=128),
        seed=seed,
        held_out=Cloud(held),
        watch=watch,
    )
    return run


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """The same training with and without augmentation."""
    plain = [trained(PLAIN, seed) for seed in seeds]
    augmented = [trained(AUGMENTED, seed) for seed in seeds]
    left, middle, right = figure.subplots(1, 3)
    for runs, colour, name in ((plain, RED, "no augmentation"), (augmented, BLUE, "adaptive")):
        looks = LOOKS * np.arange(1, len(runs[0].strength) + 1)
        smooth = np.median([_windows(r.overfitting) for r in runs], (0, 2))
        left.plot(looks[-len(smooth) :], smooth, color=colour, label=name)
        middle.plot(looks, np.mean([r.strength for r in runs], 0), color=colour)
        exact = np.mean([r.exact for r in runs], 0)
        right.plot(EVERY * np.arange(1, len(exact) + 1), exact, color=colour)
    left.axhline(RULE.target, color=GREY, ls="--", label="target")
    left.set(ylabel="overfitting of the critic", title="Median over 20 looks and all seeds")
    middle.set(ylabel="strength of the views", title="What that takes")
    right.set(ylabel="exact W1 to unseen rows", title=f"Learnt from {ROWS} rows")
    for axes in (left, middle, right):
        axes.set(xlabel="generator step", xlim=(0, None), ylim=(0, None))
    left.legend(fontsize=7, loc="upper left")
    late = [run.late for run in augmented]
    return [
        Check(
            "overfitting, second half, with augmentation",
            f"the target, {RULE.target}, within {SLACK}",
            spread(late),
            all(abs(value - RULE.target) <= SLACK for value in late),
        ),
        noted("the same without: its samples stray too far", [run.late for run in plain]),
        smaller(
            "W1 to unseen rows with augmentation, beside none",
            [run.distance for run in augmented],
            [run.distance for run in plain],
        ),
    ]


def _windows(values: Sequence[float], length: int = 20) -> Array:
    """Runs of neighbours, `(n, length)`, or all there are."""
    return np.lib.stride_tricks.sliding_window_view(values, min(length, len(values)))


CLAIM = Claim(
    20,
    "adaptive_augmentation",
    "With few rows, augmentation that adapts holds the critic's overfitting at its target and "
    "brings samples closer to unseen rows than training without.",
    "Karras et al. 2020 (ADA), section 3 and figures 6 and 7",
    measure,
    seconds=57,
)
