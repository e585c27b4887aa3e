"""Layers that critics and generators share.

No layer here behaves differently in train() and in eval(), none keeps a state beside its
parameters, and all can be differentiated twice, as a gradient penalty must.
"""

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor, nn

from everymode.wgan.errors import SettingsError

Activation = Literal["leaky_relu", "relu", "tanh"]
VectorNorm = Literal["none", "layer", "group", "batch"]
Norm = Literal["none", "layer", "instance", "group", "batch"]

GROUPS: Final = 8
"""Most groups of a group norm."""

SMALLEST_GROUP: Final = 4
"""Fewest channels in one of several groups: one value normalised alone is always 0."""


def activation(kind: Activation, slope: float) -> nn.Module:
    """The nonlinearity called `kind`; `slope` is LeakyReLU's below 0, the others have none.

    Raises:
        SettingsError: There is none of that name.
    """
    match kind:
        case "leaky_relu":
            return nn.LeakyReLU(slope)
        case "relu":
            return nn.ReLU()
        case "tanh":
            return nn.Tanh()
    raise SettingsError(
        f'activation = "{kind}": unknown; write one of "leaky_relu", "relu", "tanh"'
    )


class _Empty(nn.Linear):
    """A fully connected layer without weights, as one side is empty: a table of constants alone.

    PyTorch initialises such a layer with a warning.
    """

    def reset_parameters(self) -> None:
        """Sets what there is of a bias to 0."""
        nn.init.zeros_(self.bias)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer with a bias, of which either side may be empty."""
    return nn.Linear(inputs, outputs) if inputs and outputs else _Empty(inputs, outputs)


def normalisation(kind: Norm, size: int, spatial: bool) -> nn.Module:
    """The normalisation called `kind`, with a learned scale and shift per channel.

    Args:
        kind: "layer" normalises an example over all its values, "group" over groups of channels
            (Wu, He, "Group Normalization", 2018), "instance" over the positions of each channel
            (Ulyanov, Vedaldi, Lempitsky, 2016), "batch" each channel over the batch (Ioffe,
            Szegedy, 2015).
        size: Number of channels.
        spatial: Whether inputs are `(B, size, h, w)`; otherwise `(B, size)`.

    Raises:
        SettingsError: There is none of that name, or none for vectors.
    """
    match kind:
        case "none":
            return nn.Identity()
        case "layer":
            return nn.GroupNorm(1, size) if spatial else nn.LayerNorm(size)
        case "group":
            return nn.GroupNorm(groups(size), size)
        case "batch":
            return BatchNorm(size)
        case "instance" if spatial:
            # The same function as InstanceNorm2d's, which cannot be differentiated twice when the
            # batch is empty.
            return nn.GroupNorm(size, size)
        case "instance":
            raise SettingsError(
                'norm = "instance": it averages over the positions of an image, and a vector has '
                'none; write norm = "layer"'
            )
    one = '"none", "layer", "instance", "group", "batch"'
    raise SettingsError(f'norm = "{kind}": unknown; write one of {one}')


def groups(channels: int) -> int:
    """Number of groups of a group norm: the largest that divides `channels` and is no more than 8.

    Groups of fewer than four channels are avoided.

    >>> [groups(channels) for channels in (256, 12, 8, 7)]
    [8, 3, 2, 1]
    """
    fits = range(1, min(GROUPS, channels // SMALLEST_GROUP) + 1)
    return max((count for count in fits if channels % count == 0), default=1)


class BatchNorm(nn.Module):
    """Normalises each channel by its mean and variance in the batch, always.

    `torch.nn.BatchNorm2d(size, track_running_stats=False)`, except that a batch of one value a
    channel is not refused (it becomes the shift) and neither is an empty one.

    Source: Ioffe, Szegedy, "Batch Normalization", 2015, algorithm 1.
    """

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        """Starts with scale 1 and shift 0 for each of `size` channels."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, values: Tensor) -> Tensor:
        """Values `(B, size)` or `(B, size, h, w)` -> the same shape."""
        over = [axis for axis in range(values.ndim) if axis != 1]
        centred = values - values.mean(over, keepdim=True)
        scaled = centred * (centred.square().mean(over, keepdim=True) + self.eps).rsqrt()
        channels = (-1,) + (1,) * (values.ndim - 2)
        return scaled * self.weight.view(channels) + self.bias.view(channels)


def check_sizes(field: str, sizes: Sequence[int]) -> None:
    """Raises `SettingsError` unless all sizes of layers, from `field`, are 1 or more."""
    if any(size < 1 for size in sizes):
        raise SettingsError(f"{field} = {list(sizes)}: expected sizes of layers, each 1 or more")


def check_image(sample: Sequence[int], width: int, channels: Sequence[int]) -> tuple[int, int, int]:
    """The axes (channels, height, width) of images that convolutions can take.

    Args:
        sample: The axes of a sample.
        width: D, length of a sample.
        channels: Channels of the stages; each halves or doubles height and width.

    Raises:
        SettingsError: The samples are no images, or too small for so many stages.
    """
    if len(sample) != 3:
        raise SettingsError(
            f'kind = "conv": expected images, samples with axes (channels, height, width), got '
            f'{tuple(sample) or "rows without axes"}; write kind = "mlp"'
        )
    if sample[0] * sample[1] * sample[2] != width:
        raise SettingsError(f"sample = {tuple(sample)}: expected {width} values in all")
    check_sizes("channels", channels)
    depth, high, wide = sample
    small = min(high, wide)
    if small < 4:
        raise SettingsError(
            f'kind = "conv": expected images of 4 x 4 or more, got {high} x {wide}; '
            'write kind = "mlp"'
        )
    most = small.bit_length() - 1
    if not 1 <= len(channels) <= most:
        raise SettingsError(
            f"channels = {list(channels)}: expected 1 to {most} stages, as each halves images of "
            f"{high} x {wide}; write from 1 to {most} entries"
        )
    return depth, high, wide


def check_positions(norm: Norm, high: int, wide: int) -> None:
    """Raises `SettingsError` if the smallest feature map leaves instance norm nothing to average.

    Args:
        norm: The normalisation.
        high: Height of the smallest feature map.
        wide: Width of the smallest feature map.
    """
    if norm == "instance" and high * wide == 1:
        raise SettingsError(
            'norm = "instance": it averages over the positions of a feature map, and the smallest '
            'has one; write norm = "layer" or fewer channels'
        )
