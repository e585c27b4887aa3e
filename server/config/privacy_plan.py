"""What a private run will spend on what, worked out before any row is read.

The noise follows from the declared columns and the budget alone. Which levels survive it hangs on
how many rows they hold: counts that are known beforehand can be given; without them the least rows
that survive are said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from everymode.clients.protocol.accounting import compute_epsilon
from everymode.clients.protocol.messages import EncodeData, SumMoments
from everymode.clients.protocol.noise import COUNT_BITS, Portion, Sensitivity
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.schema_messages import CountHistograms
from everymode.clients.protocol.sensitivity import of_histograms, of_moments
from everymode.clients.protocol.sums import Layout
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.private_moments import choose_clips
from everymode.fairness.matching.suppression import to_text
from everymode.fairness.postprocessing.leaf_weights import LEAVES
from everymode.server.config.private_runs import build_budget, undeclared_columns
from everymode.server.config.recipe import build_recipe
from everymode.server.config.settings import Settings
from everymode.server.config.tables import build_table_spec
from everymode.server.privacy.budget import SURVIVES, Budget, Part
from everymode.server.privacy.private_moments import choose_levels, level_names, level_rows
from everymode.server.schema.cells import possible_cells
from everymode.server.schema.declared import KEPT, declared_column
from everymode.wgan.data.formats import is_table
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.errors import SettingsError

UNKNOWN = 10**6
"""Rows of a cell where nobody says how many: enough for every level to take part."""


@dataclass(frozen=True)
class PlannedPart:
    """One question of a private run.

    Attributes:
        part: Its name.
        question: What is asked, in words.
        mechanism: What lies over the sums.
        share: Of the budget, in zCDP.
        rho: zCDP.
        epsilon: The same at the run's delta, of this question alone.
        sensitivity: By how much one row moves the sums.
        why: The derivation, in words.
        deviation: Standard deviation of the noise on numbers of the total, in rows, the largest.
        site_deviation: Of one site's share.
        survives: Rows that a level, cell or leaf must hold to take part.
    """

    part: Part
    question: str
    mechanism: str
    share: float
    rho: float
    epsilon: float
    sensitivity: float
    why: str
    deviation: float
    site_deviation: float
    survives: int


@dataclass(frozen=True)
class PrivacyPlan:
    """A private run before it begins.

    Attributes:
        epsilon: The budget.
        delta: Likewise.
        rho: The same in zCDP.
        site_epsilon: What holds against whoever sees each site's own sums, as the server does
            where they are not masked.
        sites: How many there are.
        adders: Those that are counted on to add noise.
        parts: The questions.
        rows: Rows of all sites, where they were given.
        too_small: Levels that hold too few rows for the noise, by name, with their rows; None:
            nobody said how many rows they hold.
        problems: What will stop the run, in sentences.
    """

    epsilon: float
    delta: float
    rho: float
    site_epsilon: float
    sites: int
    adders: int
    parts: tuple[PlannedPart, ...]
    rows: int | None
    too_small: Mapping[str, int] | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"version": 1, **asdict(self)}


def count_sites(settings: Settings) -> int | None:
    """How many sites a configuration has; None where only its tables say so."""
    if settings.deployment.sites:
        return len(settings.deployment.sites)
    if settings.strategy == "pooled":
        return 1
    dealt = is_table(settings.data.path) and settings.split.by != "column"
    return settings.split.sites if dealt else None


def plan_privacy(
    settings: Settings,
    sites: int,
    counts: Mapping[tuple[str, ...], int] | None = None,
    rows: int | None = None,
) -> PrivacyPlan:
    """Works out a private run.

    Args:
        settings: The configuration.
        sites: How many sites there are.
        counts: Rows by the values of the sensitive features and of the target, as far as known.
        rows: Rows of all sites; None: those of `counts`, or not known.

    Raises:
        SettingsError: There is no budget, or it does not fit the sites.
    """
    try:
        budget = build_budget(settings, sites)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if budget is None:
        raise SettingsError(
            "privacy.epsilon is not set, so that no noise is added; write privacy.epsilon = 3, say"
        )
    columns = settings.deployment.columns or tuple(settings.data.columns)
    columns = tuple(name for name in columns if name not in settings.data.drop)
    used = (*settings.data.sensitive, *filter(None, [settings.data.target]))
    if problems := undeclared_columns(settings, (*columns, *used)):
        raise SettingsError(list(dict.fromkeys(problems)))
    plan, histograms = _assumed(settings, columns, counts, rows, budget)
    rows = sum(counts.values()) if rows is None and counts is not None else rows
    parts = [_counts(budget, histograms)]
    moments, too_small = _moments(budget, plan, counts is not None)
    parts.append(moments)
    if settings.model.critic_trees:
        parts.append(_leaves(budget, settings.model.critic_trees, settings.model.tree_leaf))
    site_rho = sum(part.rho for part in parts) * budget.adders
    return PrivacyPlan(
        budget.epsilon,
        budget.delta,
        budget.rho,
        compute_epsilon(site_rho, budget.delta),
        sites,
        budget.adders,
        tuple(parts),
        rows,
        too_small,
        tuple(_problems(budget, parts, rows)),
    )


def _assumed(
    settings: Settings,
    columns: Sequence[str],
    counts: Mapping[tuple[str, ...], int] | None,
    rows: int | None,
    budget: Budget,
) -> tuple[Plan, CountHistograms]:
    """The plan that a run would have if every declared value occurred, and its first question."""
    spec = build_table_spec(settings.data)
    candidates = [declared_column(name, spec.columns[name]) for name in columns]
    drafted = Schema(tuple(candidates))
    proposal = possible_cells(drafted, spec, Layout(()).zero())
    order = CountHistograms(drafted.to_json(), proposal.to_json(), noise=budget.noise("counts"))
    conditions = _with_counts(proposal, counts, rows)
    schema = Schema(tuple(map(_settled, candidates)))
    groups = len(conditions.groups)
    encode = EncodeData(
        schema.to_json(),
        conditions.to_json(),
        (1 / groups,) * groups,
        build_recipe(settings).to_json(),
        settings.seed,
        "moments",
        bins=settings.model.bins if settings.projected else 0,
        noised=True,
    )
    return Plan.of(encode), order


def _settled(column: Column) -> Column:
    """A column as it might be once its values are counted: all of them alike."""
    if not column.numeric:
        return column
    single = len(column.atoms) > 0 and len(column.atoms) == len(column.edges) - 1
    shares = np.linspace(0.0, 1.0, len(column.edges))
    # Of values that are counted one by one, some will be point masses: states of their own.
    atoms = column.atoms[:1] if single else column.atoms
    return replace(column, atoms=atoms, cumulative=tuple(shares.tolist()))


def _with_counts(
    proposal: ConditionSpace, counts: Mapping[tuple[str, ...], int] | None, rows: int | None
) -> ConditionSpace:
    shape = proposal.table.shape
    if counts is None:
        each = UNKNOWN if rows is None else max(rows // (shape[0] * shape[1]), 1)
        table = np.full(shape, each, dtype=np.int64)
    else:
        table = np.zeros(shape, dtype=np.int64)
        for g, group in enumerate(proposal.groups):
            for n, label in enumerate(proposal.labels):
                key = (*group, label) if proposal.target else group
                table[g, n] = counts.get(key, 0)
        labels = [(name,) if proposal.target else () for name in proposal.labels]
        known = {(*group, *label) for group in proposal.groups for label in labels}
        if strangers := sorted(set(counts) - known):
            raise SettingsError(
                f"counts: no cell {', '.join(strangers[0])}; its values are not among those that "
                "data.columns declares"
            )
    return replace(proposal, counts=tuple(tuple(map(int, row)) for row in table))


def _part(
    budget: Budget,
    part: Part,
    question: str,
    bound: Sensitivity,
    survives: float,
    clips: tuple[float, float] = (0.0, 0.0),
) -> PlannedPart:
    noise = budget.noise(part, clips)
    rho = bound.charged(noise)
    deviation = max(bound.total_deviations(noise))
    return PlannedPart(
        part,
        question,
        "discrete Gaussian",
        budget.shares[part],
        rho,
        compute_epsilon(rho, budget.delta),
        bound.l2,
        bound.explain(noise),
        deviation,
        bound.site_deviation(noise),
        math.ceil(survives * deviation),
    )


def _counts(budget: Budget, order: CountHistograms) -> PlannedPart:
    question = "cells of group and label, point masses and bins of numbers"
    return _part(budget, "counts", question, of_histograms(order), KEPT)


def _moments(
    budget: Budget, plan: Plan, counted: bool
) -> tuple[PlannedPart, dict[str, int] | None]:
    clips = choose_clips(plan.coordinates)
    noise = budget.noise("moments", clips)
    asked, _ = choose_levels(plan, noise)
    published = np.repeat(asked[:, None], plan.coordinates.width, axis=1)
    bound = of_moments(SumMoments("0" * 16, to_text(published), noise), plan.conditions)
    question = "pairs of columns by label, and columns by group and label"
    part = _part(budget, "moments", question, bound, SURVIVES, clips)
    if not counted:
        return part, None
    rows = level_rows(plan)
    names = level_names(plan)
    small = {
        name: int(n) for name, n, own in zip(names, rows[:-1], asked[:-1], strict=True) if not own
    }
    return part, small


def _leaves(budget: Budget, trees: int, leaf: int) -> PlannedPart:
    # How many leaves there will be is not known; it hardly matters.
    bound = Sensitivity(
        (Portion(math.sqrt(trees), LEAVES * trees),),
        ("counts",),
        COUNT_BITS,
        f"a row is counted once in each of {trees} trees",
    )
    found = _part(budget, "leaves", "rows in leaves of trees as critics", bound, KEPT)
    return replace(found, survives=max(found.survives, leaf))


def _problems(budget: Budget, parts: Sequence[PlannedPart], rows: int | None) -> list[str]:
    if rows is None:
        return []
    problems = []
    if budget.delta > 1 / max(rows, 1):
        problems.append(
            f"privacy.delta = {budget.delta:g} is above 1 / rows ({rows:,}); write "
            f"{0.1 / max(rows, 1):.0e}, say"
        )
    for part in parts:
        if part.part != "leaves" and rows < part.survives:
            needed = enough_epsilon(budget, part.rho, part.survives / max(rows, 1))
            problems.append(
                f"{part.part}: {rows:,} rows are fewer than the {part.survives:,} that survive "
                f"this noise; privacy.epsilon = {needed:.2g} would do, or more rows"
            )
    return problems


def enough_epsilon(budget: Budget, rho: float, factor: float) -> float:
    """The epsilon with which noise that spends rho now would be smaller by a factor."""
    return compute_epsilon(budget.rho * factor**2, budget.delta)
