"""How the critic's slope is held: clipped weights, spectral norms, penalties, or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized

from everymode.wgan.critics import CriticSpec, MultipliersSpec
from everymode.wgan.edges import EdgePenalty
from everymode.wgan.penalties import ConditionPenalty, Drift, GradientPenalty

CriticPenaltySpec = Annotated[
    GradientPenalty | ConditionPenalty | Drift | EdgePenalty, Field(discriminator="kind")
]
"""Any penalty on the critic, told apart by its `kind` in JSON; a new one is added here."""

LAYERS = (nn.Linear, nn.Conv2d)
"""Layers whose weight is a linear map, so that it has a spectral norm."""


class Lipschitz(Protocol):
    """A constraint on the critic: on its layers, its weights, its loss, or several of them.

    Base of all, with the defaults of a constraint that does nothing.
    """

    constrains: ClassVar[bool] = True
    """Whether it bounds the slope of any critic by itself, whatever the penalties do."""

    @property
    def penalties(self) -> tuple[CriticPenaltySpec, ...]:
        """Terms of the critic's loss."""
        ...

    @property
    def bound(self) -> float | None:
        """The slope that no critic under the constraint exceeds; None where none is known."""
        return None

    @property
    def target(self) -> float:
        """The slope that is asked for, in score per unit of the data."""
        return 1.0

    def check(self, critic: CriticSpec) -> Iterator[str]:
        """What is wrong with its fields, or does not go with the critic; with what to write."""
        yield from ()

    def parametrize(self, critic: nn.Module) -> None:
        """Changes the layers of a new critic, once; may draw from PyTorch's global generator."""
        return

    def project(self, critic: nn.Module) -> None:
        """Brings the critic back under the constraint after its weights have moved."""
        return


@dataclass(frozen=True)
class Penalised(Lipschitz):
    """Penalties on the slope in the critic's loss.

    Slopes are pulled where the penalties take them, not bounded.

    Attributes:
        penalties: The terms.
    """

    penalties: tuple[CriticPenaltySpec, ...] = (GradientPenalty(),)
    kind: Literal["penalised"] = "penalised"

    constrains: ClassVar[bool] = False

    @property
    def target(self) -> float:
        """That of the first penalty that has one; 1 where there is none."""
        targets = (p.slope_target for p in self.penalties)
        return next((target for target in targets if target is not None), 1.0)


@dataclass(frozen=True)
class Clipping(Lipschitz):
    """Every weight is cut to [-limit, limit] after each step; the paper steps with RMSprop.

    The critics under it are K-Lipschitz for some K that depends on the network and is not known, so
    the estimate is K times a distance. Weights gather at +-limit, and gradients vanish or explode
    with the depth (Gulrajani et al., 2017, section 3). It is a baseline.

    Source: Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017, algorithm 1.

    Attributes:
        limit: c, the largest absolute weight.
        penalties: Further terms of the critic's loss.
    """

    limit: float = 0.01
    penalties: tuple[CriticPenaltySpec, ...] = ()
    kind: Literal["clipping"] = "clipping"

    def check(self, critic: CriticSpec) -> Iterator[str]:
        """As in `Lipschitz`."""
        if isinstance(critic, MultipliersSpec):
            yield (
                "clipping with class multipliers: their logarithms would be clipped too, so that "
                "all are about 1; take the critic without them, or a gradient penalty"
            )
        if self.limit <= 0:
            yield f"clipping at {self.limit} leaves no weights; expected a limit above 0, say 0.01"

    def parametrize(self, critic: nn.Module) -> None:
        """Cuts the first weights."""
        self.project(critic)

    def project(self, critic: nn.Module) -> None:
        """Cuts all weights, biases too."""
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.clamp_(-self.limit, self.limit)


@dataclass(frozen=True)
class SpectralNorm(Lipschitz):
    """Every layer's weight is divided by its largest singular value.

    A critic of such layers and of activations with slopes up to 1 is 1-Lipschitz. The singular
    value is followed by one power iteration a step, as in the paper; the vectors it keeps are part
    of the training's state. A convolution's weight is taken as the matrix (outputs, inputs x
    positions), as in the paper: its norm as an operator may be larger, by at most the square root
    of the number of positions an input reaches.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018,
    section 2.1 and algorithm 1; `torch.nn.utils.parametrizations.spectral_norm`.

    Attributes:
        iterations: Power iterations a step.
        penalties: Further terms of the critic's loss.
    """

    iterations: int = 1
    penalties: tuple[CriticPenaltySpec, ...] = ()
    kind: Literal["spectral_norm"] = "spectral_norm"

    @property
    def bound(self) -> float:
        """1, for fully connected critics without normalisation that see the condition at once.

        With the condition projected, <w + V c, h>, it is 1 + |c|.
        """
        return 1.0

    def check(self, critic: CriticSpec) -> Iterator[str]:
        """As in `Lipschitz`."""
        if critic.normalised:
            yield (
                "spectral_norm with a normalised critic: layer, group, instance and batch norms "
                "divide by a deviation that may be as small as they like, so no bound on the slope "
                "follows; write norm = 'none'"
            )
        if self.iterations < 1:
            yield (
                f"spectral_norm: iterations = {self.iterations}; expected power iterations at each "
                "step, write 1 or more"
            )
        if isinstance(critic, MultipliersSpec):
            yield (
                "spectral_norm with class multipliers: the multipliers scale the slope that the "
                "norms bound; take the critic without them, or a gradient penalty"
            )

    def parametrize(self, critic: nn.Module) -> None:
        """Wraps the weights of all linear and convolutional layers."""
        for layer in list(critic.modules()):
            if isinstance(layer, LAYERS):
                parametrizations.spectral_norm(layer, n_power_iterations=self.iterations)
        critic.eval()

    def project(self, critic: nn.Module) -> None:
        """Takes the power iterations of this step.

        They run in training mode alone, in which every forward pass would take one: critics are
        kept in evaluation mode, so that a step takes exactly one, however many passes it makes.
        """
        with torch.no_grad():
            for layer in critic.modules():
                if isinstance(layer, LAYERS) and is_parametrized(layer, "weight"):
                    layer.parametrizations.weight.train()  # type: ignore[union-attr]
                    _ = layer.weight
                    layer.parametrizations.weight.eval()  # type: ignore[union-attr]


@dataclass(frozen=True)
class Unconstrained(Lipschitz):
    """No constraint: for objectives whose loss has a minimum without one.

    Attributes:
        penalties: Further terms of the critic's loss.
    """

    penalties: tuple[CriticPenaltySpec, ...] = ()
    kind: Literal["none"] = "none"

    constrains: ClassVar[bool] = False


LipschitzSpec = Annotated[
    Penalised | Clipping | SpectralNorm | Unconstrained, Field(discriminator="kind")
]
