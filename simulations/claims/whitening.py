"""A Gaussian mixture whose deviations span a factor of 100: trained as it is, and whitened.

Both codecs are fitted on the same rows; "as it is" means moved and scaled by one number. Networks,
rates and steps are the same, and W1 is exact, between decoded samples and rows never trained on, in
the data's own units, in which the widest directions count most.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simulations.claims.claim import Check, Claim, above, smaller
from simulations.claims.fitting import SMALL, fit_gan, samples
from simulations.claims.page import BLUE, ORANGE
from simulations.toys import Cloud, plain
from wgan.data.arrays import ArrayCodec
from wgan.data.whitening import Whitened, Whitening, second_moments
from wgan.generators import MLPGeneratorSpec
from wgan.players import CriticReport, Players
from wgan.shape import Shape
from wgan.theory.transport import assignment
from wgan.training import Schedule

DIMENSION = 8
DEVIATIONS = np.geomspace(1.0, 0.01, DIMENSION)
LOOKS = 8
"""Looks at W1 in a training."""

Array = NDArray[np.float64]
RAW, WHITE = "as it is", "whitened"


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians apart along all directions, then squeezed and turned.

    Attributes:
        turn: `(D, D)`, orthonormal.
    """

    turn: Array

    @classmethod
    def turned(cls, rng: np.random.Generator) -> "Mixture":
        """In a random direction."""
        return cls(np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0])

    def __call__(self, count: int, rng: np.random.Generator) -> Array:
        """Samples `(count, D)`."""
        sign = rng.choice([-1.0, 1.0], size=(count, 1))
        even = sign * 1.5 / DIMENSION**0.5 + 0.5 * rng.normal(size=(count, DIMENSION))
        rows: Array = (even * DEVIATIONS) @ self.turn
        return rows


def evenness(slopes: NDArray[np.floating]) -> float:
    """Upper over lower quartile: 1 for slopes that are all the same.

    >>> evenness(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    2.0
    """
    low, high = np.quantile(slopes, (0.25, 0.75))
    return float(high / low)


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        steps: Generator steps at the looks.
        distances: W1 in the data's units then.
        white: W1 in whitened units at the end.
        slopes: The critic's, on interpolates at the end.
    """

    steps: list[int]
    distances: list[float]
    white: float
    slopes: NDArray[np.float32]


def run(name: str, seed: int, steps: int, rows: int) -> Run:
    """Trains and measures."""
    rng = np.random.default_rng(seed)
    mixture = Mixture.turned(rng)
    data, held = mixture(5000, rng), mixture(rows, rng)
    plain_codec = ArrayCodec.fit(data)
    white = Whitened(
        plain_codec, Whitening.from_moments(second_moments(plain_codec.encode(data)), 1e-6)
    )
    codec = white if name == WHITE else plain_codec
    shape: Shape = codec.shape(0)
    real = Cloud(torch.from_numpy(codec.encode(data)))
    seen: list[int] = []
    distances: list[float] = []

    def made(players: Players) -> Array:
        return np.asarray(codec.decode(samples(players, rows, seed).numpy()), dtype=np.float64)

    def watch(step: int, players: Players, report: CriticReport) -> None:
        if step % max(1, steps // LOOKS) == 0:
            seen.append(step)
            distances.append(assignment(made(players), held).value)

    recipe = replace(SMALL, generator=MLPGeneratorSpec(hidden=(64, 64), noise=DIMENSION))
    schedule = Schedule(steps, n_critic=5, first=min(50, steps), batch=128)
    players = fit_gan(recipe, shape, real, schedule, seed=seed, watch=watch)
    torch_rng = torch.Generator().manual_seed(seed + 100)
    batch = plain(torch.from_numpy(codec.encode(held)))
    slopes = players.slopes(batch, samples(players, rows, seed + 1), torch_rng)
    both = (white.encode(made(players)), white.encode(held))
    return Run(seen, distances, assignment(*both).value, slopes.numpy())


def measure(seeds: Sequence[int], figure: Figure, steps: int = 400, rows: int = 400) -> list[Check]:
    """Both codecs on mixtures in as many directions as there are seeds."""
    left, right = figure.subplots(1, 2)
    runs = {name: [run(name, seed, steps, rows) for seed in seeds] for name in (RAW, WHITE)}
    for (name, found), colour in zip(runs.items(), (BLUE, ORANGE), strict=True):
        for index, one in enumerate(found):
            label = None if index else name
            left.plot(one.steps, one.distances, color=colour, label=label)
        ratio = np.sort(np.concatenate([one.slopes for one in found]))
        right.plot(ratio, np.linspace(0, 1, len(ratio)), color=colour, label=name)
    left.set(xlabel="generator steps", ylabel="exact W1, data's units", yscale="log")
    left.set_title("W1 from rows held out")
    left.legend()
    right.axvline(1, color="black", linewidth=1, linestyle=":")
    right.set(xlabel="slope of the critic, of its target", ylabel="share of interpolates")
    right.set_title("Slopes at the end")
    uneven = {name: [evenness(one.slopes) for one in found] for name, found in runs.items()}
    ends = {name: [one.distances[-1] for one in found] for name, found in runs.items()}
    white = {name: [one.white for one in found] for name, found in runs.items()}
    half = {name: [float(np.mean(one.distances)) for one in found] for name, found in runs.items()}
    return [
        above("largest over smallest deviation", [float(DEVIATIONS[0] / DEVIATIONS[-1])], 99.0),
        smaller("upper over lower quartile of the slopes, whitened", uneven[WHITE], uneven[RAW]),
        smaller("mean of W1 over the training, whitened", half[WHITE], half[RAW]),
        smaller(f"W1 after {steps} steps, whitened", ends[WHITE], ends[RAW]),
        smaller("W1 in whitened units at the end, whitened", white[WHITE], white[RAW]),
    ]


CLAIM = Claim(
    15,
    "whitening",
    "With data much wider in some directions than in others, whitening makes the critic's slopes "
    "even, and W1 falls faster.",
    "Kessy, Lewin, Strimmer, 2018, section 3.1; LeCun et al., Efficient BackProp, 1998, section 5",
    measure,
    seconds=25,
)
