"""Networks that score a sample under a condition.

All take samples `(B, D)` and conditions `(B, C)` and give scores `(B,)`. Batch norm apart, no layer
couples the examples of a batch: the gradient penalty is a statement about one example's slope
(Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, section 4).
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from everymode.wgan.committee import Committee, Multipliers, subsets
from everymode.wgan.errors import SettingsError
from everymode.wgan.layers import (
    Activation,
    Norm,
    VectorNorm,
    check_image,
    check_positions,
    check_sizes,
    linear,
)
from everymode.wgan.layers import activation as activation_of
from everymode.wgan.layers import normalisation as normalisation_of
from everymode.wgan.shape import Shape

Conditioning = Literal["concat", "projection"]


class Readout(nn.Module):
    """Scores from features: `w h + b`, plus `<V c, h>` where the condition is projected.

    Source: Miyato, Koyama, "cGANs with Projection Discriminator", 2018, section 3.
    """

    def __init__(self, features: int, condition: int) -> None:
        """Takes the length F of the features, and C; 0: the condition does not count."""
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.projection = nn.Linear(condition, features, bias=False) if condition else None

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Features `(B, F)`, conditions `(B, C)` -> scores `(B,)`."""
        scores: Tensor = self.linear(features).squeeze(1)
        if self.projection is None:
            return scores
        directions: Tensor = self.projection(condition)
        return scores + (directions * features).sum(1)


class MLPCritic(nn.Module):
    """Fully connected critic."""

    def __init__(self, features: nn.Module, readout: Readout, concat: bool) -> None:
        """Takes the layers up to the features; `concat`: they see the condition, too."""
        super().__init__()
        self.features = features
        self.readout = readout
        self.concat = concat

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Samples `(B, D)`, conditions `(B, C)` -> scores `(B,)`."""
        seen = torch.cat([sample, condition], 1) if self.concat else sample
        scores: Tensor = self.readout(self.features(seen), condition)
        return scores


class ConvCritic(nn.Module):
    """Convolutional critic of images; a condition that is concatenated becomes constant planes."""

    def __init__(
        self, image: tuple[int, int, int], features: nn.Module, readout: Readout, concat: bool
    ) -> None:
        """Takes an image's (channels, height, width), and the layers as in `MLPCritic`."""
        super().__init__()
        self.image = image
        self.features = features
        self.readout = readout
        self.concat = concat

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Samples `(B, D)`, conditions `(B, C)` -> scores `(B,)`."""
        seen = sample.reshape(len(sample), *self.image)
        if self.concat:
            planes = condition[:, :, None, None].expand(-1, -1, *self.image[1:])
            seen = torch.cat([seen, planes], 1)
        scores: Tensor = self.readout(self.features(seen).flatten(1), condition)
        return scores


@dataclass(frozen=True)
class MLPCriticSpec:
    """How an `MLPCritic` is built.

    Attributes:
        hidden: Sizes of the hidden layers.
        slope: LeakyReLU's slope below 0.
        activation: The nonlinearity.
        norm: What is normalised before it. With "batch" a score depends on the other rows.
        conditioning: "concat" puts the condition beside the sample, "projection" multiplies it into
            the last features.
        kind: Which critic this is, in JSON.
    """

    hidden: tuple[int, ...] = (256, 256)
    slope: float = 0.2
    activation: Activation = "leaky_relu"
    norm: VectorNorm = "none"
    conditioning: Conditioning = "concat"
    kind: Literal["mlp"] = "mlp"

    @property
    def normalised(self) -> bool:
        """Whether any layer normalises."""
        return self.norm != "none" and bool(self.hidden)

    @property
    def batch_statistics(self) -> bool:
        """Whether a score depends on the other rows of its batch."""
        return self.normalised and self.norm == "batch"

    @property
    def activations(self) -> frozenset[str]:
        """The nonlinearities in use."""
        return frozenset({self.activation} if self.hidden else ())

    def build(self, shape: Shape) -> MLPCritic:
        """A critic of samples and conditions of that shape.

        Raises:
            SettingsError: A field cannot be used; the message names it.
        """
        check_sizes("hidden", self.hidden)
        concat, projected = _conditioning(self.conditioning, shape.condition)
        sizes = [shape.width + concat, *self.hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [linear(inputs, outputs), *_after(self, outputs, False)]
        return MLPCritic(nn.Sequential(*layers), Readout(sizes[-1], projected), concat > 0)


@dataclass(frozen=True)
class ConvCriticSpec:
    """How a `ConvCritic` is built: convolutions of 4 x 4 that halve the image, then one layer.

    The stage next to the image is not normalised, as in DCGAN.

    Source: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", 2016, section 3.

    Attributes:
        channels: Channels after each stage.
        slope: LeakyReLU's slope below 0.
        activation: The nonlinearity.
        norm: What is normalised before it. With "batch" a score depends on the other images.
        conditioning: As in `MLPCriticSpec`.
        kind: Which critic this is, in JSON.
    """

    channels: tuple[int, ...] = (32, 64)
    slope: float = 0.2
    activation: Activation = "leaky_relu"
    norm: Norm = "none"
    conditioning: Conditioning = "concat"
    kind: Literal["conv"] = "conv"

    @property
    def normalised(self) -> bool:
        """Whether any layer normalises."""
        return self.norm != "none"

    @property
    def batch_statistics(self) -> bool:
        """Whether a score depends on the other images of its batch."""
        return self.norm == "batch"

    @property
    def activations(self) -> frozenset[str]:
        """The nonlinearities in use."""
        return frozenset({self.activation})

    def build(self, shape: Shape) -> ConvCritic:
        """A critic of images and conditions of that shape.

        Raises:
            SettingsError: The samples are no images, or a field cannot be used; the message names
                it.
        """
        image = check_image(shape.sample, shape.width, self.channels)
        stages = len(self.channels)
        if self.normalised and stages == 1:
            raise SettingsError(
                f'norm = "{self.norm}": the stage next to the image is not normalised, and there '
                'is no other; write norm = "none" or a second entry of channels'
            )
        high, wide = image[1] >> stages, image[2] >> stages
        check_positions(self.norm, high, wide)
        concat, projected = _conditioning(self.conditioning, shape.condition)
        sizes = [image[0] + concat, *self.channels]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            plain = self if index else replace(self, norm="none")
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), *_after(plain, outputs, True)]
        readout = Readout(sizes[-1] * high * wide, projected)
        return ConvCritic(image, nn.Sequential(*layers), readout, concat > 0)


@dataclass(frozen=True)
class CommitteeSpec:
    """How a `Committee` is built.

    Attributes:
        member: How each member is built; an MLP.
        members: K, number of members.
        share: Part of the columns that a member sees, above 0 to 1; more where it takes more for
            the members to see all columns between them.
        seed: Seed of the draw of columns; every party draws the same.
        kind: Which critic this is, in JSON.
    """

    member: "CriticSpec" = MLPCriticSpec()
    members: int = 4
    share: float = 0.5
    seed: int = 0
    kind: Literal["committee"] = "committee"

    @property
    def normalised(self) -> bool:
        """Whether any layer normalises."""
        return self.member.normalised

    @property
    def batch_statistics(self) -> bool:
        """Whether a score depends on the other rows of its batch."""
        return self.member.batch_statistics

    @property
    def activations(self) -> frozenset[str]:
        """The nonlinearities in use."""
        return self.member.activations

    def build(self, shape: Shape) -> Committee:
        """A critic of samples and conditions of that shape.

        Raises:
            SettingsError: A field cannot be used; the message names it.
        """
        if not isinstance(self.member, MLPCriticSpec):
            raise SettingsError(
                f'member.kind = "{self.member.kind}": expected members that take any part of a '
                'sample; write member.kind = "mlp"'
            )
        if self.members < 1:
            raise SettingsError(f"members = {self.members}: expected critics; write 1 or more")
        if not 0 < self.share <= 1:
            raise SettingsError(
                f"share = {self.share}: expected a part of the columns; write above 0 to 1"
            )
        rng = torch.Generator().manual_seed(self.seed)
        parts = subsets(shape.blocks, shape.width, self.members, self.share, rng)
        built = [
            self.member.build(replace(shape, blocks=(), width=len(part), sample=()))
            for part in parts
        ]
        return Committee(built, parts)


@dataclass(frozen=True)
class MultipliersSpec:
    """How `Multipliers` are built.

    Attributes:
        of: How the critic that is multiplied is built.
        start: First multiplier of each entry of the condition; empty: 1 for all.
        kind: Which critic this is, in JSON.
    """

    of: "CriticSpec" = MLPCriticSpec()
    start: tuple[float, ...] = ()
    kind: Literal["multipliers"] = "multipliers"

    @property
    def normalised(self) -> bool:
        """Whether any layer normalises."""
        return self.of.normalised

    @property
    def batch_statistics(self) -> bool:
        """Whether a score depends on the other rows of its batch."""
        return self.of.batch_statistics

    @property
    def activations(self) -> frozenset[str]:
        """The nonlinearities in use."""
        return self.of.activations

    def build(self, shape: Shape) -> Multipliers:
        """A critic of samples and conditions of that shape.

        Raises:
            SettingsError: `start` cannot be used, or a field of `of`; the message names it.
        """
        start = self.start or (1.0,) * shape.condition
        if len(start) != shape.condition:
            raise SettingsError(
                f"start: {len(start)} multipliers, expected {shape.condition}, one per entry of "
                "the condition; write as many, or none to start at 1"
            )
        if not all(0 < multiplier < math.inf for multiplier in start):
            raise SettingsError(
                f"start = {list(start)}: expected multipliers above 0; write 1.0 for no change"
            )
        return Multipliers(self.of.build(shape), start)


CriticSpec = Annotated[
    MLPCriticSpec | ConvCriticSpec | CommitteeSpec | MultipliersSpec, Field(discriminator="kind")
]
"""Any critic's configuration; in JSON, `kind` says which."""


def _conditioning(kind: Conditioning, condition: int) -> tuple[int, int]:
    """How much of the condition the first layer sees, and how much the last."""
    match kind:
        case "concat":
            return condition, 0
        case "projection":
            return 0, condition
    raise SettingsError(f'conditioning = "{kind}": unknown; write "concat" or "projection"')


def _after(spec: MLPCriticSpec | ConvCriticSpec, size: int, spatial: bool) -> list[nn.Module]:
    """What follows a linear layer."""
    norm = normalisation_of(spec.norm, size, spatial)
    return [norm, activation_of(spec.activation, spec.slope)]
