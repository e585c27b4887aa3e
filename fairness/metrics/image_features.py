"""What images are compared by: features of a small convolutional network with random weights.

Distances between pixels see a stroke that moved by one as two different strokes. Features of a
network that was trained on photographs describe photographs; far from these, as with digits or
scans, features of the same kind of network *without* training tell distributions apart more
reliably, need no download, and are the same for everybody who knows the seed.

Sources: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020,
section 3.4 (random embeddings); Saxe et al., "On Random Weights and Unsupervised Feature Learning",
2011 (why pooled random filters are good features).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from everymode.fairness.metrics.marginals import cells
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError
from everymode.wgan.numerics import flush_denormals

Points = NDArray[np.float32]

FILTERS = (32, 64)
"""Of the two layers."""

REGIONS = 2
"""Features are pooled over so many parts of the height, and of the width."""

PIECE = 1024

SEED = 0


@dataclass(frozen=True)
class ImageFeatures:
    """Turns rows of pixels into points; every feature is as spread as any other in real rows.

    Attributes:
        schema: The pixels' columns, channel by channel, row by row.
        shape: Channels, height, width.
        centre: Mean pixel of the reference, and its standard deviation.
        scale: What each feature is divided by, `(F,)`; features that never vary are left out.
        kept: Which features vary.
    """

    schema: Schema
    shape: tuple[int, int, int]
    centre: tuple[float, float]
    scale: Points
    kept: NDArray[np.bool_]

    @staticmethod
    def of(
        reference: pd.DataFrame, schema: Schema, others: Sequence[str], shape: tuple[int, int, int]
    ) -> "ImageFeatures":
        """Reads scales off real rows.

        Args:
            reference: Real rows.
            schema: All columns.
            others: Columns that are no pixels: sensitive features, the target.
            shape: Channels, height, width.

        Raises:
            DataError: The other columns are not so many numbers, all present.
        """
        pixels = schema.without(tuple(others))
        wanted = shape[0] * shape[1] * shape[2]
        problems = [
            f"column '{column.name}' is of kind {column.kind}: expected a pixel, a number; name it "
            "as a sensitive feature or leave it out of the tables"
            for column in pixels.columns
            if not column.numeric
        ]
        if len(pixels.columns) != wanted:
            size = " x ".join(map(str, shape))
            problems.append(
                f"an image of {size} has {wanted:,} pixels, but {len(pixels.columns):,} columns "
                "are neither sensitive features nor the target; give the size as CxHxW or HxW"
            )
        if problems:
            raise DataError(problems)
        values = _pixels(reference, pixels)
        centre = float(values.mean()), float(values.std()) or 1.0
        blank = ImageFeatures(pixels, shape, centre, np.ones(1, np.float32), np.ones(1, np.bool_))
        raw = blank._raw(values)
        scale = raw.std(axis=0)
        kept = scale > 1e-6
        whole = (scale[kept] * np.sqrt(kept.sum())).astype(np.float32)
        return ImageFeatures(pixels, shape, centre, whole, kept)

    def __call__(self, frame: pd.DataFrame) -> Points:
        """Rows `(n,)` -> points `(n, F)`, about sqrt(2) apart in real rows."""
        return (self._raw(_pixels(frame, self.schema))[:, self.kept] / self.scale).astype(
            np.float32
        )

    def _raw(self, values: Points) -> Points:
        mean, deviation = self.centre
        images = torch.from_numpy((values - mean) / deviation).view(-1, *self.shape)
        network = _network(self.shape[0])
        with torch.no_grad(), flush_denormals():
            return np.concatenate([network(p).numpy() for p in torch.split(images, PIECE)])


def image_shape(text: str) -> tuple[int, int, int]:
    """Reads `HxW` or `CxHxW`.

    Raises:
        ValueError: It is neither.

    >>> image_shape("8x8"), image_shape("3x32x32")
    ((1, 8, 8), (3, 32, 32))
    """
    parts = text.lower().split("x")
    if len(parts) not in (2, 3) or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"{text}: expected HxW or CxHxW, for instance 8x8 or 3x32x32")
    channels, high, wide = (["1", *parts])[-3:]
    return int(channels), int(high), int(wide)


class _Pooled(nn.Module):
    """Means over parts of the image: what is where, roughly."""

    def forward(self, images: Tensor) -> Tensor:
        size = (min(REGIONS, images.shape[2]), min(REGIONS, images.shape[3]))
        return nn.functional.adaptive_avg_pool2d(images, size).flatten(1)


def _network(channels: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        first = nn.Conv2d(channels, FILTERS[0], 3, padding=1)
        second = nn.Conv2d(FILTERS[0], FILTERS[1], 3, padding=1)
        for layer in (first, second):
            nn.init.orthogonal_(layer.weight, 2.0**0.5)
    pool = nn.AvgPool2d(2, ceil_mode=True)
    return nn.Sequential(first, nn.ReLU(), pool, second, nn.ReLU(), _Pooled())


def _pixels(frame: pd.DataFrame, schema: Schema) -> Points:
    columns: list[Any] = [cells(frame, column) for column in schema.columns]
    values = np.stack(columns, axis=1).astype(np.float32)
    if np.isnan(values).any():
        name = schema.columns[int(np.isnan(values).any(axis=0).argmax())].name
        raise DataError(f"column '{name}': a pixel is missing; an image has all of them")
    return values
