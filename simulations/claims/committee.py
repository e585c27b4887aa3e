"""The gradient that fake samples get, from critics that differ in their first weights and batches.

Three critics of about as many parameters: one network that sees everything, a committee of four
that each see half of the values, and, to tell the two effects apart, four that see everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, near, noted, smaller
from everymode.simulations.claims.fitting import SMALL, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE
from everymode.simulations.toys import Fresh, Modes
from everymode.wgan.critics import CommitteeSpec, CriticSpec, MLPCriticSpec
from everymode.wgan.penalties import slopes
from everymode.wgan.shape import Shape

DIMENSION = 8
CRITICS: dict[str, CriticSpec] = {
    "one critic": MLPCriticSpec((32, 32)),
    "committee of parts": CommitteeSpec(MLPCriticSpec((32, 32)), members=4, share=0.5),
    "committee of wholes": CommitteeSpec(MLPCriticSpec((30, 30)), members=4, share=1.0),
    "one as large": MLPCriticSpec((65, 65)),
}
SINGLE, PARTS, WHOLES, LARGE = CRITICS
"""A member alone; four of them; four that see everything; one of as many parameters as the four."""


@dataclass(frozen=True)
class Variation:
    """How gradients at the same points differ between trainings.

    Attributes:
        variance: Mean squared distance from the mean gradient, `(n,)`.
        square: Squared length of the mean gradient, `(n,)`.
    """

    variance: Tensor
    square: Tensor

    @property
    def relative(self) -> float:
        """Mean variance over the mean squared length."""
        return float(self.variance.mean() / self.square.mean())


def variation(gradients: Tensor) -> Variation:
    """Of R trainings, `(R, n, D)`; neither figure is biased by there being few.

    >>> round(variation(torch.tensor([[[1.0]], [[3.0]]])).relative, 3)
    0.667
    """
    variance = gradients.var(0).sum(1)
    # The mean of R gradients is itself uncertain by a share 1 / R of the variance.
    square = gradients.mean(0).square().sum(1) - variance / len(gradients)
    return Variation(variance, square)


def mixture(seed: int) -> Modes:
    """Four Gaussians at random places in eight dimensions."""
    rng = torch.Generator().manual_seed(seed)
    return Modes(2 * torch.randn((4, DIMENSION), generator=rng), 0.3)


def normal(count: int, rng: torch.Generator) -> Tensor:
    """The fake samples."""
    return torch.randn((count, DIMENSION), generator=rng)


def parameters(spec: CriticSpec) -> int:
    """How many there are."""
    built = spec.build(Shape((), DIMENSION, 0))
    return sum(parameter.numel() for parameter in built.parameters())


def gradients(spec: CriticSpec, seed: int, trainings: int, steps: int) -> Tensor:
    """At the same 256 fake samples after each training, `(R, 256, D)`."""
    points = normal(256, torch.Generator().manual_seed(seed))
    recipe = replace(SMALL, critic=spec)
    found = []
    for number in range(trainings):
        fitted = fit_critic(
            recipe,
            Shape((), DIMENSION, 0),
            Fresh(mixture(seed)),
            Fresh(normal),
            steps=steps,
            batch=128,
            seed=1000 * (seed + 1) + 10 * number,
        )
        found.append(slopes(fitted.players.critic.module, points, points[:, :0], graph=False))
    return torch.stack(found)


def measure(
    seeds: Sequence[int], figure: Figure, trainings: int = 3, steps: int = 400
) -> list[Check]:
    """Relative variances for as many mixtures as there are seeds."""
    left, right = figure.subplots(1, 2)
    relative: dict[str, list[float]] = {name: [] for name in CRITICS}
    for (name, spec), colour in zip(CRITICS.items(), (BLUE, ORANGE, GREEN, GREY), strict=True):
        for index, seed in enumerate(seeds):
            found = variation(gradients(spec, seed, trainings, steps))
            relative[name].append(found.relative)
            if index == 0:
                shares = (found.variance / found.square.mean()).sort().values
                right.plot(shares, np.linspace(0, 1, len(shares)), color=colour, label=name)
        place = list(CRITICS).index(name)
        left.bar(place, np.mean(relative[name]), 0.6, color=colour)
        left.plot([place] * len(seeds), relative[name], ".", color="black")
    left.set_xticks(range(len(CRITICS)), [name.replace(" of", "\nof") for name in CRITICS])
    left.set(ylabel="variance / squared mean", title="Variance of the gradient between trainings")
    right.set(xlabel="variance / squared mean", ylabel="share of fake samples")
    right.set_title("Sample by sample, first mixture")
    right.legend(loc="lower right")
    parts = relative[PARTS]
    sizes = {name: parameters(spec) for name, spec in CRITICS.items()}
    return [
        smaller("relative variance, four members on half the features", parts, relative[SINGLE]),
        noted("the same, four that see all", relative[WHOLES]),
        noted("the same, one of as many parameters", relative[LARGE]),
        near("parameters of the four over that one's", [sizes[PARTS] / sizes[LARGE]], 1.0, 0.03),
    ]


CLAIM = Claim(
    18,
    "committee",
    "A committee over subsets of the features lowers the variance of the generator's gradient "
    "beside one critic of its members' size.",
    "Durugkar, Gemp, Mahadevan, 2017; Neyshabur, Bhojanapalli, Chakrabarti, 2017",
    measure,
    seconds=42,
)
