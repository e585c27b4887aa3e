"""Second moments and shares of categories from sums with noise, made those of some table.

Which levels are asked for follows from counts that are known already: a level takes part where it
holds `budget.SURVIVES` standard deviations of the noise. Of what comes back, the joint counts of
every two categories are moved to the nearest that are not negative and add up to the level's rows;
what was not summed because other sums tell it is filled in (`everymode.fairness.matching.
private_moments`). All of it is post-processing.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import Request, SumMoments
from everymode.clients.protocol.noise import Noise
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.sensitivity import of_moments
from everymode.fairness.matching.consistency import onto_simplex
from everymode.fairness.matching.moments import LevelMoments, eligible_strata
from everymode.fairness.matching.private_moments import Coordinates, choose_clip, symmetric
from everymode.fairness.matching.suppression import to_text
from everymode.fairness.postprocessing.calibration import CategoryMarginals
from everymode.server.privacy.budget import SURVIVES, Budget
from everymode.server.transport.exchange import Exchange

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SPREAD = 0.1
"""p (1 - p) of the shares by which rows and noise are weighed against each other."""


@dataclass(frozen=True)
class PrivateMoments:
    """What noisy moments say.

    Attributes:
        moments: Second moments, with the noise of each level.
        marginals: Shares of categories; rows count for as many as the noise leaves them worth.
        counts: Rows of each category in each level, `(C + 1, W)`; 0 where a level takes no part.
        left_out: Names of levels that hold too few rows for the noise.
        deviation: Of the noise on each product, in rows.
    """

    moments: LevelMoments
    marginals: CategoryMarginals
    counts: Floats
    left_out: tuple[str, ...]
    deviation: float


def level_rows(plan: Plan) -> Floats:
    """Rows of each level and, last, of all, by the counts that were agreed on, `(C + 1,)`."""
    conditions = plan.conditions
    taking, levels = eligible_strata(conditions)
    counts = (conditions.table * taking[:, None]).reshape(-1).astype(np.float64)
    told = conditions.encode(np.arange(conditions.table.size))
    rows: Floats = np.append(told.T @ counts * levels, counts.sum())
    return rows


def choose_levels(plan: Plan, noise: Noise) -> tuple[Bools, float]:
    """Which levels are asked for, `(C + 1,)`, and the deviation of the noise.

    The sum of a block's levels is that of all rows, which is asked for only where neither groups
    nor labels all take part.
    """
    rows, blocks = level_rows(plan), plan.coordinates.blocks
    asked = np.append(rows[:-1] > 0, False)
    asked[-1] = not asked.any()
    while True:
        deviation = compute_deviation(plan, asked, noise)
        kept = asked & (rows >= SURVIVES * deviation)
        kept[-1] = asked[-1] or _whole_block(kept, rows, blocks) is None
        # A level of all rows that is asked for adds to the noise of the others.
        if (kept == asked).all() or (kept[-1] and not kept[:-1].any()):
            return kept, compute_deviation(plan, kept, noise)
        asked = kept


def compute_deviation(plan: Plan, asked: Bools, noise: Noise) -> float:
    """Deviation of the noise where some levels are asked for, in rows."""
    published = np.repeat(asked[:, None], plan.coordinates.width, axis=1)
    order = SumMoments("0" * 16, to_text(published), noise)
    return of_moments(order, plan.conditions).total_deviation(noise)


def _whole_block(asked: Bools, rows: Floats, blocks: tuple[int, int]) -> tuple[int, int] | None:
    """The shortest block all of whose levels with rows are asked for, from first to last."""
    found, start = [], 0
    for size in blocks:
        own = slice(start, start + size)
        if size and asked[own][rows[own] > 0].all() and asked[own].any():
            found.append((size, start))
        start += size
    if not found:
        return None
    size, start = min(found)
    return start, start + size


def request_private_moments(
    exchange: Exchange, plan: Plan, plan_name: str, budget: Budget
) -> PrivateMoments:
    """Asks the sites once for moments with noise."""
    coordinates = plan.coordinates
    noise = budget.noise("moments", choose_clip(coordinates))
    asked, deviation = choose_levels(plan, noise)
    published = np.repeat(asked[:, None], coordinates.width, axis=1)
    found = exchange(Request(SumMoments(plan_name, to_text(published), noise)))
    names = level_names(plan)
    left_out = tuple(name for name, own in zip(names, asked[:-1], strict=True) if not own)
    return read_moments(plan, found["moments"], asked, deviation, left_out)


def level_names(plan: Plan) -> list[str]:
    """Names of groups and labels, as levels have them."""
    group, label, _ = plan.conditions.blocks
    names = list(plan.conditions.names) if group else []
    labels = [f"{plan.conditions.target} = {v}" for v in plan.conditions.labels]
    return names + (labels if label else [])


def read_moments(
    plan: Plan, sums: Floats, asked: Bools, deviation: float, left_out: tuple[str, ...] = ()
) -> PrivateMoments:
    """What totals with noise say.

    Args:
        plan: What server and sites agreed on.
        sums: Upper triangles of the levels that were asked for, one after another.
        asked: Which these are, `(C + 1,)`.
        deviation: Of the noise on each.
        left_out: Names of levels that were not asked for.
    """
    coordinates, rows = plan.coordinates, level_rows(plan)
    levels, width = coordinates.levels, coordinates.width
    matrices = np.zeros((levels + 1, width, width))
    size, place = width * (width + 1) // 2, 0
    for level in np.flatnonzero(asked).tolist():
        pairs = coordinates.pairs(level)
        part = symmetric(sums[place : place + size], width) * (pairs | pairs.T)
        place += size
        matrices[level] = _one_level(part, coordinates, level, rows[level])
    noise = np.where(asked, deviation, 0.0)
    groups, labels = coordinates.blocks
    start = width - levels
    known = np.repeat(asked[:, None], width, axis=1)
    for label in range(groups, groups + labels):
        for group in range(groups):
            # In the level of a label, products with a group are those of the group with the label.
            if asked[label] and asked[group]:
                line = matrices[group][start + label]
                matrices[label][start + group] = matrices[label][:, start + group] = line
                matrices[label][start + group, start : start + groups] = 0.0
                matrices[label][start : start + groups, start + group] = 0.0
                matrices[label][start + group, start + group] = line[start + label]
                matrices[label][start + group, start + label] = line[start + label]
                matrices[label][start + label, start + group] = line[start + label]
            elif asked[label]:
                known[label, start + group] = False
    block = _whole_block(asked, rows, coordinates.blocks)
    if not asked[-1] and block is not None:
        matrices[-1] = matrices[block[0] : block[1]].sum(0)
        noise[-1] = deviation * np.sqrt(asked[block[0] : block[1]].sum())
        known[-1] = True
        known[-1, start : start + groups] = asked[:groups]
    _fill_cells(matrices, plan)
    totals = np.where(known.any(1), rows, 0.0)
    safe = np.maximum(totals, 1.0)
    means = matrices / safe[:, None, None]
    choices = plan.choices
    moments = LevelMoments(
        means, totals, choices, known, noise=noise / safe, unknown=coordinates.unknown
    )
    counts = matrices[:, np.arange(width), np.arange(width)] * choices
    spans = [(b.start, b.stop) for b in plan.shape.blocks if b.kind == "choice"]
    first = np.concatenate([counts, totals[:, None]], 1)
    marginals = CategoryMarginals.of(first, plan.conditions, spans)
    worth = 1.0 / (1.0 / np.maximum(marginals.rows, 1.0) + (noise / safe) ** 2 / SPREAD)
    marginals = replace(marginals, rows=np.where(marginals.rows > 0, worth, 0.0))
    return PrivateMoments(moments, marginals, counts, left_out, deviation)


def _fill_cells(matrices: Floats, plan: Plan) -> None:
    """Shares of the condition's own coordinates, in every level: from the counts of cells."""
    conditions = plan.conditions
    taking, _ = eligible_strata(conditions)
    counts = (conditions.table * taking[:, None]).reshape(-1).astype(np.float64)
    told = conditions.encode(np.arange(conditions.table.size)).astype(np.float64)
    member = np.concatenate([told, np.ones((len(told), 1))], 1)
    rows = member.T @ (counts[:, None] * told)
    start = matrices.shape[1] - told.shape[1]
    for level, own in enumerate(rows):
        if matrices[level].any():
            place = start + np.arange(len(own))
            matrices[level][place, place] = own
            if level < len(own):
                matrices[level][start + level, place] = own
                matrices[level][place, start + level] = own


def _one_level(part: Floats, coordinates: Coordinates, level: int, rows: float) -> Floats:
    """A level's moments with what other entries tell filled in, and counts made consistent."""
    start = coordinates.width - coordinates.levels
    own = start + level if level < coordinates.levels else None
    groups = coordinates.blocks[0]
    repeated: set[int] = set()
    if own is not None:
        # In the level of a group the groups; in that of a label both.
        repeated = set(range(start, start + (groups if level < groups else coordinates.levels)))
    spans = [span for span in coordinates.spans if span[0] not in repeated]
    for one, other in combinations(spans, 2):
        pair = np.ix_(np.arange(*one), np.arange(*other))
        if (both := part[pair]).any():
            part[pair] = onto_simplex(both.reshape(-1), rows).reshape(both.shape)
            part[pair[1].T, pair[0].T] = part[pair].T
    columns = np.array(coordinates.columns)
    for span in spans:
        place = np.arange(*span)
        part[place, place] = onto_simplex(part[place, place], rows)
    if own is not None:
        shares = np.diagonal(part).copy()
        firsts = part[:, own].copy()
        choice = np.ones(coordinates.width, dtype=np.bool_)
        choice[list(coordinates.numbers)] = False
        choice[sorted(repeated)] = False
        part[choice, own] = part[own, choice] = shares[choice]
        part[own, own] = rows
        for number in coordinates.numbers:
            part[number, number] = max(part[number, number], 0.0)
            # The state that says that there is a number is the first of its column's states.
            states = np.flatnonzero(columns == columns[number])
            gates = [s for s in states if s != number and not coordinates.bins[s]]
            if gates:
                part[number, gates[0]] = part[gates[0], number] = firsts[number]
    return part
