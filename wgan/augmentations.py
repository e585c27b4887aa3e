"""Random augmentations of what the critic sees, the same for real and fake samples.

A critic that never sees a sample itself has less to memorise, and noise gives real and fake a
common support. The generator must still learn the distribution of the samples, not that of their
augmentations: an augmentation must not *leak*. As its maps are drawn alike for real and for fake,
equal distributions look equal; the converse holds where the augmentation's action on distributions
can be undone. If a map is drawn with probability p and the identity otherwise, that action is
(1 - p) I + p T for a T that enlarges no signed measure, which can be undone for every T if p < 1/2,
and for p < 1 if T has no eigenvalue -(1 - p) / p: see each augmentation. At p = 1 it may well not
be: an image flipped with probability 1/2 no longer shows how it stood. With finite networks and
samples, Karras et al. (2020) saw images leak from p = 0.8 or so.

Source: Karras et al., "Training Generative Adversarial Networks with Limited Data" (ADA), 2020,
section 2.2; Bora, Price, Dimakis, "AmbientGAN", 2018.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from everymode.wgan.errors import SettingsError
from everymode.wgan.shape import Shape

Map = Callable[[Tensor], Tensor]
"""Samples `(B, D)` -> `(B, D)`, differentiable; the same for equal inputs."""

_Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Protocol):
    """A distribution of maps, the identity at strength 0."""

    @property
    def kind(self) -> str:
        """Its name in a configuration."""
        ...

    def check(self, shape: Shape) -> Iterator[str]:
        """Why it has no meaning for samples of that shape, with what to write instead."""
        yield from ()

    def draw(self, like: Tensor, shape: Shape, strength: float, rng: torch.Generator) -> Map:
        """One map for each example of `like`, to be used on real and on fake samples.

        How many numbers are drawn does not depend on the strength.

        Args:
            like: Samples `(B, D)`, for their number, device and dtype.
            shape: Their layout.
            strength: From 0, the identity, to 1.
            rng: Source of all randomness.

        Raises:
            SettingsError: The augmentation has no meaning for samples of that shape.
        """
        ...


def compose(
    augmentations: Sequence[Augmentation],
    like: Tensor,
    shape: Shape,
    strength: float,
    rng: torch.Generator,
) -> Map:
    """One draw of every augmentation, applied in order; same arguments as `Augmentation.draw`.

    Raises:
        ValueError: The strength is not in [0, 1].
        SettingsError: An augmentation has no meaning for samples of that shape.

    >>> shape, rng = Shape((), 2, 0), torch.Generator().manual_seed(0)
    >>> compose([InstanceNoise(), Diffusion()], torch.ones(1, 2), shape, 0.0, rng)(torch.ones(1, 2))
    tensor([[1., 1.]])
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"expected a strength in [0, 1], got {strength}")
    maps = [each.draw(like, shape, strength, rng) for each in augmentations]

    def apply(samples: Tensor) -> Tensor:
        for each in maps:
            samples = each(samples)
        return samples

    return apply


@dataclass(frozen=True)
class InstanceNoise(Augmentation):
    """x + strength * deviation * e with standard normal e.

    Never leaks: adding noise multiplies the characteristic function by one without zeros.

    Source: Sønderby et al., "Amortised MAP Inference for Image Super-resolution", 2017; Arjovsky,
    Bottou, "Towards Principled Methods for Training Generative Adversarial Networks", 2017,
    section 3.

    Attributes:
        deviation: Of the noise at strength 1, in the codec's units.
    """

    deviation: _Size = 1.0
    kind: Literal["instance_noise"] = "instance_noise"

    def draw(self, like: Tensor, shape: Shape, strength: float, rng: torch.Generator) -> Map:
        """As in `Augmentation`."""
        noise = _normal(like, like.shape[1], rng) * (strength * self.deviation)
        return lambda samples: samples + noise


@dataclass(frozen=True)
class Diffusion(Augmentation):
    """A sample after a random number of steps of forward diffusion.

    sqrt(a_t) x + sqrt(1 - a_t) * deviation * e, with a_t the product of 1 - beta_1 to 1 - beta_t,
    beta rising evenly from `first` to `last`, and t drawn for each example, uniformly from 0, 1,
    ..., round(strength * steps). This is not all as published: there half of the examples keep
    t = 0, larger t are more likely, and the critic sees t. A critic that does not see t can still
    tell samples whose moments differ: the moments of x follow from those of its noisy versions,
    order by order.

    Source: Wang et al., "Diffusion-GAN: Training GANs with Diffusion", 2023, section 3.

    Attributes:
        steps: Length of the chain at strength 1; 100 steps of the defaults leave a_t = 0.36.
        first: beta_1.
        last: beta of the last step.
        deviation: Of the noise that the chain ends in, in the codec's units.
    """

    steps: Annotated[int, Field(ge=1)] = 100
    first: _Share = 1e-4
    last: _Share = 0.02
    deviation: _Size = 1.0
    kind: Literal["diffusion"] = "diffusion"

    def kept(self) -> Tensor:
        """a_0 = 1 to a_steps, `(steps + 1,)`, the share of x's variance that is left."""
        betas = torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)
        return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])

    def draw(self, like: Tensor, shape: Shape, strength: float, rng: torch.Generator) -> Map:
        """As in `Augmentation`."""
        step = _below(_uniform(like, 1, rng), round(strength * self.steps) + 1)
        noise = _normal(like, like.shape[1], rng)
        kept = self.kept().to(like.device)[step]
        factor = kept.sqrt().to(like.dtype)
        offset = ((1 - kept).sqrt() * self.deviation).to(like.dtype) * noise
        return lambda samples: samples * factor + offset


@dataclass(frozen=True)
class TableAugmentation(Augmentation):
    """ADA for rows: each transformation below acts on a row with probability `strength`.

    - scale: the row's numbers are multiplied by one log-normal factor; one-hot outputs are not.
    - mask: each block becomes 0 with probability `mask`, a gated number together with its gate's
      block; single numbers where there are no blocks.
    - noise: normal noise is added to all outputs.

    Does not leak while strength < 1. Masks of k given blocks multiply what depends on just these by
    1 - strength + strength (1 - mask)^k > 0; normal noise and log-normal factors multiply
    characteristic functions, of x and of log |x|, by positive numbers. At strength 1 only
    mask = 1 leaks.

    Source: Karras et al., 2020, section 2.2 and appendix C.

    Attributes:
        mask: Probability of a block to be masked in a row that is.
        noise: Deviation of the noise, in the codec's units.
        scale: Deviation of the factor's logarithm.
    """

    mask: _Share = 0.2
    noise: _Size = 0.1
    scale: _Size = 0.0
    kind: Literal["table_augmentation"] = "table_augmentation"

    def draw(self, like: Tensor, shape: Shape, strength: float, rng: torch.Generator) -> Map:
        """As in `Augmentation`."""
        owner, numbers = _units(shape)
        units = max(owner, default=-1) + 1
        gates = (_uniform(like, 3, rng) < strength)[:, :, None]
        scaled, masked, noised = gates.unbind(1)
        factor = torch.where(scaled, (_normal(like, 1, rng) * self.scale).exp(), 1.0)
        drop = masked & (_uniform(like, units, rng) < self.mask)
        noise = torch.where(noised, _normal(like, shape.width, rng) * self.noise, 0.0)
        is_number = torch.tensor(numbers, dtype=torch.bool, device=like.device)
        keep = (~drop[:, torch.tensor(owner, dtype=torch.long, device=like.device)]).to(like.dtype)
        factor = torch.where(is_number, factor, 1.0) * keep
        return lambda samples: samples * factor + noise


@dataclass(frozen=True)
class ImageAugmentation(Augmentation):
    """ADA for images: each transformation below acts on an image with probability `strength`.

    In this order:

    - flip: left and right are swapped, or not, as likely.
    - rotate: by 0, 90, 180 or 270 degrees, as likely; square images only.
    - shift: by whole pixels, uniformly, up to a share of the image either way; 0 comes in.
    - contrast: all values are multiplied by one log-normal factor.
    - brightness: one normal number is added to all values.
    - cutout: a window at a uniform place becomes 0.

    An image that a packed critic sees is one image here: all its channels are treated alike.

    Does not leak while strength < 1: flips and rotations are drawn evenly from a group, cutouts are
    masks, the colours as for rows. Only the shifts ask for less: the means of images are blurred
    by an even window, whose spectrum reaches down to -1/3 (for shifts of up to 1 pixel; -0.22 for
    long ones), so that the strength should stay below 3/4 (0.82).

    Source: Karras et al., 2020, section 2.2 and appendices B and C; cutout: DeVries, Taylor,
    "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.

    Attributes:
        flip: Whether images are flipped; not for text or digits.
        rotate: Whether they are rotated.
        shift: Longest shift, as a share of height and width.
        brightness: Deviation of what is added, in the codec's units.
        contrast: Deviation of the factor's logarithm.
        cutout: Sides of the window, as a share of height and width.
    """

    flip: bool = True
    rotate: bool = False
    shift: _Share = 0.125
    brightness: _Size = 0.2
    contrast: _Size = 0.2
    cutout: _Share = 0.25
    kind: Literal["image_augmentation"] = "image_augmentation"

    def check(self, shape: Shape) -> Iterator[str]:
        """As in `Augmentation`: they are no images, or are to be rotated and not square."""
        sample = tuple(shape.sample)
        if len(sample) != 3 or math.prod(sample) != shape.width:
            yield (
                f"{self.kind}: expected images, samples of axes (channels, height, width), "
                f"got samples of axes {sample or (shape.width,)}; "
                'write kind = "table_augmentation" for rows'
            )
        elif self.rotate and sample[1] != sample[2]:
            yield (
                f"{self.kind}: rotate expects square images, got {sample[1]} x {sample[2]} pixels; "
                "write rotate = false"
            )

    def draw(self, like: Tensor, shape: Shape, strength: float, rng: torch.Generator) -> Map:
        """As in `Augmentation`."""
        if problems := tuple(self.check(shape)):
            raise SettingsError(problems)
        channels, high, wide = shape.sample
        gates = (_uniform(like, 6, rng) < strength)[:, :, None, None]
        places = _uniform(like, 6, rng)[:, :, None, None]
        colours = _normal(like, 2, rng)[:, :, None, None]
        flip, turn, move, stretch, light, cut = gates.unbind(1)
        side, quarter, down, right, top, left = places.unbind(1)

        # From a pixel of the result back to where it comes from: last transformation first.
        y = torch.arange(high, device=like.device)[None, :, None]
        x = torch.arange(wide, device=like.device)[None, None, :]
        window = _within(y, top, high, self.cutout) & _within(x, left, wide, self.cutout)
        shown = (~(window & cut)).to(like.dtype)
        y = (y - _shift(down, high, self.shift) * move).expand(-1, high, wide)
        x = (x - _shift(right, wide, self.shift) * move).expand(-1, high, wide)
        inside = ((y >= 0) & (y < high) & (x >= 0) & (x < wide)).to(like.dtype)
        if self.rotate:
            quarters = _below(quarter, 4) * turn
            for done in range(3):
                turned = quarters > done
                y, x = torch.where(turned, x, y), torch.where(turned, high - 1 - y, x)
        if self.flip:
            x = torch.where(flip & (side < 0.5), wide - 1 - x, x)
        source = (y.clamp(0, high - 1) * wide + x.clamp(0, wide - 1)).flatten(1)[:, None, :]

        factor = torch.where(stretch, (colours[:, 0] * self.contrast).exp(), 1.0)
        offset = torch.where(light, colours[:, 1] * self.brightness, 0.0)
        scale = (inside * factor * shown).flatten(1)[:, None, :]
        added = (offset * shown).flatten(1)[:, None, :]

        def apply(samples: Tensor) -> Tensor:
            pixels = samples.reshape(len(samples), channels, high * wide)
            moved = pixels.gather(2, source.expand(-1, channels, -1))
            changed: Tensor = (moved * scale + added).flatten(1)
            return changed

        return apply


AugmentationSpec = Annotated[
    InstanceNoise | Diffusion | TableAugmentation | ImageAugmentation,
    Field(discriminator="kind"),
]
"""Any augmentation, told apart by its `kind` in a configuration."""


def _uniform(like: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return torch.rand((len(like), count), generator=rng, device=like.device, dtype=like.dtype)


def _normal(like: Tensor, count: int, rng: torch.Generator) -> Tensor:
    return torch.randn((len(like), count), generator=rng, device=like.device, dtype=like.dtype)


def _below(uniform: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1) -> uniform integers below `count`."""
    # The product may be rounded up to `count`.
    return (uniform * count).long().clamp_max(count - 1)


def _shift(uniform: Tensor, size: int, share: float) -> Tensor:
    longest = round(share * size)
    return _below(uniform, 2 * longest + 1) - longest


def _within(at: Tensor, uniform: Tensor, size: int, share: float) -> Tensor:
    """Whether a coordinate lies in a window whose middle is uniform over the image."""
    side = round(share * size)
    start = _below(uniform, size) - side // 2
    return (at >= start) & (at < start + side)


def _units(shape: Shape) -> tuple[list[int], list[bool]]:
    """For each output, the unit that it is masked with and whether it is a number."""
    if not shape.blocks:
        return list(range(shape.width)), [True] * shape.width
    owner, numbers = [0] * shape.width, [False] * shape.width
    for unit, block in enumerate(shape.blocks):
        for output in range(block.start, block.stop):
            owner[output], numbers[output] = unit, block.kind == "value"
    for block in shape.blocks:
        if block.gate is not None:
            owner[block.start] = owner[block.gate]
    return owner, numbers
