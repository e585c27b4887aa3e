"""Claim 2: on the line a critic finds the distance of points, and slope 1 all the way."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims.claim import Check, Claim, near
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE
from everymode.simulations.toys import Cloud, Fresh
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.shape import Shape

TIGHT = 100.0
"""lambda; the best critic under it is 1 + t / 200 steep."""
DISTANCES = (0.5, 1.0, 2.0, -1.0)
LINE = Shape((), 1, 0)


def slope_of_best(distance: float, weight: float) -> float:
    """Slope of the best critic between point masses: where g t - weight (g - 1)^2 is highest.

    >>> slope_of_best(2.0, 10.0)
    1.1
    """
    return 1 + abs(distance) / (2 * weight)


def between_points(distance: float, seed: int, weight: float = TIGHT, steps: int = 400) -> float:
    """Estimate of a critic between point masses at 0 and `distance`."""
    # On the line a two-sided penalty may hold the critic on a slope of the wrong sign.
    recipe = replace(SMALL, lipschitz=Penalised((GradientPenalty(weight, one_sided=True),)))
    real, fake = Cloud(torch.zeros((1, 1))), Cloud(torch.tensor([[float(distance)]]))
    fitted = fit_critic(recipe, LINE, real, fake, steps=steps, batch=64, seed=seed)
    return fitted.estimate(1)


def between_intervals(seed: int, steps: int = 1000) -> Fitted:
    """A critic between uniform laws on [0, 1] (real) and [2, 3] (fake)."""
    real = Fresh(lambda count, rng: torch.rand((count, 1), generator=rng))
    fake = Fresh(lambda count, rng: 2 + torch.rand((count, 1), generator=rng))
    recipe = replace(SMALL, lipschitz=Penalised((GradientPenalty(TIGHT, one_sided=True),)))
    return fit_critic(recipe, LINE, real, fake, steps=steps, seed=seed)


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Estimates between points, and the slope between intervals."""
    found = np.array([[between_points(t, seed) for t in DISTANCES] for seed in seeds])
    loose = [between_points(2.0, seed, 10.0) for seed in seeds]
    between = [between_intervals(seed) for seed in seeds]
    gap = torch.linspace(1, 2, 201)[:, None]
    # The generator's pull is the critic's derivative: negative where real is on the left.
    pulls = [-fitted.pull(gap).squeeze(1) for fitted in between]
    estimates = [fitted.estimate(100_000) for fitted in between]
    _draw(figure, found, between[0])
    ratios = list((found / np.abs(DISTANCES)).ravel())
    return [
        near("estimate / distance of point masses", ratios, 1.0, 0.02),
        near(
            "the same with lambda 10, distance 2: 1 + t / (2 lambda)",
            [value / 2 for value in loose],
            slope_of_best(2.0, 10.0),
            0.02,
        ),
        near("[0, 1] against [2, 3]: estimate", estimates, 2.0, 0.02),
        near("least slope between", [float(p.min()) for p in pulls], 1.0, 0.05),
        near("largest slope between", [float(p.max()) for p in pulls], 1.0, 0.05),
    ]


def _draw(figure: Figure, found: np.ndarray, fitted: Fitted) -> None:
    left, right = figure.subplots(1, 2)
    left.plot([-1.2, 0, 2.2], [1.2, 0, 2.2], color=GREY, ls=":", label="|t|")
    left.plot(DISTANCES, found.T, "o", color=BLUE, label=["critic", *[None] * (len(found) - 1)])
    left.set(title="points at 0 and t: the estimate is |t|", xlabel="t", ylabel="estimate")
    grid = torch.linspace(-0.25, 3.25, 351)
    score = fitted.score(grid[:, None])
    right.plot(grid, score - score.mean(), color=BLUE, label="critic C")
    right.plot(grid, -fitted.pull(grid[:, None]).squeeze(1), color=GREEN, label="-dC/dx")
    right.axvspan(0, 1, color=GREY, alpha=0.15, label="real")
    right.axvspan(2, 3, color=ORANGE, alpha=0.2, label="fake")
    right.set(title="[0, 1] against [2, 3]: slope 1 between", xlabel="x", ylabel="score, slope")
    left.legend()
    right.legend(ncols=2)


CLAIM = Claim(
    2,
    "point_masses",
    "A critic between point masses at 0 and t estimates |t| within 2 %; between [0, 1] and [2, 3] "
    "its slope is 1 everywhere and it estimates 2.",
    "Arjovsky, Chintala, Bottou, 2017, equation 2; Gulrajani et al., 2017, corollary 1",
    measure,
    seconds=16,
)
