"""Networks that turn noise and a condition into a sample.

All take conditions `(B, C)` and give samples `(B, D)`: `forward` draws the noise, `from_noise`
takes it. A `TableGenerator` also shows its raw outputs, for what is done after training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from everymode.wgan.errors import SettingsError
from everymode.wgan.layers import (
    Activation,
    Norm,
    VectorNorm,
    activation,
    check_image,
    check_positions,
    check_sizes,
    linear,
    normalisation,
)
from everymode.wgan.shape import Block, Shape


class Head(nn.Module):
    """Turns raw outputs into a row as the codec writes it.

    A `choice` block becomes a relaxed one-hot vector by the Gumbel-softmax; a `value` block is
    passed through, times its gate where it has one.

    Source: Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", 2017, equation 2.
    """

    gated: Tensor
    gates: Tensor

    def __init__(self, blocks: Sequence[Block], temperature: float) -> None:
        """Notes which outputs are one-hot and which of them belong together."""
        super().__init__()
        self.temperature = temperature
        choices = [block for block in blocks if block.kind == "choice"]
        gated = [(b.start, b.gate) for b in blocks if b.gate is not None]
        self.register_buffer("gated", torch.tensor([g[0] for g in gated]), persistent=False)
        self.register_buffer("gates", torch.tensor([g[1] for g in gated]), persistent=False)
        self.spans = [(b.start, b.stop) for b in choices]
        self.drawn = sum(stop - start for start, stop in self.spans)

    def forward(self, raw: Tensor, rng: torch.Generator) -> Tensor:
        """Raw outputs `(B, D)` -> rows `(B, D)`."""
        if not self.spans:
            return raw
        uniform = torch.rand(
            (len(raw), self.drawn), generator=rng, device=raw.device, dtype=raw.dtype
        )
        tiny = torch.finfo(raw.dtype).tiny
        gumbel = -(-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
        pieces: list[Tensor] = []
        done = drawn = 0
        for start, stop in self.spans:
            if start > done:
                pieces.append(raw[:, done:start])
            noise = gumbel[:, drawn : drawn + stop - start]
            pieces.append(torch.softmax((raw[:, start:stop] + noise) / self.temperature, 1))
            done, drawn = stop, drawn + stop - start
        if done < raw.shape[1]:
            pieces.append(raw[:, done:])
        rows = torch.cat(pieces, 1)
        if not len(self.gated):
            return rows
        factor = torch.ones_like(rows).index_copy(1, self.gated, rows[:, self.gates])
        return rows * factor

    def chosen(self, rows: Tensor) -> Tensor:
        """Rows `(B, D)` as the codec would write what they stand for: every category chosen."""
        chosen = rows.clone()
        for start, stop in self.spans:
            best = rows[:, start:stop].argmax(1, keepdim=True)
            chosen[:, start:stop] = 0.0
            chosen[:, start:stop].scatter_(1, best, 1.0)
        if len(self.gated):
            chosen[:, self.gated] = torch.where(
                chosen[:, self.gates] > 0, chosen[:, self.gated], 0.0
            )
        return chosen


@runtime_checkable
class TableGenerator(Protocol):
    """A generator of rows whose raw outputs can be read and shifted.

    Calibration (raking) and projection after training need no more than this.
    """

    noise: int

    def __call__(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Conditions `(B, C)` -> rows `(B, D)`; noise is drawn from `rng`."""
        ...

    def chosen(self, rows: Tensor) -> Tensor:
        """Rows `(B, D)` with every category chosen, as the codec would write them."""
        ...

    def raw(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Noise `(B, Z)`, conditions `(B, C)` -> logits of categories, and numbers, `(B, D)`."""
        ...

    def tilt(self, bias: Tensor, levels: Tensor) -> None:
        """Adds `bias` `(D,)` and the condition times `levels` `(C, D)` to raw outputs, for good."""
        ...

    def rescale(self, scale: Tensor, shift: Tensor) -> None:
        """Multiplies raw outputs by `scale` `(D,)` and adds `shift` `(D,)`, for good."""
        ...


def table_generator(module: nn.Module) -> TableGenerator:
    """The module as a `TableGenerator`.

    Raises:
        SettingsError: It is none.
    """
    if not isinstance(module, TableGenerator):
        raise SettingsError(
            f"a {type(module).__name__} shows no raw outputs, so its rows can be neither "
            'calibrated nor projected; write kind = "skip", or leave both out'
        )
    return module


class SkipGenerator(nn.Module):
    """Layers whose input is concatenated to their output, then a linear layer and the head.

    The skips let the last layer see the noise and the condition directly, as in CTGAN's generator
    (Xu et al., "Modeling Tabular data using Conditional GAN", 2019, section 4.4); LayerNorm in
    place of its batch norm, so that a row does not depend on the other rows of its batch.
    """

    def __init__(
        self, noise: int, condition: int, hidden: Sequence[int], head: Head, width: int
    ) -> None:
        """Builds the layers.

        Args:
            noise: Z, length of the noise.
            condition: C, length of a condition.
            hidden: Sizes of the layers.
            head: What makes rows of raw outputs.
            width: D, length of a row.
        """
        super().__init__()
        self.noise = noise
        size = noise + condition
        self.layers = nn.ModuleList()
        for outputs in hidden:
            self.layers.append(
                nn.Sequential(nn.Linear(size, outputs), nn.LayerNorm(outputs), nn.ReLU())
            )
            size += outputs
        self.last = linear(size, width)
        self.head = head

    def forward(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Conditions `(B, C)` -> rows `(B, D)`; noise is drawn from `rng`."""
        return self.from_noise(_drawn(self.noise, condition, rng), condition, rng)

    def from_noise(self, noise: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Noise `(B, Z)`, conditions `(B, C)` -> rows `(B, D)`; choices are drawn from `rng`."""
        rows: Tensor = self.head(self.raw(noise, condition), rng)
        return rows

    def chosen(self, rows: Tensor) -> Tensor:
        """Rows `(B, D)` with every category chosen, as the codec would write them."""
        return self.head.chosen(rows)

    def raw(self, noise: Tensor, condition: Tensor) -> Tensor:
        """The outputs before the head, `(B, D)`: logits of categories, and numbers."""
        hidden = torch.cat([noise, condition], 1)
        for layer in self.layers:
            hidden = torch.cat([layer(hidden), hidden], 1)
        outputs: Tensor = self.last(hidden)
        return outputs

    def tilt(self, bias: Tensor, levels: Tensor) -> None:
        """Adds `bias` `(D,)` and the condition times `levels` `(C, D)` to raw outputs, for good."""
        with torch.no_grad():
            self.last.bias.add_(bias)
            # The condition is the end of what the last layer sees.
            self.last.weight[:, self.last.in_features - len(levels) :].add_(levels.T)

    def rescale(self, scale: Tensor, shift: Tensor) -> None:
        """Multiplies raw outputs by `scale` `(D,)` and adds `shift` `(D,)`, for good."""
        with torch.no_grad():
            self.last.weight.mul_(scale[:, None])
            self.last.bias.mul_(scale).add_(shift)


class MLPGenerator(nn.Module):
    """Fully connected generator: layers, then the head."""

    def __init__(self, noise: int, layers: nn.Module, head: Head) -> None:
        """Takes Z, the layers from noise and condition to raw outputs, and what makes rows."""
        super().__init__()
        self.noise = noise
        self.layers = layers
        self.head = head

    def forward(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Conditions `(B, C)` -> rows `(B, D)`; noise is drawn from `rng`."""
        return self.from_noise(_drawn(self.noise, condition, rng), condition, rng)

    def from_noise(self, noise: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Noise `(B, Z)`, conditions `(B, C)` -> rows `(B, D)`; choices are drawn from `rng`."""
        rows: Tensor = self.head(self.layers(torch.cat([noise, condition], 1)), rng)
        return rows


class ConvGenerator(nn.Module):
    """Convolutional generator of images, which are cut from the middle of what the layers give."""

    def __init__(
        self, noise: int, layers: nn.Module, image: tuple[int, int, int], size: tuple[int, int]
    ) -> None:
        """Builds nothing.

        Args:
            noise: Z, length of the noise.
            layers: From noise and condition, `(B, Z + C)`, to `(B, channels, *size)`.
            image: An image's (channels, height, width).
            size: Height and width before the cut.
        """
        super().__init__()
        self.noise = noise
        self.layers = layers
        _, self.high, self.wide = image
        self.top, self.left = (size[0] - self.high) // 2, (size[1] - self.wide) // 2

    def forward(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Conditions `(B, C)` -> samples `(B, D)`; noise is drawn from `rng`."""
        return self.from_noise(_drawn(self.noise, condition, rng), condition, rng)

    def from_noise(self, noise: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Noise `(B, Z)`, conditions `(B, C)` -> samples `(B, D)`; nothing is drawn from `rng`."""
        images: Tensor = self.layers(torch.cat([noise, condition], 1))
        images = images[:, :, self.top :, self.left :][:, :, : self.high, : self.wide]
        return images.flatten(1)


@dataclass(frozen=True)
class SkipGeneratorSpec:
    """How a `SkipGenerator` is built.

    Attributes:
        hidden: Sizes of the layers.
        noise: Z, length of the noise.
        temperature: Of the Gumbel-softmax: low is hard.
        kind: Which generator this is, in JSON.
    """

    hidden: tuple[int, ...] = (256, 256)
    noise: int = 128
    temperature: float = 0.2
    kind: Literal["skip"] = "skip"

    @property
    def batch_statistics(self) -> bool:
        """Whether a row depends on the other rows of its batch: never."""
        return False

    def build(self, shape: Shape) -> SkipGenerator:
        """A generator of samples of that shape.

        Raises:
            SettingsError: A field cannot be used; the message names it.
        """
        check_sizes("hidden", self.hidden)
        _check_noise(self.noise)
        head = _head(shape, self.temperature)
        return SkipGenerator(self.noise, shape.condition, self.hidden, head, shape.width)


@dataclass(frozen=True)
class MLPGeneratorSpec:
    """How an `MLPGenerator` is built.

    Attributes:
        hidden: Sizes of the hidden layers.
        noise: Z, length of the noise.
        activation: The nonlinearity; LeakyReLU's slope below 0 is 0.2.
        norm: What is normalised before it. With "batch" a row depends on the other rows of its
            batch: what is drawn from a batch of one condition is not what it is in a mixed one.
        temperature: Of the Gumbel-softmax: low is hard.
        kind: Which generator this is, in JSON.
    """

    hidden: tuple[int, ...] = (128, 128)
    noise: int = 16
    activation: Activation = "relu"
    norm: VectorNorm = "none"
    temperature: float = 0.2
    kind: Literal["mlp"] = "mlp"

    @property
    def batch_statistics(self) -> bool:
        """Whether a row depends on the other rows of its batch."""
        return self.norm == "batch" and bool(self.hidden)

    def build(self, shape: Shape) -> MLPGenerator:
        """A generator of samples of that shape.

        Raises:
            SettingsError: A field cannot be used; the message names it.
        """
        check_sizes("hidden", self.hidden)
        _check_noise(self.noise)
        head = _head(shape, self.temperature)
        sizes = [self.noise + shape.condition, *self.hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), normalisation(self.norm, outputs, False)]
            layers.append(activation(self.activation, 0.2))
        layers.append(linear(sizes[-1], shape.width))
        return MLPGenerator(self.noise, nn.Sequential(*layers), head)


@dataclass(frozen=True)
class ConvGeneratorSpec:
    """How a `ConvGenerator` is built: a linear layer, then convolutions that double the image.

    The last layer is not normalised. Sizes that are no multiple of a power of two are cut from the
    next larger one.

    Source: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", 2016, section 3.

    Attributes:
        channels: Channels before each stage of 4 x 4 transposed convolutions.
        noise: Z, length of the noise.
        norm: What is normalised. With "batch" (DCGAN's) an image depends on the other images of its
            batch: what is drawn from a batch of one condition is not what it is in a mixed one.
        output: "tanh" where values lie between -1 and 1; "linear" for any.
        kind: Which generator this is, in JSON.
    """

    channels: tuple[int, ...] = (64, 32)
    noise: int = 64
    norm: Norm = "none"
    output: Literal["tanh", "linear"] = "tanh"
    kind: Literal["conv"] = "conv"

    @property
    def batch_statistics(self) -> bool:
        """Whether an image depends on the other images of its batch."""
        return self.norm == "batch"

    def build(self, shape: Shape) -> ConvGenerator:
        """A generator of images of that shape.

        Raises:
            SettingsError: The samples are no images, or a field cannot be used; the message names
                it.
        """
        image = check_image(shape.sample, shape.width, self.channels)
        _check_noise(self.noise)
        if any(block.kind == "choice" for block in shape.blocks):
            raise SettingsError(
                'kind = "conv": expected samples of plain numbers, got categories; '
                'write kind = "mlp" or "skip"'
            )
        if self.output not in ("tanh", "linear"):
            raise SettingsError(f'output = "{self.output}": unknown; write "tanh" or "linear"')
        stages = len(self.channels)
        high, wide = -(-image[1] >> stages), -(-image[2] >> stages)
        check_positions(self.norm, high, wide)
        first = self.channels[0]
        layers: list[nn.Module] = [
            nn.Linear(self.noise + shape.condition, first * high * wide),
            nn.Unflatten(1, (first, high, wide)),
        ]
        for inputs, outputs in pairwise([*self.channels, image[0]]):
            layers += [normalisation(self.norm, inputs, True), nn.ReLU()]
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1))
        if self.output == "tanh":
            layers.append(nn.Tanh())
        size = high << stages, wide << stages
        return ConvGenerator(self.noise, nn.Sequential(*layers), image, size)


GeneratorSpec = Annotated[
    SkipGeneratorSpec | MLPGeneratorSpec | ConvGeneratorSpec, Field(discriminator="kind")
]
"""Any generator's configuration; in JSON, `kind` says which."""


def _drawn(size: int, condition: Tensor, rng: torch.Generator) -> Tensor:
    """Noise `(B, size)` for conditions `(B, C)`."""
    return torch.randn(
        (len(condition), size), generator=rng, device=condition.device, dtype=condition.dtype
    )


def _head(shape: Shape, temperature: float) -> Head:
    if not temperature > 0:
        raise SettingsError(f"temperature = {temperature}: expected above 0; write 0.2, say")
    return Head(shape.blocks, temperature)


def _check_noise(noise: int) -> None:
    if noise < 1:
        raise SettingsError(f"noise = {noise}: expected a length; write 1 or more")
