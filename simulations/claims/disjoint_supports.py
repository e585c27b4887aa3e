"""Claim 1: between supports that do not meet, JS says nothing and W1 says how far."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import norm

from everymode.simulations.claims.claim import Check, Claim, below, near
from everymode.simulations.claims.fitting import SMALL, fit_critic
from everymode.simulations.claims.page import BLUE, GREY, ORANGE
from everymode.simulations.toys import Fresh, parallel_lines
from everymode.wgan.lipschitz import Penalised, Unconstrained
from everymode.wgan.objectives import JensenShannon
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import jensen_shannon, wasserstein_1d

# Between close lines a two-sided penalty of this weight may hold the slope at the wrong sign.
WASSERSTEIN = replace(SMALL, lipschitz=Penalised((GradientPenalty(100.0, one_sided=True),)))
ORIGINAL = replace(SMALL, objective=JensenShannon(saturating=True), lipschitz=Unconstrained())
DISTANCES = (0.25, 0.5, 1.0, 2.0)


def gaussians(distance: float) -> tuple[float, float]:
    """JS, by integration, and W1 of N(0, 1) and N(distance, 1)."""
    grid = np.linspace(-10, 10 + distance, 4001)
    left, right = norm.pdf(grid), norm.pdf(grid - distance)
    masses = left / left.sum(), right / right.sum()
    return jensen_shannon(*masses), wasserstein_1d(grid, grid, 1, *masses)


def points(distance: float) -> tuple[float, float]:
    """JS and W1 of point masses at 0 and at `distance`."""
    return jensen_shannon([1, 0], [0, 1]), wasserstein_1d([0.0], [distance])


def derivative(law: str, distance: float, step: float = 1e-3) -> tuple[float, float]:
    """Those of JS and W1 by the distance: central differences."""
    exact = {"points": points, "gaussians": gaussians}[law]
    high, low = exact(distance + step), exact(distance - step)
    return (high[0] - low[0]) / (2 * step), (high[1] - low[1]) / (2 * step)


def trained(recipe: Recipe, distance: float, seed: int, steps: int) -> tuple[float, float]:
    """Estimate of a critic between two parallel segments, and its mean pull on the fake one."""
    real = Fresh(lambda count, rng: parallel_lines(count, rng, lines=1))
    away = torch.tensor([distance, 0.0])
    fake = Fresh(lambda count, rng: parallel_lines(count, rng, lines=1) + away)
    fitted = fit_critic(recipe, Shape((), 2, 0), real, fake, steps=steps, seed=seed)
    rows = fake(4096, torch.Generator().manual_seed(seed + 2)).real
    estimate = sum(fitted.estimates[-10:]) / len(fitted.estimates[-10:])
    return estimate, float(fitted.pull(rows).norm(dim=1).mean())


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Exact values and trained critics over distance."""
    found = {
        name: np.array([[trained(recipe, t, seed, steps) for t in DISTANCES] for seed in seeds])
        for name, recipe, steps in (("js", ORIGINAL, 800), ("w1", WASSERSTEIN, 400))
    }
    exact = [derivative("points", t) for t in DISTANCES]
    _draw(figure, found["js"], found["w1"])
    ratios = (found["w1"][:, :, 0] / np.array(DISTANCES)).ravel()
    return [
        near("JS of point masses", [points(t)[0] for t in DISTANCES], math.log(2), 1e-3),
        near("its derivative by the distance", [pair[0] for pair in exact], 0.0, 1e-9),
        near("derivative of W1 of point masses", [pair[1] for pair in exact], 1.0, 1e-3),
        near("JS of Gaussians 10 deviations apart", [gaussians(10)[0]], math.log(2), 1e-3),
        near("its derivative", [derivative("gaussians", 10)[0]], 0.0, 1e-4),
        near("derivative of W1 of Gaussians", [derivative("gaussians", 10)[1]], 1.0, 1e-3),
        near(
            "trained critic: JS of two lines", list(found["js"][..., 0].ravel()), math.log(2), 0.05
        ),
        below("its pull on the fakes, loss log(1 - D)", list(found["js"][..., 1].ravel()), 0.05),
        near("Wasserstein critic: estimate / distance", list(ratios), 1.0, 0.05),
        near("its pull on the fakes", list(found["w1"][..., 1].ravel()), 1.0, 0.05),
    ]


def _draw(figure: Figure, js: np.ndarray, w1: np.ndarray) -> None:
    left, middle, right = figure.subplots(1, 3)
    grid = np.linspace(0, 12, 61)
    curves = np.array([gaussians(t) for t in grid])
    left.plot(grid, curves[:, 1], color=BLUE, label="W1")
    left.plot(grid, curves[:, 0], color=ORANGE, label="JS")
    left.axhline(math.log(2), color=GREY, ls=":", label="ln 2")
    left.set(title="exact, two Gaussians", xlabel="distance / deviation", ylabel="divergence")
    middle.plot([0, 2], [0, 2], color=BLUE, ls=":", label="exact W1")
    middle.axhline(math.log(2), color=ORANGE, ls=":", label="ln 2")
    middle.plot(DISTANCES, w1[..., 0].mean(0), "o", color=BLUE, label="W1 critic")
    middle.plot(DISTANCES, js[..., 0].mean(0), "s", color=ORANGE, label="JS critic")
    middle.set(title="trained, two lines: estimate", xlabel="distance", ylabel="estimate")
    right.plot(DISTANCES, w1[..., 1].mean(0), "o-", color=BLUE, label="W1 critic")
    right.plot(DISTANCES, js[..., 1].mean(0), "s-", color=ORANGE, label="JS critic")
    right.set(
        title="trained: gradient at the fakes",
        xlabel="distance",
        ylabel="length",
        ylim=(-0.05, 1.3),
    )
    for axes in (left, middle, right):
        axes.legend()


CLAIM = Claim(
    1,
    "disjoint_supports",
    "Between disjoint supports the Jensen-Shannon divergence is ln 2 with zero gradient; W1 is the "
    "distance, with slope 1.",
    "Arjovsky, Chintala, Bottou, 2017, example 1; Arjovsky, Bottou, 2017, theorem 2.4",
    measure,
    seconds=23,
)
