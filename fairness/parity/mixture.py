"""Parity of synthetic rows: how often each label comes in each group, and what predicts it.

A generator that is told group and label is asked for cells, so the target's rate in every group is
whatever is asked for: `parity_counts` moves it, exactly and at no cost in training. Where the
generator makes group or label itself, and for equal opportunity,
`everymode.fairness.parity.penalty` does.

A level chooses between no gap at all (0) and the data's own (1). A gap is asked to be that share of
the data's, with its sign; it is never pushed beyond, so no advantage is turned round.

Sources: Calders, Kamiran, Pechenizkiy, "Building Classifiers with Independency Constraints", 2009
(demographic parity by reweighting); Csiszar, "I-Divergence Geometry", 1975 (what `parity_counts`
keeps).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from everymode.fairness.groups.conditions import ConditionSpace

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SWEEPS = 500
"""Scalings of rows and columns at most; where all cells have rows, some tens are enough."""

SLACK = 0.02
"""Gap that a joint value may get from making up for others, where it has a smaller one itself."""


def parity_counts(
    counts: npt.ArrayLike,
    groups: Sequence[Sequence[str]],
    level: float,
    features: Sequence[int] = (),
) -> Floats:
    """Rows to ask for so that the label's gaps are `level` times the data's, `(G, L)`.

    For every joint value s of the listed features, the share of each label becomes
    overall + level * (share in s - overall), so that gaps over each feature alone and over every
    intersection shrink alike. Each group keeps its rows n_g. Of all tables that do so, it is the
    nearest to the data's in Kullback-Leibler divergence: within s, odds between other features and
    label stay as they are.

    A cell without rows stays empty, since no generator has seen it. Joint values that lack a label
    get what can be had of the shares asked for over those they have. The others then make up for
    it, so that no single feature has a gap on their account, unless that took one of them further
    from the overall shares than the data and `SLACK` do; `parity_gaps` says what remains.

    Args:
        counts: Rows of each group and label, `(G, L)`.
        groups: Each group's values of the sensitive features.
        level: Share of the data's gaps that stays, from 0 to 1.
        features: Which of the features, by position; empty: all.

    Raises:
        ValueError: The level lies outside 0 to 1.
    """
    if not 0 <= level <= 1:
        raise ValueError(f"level: expected 0 to 1, got {level}")
    table = np.array(counts, dtype=np.float64)
    total = table.sum()
    if not total or level == 1:
        return table
    chosen = tuple(features) or tuple(range(len(groups[0])))
    joint = feature_members(groups, [chosen])[0]
    goals = [(member, _within(_goal(table, member, level), table[member])) for member in joint]
    fitted = _fitted(table, goals)
    lacking = np.array([not _can(table[m], _goal(table, m, 0.0)) for m in joint])
    if not lacking.any() or len(chosen) < 2:
        return fitted
    # A feature is held as a whole: with one of its values given up, the others would have to make
    # up for that one.
    held = [list(feature_members(groups, [(i,)])[0]) for i in chosen]
    held = [f for f in held if all(_can(table[v], _goal(table, v, level)) for v in f)]
    while held:
        found = _fitted(fitted, [(v, _goal(table, v, level)) for f in held for v in f])
        strays = np.array([_strays(table, found, member) for member in joint])
        if strays.max() <= 0:
            return found
        # The one that would pay most is spared first, and others may then pay less.
        worst, lost = joint[strays.argmax()], joint[lacking].any(0)
        left = [f for f in held if not any((worst & v).any() and (lost & v).any() for v in f)]
        if len(left) == len(held):
            break
        held = left
    return fitted


def _can(part: Floats, goal: Floats) -> bool:
    """Whether groups have every label that they should have."""
    return not (goal[part.sum(0) == 0] > 0).any()


def _within(goal: Floats, part: Floats) -> Floats:
    """The goal over labels that the groups have, in proportion, with all their rows."""
    held = np.where(part.sum(0) > 0, goal, 0.0)
    total = held.sum()
    kept: Floats = held * (part.sum() / total) if total > 0 else held
    return kept


def _strays(real: Floats, found: Floats, member: Bools) -> float:
    """How much further a joint value's shares lie from the overall ones than they may."""
    rows = real[member].sum()
    if not rows or not (real[member].sum(0) > 0).sum() > 1:
        return 0.0
    overall = real.sum(0) / real.sum()
    before, after = (np.abs(t[member].sum(0) / rows - overall) for t in (real, found))
    return float((after - np.maximum(before, SLACK)).max())


def _goal(table: Floats, member: Bools, level: float) -> Floats:
    """Rows of each label, `(L,)`, that the groups of a value should have together."""
    part = table[member].sum(0)
    overall = table.sum(0) / table.sum()
    goal: Floats = overall * part.sum() + level * (part - overall * part.sum())
    return goal


def _fitted(table: Floats, goals: Sequence[tuple[Bools, Floats]]) -> Floats:
    """Iterative proportional fitting: sums over members to goals; row sums exactly, and last."""
    rows = table.sum(1)
    for _ in range(SWEEPS):
        before = table
        for member, goal in goals:
            sums = table[member].sum(0)
            factor = np.divide(goal, sums, out=np.ones(len(sums)), where=sums > 0)
            table = np.where(member[:, None], table * factor, table)
        sums = table.sum(1)
        table = table * np.divide(rows, sums, out=np.ones(len(sums)), where=sums > 0)[:, None]
        if np.abs(table - before).max(initial=0.0) <= 1e-13 * rows.max(initial=0.0):
            break
    return table


def parity_gaps(
    counts: npt.ArrayLike, groups: Sequence[Sequence[str]], names: Sequence[str]
) -> dict[str, float]:
    """Largest difference in a label's share between two values, by feature and jointly.

    Demographic parity difference in fairlearn's sense, the largest over labels; 0 where fewer than
    two values have rows.

    >>> parity_gaps([[3, 1], [1, 1]], [("a",), ("b",)], ["sex"])
    {'sex': 0.25}
    """
    table = np.array(counts, dtype=np.float64)
    found = {}
    for chosen in feature_sets(range(len(names))):
        sums = feature_members(groups, [chosen])[0].astype(np.float64) @ table
        sums = sums[sums.sum(1) > 0]
        rates = sums / sums.sum(1, keepdims=True)
        gap = float((rates.max(0) - rates.min(0)).max(initial=0.0)) if len(rates) else 0.0
        found[" x ".join(names[i] for i in chosen)] = gap
    return found


def feature_sets(features: Sequence[int]) -> list[tuple[int, ...]]:
    """Every feature alone and, of several, all of them together."""
    alone: list[tuple[int, ...]] = [(i,) for i in features]
    return [*alone, tuple(features)] if len(alone) > 1 else alone


def feature_members(
    groups: Sequence[Sequence[str]], sets: Sequence[tuple[int, ...]]
) -> tuple[Bools, Floats]:
    """Which groups each value has, `(V, G)`, and 1 / the values beside it, `(V,)`."""
    rows, factors = [], []
    for chosen in sets:
        values = [tuple(group[i] for i in chosen) for group in groups]
        known = sorted(set(values))
        rows += [[value == own for own in values] for value in known]
        factors += [1 / len(known)] * len(known)
    return np.array(rows, dtype=np.bool_), np.array(factors)


@dataclass(frozen=True)
class ParityMixture:
    """A level of demographic parity for rows that are asked for by group and label.

    Attributes:
        level: Share of the data's gaps that stays, from 0 to 1.
        features: The sensitive features it holds for; empty: all.
    """

    level: float
    features: tuple[str, ...] = ()

    def counts(self, conditions: ConditionSpace) -> Floats:
        """Rows to ask for per group and cell, `(G, L * K)`; clusters keep their shares."""
        plain = conditions.plain.table
        chosen = [conditions.sensitive.index(name) for name in self.features]
        asked = parity_counts(plain, conditions.groups, self.level, chosen)
        factor = np.divide(asked, plain, out=np.zeros(asked.shape), where=plain > 0)
        counts: Floats = conditions.table * np.repeat(factor, conditions.clusters, axis=1)
        return counts

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"level": self.level, "features": list(self.features)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "ParityMixture":
        """The inverse of `to_json`."""
        return ParityMixture(float(value["level"]), tuple(value["features"]))
