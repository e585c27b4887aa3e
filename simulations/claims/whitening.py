"""A Gaussian mixture a hundred times wider one way than the other: as it is, and whitened.

Both codecs are fitted on the same rows; "as it is" means moved and scaled by one number. Networks,
rates and steps are the same. W1 is exact, between decoded samples of the averaged generator and
rows never trained on, in the data's own units, where the wide direction counts most, and in
whitened ones, where all count alike. Slopes are taken along the data's principal directions, in
score per deviation along each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from everymode.simulations.claims.claim import Check, Claim, above, noted, smaller, spread
from everymode.simulations.claims.fitting import SMALL, fit_gan, samples
from everymode.simulations.claims.page import BLUE, GREY, ORANGE
from everymode.simulations.toys import Cloud
from everymode.wgan.data.arrays import ArrayCodec
from everymode.wgan.data.whitening import Whitened, Whitening, second_moments
from everymode.wgan.generators import MLPGeneratorSpec
from everymode.wgan.gradients import CriticReport
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import GradientPenalty, slopes
from everymode.wgan.players import Players
from everymode.wgan.points import interpolates
from everymode.wgan.schedules import Linear
from everymode.wgan.theory.transport import assignment
from everymode.wgan.training import Schedule

WIDEST, NARROWEST = 1.0, 0.01
LOOKS = 8
"""Looks at W1 in a training."""

Array = NDArray[np.float64]
RAW, WHITE = "as it is", "whitened"


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians apart along all directions, then squeezed and turned.

    Attributes:
        turn: `(D, D)`, orthonormal; its rows are the principal directions.
    """

    turn: Array

    @classmethod
    def turned(cls, dimension: int, rng: np.random.Generator) -> "Mixture":
        """In a random direction."""
        return cls(np.linalg.qr(rng.normal(size=(dimension, dimension)))[0])

    @property
    def deviations(self) -> Array:
        """Relative deviations along the principal directions, `(D,)`."""
        return np.geomspace(WIDEST, NARROWEST, len(self.turn))

    def __call__(self, count: int, rng: np.random.Generator) -> Array:
        """Samples `(count, D)`."""
        dimension = len(self.turn)
        sign = rng.choice([-1.0, 1.0], size=(count, 1))
        even = sign * 1.5 / dimension**0.5 + 0.5 * rng.normal(size=(count, dimension))
        rows: Array = (even * self.deviations) @ self.turn
        return rows


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        steps: Generator steps at the looks.
        distances: W1 in the data's units then.
        white: W1 in whitened units then.
        slopes: Mean slope of the critic along each principal direction, per deviation, `(D,)`.
    """

    steps: list[int]
    distances: list[float]
    white: list[float]
    slopes: Array

    @property
    def unevenness(self) -> float:
        """Largest over smallest of the slopes."""
        return float(self.slopes.max() / self.slopes.min())


def along(gradient: Array, codec: ArrayCodec | Whitened[..., Array], mixture: Mixture) -> Array:
    """Mean slopes per deviation along the principal directions, `(D,)`.

    Args:
        gradient: Of the critic with respect to encoded samples, `(n, D)`.
        codec: What encoded them; an affine map x A + b.
        mixture: Whose directions are meant.
    """
    unit = np.eye(len(mixture.turn))
    jacobian = codec.encode(unit).astype(np.float64) - codec.encode(0 * unit)
    found: Array = np.abs(gradient @ jacobian.T @ mixture.turn.T).mean(0) * mixture.deviations
    return found


def run(name: str, seed: int, steps: int, rows: int, dimension: int) -> Run:
    """Trains and measures."""
    rng = np.random.default_rng(seed)
    mixture = Mixture.turned(dimension, rng)
    data, held = mixture(5000, rng), mixture(rows, rng)
    plain = ArrayCodec.fit(data)
    white = Whitened(plain, Whitening.from_moments(second_moments(plain.encode(data)), 1e-6))
    codec = white if name == WHITE else plain
    result = Run([], [], [], np.zeros(dimension))

    def watch(step: int, players: Players, report: CriticReport) -> None:
        if step % max(1, steps // LOOKS) == 0:
            encoded = samples(players, rows, seed, averaged=True)
            made = np.asarray(codec.decode(encoded.numpy()), dtype=np.float64)
            result.steps.append(step)
            result.distances.append(assignment(made, held).value)
            result.white.append(assignment(white.encode(made), white.encode(held)).value)

    recipe = replace(
        SMALL,
        generator=MLPGeneratorSpec(hidden=(64, 64), noise=dimension),
        # lambda of the data's own units: the target 1/s goes with lambda s^2 (claim 7).
        lipschitz=Penalised((GradientPenalty(codec.shape(0).scale ** 2, one_sided=True),)),
        generator_optimizer=Adam(5e-4, 0.5, 0.9),
        averaging=0.98,
    )
    schedule = Schedule(steps, n_critic=5, first=min(50, steps), batch=128, rates=Linear())
    real = Cloud(torch.from_numpy(codec.encode(data)))
    players = fit_gan(recipe, codec.shape(0), real, schedule, seed=seed, watch=watch)
    there = torch.Generator().manual_seed(seed + 100)
    fresh = torch.from_numpy(codec.encode(held))
    points = interpolates(fresh, samples(players, rows, seed + 1), there)
    gradient = slopes(players.critic.module, points, points[:, :0], graph=False)
    return replace(result, slopes=along(gradient.double().numpy(), codec, mixture))


def measure(seeds: Sequence[int], figure: Figure, steps: int = 400, rows: int = 400) -> list[Check]:
    """Both codecs on mixtures in as many directions as there are seeds."""
    runs = {name: [run(name, seed, steps, rows, 2) for seed in seeds] for name in (RAW, WHITE)}
    wide = {name: [run(name, seed, steps, rows, 8) for seed in seeds[:1]] for name in (RAW, WHITE)}
    left, middle, right = figure.subplots(1, 3)
    for (name, found), colour in zip(runs.items(), (BLUE, ORANGE), strict=True):
        for index, one in enumerate(found):
            label = None if index else name
            left.plot(one.steps, one.distances, color=colour, label=label)
            middle.plot(one.steps, one.white, color=colour)
            right.plot(("wide", "narrow"), one.slopes, "o-", color=colour)
    for axes, units in ((left, "data's"), (middle, "whitened")):
        axes.set(xlabel="generator steps", ylabel=f"exact W1, {units} units", yscale="log")
        axes.set_title(f"W1 to rows held out, {units} units")
    right.set(xlabel="direction", ylabel="slope per deviation", yscale="log")
    right.set_title("The critic's slope at the end")
    right.margins(x=0.3)
    right.axhline(1, color=GREY, lw=0.8, ls=":")
    left.legend()

    def last(found: dict[str, list[Run]], name: str) -> list[float]:
        return [one.distances[-1] for one in found[name]]

    def beside(what: str, found: dict[str, list[Run]]) -> Check:
        return noted(what, last(found, WHITE), f"as it is {spread(last(found, RAW))}")

    uneven = {name: [one.unevenness for one in found] for name, found in runs.items()}
    whole = {name: [float(np.mean(one.white)) for one in found] for name, found in runs.items()}
    ends = {name: [one.white[-1] for one in found] for name, found in runs.items()}
    return [
        above("deviation of the wide direction, narrow ones", [WIDEST / NARROWEST], 99.0),
        smaller("largest over smallest slope per deviation", uneven[WHITE], uneven[RAW], 5, 1),
        smaller("mean W1 over the training, whitened units", whole[WHITE], whole[RAW], 2),
        smaller(f"W1 after {steps} steps, whitened units", ends[WHITE], ends[RAW]),
        beside(f"W1 after {steps} steps, data's units", runs),
        beside("the same in eight dimensions, one seed", wide),
    ]


CLAIM = Claim(
    15,
    "whitening",
    "With data much wider in some directions than in others, whitening makes the critic's slopes "
    "even, and W1 falls faster in units in which all directions count alike; in the data's own, "
    "in which the wide ones do, it need not.",
    "Kessy, Lewin, Strimmer, 2018, section 3.1; LeCun et al., Efficient BackProp, 1998, section 5",
    measure,
    seconds=38,
    size=(10.5, 3.2),
)
