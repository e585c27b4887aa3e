"""Where a gradient penalty takes the critic's slope."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor


class Probe(NamedTuple):
    """Points, and along which directions the slope counts.

    Attributes:
        points: `(B, D)`.
        tangents: Orthonormal directions at each point, `(B, T, D)`; None: all.
    """

    points: Tensor
    tangents: Tensor | None = None


class Points(Protocol):
    """A choice of points between, at or around the samples."""

    couples: ClassVar[bool] = False
    """Whether an example's point depends on other examples of the batch."""

    def check(self) -> Iterator[str]:
        """What is wrong with its fields, with what was expected."""
        yield from ()

    def __call__(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Probe:
        """Real and fake samples `(B, D)` -> one point for each pair."""
        ...


def interpolates(real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """A point drawn uniformly on each segment between a real and a fake sample, `(B, ...)`.

    Source: Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, section 4.
    """
    shape = (len(real), *(1,) * (real.dim() - 1))
    mix = torch.rand(shape, generator=rng, device=real.device, dtype=real.dtype)
    return torch.lerp(real, fake, mix)


@dataclass(frozen=True)
class Interpolates(Points):
    """Points on the segments between real and fake samples (Gulrajani et al., 2017)."""

    kind: Literal["mixed"] = "mixed"

    def __call__(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Probe:
        """One interpolate a pair."""
        return Probe(interpolates(real, fake, rng))


@dataclass(frozen=True)
class Real(Points):
    """The real samples (Mescheder et al., 2018, equation 9)."""

    kind: Literal["real"] = "real"

    def __call__(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Probe:
        """`real`."""
        return Probe(real)


@dataclass(frozen=True)
class Fake(Points):
    """The fake samples (Mescheder et al., 2018, equation 10)."""

    kind: Literal["fake"] = "fake"

    def __call__(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Probe:
        """`fake`."""
        return Probe(fake)


@dataclass(frozen=True)
class Manifold(Points):
    """Points beside the data, with the slope taken along the data.

    Data of few dimensions lie curved in many: segments between them leave the manifold, and what is
    asked of the critic there says little about its slope along the data. Here a point is a sample
    moved a random part of the way to one of its neighbours and shaken off that line by noise; the
    directions are the leading ones among the differences to the nearest samples of the same kind
    in the batch (local principal components: Kambhatla and Leen, "Dimension Reduction by Local
    Principal Component Analysis", 1997). Half the points lie beside real samples, half beside fake
    ones. Real and fake neighbours are looked for in the batch, so it wants batches that are large
    beside `neighbours`; a single pair has none: it gets an interpolate and all directions.

    Attributes:
        dimension: T, how many directions; at most that of the data.
        neighbours: How many nearest samples show the directions.
        noise: Deviation of the noise, in distances to the nearest neighbour.
    """

    dimension: int = 1
    neighbours: int = 6
    noise: float = 0.25
    kind: Literal["manifold"] = "manifold"

    couples: ClassVar[bool] = True

    def check(self) -> Iterator[str]:
        """As in `Points`."""
        if not 1 <= self.dimension <= self.neighbours:
            yield (
                f"{self.dimension} directions from {self.neighbours} neighbours; expected at least "
                "1, and as many neighbours as directions or more"
            )

    def __call__(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Probe:
        """One point and its directions a pair; a real and a fake one in turn, at random."""
        count, device = len(real), real.device
        if count < 2:
            return Probe(interpolates(real, fake, rng))
        beside_real = torch.rand(count, generator=rng, device=device) < 0.5
        at_real, along_real = self._beside(real.detach().flatten(1), rng)
        at_fake, along_fake = self._beside(fake.detach().flatten(1), rng)
        points = torch.where(beside_real[:, None], at_real, at_fake).view_as(real)
        return Probe(points, torch.where(beside_real[:, None, None], along_real, along_fake))

    def _beside(self, samples: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        count, device = len(samples), samples.device
        wanted = min(self.neighbours, count - 1)
        distance = torch.cdist(samples, samples).fill_diagonal_(torch.inf)
        near, index = distance.topk(wanted, largest=False)
        differences = samples[index] - samples[:, None]
        _, _, directions = torch.linalg.svd(differences, full_matrices=False)
        pick = torch.randint(wanted, (count,), generator=rng, device=device)
        part = torch.rand((count, 1), generator=rng, device=device, dtype=samples.dtype)
        shake = torch.randn(samples.shape, generator=rng, device=device, dtype=samples.dtype) * (
            self.noise * near[:, :1] / samples.shape[1] ** 0.5
        )
        step = differences[torch.arange(count, device=device), pick] * part
        return samples + step + shake, directions[:, : self.dimension]


PointsSpec = Annotated[Interpolates | Real | Fake | Manifold, Field(discriminator="kind")]
