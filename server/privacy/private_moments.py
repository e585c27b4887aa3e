"""Second moments and shares of categories from sums with noise, made those of some table.

Which levels are asked for follows from counts that are known already: a level takes part where it
holds `budget.SURVIVES` standard deviations of the noise, one of a group `budget.GROUP_SURVIVES`.
What comes back is made that of some table (`everymode.server.privacy.noisy_levels`), and what was
not summed because other sums tell it is filled in. All of it is post-processing.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import Request, SumMoments
from everymode.clients.protocol.noise import Noise
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.sensitivity import of_moments
from everymode.fairness.matching.moments import LevelMoments, eligible_strata
from everymode.fairness.matching.private_moments import Coordinates, choose_clips, symmetric
from everymode.fairness.matching.suppression import to_text
from everymode.fairness.postprocessing.calibration import CategoryMarginals
from everymode.server.privacy.budget import GROUP_SURVIVES, SURVIVES, Budget
from everymode.server.privacy.noisy_levels import NoisyLevel, settle_group
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
        deviation: Of the noise on each product in levels of labels or of all rows, in rows.
        group_deviation: The same in levels of groups.
    """

    moments: LevelMoments
    marginals: CategoryMarginals
    counts: Floats
    left_out: tuple[str, ...]
    deviation: float
    group_deviation: float


def level_rows(plan: Plan) -> Floats:
    """Rows of each level and, last, of all, by the counts that were agreed on, `(C + 1,)`."""
    conditions = plan.conditions
    taking, levels = eligible_strata(conditions)
    counts = (conditions.table * taking[:, None]).reshape(-1).astype(np.float64)
    told = conditions.encode(np.arange(conditions.table.size))
    rows: Floats = np.append(told.T @ counts * levels, counts.sum())
    return rows


def choose_levels(plan: Plan, noise: Noise) -> tuple[Bools, tuple[float, float]]:
    """Which levels are asked for, `(C + 1,)`, and the deviations of the noise.

    These are of levels of groups and of all others. The level of all rows is asked for only where
    not all labels take part, whose sum it is.
    """
    rows, groups = level_rows(plan), plan.coordinates.blocks[0]
    asked = np.append(rows[:-1] > 0, False)
    asked[-1] = not all_labels(asked, rows, plan)
    while True:
        deviations = compute_deviations(plan, asked, noise)
        least = np.full(len(rows), SURVIVES * deviations[1])
        least[:groups] = GROUP_SURVIVES * deviations[0]
        kept = asked & (rows >= least)
        kept[-1] = asked[-1] or not all_labels(kept, rows, plan)
        # A level of all rows that is asked for adds to the noise of labels.
        if (kept == asked).all() or (kept[-1] and not kept[:-1].any()):
            return kept, compute_deviations(plan, kept, noise)
        asked = kept


def compute_deviations(plan: Plan, asked: Bools, noise: Noise) -> tuple[float, float]:
    """Deviations of the noise where some levels are asked for, in rows: of groups, of others."""
    published = np.repeat(asked[:, None], plan.coordinates.width, axis=1)
    order = SumMoments("0" * 16, to_text(published), noise)
    found = list(of_moments(order, plan.conditions).total_deviations(noise))
    groups = found.pop(0) if asked[: plan.coordinates.blocks[0]].any() else 0.0
    return groups, found[0] if found else 0.0


def all_labels(asked: Bools, rows: Floats, plan: Plan) -> bool:
    """Whether all labels that have rows are asked for: their sum is that of all rows."""
    groups, labels = plan.coordinates.blocks
    own = slice(groups, groups + labels)
    return bool(asked[own].any() and asked[own][rows[own] > 0].all())


def request_private_moments(
    exchange: Exchange, plan: Plan, plan_name: str, budget: Budget
) -> PrivateMoments:
    """Asks the sites once for moments with noise."""
    coordinates = plan.coordinates
    noise = budget.noise("moments", choose_clips(coordinates))
    asked, deviations = choose_levels(plan, noise)
    published = np.repeat(asked[:, None], coordinates.width, axis=1)
    found = exchange(Request(SumMoments(plan_name, to_text(published), noise)))
    names = level_names(plan)
    left_out = tuple(name for name, own in zip(names, asked[:-1], strict=True) if not own)
    return read_moments(plan, found["moments"], asked, deviations, left_out)


def level_names(plan: Plan) -> list[str]:
    """Names of groups and labels, as levels have them."""
    group, label, _ = plan.conditions.blocks
    names = list(plan.conditions.names) if group else []
    labels = [f"{plan.conditions.target} = {v}" for v in plan.conditions.labels]
    return names + (labels if label else [])


def read_moments(
    plan: Plan,
    sums: Floats,
    asked: Bools,
    deviations: tuple[float, float],
    left_out: tuple[str, ...] = (),
) -> PrivateMoments:
    """What totals with noise say.

    Args:
        plan: What server and sites agreed on.
        sums: Upper triangles of the levels that were asked for, one after another.
        asked: Which these are, `(C + 1,)`.
        deviations: Of the noise on products of groups' levels and of others.
        left_out: Names of levels that were not asked for.
    """
    coordinates, rows = plan.coordinates, level_rows(plan)
    (groups, labels), width = coordinates.blocks, coordinates.width
    matrices, noise = np.zeros((groups + labels + 1, width, width)), np.zeros(len(rows))
    size, place = width * (width + 1) // 2, 0
    raw = np.zeros_like(matrices)
    for level in np.flatnonzero(asked).tolist():
        pairs = coordinates.pairs(level)
        raw[level] = symmetric(sums[place : place + size], width) * (pairs | pairs.T)
        place += size
        noise[level] = deviations[level >= groups]
        if level >= groups:
            own = NoisyLevel(raw[level], coordinates, level, rows[level], noise[level])
            matrices[level] = own.settled()
    known = np.repeat(asked[:, None], width, axis=1)
    whole = not asked[-1] and all_labels(asked, rows, plan)
    if whole:
        matrices[-1] = matrices[groups:-1].sum(0)
        noise[-1] = deviations[1] * np.sqrt(asked[groups:-1].sum())
        known[-1] = True
    for group in np.flatnonzero(asked[:groups]).tolist():
        matrices[group] = _settled_group(raw[group], matrices, rows, plan, group, deviations[0])
    _fill_groups(matrices, known, asked, coordinates, whole)
    _fill_cells(matrices, plan)
    totals = np.where(known.any(1), rows, 0.0)
    safe = np.maximum(totals, 1.0)
    crossed = np.stack([coordinates.crossed(level) for level in range(len(rows))])
    moments = LevelMoments(
        matrices / safe[:, None, None],
        totals,
        plan.choices,
        known,
        noise=noise / safe,
        unknown=coordinates.unknown,
        crossed=crossed,
    )
    counts = matrices[:, np.arange(width), np.arange(width)] * plan.choices
    spans = [(b.start, b.stop) for b in plan.shape.blocks if b.kind == "choice"]
    first = np.concatenate([counts, totals[:, None]], 1)
    marginals = CategoryMarginals.of(first, plan.conditions, spans)
    worth = 1.0 / (1.0 / np.maximum(marginals.rows, 1.0) + (noise / safe) ** 2 / SPREAD)
    marginals = replace(marginals, rows=np.where(marginals.rows > 0, worth, 0.0))
    return PrivateMoments(moments, marginals, counts, left_out, deviations[1], deviations[0])


def _settled_group(
    raw: Floats, matrices: Floats, rows: Floats, plan: Plan, group: int, deviation: float
) -> Floats:
    """A group's level, drawn towards what all rows with the same labels lead to expect."""
    groups, labels = plan.coordinates.blocks
    start = raw.shape[0] - groups - labels
    cells = plan.conditions.table[group].astype(np.float64) if labels else rows[[group]]
    numbers = list(plan.coordinates.numbers)
    expected, squares = np.zeros((len(cells), len(raw))), np.zeros(len(raw))
    for label in range(len(cells)):
        level = groups + label if labels and matrices[groups + label].any() else len(rows) - 1
        own, many = matrices[level], max(rows[level], 1.0)
        expected[label] = np.diagonal(own) / many
        squares += cells[label] * expected[label]
        line = own[start + groups + label] if labels else own[start + group]
        # Where it is not known how many rows of a level have a label, means of all are at hand.
        share = line[start + groups + label] if labels else line[start + group]
        expected[label, numbers] = line[numbers] / max(share, 1.0)
    return settle_group(raw, plan.coordinates, group, cells, expected, squares, deviation)


def _fill_groups(
    matrices: Floats, known: Bools, asked: Bools, coordinates: Coordinates, whole: bool
) -> None:
    """Products with groups in the levels of labels and of all rows: the levels of groups say."""
    groups, labels = coordinates.blocks
    start = coordinates.width - coordinates.levels
    for group in range(groups):
        place = start + group
        lines = [(groups + label, start + groups + label) for label in range(labels)]
        lines += [(len(matrices) - 1, place)] if whole else []
        for level, line in lines:
            if not matrices[level].any():
                continue
            if not asked[group]:
                known[level, place] = False
                continue
            own = matrices[group][line].copy()
            own[start:] = 0.0
            matrices[level][place] = matrices[level][:, place] = own


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
