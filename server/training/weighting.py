"""Weights that move while training: what each site's update counts, and each group's rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from clients.protocol.plan import Plan, seed_of, widths
from clients.protocol.sums import SitePayload, SiteSums
from fairness.matching.kernels import Features, bandwidth, mmd2_from_sums
from fairness.weighting.group_weights import cell_mass
from fairness.weighting.minimax import MinimaxRule, MinimaxState, step
from fairness.weighting.site_weights import (
    afl,
    fed_tgan,
    fegan,
    ifl_gan,
    q_fedavg,
    row_shares,
    term,
)
from wgan.players import Players

Floats = npt.NDArray[np.float64]

FREQUENCIES = 256
"""Of the random features that a group's risk is read from."""

MADE = 512
"""Rows made of each group to read its risk."""


@dataclass
class SiteRule:
    """Shares of sites by a rule of the literature (`fairness.weighting.site_weights`).

    Attributes:
        rule: Its name.
        strength: Rate of afl, q of q_fedavg, tilt of term.
        profiles: What each site told of itself, by its name.
        plan: What server and sites agreed on.
        shares: The last shares, by site.
    """

    rule: str
    strength: float
    profiles: Mapping[str, SitePayload]
    plan: Plan
    shares: dict[str, float] = field(default_factory=dict)

    def __call__(self, letters: Mapping[str, SitePayload]) -> dict[str, float]:
        """Shares of all sites, given the letters of those that took part."""
        names = sorted(self.profiles)
        cells = np.stack([self.profiles[name]["cells"] for name in names]).astype(np.float64)
        rows = cells.sum(1)
        shares = row_shares(rows)
        before = np.array([self.shares.get(n, s) for n, s in zip(names, shares, strict=True)])
        # A site that was away is taken to fare as the others do.
        risks = {name: float(m["risk"][0]) for name, m in letters.items() if "risk" in m}
        mean = float(np.mean(list(risks.values()))) if risks else 0.0
        risk = np.array([risks.get(name, mean) for name in names])
        match self.rule:
            case "fegan":
                found = fegan(site_labels(cells, self.plan))
            case "fed_tgan":
                found = fed_tgan(*self._columns(names, cells), rows)
            case "ifl_gan":
                found = ifl_gan(risk)
            case "afl":
                found = afl(before, risk, self.strength)
            case "q_fedavg":
                found = q_fedavg(risk, shares, self.strength)
            case _:
                found = term(risk, shares, self.strength)
        self.shares = dict(zip(names, found.tolist(), strict=True))
        return self.shares

    def _columns(self, names: list[str], cells: Floats) -> tuple[list[Floats], list[bool]]:
        """Counts of every column's bins, and whether these have an order; cells are one column."""
        bins = np.stack([self.profiles[name]["bins"] for name in names]).astype(np.float64)
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


@dataclass
class GroupMass:
    """Minimax group weights: more mass for a group that rows held out show to be made badly.

    Its risk is the squared kernel distance between the group's held-out rows and rows made for it,
    less what chance makes, clipped at 0. The held-out rows' part comes from sums that the sites
    send once, so that a move costs no exchange.

    Attributes:
        rule: How weights move.
        state: Where they stand.
        plan: What server and sites agreed on; its masses are what the bounds are multiples of.
        held: Held-out rows per group, `(G,)`.
        sums: The sum of their features, `(G, F)`.
        features: The features.
    """

    rule: MinimaxRule
    state: MinimaxState
    plan: Plan
    held: Floats
    sums: Floats
    features: Features

    @staticmethod
    def of(rule: MinimaxRule, plan: Plan, answer: SiteSums) -> "GroupMass":
        """Before the first move."""
        mass = tuple(plan.mass.tolist())
        return GroupMass(
            rule,
            MinimaxState(mass, (0.0,) * len(mass)),
            plan,
            answer["held"],
            answer["features"],
            Features.of(plan.shape.width, FREQUENCIES, *site_kernel(plan)),
        )

    @property
    def mass(self) -> Floats:
        """pi_g, `(G,)`."""
        return np.array(self.state.mass)

    def move(self, players: Players, number: int) -> Floats:
        """Moves the weights in round `number`; returns the risks, `(G,)`, NaN where unknown."""
        conditions = self.plan.conditions
        rng = torch.Generator(players.device).manual_seed(
            seed_of(self.plan.seed, "minimax", number)
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
        self.state = step(self.rule, self.state, self.plan.mass, risks)
        return risks


def _on_cpu(rng: torch.Generator, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(rng.initial_seed() + number)


def site_kernel(plan: Plan) -> tuple[float, int]:
    """Bandwidth and seed of the features that all sites of a plan share."""
    kinds = [block.kind for block in plan.shape.blocks]
    deviation = bandwidth(kinds.count("value"), kinds.count("choice"))
    return deviation, seed_of(plan.seed, "features") % 2**31
