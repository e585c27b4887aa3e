"""A site's encoded rows, as `prepare` left them on its disk, and drawing from them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.plan import Plan, parse_plan
from everymode.clients.site import Site
from everymode.wgan.gradients import Sampling


@dataclass(frozen=True)
class Rows:
    """A site's encoded rows, drawn from in proportion to their weights.

    Attributes:
        rows: Encoded rows, `(n, D)`.
        groups: The group of each row, `(n,)`.
        cells: The cell of each row, `(n,)`.
        conditions: Their conditions, `(n, C)`.
        held_out: Which of them no critic is trained on, `(n,)`.
    """

    rows: Tensor
    groups: Tensor
    cells: Tensor
    conditions: Tensor
    held_out: Tensor

    @staticmethod
    def of(site: Site, plan_name: str, plan: Plan, device: str) -> "Rows":
        """Opens what `prepare` stored."""
        rows = site.array(plan_name, "rows")
        cells = site.array(plan_name, "cells").astype(np.int64)
        held = site.array(plan_name, "held").astype(np.bool_)
        return Rows(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(cells // plan.conditions.per_group).to(device),
            torch.from_numpy(cells).to(device),
            torch.from_numpy(plan.conditions.encode(cells)).to(device),
            torch.from_numpy(held).to(device),
        )

    def urn(self, weights: npt.NDArray[np.float64]) -> "Urn":
        """To draw rows from, where one of each group counts `weights` `(G,)`."""
        held = self.held_out.cpu().numpy()
        own = weights[self.groups.cpu().numpy()]
        device = self.rows.device
        return Urn(
            torch.from_numpy(np.cumsum(own * ~held)).to(device),
            torch.from_numpy(np.cumsum(own * held)).to(device),
        )


@dataclass(frozen=True)
class Urn:
    """Rows to draw from.

    Attributes:
        cumulative: Running sum of the weights of those trained on, `(n,)`.
        held: Running sum of the weights of those held out, `(n,)`.
    """

    cumulative: Tensor
    held: Tensor

    @property
    def weight(self) -> float:
        """p_k, of the rows trained on."""
        return _total(self.cumulative)

    @property
    def weight_held(self) -> float:
        """That of the rows held out."""
        return _total(self.held)

    @property
    def without_held(self) -> "Urn":
        """The same where no row is held out, as far as anybody can see."""
        return Urn(self.cumulative, torch.zeros_like(self.held))

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Indices of `count` rows to train on, with replacement, in proportion to their weights."""
        return _draw(self.cumulative, count, rng)

    def batches(self, count: int, sampling: Sampling) -> "FixedBatches | PoissonBatches":
        """Batches of critic steps, of `count` rows or of so many on average."""
        if sampling == "fixed":
            return FixedBatches(self, count)
        weights = torch.diff(self.cumulative, prepend=self.cumulative.new_zeros(1))
        return PoissonBatches((weights * (count / self.weight)).clamp_max(1.0))

    def draw_held(self, count: int, rng: torch.Generator) -> Tensor:
        """Likewise of rows held out."""
        return _draw(self.held, count, rng)


@dataclass(frozen=True)
class FixedBatches:
    """Batches of as many rows each, drawn with replacement, in proportion to their weights.

    Attributes:
        urn: What they are drawn from.
        count: Rows of each.
        expected: None: their number is not random.
    """

    urn: Urn
    count: int
    expected: None = None

    def draw(self, steps: int, rng: torch.Generator) -> tuple[Tensor, list[int]]:
        """Indices of the rows of `steps` batches, one after the other, and each batch's length."""
        return self.urn.draw(steps * self.count, rng), [self.count] * steps


@dataclass(frozen=True)
class PoissonBatches:
    """Batches that each row enters independently of all others (Poisson sampling).

    Source: Abadi et al., "Deep Learning with Differential Privacy", 2016, section 3.1 (*lots*).

    Attributes:
        rates: The probability of each row, `(n,)`, in proportion to its weight. A row that would
            have more than 1 has 1; batches are then smaller than asked for. A rate depends on the
            other rows of the site by the sum of its weights alone, the site's share p_k.
    """

    rates: Tensor

    @cached_property
    def expected(self) -> float:
        """Rows of a batch on average."""
        return float(self.rates.sum())

    def draw(self, steps: int, rng: torch.Generator) -> tuple[Tensor, list[int]]:
        """As in `FixedBatches`.

        >>> rng = torch.Generator().manual_seed(0)
        >>> PoissonBatches(torch.tensor([1.0, 0.0, 1.0])).draw(2, rng)
        (tensor([0, 2, 0, 2]), [2, 2])
        """
        device, taken = self.rates.device, [torch.zeros(0, dtype=torch.int64)]
        for _ in range(steps):
            chance = torch.rand(len(self.rates), generator=rng, dtype=torch.float64, device=device)
            taken.append((chance < self.rates).nonzero().squeeze(1))
        return torch.cat([each.to(device) for each in taken]), [len(each) for each in taken[1:]]


def _total(cumulative: Tensor) -> float:
    return float(cumulative[-1]) if len(cumulative) else 0.0


def _draw(cumulative: Tensor, count: int, rng: torch.Generator) -> Tensor:
    point = torch.rand(count, generator=rng, dtype=torch.float64, device=rng.device)
    index = torch.searchsorted(cumulative, point * _total(cumulative), right=True)
    return index.clamp_max(len(cumulative) - 1)


@lru_cache(maxsize=1024)
def opened(site: Site, plan: str, stamp: int, device: str) -> tuple[str, Rows]:
    """A site's plan and rows, opened once a process; `stamp` changes when they are written anew."""
    text = str(site.plan(plan)["order"])
    return text, Rows.of(site, plan, parse_plan(text), device)
