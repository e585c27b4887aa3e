"""Claim 8: what becomes of tanh and ReLU units under the penalty, and of LeakyReLU's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from everymode.simulations.claims.claim import Check, Claim, above, below, near, noted, smaller
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE
from everymode.simulations.toys import Fresh, ring
from everymode.wgan.critics import MLPCritic, MLPCriticSpec
from everymode.wgan.layers import Activation
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.points import interpolates
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import assignment

SHAPE = Shape((), 2, 0)
SCALE = 10.0
"""Columns that nobody has standardised: the critic must keep slope 1 over tens of units."""

REAL = Fresh(ring(radius=2 * SCALE, deviation=0.1 * SCALE))
FAKE = Fresh(lambda count, rng: 0.5 * SCALE * torch.randn((count, 2), generator=rng))
LAMBDA = 10.0 * SCALE
"""The usual weight for data of this scale: the estimate grows with the scale, slopes do not."""

HIDDEN = (64,) * 12
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
    for layer in critic.features.children():
        inputs, values = values, layer(values).detach()
        if isinstance(layer, nn.Tanh):
            shares.append(float((values.abs() > SATURATED).double().mean()))
        elif isinstance(layer, nn.ReLU):
            shares.append(float((inputs <= 0).all(0).double().mean()))
        elif isinstance(layer, nn.LeakyReLU):
            dead = (inputs <= 0).all(0) & (layer.negative_slope == 0)
            shares.append(float(dead.double().mean()))
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


def measure(
    seeds: Sequence[int], figure: Figure, steps: int = 250, count: int = 1024
) -> list[Check]:
    """Three critics that differ in their nonlinearity alone, before and after training."""
    before = {kind: [state(fit(kind, seed, 0), seed, count) for seed in seeds] for kind in KINDS}
    after = {kind: [state(fit(kind, seed, steps), seed, count) for seed in seeds] for kind in KINDS}
    _draw(figure, before, after)
    leaky, relu, tanh = (after[kind] for kind in KINDS)
    flat = [s.flat for s in leaky]
    return [
        above("tanh: saturated units of the first layer", [s.units[0] for s in tanh], 0.5),
        above("ReLU: dead units, all layers", [s.share for s in relu], 0.1),
        smaller(
            "ReLU: dead units before training, beside after",
            [s.share for s in before["relu"]],
            [s.share for s in relu],
        ),
        below("LeakyReLU: interpolates with a slope below 1/2", flat, 0.05),
        smaller("the same, beside tanh", flat, [s.flat for s in tanh], 5),
        noted("the same of ReLU: its slopes survive its units", [s.flat for s in relu]),
        near("LeakyReLU: estimate over W1", [s.ratio for s in leaky], 1, 0.15),
        below("tanh: estimate over W1", [s.ratio for s in tanh], 0.85),
        noted("ReLU: estimate over W1", [s.ratio for s in relu]),
    ]


def _draw(
    figure: Figure, before: dict[Activation, list[State]], after: dict[Activation, list[State]]
) -> None:
    left, middle, right = figure.subplots(1, 3)
    layers = range(1, len(HIDDEN) + 1)
    labels: dict[Activation, str] = {"relu": "ReLU, dead", "tanh": "tanh, saturated"}
    for kind, label in labels.items():
        for states, style, when in ((before, ":", "at first"), (after, "-", "trained")):
            shares = np.mean([s.units for s in states[kind]], axis=0)
            left.plot(layers, shares, style, color=COLOURS[kind], label=f"{label}, {when}")
    left.set(xlabel="layer", ylabel="share of units", ylim=(0, 1.05))
    left.set_title("Units that pass no gradient on")
    left.legend(fontsize=7)
    edges = np.linspace(0, 2, 41).tolist()
    for kind in KINDS:
        values = torch.cat([s.slopes for s in after[kind]]).clamp_max(1.999)
        middle.hist(values, edges, color=COLOURS[kind], histtype="step", lw=1.6, label=kind)
    middle.axvline(0.5, color=GREY, ls=":")
    middle.set(xlabel="slope on interpolates", ylabel="points, all seeds", yscale="log")
    middle.set_title("Slopes under the same penalty")
    middle.legend(fontsize=7, loc="upper right")
    for index, kind in enumerate(KINDS):
        ratios = [s.ratio for s in after[kind]]
        right.plot([index] * len(ratios), ratios, "o", color=COLOURS[kind])
    right.axhline(1, color="black", lw=0.8)
    right.set_xticks(range(len(KINDS)), KINDS)
    right.set(ylabel="estimate / exact W1", xlim=(-0.5, 2.5))
    right.set_title("One point a seed")


CLAIM = Claim(
    8,
    "activations",
    "Under the penalty a deep critic's tanh units saturate and its ReLU units die; LeakyReLU keeps "
    "its slopes.",
    "Maas et al., Rectifier Nonlinearities Improve Neural Network Acoustic Models, 2013, section 2",
    measure,
    seconds=27,
)
