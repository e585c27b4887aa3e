"""Gaussians, lines and classes in the plane, with a minority that lives on one site only."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from everymode.simulations.scenarios.scenario import Figures, Scenario
from everymode.simulations.toys import grid, ring

Floats = npt.NDArray[np.float64]

SAMPLES = 2_500
"""Rows scored at most (Srivastava et al., "VEEGAN", 2017, section 4.1)."""

MINORITY = 0.05


@dataclass(frozen=True)
class Mixture:
    """Modes in the plane that belong to groups and live on sites.

    Attributes:
        rows: Rows in all.
        group: Names of groups, one a mode.
        sites: Sites that hold each mode; its rows are dealt out among them alike.
        share: Share of the rows that each mode has.
        draw: Mode, count, source -> points `(n, 2)`.
        near: Points `(n, 2)` -> whether each is at each mode, `(n, modes)`.
        column: The column that names the group.
    """

    rows: int
    group: tuple[str, ...]
    sites: tuple[tuple[int, ...], ...]
    share: tuple[float, ...]
    draw: Callable[[int, int, np.random.Generator], Floats]
    near: Callable[[Floats], npt.NDArray[np.bool_]]
    column: str = "group"

    def table(self, seed: int) -> pd.DataFrame:
        """The rows, shuffled."""
        rng = np.random.default_rng(seed)
        parts = []
        for mode, share in enumerate(self.share):
            count = round(self.rows * share)
            points = self.draw(mode, count, rng)
            owner = np.resize(np.array(self.sites[mode]), count)
            names = {"x": points[:, 0], "y": points[:, 1], self.column: self.group[mode]}
            parts.append(pd.DataFrame({**names, "site": owner}))
        table = pd.concat(parts, ignore_index=True)
        return table.iloc[rng.permutation(len(table))].reset_index(drop=True).round(5)

    def score(self, made: pd.DataFrame, seed: int) -> Figures:
        """Modes covered, and the share of rows at a mode of their own group.

        Rows of the majority and of the minority are scored by themselves, 2,500 of each at most
        (the minority's may be fewer).
        """
        group = np.array(self.group)
        minority = group == group[-1]
        figures: Figures = {}
        shares = np.zeros(len(group))
        good = total = 0
        for name, own in (("majority", ~minority), ("minority", minority)):
            rows = made[made[self.column].isin(set(group[own]))]
            rows = rows.sample(min(len(rows), SAMPLES), random_state=seed)
            at = self.near(rows[["x", "y"]].to_numpy(np.float64))
            same = rows[self.column].to_numpy()[:, None] == group[None, :]
            hit = at & same
            figures[f"modes_{name}"] = float(hit[:, own].any(0).sum())
            figures[f"quality_{name}"] = float(hit.any(1).mean()) if len(rows) else 0.0
            shares[own] = hit[:, own].sum(0) / max(hit.sum(), 1)
            good += int(hit.any(1).sum())
            total += len(rows)
        figures["modes"] = figures["modes_majority"] + figures["modes_minority"]
        figures["quality"] = good / max(total, 1)
        figures["uneven"] = max(_uneven(shares[minority]), _uneven(shares[~minority]))
        return figures


HIGHER = {
    "modes": True,
    "modes_majority": True,
    "modes_minority": True,
    "quality": True,
    "quality_majority": True,
    "quality_minority": True,
    "uneven": False,
}


def _uneven(shares: Floats) -> float:
    """KL of the modes' shares from equal ones, in nats (Lin et al., "PacGAN", 2018)."""
    if not shares.sum():
        return math.log(max(len(shares), 2))
    share = shares / shares.sum()
    return float(np.sum(share * np.log(np.where(share > 0, share, 1) * len(share))))


def gaussians(
    centres: torch.Tensor,
    deviation: float,
    rows: int,
    minor: Sequence[int],
    sites: tuple[tuple[int, ...], ...],
) -> Mixture:
    """Round Gaussians; those listed in `minor` make up the minority, 5 % of the rows."""
    points = centres.numpy().astype(np.float64)
    group = tuple("minority" if i in minor else "majority" for i in range(len(points)))
    major = len(points) - len(minor)
    share = tuple(
        MINORITY / len(minor) if i in minor else (1 - MINORITY) / major for i in range(len(points))
    )

    def draw(mode: int, count: int, rng: np.random.Generator) -> Floats:
        found: Floats = points[mode] + deviation * rng.normal(size=(count, 2))
        return found

    def near(at: Floats) -> npt.NDArray[np.bool_]:
        distance = np.linalg.norm(at[:, None, :] - points[None], axis=2)
        close = distance <= 3 * deviation
        found: npt.NDArray[np.bool_] = close & (distance == distance.min(1, keepdims=True))
        return found

    return Mixture(rows, group, sites, share, draw, near)


def upright_lines(rows: int) -> Mixture:
    """Four upright segments, one a site; the last is the minority."""

    def draw(mode: int, count: int, rng: np.random.Generator) -> Floats:
        return np.stack(
            [
                np.full(count, mode - 1.5) + 0.01 * rng.normal(size=count),
                rng.uniform(-0.5, 0.5, count),
            ],
            1,
        )

    def near(at: Floats) -> npt.NDArray[np.bool_]:
        off = np.abs(at[:, :1] - (np.arange(4) - 1.5)[None])
        inside: npt.NDArray[np.bool_] = (off <= 0.05) & (np.abs(at[:, 1:]) <= 0.55)
        return inside

    share = (*[(1 - MINORITY) / 3] * 3, MINORITY)
    group = ("majority",) * 3 + ("minority",)
    return Mixture(rows, group, ((0,), (1,), (2,), (3,)), share, draw, near)


def _grid_sites() -> tuple[tuple[int, ...], ...]:
    """Ten sites of at most five modes: two sites for each majority mode, one for the minority."""
    sites: list[tuple[int, ...]] = []
    for mode in range(25):
        # Sites 0 to 8 share the twenty majority modes; site 9 holds the minority and no other.
        sites.append((mode % 9, (mode + 4) % 9) if mode < 20 else (9,))
    return tuple(sites)


RING = gaussians(
    ring(8).centres, 0.02, 8_000, (7,), ((0,), (0,), (0,), (1,), (1,), (2,), (2,), (3,))
)
GRID = gaussians(grid().centres, grid().deviation, 20_000, range(20, 25), _grid_sites())
LINES = upright_lines(8_000)
LOST = gaussians(
    torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]),
    0.05,
    6_000,
    (4, 5),
    ((0, 1, 2), (0, 1), (1, 2), (0, 2), (2,), (2,)),
)

POINTS = (
    Scenario(
        "ring",
        "ring of 8 Gaussians over four sites, none on two",
        RING.table,
        RING.score,
        HIGHER,
    ),
    Scenario(
        "grid", "25 Gaussians, ten sites with at most five modes", GRID.table, GRID.score, HIGHER
    ),
    Scenario("lines", "four parallel lines, one a site", LINES.table, LINES.score, HIGHER),
    Scenario(
        "lost-class",
        "a class of two modes that one of three sites holds",
        LOST.table,
        LOST.score,
        HIGHER,
    ),
)
