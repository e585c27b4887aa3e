"""Claim 12: W1 pulls all fakes alike, W2^2 the more the further they are to go."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from everymode.simulations.claims.claim import Check, Claim, near
from everymode.simulations.claims.fitting import SMALL, Whole, fit_critic
from everymode.simulations.claims.page import BLUE, ORANGE
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import assignment, wasserstein

Cloud = NDArray[np.float64]

DISTANCES = (0.25, 0.5, 1.0, 2.0)
ONE_CENTRED = GradientPenalty(100.0, one_sided=True)
ZERO_CENTRED = GradientPenalty(0.25, target=0.0)
"""Between point masses the best critic of g t - lambda g^2 has slope t / (2 lambda) = 2 t."""


def cloud(seed: int, count: int = 128, deviation: float = 0.1) -> Cloud:
    """Points of a normal law in the plane, `(count, 2)`."""
    return deviation * np.random.default_rng(4000 + seed).normal(size=(count, 2))


def by_distance(points: Cloud, distance: float, p: int, step: float = 1e-4) -> float:
    """Derivative of W_p^p, p = 1 or 2, between a cloud and its copy a distance away."""
    high, low = (
        wasserstein(points, points + np.array([distance + move, 0.0]), p) ** p
        for move in (step, -step)
    )
    return (high - low) / (2 * step)


def by_point(real: Cloud, fake: Cloud, index: int, p: int, step: float = 1e-5) -> Cloud:
    """Gradient of n W_p^p by one fake point, `(2,)`: central differences."""
    gradient = np.zeros(2)
    for axis in range(2):
        values = []
        for move in (step, -step):
            moved = fake.copy()
            moved[index, axis] += move
            values.append(len(real) * wasserstein(real, moved, p) ** p)
        gradient[axis] = (values[0] - values[1]) / (2 * step)
    return gradient


def point_gradients(seed: int, points: int = 8) -> tuple[list[float], list[float]]:
    """For some fakes of two random clouds: |gradient of n W1|, and of n W2^2 over 2 |way to go|."""
    rng = np.random.default_rng(5000 + seed)
    real, fake = rng.normal(size=(2, 64, 2))
    plan = assignment(fake, real, 2).plan
    way = np.linalg.norm(real[plan] - fake, axis=1)
    first = [float(np.linalg.norm(by_point(real, fake, i, 1))) for i in range(points)]
    second = [
        float(np.linalg.norm(by_point(real, fake, i, 2)) / (2 * way[i])) for i in range(points)
    ]
    return first, second


def trained(
    penalty: GradientPenalty, points: Cloud, distance: float, seed: int, steps: int
) -> float:
    """Mean length of a critic's gradient at a cloud, the real one being a distance away."""
    fake = torch.from_numpy(points.astype(np.float32))
    real = fake + torch.tensor([distance, 0.0])
    recipe = replace(SMALL, lipschitz=Penalised((penalty,)))
    shape = Shape((), 2, 0)
    fitted = fit_critic(recipe, shape, Whole(real), Whole(fake), steps=steps, seed=seed)
    return float(fitted.pull(fake).norm(dim=1).mean())


def exponent(lengths: NDArray[np.float64]) -> float:
    """Power k of lengths `(t,)` that go like distance^k."""
    return float(np.polyfit(np.log(DISTANCES), np.log(lengths), 1)[0])


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Exact derivatives, and the gradient that a trained critic hands to the generator."""
    exact = {
        p: np.array([[by_distance(cloud(seed), t, p) for t in DISTANCES] for seed in seeds])
        for p in (1, 2)
    }
    first, second = np.array([point_gradients(seed) for seed in seeds]).transpose(1, 0, 2)
    found = {
        name: np.array(
            [[trained(penalty, cloud(seed), t, seed, 400) for t in DISTANCES] for seed in seeds]
        )
        for name, penalty in (("one", ONE_CENTRED), ("zero", ZERO_CENTRED))
    }
    _draw(figure, exact, found["one"], found["zero"])
    return [
        near("dW1/dt of a shifted cloud", list(exact[1].ravel()), 1.0, 1e-3),
        near("dW2^2/dt / 2t", list((exact[2] / (2 * np.array(DISTANCES))).ravel()), 1.0, 1e-3),
        near("random clouds: |n dW1/dy| of one fake", list(first.ravel()), 1.0, 1e-3),
        near("|n dW2^2/dy| / 2 |way|", list(second.ravel()), 1.0, 1e-3),
        near("trained critic, slope 1: gradient", list(found["one"].ravel()), 1.0, 0.05),
        near("grows with distance to the power", [exponent(v) for v in found["one"]], 0.0, 0.05),
        near("penalty on |grad|^2: power", [exponent(v) for v in found["zero"]], 1.0, 0.05),
    ]


def _draw(
    figure: Figure,
    exact: dict[int, NDArray[np.float64]],
    one: NDArray[np.float64],
    zero: NDArray[np.float64],
) -> None:
    axes = figure.subplots()
    axes.loglog(DISTANCES, exact[2].mean(0), ":", color=ORANGE, label="exact: W2 squared, 2 t")
    axes.loglog(DISTANCES, exact[1].mean(0), ":", color=BLUE, label="exact: W1, 1")
    label = "critic, penalty .25 |grad|^2"
    axes.loglog(DISTANCES, zero.mean(0), "s", color=ORANGE, label=label)
    label = "critic, slope 1 (lambda 100)"
    axes.loglog(DISTANCES, one.mean(0), "o", color=BLUE, label=label)
    for axis, ticks in ((axes.xaxis, DISTANCES), (axes.yaxis, (0.5, 1, 2, 4))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.set(
        title="W1 pulls alike from near and far, W2 squared in proportion to the distance",
        xlabel="distance t between the clouds",
        ylabel="gradient at the fakes",
    )
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


CLAIM = Claim(
    12,
    "w1_w2_gradients",
    "W1 gives a generator a gradient of constant size, W2 squared one proportional to the distance "
    "it has to go.",
    "Gulrajani et al., 2017, corollary 1; Villani, 2003, theorems 1.14 and 2.12; zero-centred: "
    'Wu et al., "Wasserstein Divergence for GANs", 2018',
    measure,
    seconds=22,
)
