"""Claim 8: what becomes of tanh and ReLU units under the penalty, and of LeakyReLU's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from simulations.claims.claim import Check, Claim, above, below, near, smaller
from simulations.claims.fitting import SMALL, Fitted, fit_critic
from simulations.claims.page import BLUE, GREEN, GREY, ORANGE
from simulations.toys import Fresh, ring
from wgan.critics import MLPCritic, MLPCriticSpec
from wgan.layers import Activation
from wgan.lipschitz import Penalised
from wgan.penalties import GradientPenalty
from wgan.points import interpolates
from wgan.shape import Shape
from wgan.theory.transport import assignment

SHAPE = Shape((), 2, 0)
SCALE = 10.0
"""Columns that nobody has standardised: the critic must keep slope 1 over tens of units."""

REAL = Fresh(ring(radius=2 * SCALE, deviation=0.1 * SCALE))
FAKE = Fresh(lambda count, rng: 0.5 * SCALE * torch.randn((count, 2), generator=rng))
LAMBDA = 10.0 * SCALE
"""The usual weight for data of this scale: the estimate grows with the scale, slopes do not."""

HIDDEN = (64,) * 6
SATURATED = 0.97
"""A tanh beyond this has a slope below 0.06."""

KINDS: tuple[Activation, ...] = ("leaky_relu", "relu", "tanh")
COLOURS = {"leaky_relu": BLUE, "relu": GREEN, "tanh": ORANGE}


@dataclass(frozen=True)
class State:
    """What a critic's units do on the data.

    Attributes:
        units: Share of dead or saturated units in each hidden layer.
        slopes: Its slopes on interpolates, `(n,)`.
        ratio: Its estimate over the exact W1.
    """

    units: tuple[float, ...]
    slopes: Tensor
    ratio: float

    @property
    def share(self) -> float:
        """Share of dead or saturated units over all layers."""
        return float(np.mean(self.units))

    @property
    def flat(self) -> float:
        """Share of the interpolates with a slope below a half."""
        return float((self.slopes < 0.5).double().mean())


def idle(critic: MLPCritic, points: Tensor) -> tuple[float, ...]:
    """Share of units that pass no gradient on, layer by layer.

    Of a tanh: among all unit and point pairs, those that are saturated. Of the others: units that
    have slope 0 at every point (none of a LeakyReLU).
    """
    shares, values = [], points
    for layer in critic.features:
        inputs, values = values, layer(values).detach()
        if isinstance(layer, nn.Tanh):
            shares.append(float((values.abs() > SATURATED).double().mean()))
        elif isinstance(layer, nn.ReLU):
            shares.append(float((inputs <= 0).all(0).double().mean()))
        elif isinstance(layer, nn.LeakyReLU):
            shares.append(float(((inputs <= 0).all(0) & (layer.negative_slope == 0)).double().mean()))
    return tuple(shares)


def state(fitted: Fitted, seed: int, count: int = 1024) -> State:
    """Measured on fresh real rows, fake rows and interpolates."""
    rng = torch.Generator().manual_seed(seed + 1000)
    real, fake = REAL(count, rng), FAKE(count, rng).real
    points = torch.cat([real.real, fake, interpolates(real.real, fake, rng)])
    slopes = fitted.players.slopes(real, fake, rng)
    gap = float(fitted.score(real.real).mean() - fitted.score(fake).mean())
    exact = assignment(real.real.numpy(), fake.numpy()).value
    critic = fitted.players.critic.module
    assert isinstance(critic, MLPCritic)
    return State(idle(critic, points), slopes, gap / exact)


def fit(kind: Activation, seed: int, steps: int) -> Fitted:
    """A deep critic with that nonlinearity under the penalty."""
    recipe = replace(
        SMALL,
        critic=MLPCriticSpec(hidden=HIDDEN, activation=kind),
        lipschitz=Penalised((GradientPenalty(weight=LAMBDA),)),
    )
    return fit_critic(recipe, SHAPE, REAL, FAKE, steps=steps, batch=128, seed=seed)


def measure(seeds: Sequence[int], figure: Figure, steps: int = 400) -> list[Check]:
    """Three critics that differ in their nonlinearity alone, before and after training."""
    before = {kind: [state(fit(kind, seed, 0), seed) for seed in seeds] for kind in KINDS}
    after = {kind: [state(fit(kind, seed, steps), seed) for seed in seeds] for kind in KINDS}
    for kind in KINDS:
        print(kind, [s.share for s in before[kind]], [s.share for s in after[kind]], [s.units for s in after[kind]], [s.flat for s in after[kind]], [s.ratio for s in after[kind]])
    return []

CLAIM = Claim(
    8,
    "activations",
    "Under the penalty tanh units saturate and ReLU units die; LeakyReLU keeps the critic's "
    "slopes.",
    "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, appendix C",
    measure,
    seconds=18.0,
)
