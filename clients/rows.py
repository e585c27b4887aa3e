"""A site's encoded rows, as `prepare` left them on its disk, and drawing from them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.clients.protocol.plan import Plan, parse_plan
from everymode.clients.site import Site


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

    def draw_held(self, count: int, rng: torch.Generator) -> Tensor:
        """Likewise of rows held out."""
        return _draw(self.held, count, rng)


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
