"""Weights that move while training: what each site's update counts, and each group's rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from everymode.clients.protocol.parts.weighting import PerSiteRule, SiteFigures
from everymode.clients.protocol.plan import Plan, derive_seed, widths
from everymode.clients.protocol.sums import SitePayload, SiteSums
from everymode.fairness.matching.kernels import Features, bandwidth, mmd2_from_sums
from everymode.fairness.weighting.group_weights import cell_mass
from everymode.fairness.weighting.minimax import MinimaxRule, MinimaxState, step
from everymode.fairness.weighting.site_weights import row_shares
from everymode.wgan.players import Players

Floats = npt.NDArray[np.float64]

FREQUENCIES = 256
"""Of the random features that a group's risk is read from."""

MADE = 512
"""Rows made of each group to read its risk."""


@dataclass(frozen=True)
class SiteWeights:
    """Shares of sites by a rule that reads each site's figures.

    Attributes:
        rule: The rule.
        site_statistics: What each site told of itself, by its name.
        plan: What server and sites agreed on.
    """

    rule: PerSiteRule
    site_statistics: Mapping[str, SitePayload]
    plan: Plan

    def __call__(
        self, before: Mapping[str, float], payloads: Mapping[str, SitePayload]
    ) -> dict[str, float]:
        """Shares of all sites.

        Args:
            before: The last shares, by site; a site without one has its share of rows.
            payloads: What the sites sent that took part.
        """
        names = sorted(self.site_statistics)
        cells = np.stack([self.site_statistics[name]["cells"] for name in names]).astype(np.float64)
        rows = cells.sum(1)
        shares = row_shares(rows)
        # A site that was away is taken to fare as the others do.
        risks = {name: float(m["risk"][0]) for name, m in payloads.items() if "risk" in m}
        mean = float(np.mean(list(risks.values()))) if risks else 0.0
        columns, ordered = self._columns(names, cells)
        figures = SiteFigures(
            rows,
            site_labels(cells, self.plan),
            columns,
            ordered,
            np.array([before.get(n, s) for n, s in zip(names, shares, strict=True)]),
            np.array([risks.get(name, mean) for name in names]),
        )
        return dict(zip(names, self.rule.shares(figures).tolist(), strict=True))

    def _columns(self, names: list[str], cells: Floats) -> tuple[list[Floats], list[bool]]:
        """Counts of every column's bins, and whether these have an order; cells are one column."""
        bins = np.stack([self.site_statistics[name]["bins"] for name in names]).astype(np.float64)
        stops = np.cumsum(widths(self.plan.shape.blocks))
        columns = [np.asarray(part) for part in np.split(bins, stops[:-1], axis=1)]
        ordered = [block.kind == "value" for block in self.plan.shape.blocks]
        return [*columns, cells], [*ordered, False]


def site_labels(cells: Floats, plan: Plan) -> Floats:
    """Rows per site and class, `(K, classes)`: of the target, or of groups where there is none."""
    conditions = plan.conditions
    table = cells.reshape(len(cells), len(conditions.groups), len(conditions.labels), -1)
    classes = table.sum((1, 3)) if len(conditions.labels) > 1 else table.sum((2, 3))
    counts: Floats = classes
    return counts


@dataclass(frozen=True)
class GroupMass:
    """Minimax group weights: more mass for a group that rows held out show to be made badly.

    A group's risk is the squared kernel distance between its held-out rows and rows made for it,
    less what chance makes, clipped at 0. The held-out rows' part comes from sums that the sites
    send once, so that a move costs no exchange.

    Attributes:
        rule: How weights move.
        plan: What server and sites agreed on; its masses are what the bounds are multiples of.
        held: Held-out rows per group, `(G,)`.
        sums: The sum of their features, `(G, F)`.
        features: The features.
    """

    rule: MinimaxRule
    plan: Plan
    held: Floats
    sums: Floats
    features: Features

    @staticmethod
    def of(rule: MinimaxRule, plan: Plan, answer: SiteSums) -> "GroupMass":
        """From what the sites sent of the rows held out."""
        features = Features.of(plan.shape.width, FREQUENCIES, *site_kernel(plan))
        return GroupMass(rule, plan, answer["held"], answer["features"], features)

    @property
    def start(self) -> MinimaxState:
        """Before the first move."""
        mass = tuple(self.plan.mass.tolist())
        return MinimaxState(mass, (0.0,) * len(mass))

    def move(self, state: MinimaxState, players: Players, number: int) -> MinimaxState:
        """Where the weights stand after a move in round `number`."""
        conditions = self.plan.conditions
        rng = torch.Generator(players.device).manual_seed(
            derive_seed(self.plan.seed, "minimax", number)
        )
        chance = cell_mass(np.ones(len(conditions.groups)), conditions.table)
        risks = np.full(len(conditions.groups), np.nan)
        for group, share in enumerate(chance):
            if self.held[group] < 2 or not share.any():
                continue
            drawn = torch.multinomial(
                torch.from_numpy(share), MADE, replacement=True, generator=_on_cpu(rng, number)
            )
            cells = group * conditions.per_group + drawn.numpy()
            condition = torch.from_numpy(conditions.encode(cells)).to(players.device)
            made = np.asarray(self.features(players.fake(condition, rng).cpu().numpy()))
            distance = mmd2_from_sums(self.sums[group], self.held[group], made.sum(0), MADE)
            # Near what chance makes of two equal samples, moves would follow noise.
            chance_made = 1 / self.held[group] + 1 / MADE
            risks[group] = max(distance - chance_made, 0.0)
        return step(self.rule, state, self.plan.mass, risks)


def _on_cpu(rng: torch.Generator, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(rng.initial_seed() + number)


def site_kernel(plan: Plan) -> tuple[float, int]:
    """Bandwidth and seed of the features that all sites of a plan share."""
    kinds = [block.kind for block in plan.shape.blocks]
    deviation = bandwidth(kinds.count("value"), kinds.count("choice"))
    return deviation, derive_seed(plan.seed, "features") % 2**31
