"""How the critic's slope is held: clipped weights, spectral norms, penalties, or not at all."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized

from wgan.edges import EdgePenalty
from wgan.penalties import ConditionPenalty, Drift, GradientPenalty

CriticPenaltySpec = Annotated[
    GradientPenalty | ConditionPenalty | Drift | EdgePenalty, Field(discriminator="kind")
]

LAYERS = (nn.Linear, nn.Conv2d)
"""Layers whose weight is a linear map, so that it has a spectral norm."""


class Lipschitz(Protocol):
    """A constraint on the critic: on its layers, its weights, its loss, or several of them."""

    @property
    def penalties(self) -> tuple[CriticPenaltySpec, ...]:
        """Terms of the critic's loss."""
        ...

    @property
    def bound(self) -> float | None:
        """The slope that no critic under the constraint exceeds; None where there is no such."""
        ...

    @property
    def target(self) -> float:
        """The slope that is asked for, in score per unit of the data."""
        ...

    def parametrize(self, critic: nn.Module) -> None:
        """Changes the layers of a new critic, once; may draw from PyTorch's global generator."""
        ...

    def project(self, critic: nn.Module) -> None:
        """Brings the critic back under the constraint after its weights have moved."""
        ...


@dataclass(frozen=True)
class Penalised:
    """Penalties on the slope in the critic's loss.

    The constraint holds where the penalties look, as far as their weights force it.

    Attributes:
        penalties: The terms.
    """

    penalties: tuple[CriticPenaltySpec, ...] = field(default_factory=lambda: (GradientPenalty(),))
    kind: Literal["penalised"] = "penalised"

    @property
    def bound(self) -> float | None:
        """None: slopes are pulled, not bounded."""
        return None

    @property
    def target(self) -> float:
        """That of the first gradient penalty; 1 where there is none."""
        return next((p.target for p in self.penalties if isinstance(p, GradientPenalty)), 1.0)

    def parametrize(self, critic: nn.Module) -> None:
        """Nothing to change."""

    def project(self, critic: nn.Module) -> None:
        """Nothing to project on."""


@dataclass(frozen=True)
class Clipping:
    """Every weight is cut to [-limit, limit] after each step; the paper steps with RMSprop.

    The critics under it are K-Lipschitz for some K that depends on the network, so the estimate is
    K times a distance. Weights gather at +-limit, and gradients vanish or explode with the depth
    (Gulrajani et al., 2017, section 3): it is here to be compared with.

    Source: Arjovsky, Chintala, Bottou, "Wasserstein GAN", 2017, algorithm 1.

    Attributes:
        limit: c, the largest absolute weight.
        penalties: Further terms of the critic's loss.
    """

    limit: float = 0.01
    penalties: tuple[CriticPenaltySpec, ...] = ()
    kind: Literal["clipping"] = "clipping"

    @property
    def bound(self) -> float | None:
        """None: there is a bound, but it depends on the network."""
        return None

    @property
    def target(self) -> float:
        """1."""
        return 1.0

    def parametrize(self, critic: nn.Module) -> None:
        """Cuts the first weights."""
        self.project(critic)

    def project(self, critic: nn.Module) -> None:
        """Cuts all weights, biases too."""
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.clamp_(-self.limit, self.limit)


@dataclass(frozen=True)
class SpectralNorm:
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
    def bound(self) -> float | None:
        """1, for fully connected critics without normalisation that see the condition at once.

        With the condition projected, <w + V c, h>, it is 1 + |c|.
        """
        return 1.0

    @property
    def target(self) -> float:
        """1."""
        return 1.0

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
class Unconstrained:
    """No constraint: for objectives whose loss has a minimum without one.

    Attributes:
        penalties: Further terms of the critic's loss.
    """

    penalties: tuple[CriticPenaltySpec, ...] = ()
    kind: Literal["none"] = "none"

    @property
    def bound(self) -> float | None:
        """None."""
        return None

    @property
    def target(self) -> float:
        """1."""
        return 1.0

    def parametrize(self, critic: nn.Module) -> None:
        """Nothing to change."""

    def project(self, critic: nn.Module) -> None:
        """Nothing to project on."""


LipschitzSpec = Annotated[
    Penalised | Clipping | SpectralNorm | Unconstrained, Field(discriminator="kind")
]
