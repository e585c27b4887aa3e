"""Matching of whole distributions, per level of the condition, against sums the sites send once.

Beside second moments (`everymode.fairness.matching.moments`) there are two more descriptions of the
rows of a level that add up over sites. *Kernel*: mean random features, whose distance is the
maximum mean discrepancy under Gaussian kernels of three widths around a rule of the thumb.
*Sliced*: histograms of the rows along fixed random directions, of which quantiles are read; the
distance is the sliced Wasserstein one. A site with a single row of a group adds that row's part to
the sums as any other. Both see rows beside their conditions, encoded, and draw features and
directions from the run's seed, so that all sites have the same.

Sources: Gretton et al., "A Kernel Two-Sample Test", 2012, lemma 6; Rahimi, Recht, "Random Features
for Large-Scale Kernel Machines", 2007; Deshpande, Zhang, Schwing, "Generative Modeling using the
Sliced Wasserstein Distance", 2018, equation 4; per level, from sums over sites: ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.matching.kernels import Features, bandwidth
from everymode.fairness.matching.moments import mean_within_stratum, stratum_membership
from everymode.wgan.penalties import GeneratorStep
from everymode.wgan.shape import Block

Floats = npt.NDArray[np.float64]
Kind = Literal["kernel", "sliced"]

WIDTHS = (0.5, 1.0, 2.0)
"""Of the kernels, in deviations of the rule of the thumb."""

FREQUENCIES = 128
"""Random features of each width: half as many cosines as values."""

DIRECTIONS = 64

BINS = 128

REACH = 2.0
"""Histograms end there on both sides: along a direction rows are as spread as one coordinate."""

STRENGTH = {"kernel": 100.0, "sliced": 10.0}
"""What the penalty's weight is multiplied with, so that 0.3 is a sensible one of either kind."""


def feature_count(kind: Kind) -> int:
    """Sums of each level, less the one of weights."""
    return 2 * FREQUENCIES * len(WIDTHS) if kind == "kernel" else DIRECTIONS * BINS


@dataclass(frozen=True)
class FeatureMap:
    """What describes rows: random features, or directions.

    Attributes:
        kind: Which of the two.
        matrix: Frequencies of all widths `(W, F)`, or unit directions `(W, L)`.
    """

    kind: Kind
    matrix: Floats

    @staticmethod
    def of(kind: Kind, blocks: Sequence[Block], condition: int, seed: int) -> "FeatureMap":
        """The same for all who know the layout of a row and the seed.

        Args:
            kind: Which description.
            blocks: The parts of a row.
            condition: C, length of a condition.
            seed: Of features or directions.
        """
        width = blocks[-1].stop + condition
        numbers = sum(block.kind == "value" for block in blocks)
        choices = len(blocks) - numbers
        if kind == "kernel":
            rule = bandwidth(numbers, choices)
            parts = [
                Features.of(width, FREQUENCIES, rule * factor, seed + i).frequencies
                for i, factor in enumerate(WIDTHS)
            ]
            return FeatureMap(kind, np.hstack(parts))
        directions = np.random.default_rng(seed).standard_normal((width, DIRECTIONS))
        return FeatureMap(kind, directions / np.linalg.norm(directions, axis=0))

    @property
    def edges(self) -> Floats:
        """Inner edges of a histogram's bins, `(BINS - 1,)`."""
        return np.linspace(-REACH, REACH, BINS - 1)

    def sums(
        self,
        rows: npt.NDArray[np.float32],
        conditions: npt.NDArray[np.float32],
        weights: Floats,
    ) -> Floats:
        """Weighted sums within every level and over all rows, `(C + 1, T + 1)`; last the weight's.

        Args:
            rows: Encoded rows, `(n, D)`.
            conditions: Their conditions, `(n, C)`.
            weights: Of each row for each level and for all, `(n, C + 1)`; zero leaves a row out.
        """
        member = np.concatenate([conditions, np.ones((len(rows), 1), dtype=np.float32)], 1)
        member = member * weights
        along = np.concatenate([rows, conditions], 1).astype(np.float64) @ self.matrix
        if self.kind == "kernel":
            values = np.hstack([np.cos(along), np.sin(along)]) / math.sqrt(along.shape[1])
            sums = member.T @ values
        else:
            places = np.searchsorted(self.edges, along) + BINS * np.arange(DIRECTIONS)
            sums = np.zeros((member.shape[1], DIRECTIONS * BINS))
            for level, own in enumerate(member.T):
                repeated = np.repeat(own, DIRECTIONS)
                sums[level] = np.bincount(places.reshape(-1), repeated, sums.shape[1])
        return np.concatenate([sums, member.sum(0)[:, None]], 1)


@dataclass(frozen=True)
class KernelMatching:
    """The generator's maximum mean discrepancy to the summed features; one value per fake row.

    Attributes:
        weight: What it is multiplied with.
        means: Mean features of each level and, last, of all rows, `(C + 1, 2 F)`.
        active: Which levels take part, `(C + 1,)`.
        frequencies: Of the features, `(W, F)`.
    """

    weight: float
    means: Tensor
    active: Tensor
    frequencies: Tensor
    name: str = "kernel_matching"

    def __call__(self, step: GeneratorStep) -> Tensor:
        """Each row's share of the summed discrepancies of all levels, `(B,)`, up to a constant.

        Within a level with n rows of the batch, sum_j!=i k(z_i, z_j) / (n - 1) - 2 phi_i . mu: its
        mean over the level is unbiased for |E phi - mu|^2 - |mu|^2.
        """
        along = torch.cat([step.fake, step.condition], 1) @ self.frequencies
        features = torch.cat([along.cos(), along.sin()], 1) / math.sqrt(along.shape[1])
        member = stratum_membership(step.condition, self.active)
        values = mean_within_stratum(features @ features.T, member)
        return values - 2 * (member * (features @ self.means.T)).sum(1)


@dataclass(frozen=True)
class SlicedMatching:
    """The generator's sliced Wasserstein distance to the summed histograms, per fake row.

    Attributes:
        weight: What it is multiplied with.
        cumulative: Distribution function of each level at the edges, `(C + 1, L, BINS + 1)`.
        edges: Of the bins, the ends included, `(BINS + 1,)`.
        active: Which levels take part, `(C + 1,)`.
        directions: Unit vectors, `(W, L)`.
    """

    weight: float
    cumulative: Tensor
    edges: Tensor
    active: Tensor
    directions: Tensor
    name: str = "sliced_matching"

    def __call__(self, step: GeneratorStep) -> Tensor:
        """Mean distance along all directions of each row to the quantile of its rank, `(B,)`.

        Of a level with n rows of the batch, the i-th along a direction is held to the quantiles
        between i / n and (i + 1) / n, of which the middle one is taken.
        """
        along = torch.cat([step.fake, step.condition], 1) @ self.directions
        member = stratum_membership(step.condition, self.active)
        values = torch.zeros(len(along), device=along.device, dtype=along.dtype)
        for level in torch.nonzero(member.any(0))[:, 0].tolist():
            index = torch.nonzero(member[:, level])[:, 0]
            own, order = along[index].sort(0)
            ranks = (torch.arange(len(index), device=along.device) + 0.5) / len(index)
            wanted = self._quantiles(level, ranks.to(along.dtype))
            gaps = torch.zeros_like(own).scatter(0, order, (own - wanted).abs())
            values = values.index_add(0, index, gaps.mean(1))
        return values

    def _quantiles(self, level: int, ranks: Tensor) -> Tensor:
        """Quantiles of a level along all directions, `(n, L)`, even within a bin."""
        cumulative = self.cumulative[level]
        ranks = ranks.expand(len(cumulative), -1).contiguous()
        above = torch.searchsorted(cumulative, ranks, right=True).clamp(1, cumulative.shape[1] - 1)
        low, high = cumulative.gather(1, above - 1), cumulative.gather(1, above)
        part = ((ranks - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        return torch.lerp(self.edges[above - 1], self.edges[above], part).T


def build_matching(
    description: FeatureMap, sums: Floats, weight: float, device: torch.device | str = "cpu"
) -> KernelMatching | SlicedMatching:
    """Reads totals of `FeatureMap.sums`, `(C + 1, T + 1)`; levels without weight take no part."""
    total = sums[:, -1:]
    active = torch.tensor(total[:, 0] > 0, device=device)
    means = np.divide(sums[:, :-1], total, out=np.zeros_like(sums[:, :-1]), where=total > 0)
    weight *= STRENGTH[description.kind]

    def tensor(values: Floats) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    if description.kind == "kernel":
        return KernelMatching(weight, tensor(means), active, tensor(description.matrix))
    inner = description.edges
    step = inner[1] - inner[0]
    edges = np.concatenate([[inner[0] - step], inner, [inner[-1] + step]])
    shares = means.reshape(len(means), DIRECTIONS, BINS).cumsum(2)
    cumulative = np.concatenate([np.zeros((len(means), DIRECTIONS, 1)), shares], 2)
    return SlicedMatching(
        weight, tensor(cumulative), tensor(edges), active, tensor(description.matrix)
    )
