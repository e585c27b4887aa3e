"""Claim 6: the penalty's weight between slopes that explode and a signal that starves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, above, below, near, smaller
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE
from everymode.simulations.toys import Fresh, ring
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty, slopes
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import assignment

SHAPE = Shape((), 2, 0)
REAL = Fresh(ring(radius=2.0, deviation=0.1))
FAKE = Fresh(lambda count, rng: 0.5 * torch.randn((count, 2), generator=rng))
LAMBDAS = tuple(10.0**power for power in range(-3, 5))
SMALLEST, USUAL, LARGEST = LAMBDAS[0], 10.0, LAMBDAS[-1]


@dataclass(frozen=True)
class Signal:
    """What a critic offers a generator.

    Attributes:
        slopes: 5, 50 and 95 % quantiles of its slope on interpolates.
        ratio: Its estimate over the exact W1.
        cosine: Mean cosine between its gradient at fake rows and where optimal transport sends
            them.
        pull: Mean of its gradient along that direction; 1 for an optimal critic.
    """

    slopes: tuple[float, float, float]
    ratio: float
    cosine: float
    pull: float


def signal(fitted: Fitted, seed: int, count: int = 1024) -> Signal:
    """Measured on fresh rows, against the exact assignment of fake rows to real ones."""
    rng = torch.Generator().manual_seed(seed + 1000)
    real, fake = REAL(count, rng), FAKE(count, rng).real
    exact = assignment(fake.numpy(), real.real.numpy())
    way = real.real[torch.from_numpy(exact.plan)] - fake
    none = fake.new_zeros((count, 0))
    gradient = slopes(fitted.players.critic.module, fake, none, graph=False)
    cosine, pull = along(gradient, way)
    low, middle, high = np.quantile(
        fitted.players.slopes(real, fake, rng).numpy(), (0.05, 0.5, 0.95)
    )
    gap = float(fitted.score(real.real).mean() - fitted.score(fake).mean())
    return Signal((low, middle, high), gap / exact.value, cosine, pull)


def along(gradient: Tensor, way: Tensor) -> tuple[float, float]:
    """Mean cosine of gradients and ways `(n, D)`, and mean part of the gradients along them.

    >>> along(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[5.0, 0.0], [0.0, -1.0]]))
    (0.0, -0.5)
    """
    part = (gradient * torch.nn.functional.normalize(way, dim=1)).sum(1)
    cosine = torch.nn.functional.cosine_similarity(gradient, way, dim=1)
    return float(cosine.mean()), float(part.mean())


def fit(weight: float, seed: int, steps: int) -> Fitted:
    """A critic under the usual two-sided penalty of that weight."""
    recipe = replace(SMALL, lipschitz=Penalised((GradientPenalty(weight=weight),)))
    return fit_critic(recipe, SHAPE, REAL, FAKE, steps=steps, batch=128, seed=seed, decay=False)


def measure(
    seeds: Sequence[int], figure: Figure, steps: int = 300, count: int = 1024
) -> list[Check]:
    """The same budget of critic steps for every lambda."""
    found = {
        weight: [signal(fit(weight, seed, steps), seed, count) for seed in seeds]
        for weight in LAMBDAS
    }
    _draw(figure, found, steps)
    small, usual, large = found[SMALLEST], found[USUAL], found[LARGEST]
    return [
        above(f"lambda {SMALLEST:g}: median slope", [s.slopes[1] for s in small], 10),
        above(f"lambda {SMALLEST:g}: estimate over W1", [s.ratio for s in small], 10),
        near(f"lambda {USUAL:g}: median slope", [s.slopes[1] for s in usual], 1, 0.2),
        near(f"lambda {USUAL:g}: estimate over W1", [s.ratio for s in usual], 1, 0.2),
        above(f"lambda {USUAL:g}: gradient along the transport", [s.pull for s in usual], 0.8),
        below(f"lambda {LARGEST:g}: estimate over W1", [s.ratio for s in large], 0.5),
        smaller(
            f"lambda {LARGEST:g}: gradient along the transport, beside lambda {USUAL:g}",
            [s.pull for s in large],
            [s.pull for s in usual],
            2,
        ),
    ]


def _draw(figure: Figure, found: dict[float, list[Signal]], steps: int) -> None:
    left, middle, right = figure.subplots(1, 3)
    weights = list(found)
    low, mid, high = (
        [np.mean([s.slopes[i] for s in runs]) for runs in found.values()] for i in range(3)
    )
    left.fill_between(weights, low, high, color=BLUE, alpha=0.25, label="5 to 95 %")
    left.plot(weights, mid, "o-", color=BLUE, label="median")
    left.set(ylabel="slope on interpolates", yscale="log")
    left.set_title("Small: slopes explode")
    left.legend()
    middle.plot(weights, [[s.ratio for s in r] for r in found.values()], "o", color=ORANGE)
    middle.plot(weights, [np.mean([s.ratio for s in r]) for r in found.values()], color=ORANGE)
    middle.set(ylabel="estimate / exact W1")
    middle.set_yscale("symlog", linthresh=1.0)
    middle.set_title(f"The estimate after {steps} steps")
    for name, colour in (("cosine", GREEN), ("pull", BLUE)):
        values = np.array([[getattr(s, name) for s in runs] for runs in found.values()])
        label = {"cosine": "cosine", "pull": "length along it (up to 1.5)"}[name]
        right.plot(weights, values.clip(max=1.5).mean(1), "o-", color=colour, label=label)
    right.set(ylabel="gradient at fake rows", ylim=(-0.2, 1.6))
    right.set_title("Large: the signal starves")
    right.legend(title="against optimal transport", loc="lower left", fontsize=8)
    for axes in (left, middle, right):
        axes.set(xlabel="lambda", xscale="log")
        axes.axhline(1, color=GREY, lw=0.8)
        axes.axvline(USUAL, color=GREY, lw=0.8, ls=":")


CLAIM = Claim(
    6,
    "penalty_weight",
    "With too small a penalty weight slopes explode; with too large a one the critic learns to be "
    "smooth before it learns anything else, and the generator's signal starves.",
    "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, section 4 (lambda = 10)",
    measure,
    seconds=23,
)
