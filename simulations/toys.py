"""Small distributions whose modes are known, and how well samples cover them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from everymode.wgan.players import Batch

Draw = Callable[[int, torch.Generator], Tensor]
"""How many, and a source of randomness -> samples `(n, D)`."""


@dataclass(frozen=True)
class Fresh:
    """New samples for each batch (a `everymode.wgan.training.Source`).

    Attributes:
        draw: Draws them.
    """

    draw: Draw

    def __call__(self, count: int, rng: torch.Generator) -> Batch:
        """`count` samples without a condition."""
        return plain(self.draw(count, rng))


@dataclass(frozen=True)
class Cloud:
    """Batches drawn with replacement from fixed rows (a `everymode.wgan.training.Source`).

    Attributes:
        rows: `(N, D)`.
        condition: `(N, C)`; None: no condition.
    """

    rows: Tensor
    condition: Tensor | None = None

    def __call__(self, count: int, rng: torch.Generator) -> Batch:
        """`count` of the rows."""
        index = torch.randint(len(self.rows), (count,), generator=rng)
        condition = None if self.condition is None else self.condition[index]
        return plain(self.rows[index], condition)


def plain(rows: Tensor, condition: Tensor | None = None) -> Batch:
    """A batch of equal weights."""
    empty = rows.new_zeros((len(rows), 0))
    return Batch(rows, empty if condition is None else condition, rows.new_ones(len(rows)))


@dataclass(frozen=True)
class Modes:
    """A mixture of equal Gaussians.

    Attributes:
        centres: `(K, D)`.
        deviation: Of each, in every direction.
    """

    centres: Tensor
    deviation: float

    def __call__(self, count: int, rng: torch.Generator) -> Tensor:
        """Samples `(count, D)`."""
        kind = torch.randint(len(self.centres), (count,), generator=rng)
        noise = torch.randn((count, self.centres.shape[1]), generator=rng)
        return self.centres[kind] + self.deviation * noise

    def report(self, samples: Tensor) -> "ModeReport":
        """Which modes the samples `(n, D)` cover."""
        distance, nearest = torch.cdist(samples, self.centres).min(1)
        good = distance <= 3 * self.deviation
        counts = torch.bincount(nearest[good], minlength=len(self.centres)).double()
        if not counts.sum():
            return ModeReport(0, 0.0, math.log(len(self.centres)))
        share = counts / counts.sum()
        divergence = torch.special.xlogy(share, share * len(self.centres)).sum()
        return ModeReport(int((counts > 0).sum()), float(good.double().mean()), float(divergence))


@dataclass(frozen=True)
class ModeReport:
    """How samples cover the modes of a mixture.

    Source: Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational
    Learning", 2017, section 4.1 (2,500 samples, three deviations); Lin et al., "PacGAN", 2018,
    section 4.1 (reverse KL).

    Attributes:
        modes: Modes with at least one sample within three deviations.
        quality: Share of the samples within three deviations of a mode.
        divergence: KL of the modes' shares among those samples from equal shares, in nats.
    """

    modes: int
    quality: float
    divergence: float


def ring(count: int = 8, radius: float = 1.0, deviation: float = 0.01) -> Modes:
    """Gaussians on a circle (Metz et al., "Unrolled GANs", 2017; deviation as in VEEGAN)."""
    angles = torch.arange(count) * (2 * math.pi / count)
    return Modes(radius * torch.stack([angles.cos(), angles.sin()], 1), deviation)


def grid(side: int = 5, spacing: float = 2.0, deviation: float = 0.05) -> Modes:
    """Gaussians on a square grid around 0 (VEEGAN: five by five, spacing 2, deviation .05)."""
    ticks = spacing * (torch.arange(side) - (side - 1) / 2)
    return Modes(torch.cartesian_prod(ticks, ticks), deviation)


def swiss_roll(count: int, rng: torch.Generator, noise: float = 0.25) -> Tensor:
    """A rolled-up sheet seen from its side, of about unit size, `(count, 2)`.

    Source: as in Gulrajani et al., 2017, section 3 (scikit-learn's roll, two of three axes).
    """
    turn = 1.5 * math.pi * (1 + 2 * torch.rand(count, generator=rng))
    rolled = torch.stack([turn * turn.cos(), turn * turn.sin()], 1)
    return (rolled + noise * torch.randn((count, 2), generator=rng)) / 7.5


def parallel_lines(count: int, rng: torch.Generator, lines: int = 4, gap: float = 1.0) -> Tensor:
    """Points on upright segments of length 1, `gap` apart around 0, `(count, 2)`.

    Source: example 1 of Arjovsky, Chintala, Bottou, 2017, with several lines.
    """
    line = torch.randint(lines, (count,), generator=rng) - (lines - 1) / 2
    return torch.stack([gap * line, torch.rand(count, generator=rng) - 0.5], 1)
