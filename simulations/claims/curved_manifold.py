"""Data on a helix in eight dimensions: which slope of the critic is held, and which W1 it sees.

Straight interpolates cross the inside of the helix. A critic held there is 1-Lipschitz for straight
distances: it climbs the axis, across the data. A point that moves along the helix climbs only the
sine of its pitch. A critic held along the data climbs the helix itself with slope 1, and its
estimate is W1 with lengths taken along the helix. Its slope across the data is left free: the share
of its gradient that lies along them need not grow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, above, below, near
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREY, ORANGE
from everymode.simulations.toys import Fresh
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import GradientPenalty, lengths, slopes
from everymode.wgan.points import Manifold, interpolates
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import wasserstein

DIMENSION = 8
PENALTIES = {
    "straight interpolates": GradientPenalty(50.0, one_sided=True),
    "along the data": GradientPenalty(50.0, one_sided=True, points=Manifold()),
}


@dataclass(frozen=True)
class Helix:
    """A helix of radius 1 in `DIMENSION` dimensions, turned at random.

    Attributes:
        basis: Orthonormal axes of the helix, the third its own, `(3, D)`.
        turns: How often it goes round.
        rise: Height of a turn.
        noise: Length of the noise around it, about.
    """

    basis: Tensor
    turns: float = 2.0
    rise: float = 2.0
    noise: float = 0.01

    @classmethod
    def turned(cls, seed: int) -> "Helix":
        """In a direction that depends on the seed."""
        rng = torch.Generator().manual_seed(seed)
        axes, _ = torch.linalg.qr(torch.randn((DIMENSION, DIMENSION), generator=rng))
        return cls(axes[:3])

    @property
    def length(self) -> float:
        """From one end to the other."""
        return self.turns * math.hypot(2 * math.pi, self.rise)

    @property
    def pitch(self) -> float:
        """Sine of the angle at which it climbs its axis."""
        return self.rise / math.hypot(2 * math.pi, self.rise)

    def points(self, part: Tensor) -> Tensor:
        """Points after a part of the length `(n,)`, `(n, D)`."""
        angle = 2 * math.pi * self.turns * part
        height = self.rise * self.turns * (part - 0.5)
        return torch.stack([angle.cos(), angle.sin(), height], 1) @ self.basis

    def tangents(self, part: Tensor) -> Tensor:
        """Unit directions along the helix, `(n, D)`."""
        angle = 2 * math.pi * self.turns * part
        climb = torch.full_like(angle, self.rise / (2 * math.pi))
        along = torch.stack([-angle.sin(), angle.cos(), climb], 1)
        return torch.nn.functional.normalize(along, dim=1) @ self.basis

    def distance(self, points: Tensor, steps: int = 2000) -> Tensor:
        """From points `(n, D)` to the nearest of `steps` points of the helix, `(n,)`."""
        line = self.points(torch.linspace(0, 1, steps))
        nearest: Tensor = torch.cdist(points, line).min(1).values
        return nearest

    def high(self, count: int, rng: torch.Generator) -> Tensor:
        """Samples whose density grows along the helix: twice the part, `(count, D)`."""
        return self._noisy(torch.rand(count, generator=rng).sqrt(), rng)

    def low(self, count: int, rng: torch.Generator) -> Tensor:
        """Samples whose density falls along the helix as that of `high` grows, `(count, D)`."""
        return self._noisy(1 - torch.rand(count, generator=rng).sqrt(), rng)

    @property
    def geodesic(self) -> float:
        """W1 between `high` and `low` along the helix: length times the integral of 2 t - 2 t^2."""
        return self.length / 3

    def _noisy(self, part: Tensor, rng: torch.Generator) -> Tensor:
        points = self.points(part)
        shake = torch.randn(points.shape, generator=rng) * (self.noise / math.sqrt(DIMENSION))
        return points + shake


def fit(penalty: GradientPenalty, helix: Helix, seed: int, steps: int) -> Fitted:
    """A critic between samples from the upper and the lower part."""
    recipe = replace(SMALL, lipschitz=Penalised((penalty,)), critic_optimizer=Adam(2e-3, 0.5, 0.9))
    real, fake = Fresh(helix.high), Fresh(helix.low)
    shape = Shape((), DIMENSION, 0)
    return fit_critic(recipe, shape, real, fake, steps=steps, batch=96, seed=seed)


def tangential(fitted: Fitted, helix: Helix, part: Tensor) -> tuple[Tensor, Tensor]:
    """The slope along the helix at parts of it `(n,)`, and its share of the whole slope, `(n,)`."""
    points = helix.points(part)
    gradient = slopes(fitted.players.critic.module, points, points[:, :0], graph=False)
    along = (gradient * helix.tangents(part)).sum(1)
    return along, along.abs() / lengths(gradient)


def off_the_helix(helix: Helix, rng: torch.Generator, count: int = 1000) -> tuple[float, float]:
    """Median distance from the helix of interpolates, and of the data."""
    real, fake = helix.high(count, rng), helix.low(count, rng)
    between = interpolates(real, fake, rng)
    return float(helix.distance(between).median()), float(helix.distance(real).median())


def measure(
    seeds: Sequence[int], figure: Figure, steps: int = 1500, rows: int = 1000
) -> list[Check]:
    """Both penalties on helices in as many random directions as there are seeds."""
    part = torch.linspace(0.02, 0.98, 400)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    away: list[tuple[float, float]] = []
    curves: dict[str, list[NDArray[np.float32]]] = {name: [] for name in PENALTIES}
    estimates: dict[str, list[float]] = {name: [] for name in PENALTIES}
    shares: dict[str, list[float]] = {name: [] for name in PENALTIES}
    straight = []
    for seed in seeds:
        helix = Helix.turned(seed)
        rng = torch.Generator().manual_seed(seed + 100)
        away.append(off_the_helix(helix, rng, rows))
        x, y = helix.high(rows, rng), helix.low(rows, rng)
        straight.append(wasserstein(x.numpy(), y.numpy()))
        for name, penalty in PENALTIES.items():
            fitted = fit(penalty, helix, seed, steps)
            along, share = tangential(fitted, helix, part)
            curves[name].append(along.numpy())
            shares[name].append(float(share.mean()))
            estimates[name].append(fitted.estimate())
    means = {name: [float(curve.mean()) for curve in curves[name]] for name in PENALTIES}
    free, held = PENALTIES
    apart = [between / data for between, data in away]
    for name, colour in zip(PENALTIES, (BLUE, ORANGE), strict=True):
        for index, curve in enumerate(curves[name]):
            left.plot(part, curve, color=colour, alpha=0.8, label=None if index else name)
    left.axhline(1, color=GREY, linestyle=":", label="slope 1 along the helix")
    left.axhline(helix.pitch, color=GREY, linestyle="--", label="sine of the pitch")
    left.set(xlabel="part of the helix", ylabel="slope along the helix", ylim=(-0.4, 1.9))
    left.set_title("Held on straight lines, the critic hardly climbs along the data")
    left.legend(ncols=2, loc="upper center")
    for place, (name, colour) in enumerate(zip(PENALTIES, (BLUE, ORANGE), strict=True)):
        right.bar(place, np.mean(estimates[name]), 0.6, color=colour)
    for place, value in enumerate((float(np.mean(straight)), helix.geodesic)):
        right.plot([place - 0.4, place + 0.4], [value] * 2, color="black")
    right.set_xticks([0, 1], ["straight", "along"])
    right.set(ylabel="estimate of W1", title="Each sees its own W1 (black)")
    return [
        above("interpolates' distance from the helix over the data's own", apart, 10.0),
        below(f"{free}: share of the slope along the data", shares[free], 0.5),
        near(
            f"{free}: slope along the data, the pitch's sine",
            means[free],
            helix.pitch,
            0.2,
        ),
        near(f"{held}: slope along the data", means[held], 1.0, 0.1),
        near(
            f"{free}: estimate over exact W1 of straight distances",
            [e / w for e, w in zip(estimates[free], straight, strict=True)],
            1.0,
            0.1,
        ),
        near(
            f"{held}: estimate over exact W1 along the helix",
            [e / helix.geodesic for e in estimates[held]],
            1.0,
            0.1,
        ),
    ]


CLAIM = Claim(
    21,
    "curved_manifold",
    "On a curved manifold straight interpolates leave the data and the critic's slope has little "
    "tangential part; a penalty along the data restores it.",
    "Kantorovich duality for straight and for geodesic distances; local principal components: "
    "Kambhatla and Leen, 1997",
    measure,
    seconds=37,
)
