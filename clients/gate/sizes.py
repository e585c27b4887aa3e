"""Whether anything that a server asks is too large, checked before anything is allocated."""

import math
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any

from everymode.clients.protocol import limits
from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountLeaves,
    CountMarginals,
    CountNeighbours,
    EncodeData,
    HeldOutFeatureSums,
    SiteStatistics,
    SumMoments,
    Task,
    Train,
)
from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sketch import CELLS, LARGEST_SKETCH
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.metrics.marginals import POINTS, Marginals
from everymode.wgan.data.arrays import DTYPES, SampleLayout
from everymode.wgan.data.constrained import hidden_columns
from everymode.wgan.data.constraint_rules import constraint_problems
from everymode.wgan.data.date_forms import form_problem, is_date_form
from everymode.wgan.data.dates import parse_zone
from everymode.wgan.data.notation import parse_notation
from everymode.wgan.data.schema import Column, Schema


@dataclass
class _Budget:
    left: int = limits.ITEMS


def check_order(order: Task) -> None:
    """Refuses an order with any size or number beyond its limit.

    Nothing larger than the order itself is made.

    Raises:
        RefusedError: All that is wrong with its numbers.
    """
    budget = _Budget()
    for field in fields(order):
        if field.name != "recipe":
            _walk(getattr(order, field.name), field.name, budget, 12)
    problems = _problems(order)
    if problems:
        raise RefusedError(problems)


def check_layout(order: Task) -> None:
    """Refuses an order whose answer would be too long; nothing is allocated."""
    layout = order.layout()
    size = layout.size + sum(field.size for field in layout.per_site)
    if size > limits.SUMS:
        raise RefusedError(f"'{order.order}' asks for {size:,} numbers, more than {limits.SUMS:,}")


def check_schema(schema: Schema) -> list[str]:
    """What is wrong with the sizes of a schema."""
    problems = [
        *_samples(schema.samples.layout if schema.samples else None),
        *within("columns", len(schema.counted), 1, limits.COLUMNS),
        *(f"column '{c.name[:40]}': {problem}" for c in schema.counted for problem in _column(c)),
        *_constraints(schema),
    ]
    if len({column.name for column in schema.counted}) < len(schema.counted):
        problems.append("two columns of one name")
    problems += within("identifiers", len(schema.identifiers), 0, limits.COLUMNS)
    return problems


def check_conditions(conditions: ConditionSpace) -> list[str]:
    """What is wrong with the sizes of conditions."""
    cells = len(conditions.groups) * conditions.per_group
    problems = [
        *within("groups", len(conditions.groups), 1, limits.GROUPS),
        *within("labels", len(conditions.labels), 1, limits.LABELS),
        *within("centres", len(conditions.centres), 0, limits.CENTRES),
        *within("cells of group, label and cluster", cells, 1, limits.CELLS),
    ]
    if len({len(row) for row in conditions.counts} | {conditions.per_group}) > 1 or len(
        conditions.counts
    ) != len(conditions.groups):
        problems.append("counts of other cells than those of its groups, labels and centres")
    elif any(not 0 <= n <= limits.ROWS for row in conditions.counts for n in row):
        problems.append(f"counts of rows below 0 or above {limits.ROWS:,}")
    if any(len(group) != len(conditions.sensitive) for group in conditions.groups):
        problems.append("groups that do not name one value of every sensitive feature")
    for what, values in (("groups", conditions.groups), ("labels", conditions.labels)):
        if len(set(values)) < len(values):
            problems.append(f"two {what} of one name")
    if list(conditions.label_edges) != sorted(set(conditions.label_edges)):
        problems.append("edges of labels that do not rise")
    return problems


def _walk(value: Any, place: str, budget: _Budget, depth: int) -> None:
    """Refuses words, whole numbers and floats beyond all limits, wherever they are."""
    if depth < 0:
        raise RefusedError(f"{place} is nested too deeply")
    if isinstance(value, str):
        if len(value) > limits.STRING:
            raise RefusedError(
                f"{place} holds {len(value):,} characters, more than {limits.STRING:,}"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise RefusedError(f"{place} holds {value}; expected finite numbers")
    elif isinstance(value, int):
        if abs(value) >= limits.SEED:
            raise RefusedError(f"{place} holds a number beyond 2^63")
    elif isinstance(value, list | tuple):
        budget.left -= len(value)
        if budget.left < 0:
            raise RefusedError(f"{place} and all before it hold more than {limits.ITEMS:,} values")
        for inner in value:
            _walk(inner, place, budget, depth - 1)
    elif isinstance(value, dict):
        budget.left -= len(value)
        for name, inner in value.items():
            _walk(name, place, budget, depth - 1)
            _walk(inner, f"{place}.{str(name)[:40]}", budget, depth - 1)
    elif is_dataclass(value):
        # A round within another question, and the parts of its training.
        for field in fields(value):
            _walk(getattr(value, field.name), f"{place}.{field.name}", budget, depth - 1)


def within(what: str, value: float, least: float, most: float) -> list[str]:
    """What is wrong with a number that must lie between two others."""
    if least <= value <= most:
        return []
    return [f"{what}: {value:,}; expected {least:,} to {most:,}"]


def _problems(order: Task) -> list[str]:
    match order:
        case DescribeColumns():
            return [
                *within("columns", len(order.columns), 1, limits.COLUMNS),
                *within("columns left out", len(order.drop), 0, limits.COLUMNS),
                *within("cells that stand for no value", len(order.missing), 0, limits.COLUMNS),
                *_share(order.held_out.share),
                *order.form.problems,
                *_samples(order.samples),
                *_one_length({len(order.columns), len(order.formats) or len(order.columns)}),
                *_forms(order.formats),
            ]
        case CollectVocabulary():
            lengths = {len(order.columns), len(order.kinds), len(order.forms)}
            lengths |= {len(x) for x in (order.lenient, order.shifts, order.sizes) if x}
            problems = within("columns", len(order.columns), 1, limits.COLUMNS)
            for what, numbers, least, most in (
                ("shift", order.shifts, -1200, 1200),
                ("cells of a sketch", order.sizes, CELLS, LARGEST_SKETCH),
            ):
                problems += [p for n in numbers for p in within(what, n, least, most)][:1]
            problems += within(
                "cells that stand for no value", len(order.missing), 0, limits.COLUMNS
            )
            problems += within("constraints", len(order.constraints), 0, limits.COLUMNS)
            problems += within("identifiers", len(order.identifiers), 0, limits.COLUMNS)
            problems += order.form.problems
            problems += _one_length(lengths) + _share(order.held_out.share) + _forms(order.forms)
            if not problems:
                problems += _constraints(order.drafted)
            return problems + _samples(order.samples)
        case CountHistograms():
            problems = within(
                "cells that stand for no value", len(order.missing), 0, limits.COLUMNS
            )
            return problems + order.form.problems + _share(order.held_out.share)
        case KMeansStep():
            problems = within(
                "cells that stand for no value", len(order.missing), 0, limits.COLUMNS
            )
            return problems + order.form.problems + _share(order.held_out)
        case EncodeData():
            return [
                *within("groups' masses", len(order.mass), 1, limits.GROUPS),
                *_masses(order.mass),
                *_share(order.held_out),
                *order.form.problems,
                *([] if order.bins == 0 else within("bins", order.bins, 2, 64)),
                *within("cells that stand for no value", len(order.missing), 0, limits.COLUMNS),
            ]
        case SumMoments():
            return within(
                "levels",
                len(order.published),
                1,
                limits.GROUPS + limits.LABELS + limits.CENTRES + 1,
            )
        case SiteStatistics():
            return [
                *within("cells", order.cells, 1, limits.CELLS),
                *within("bins", order.bins, 0, 20 * (limits.COLUMNS + limits.CATEGORIES)),
            ]
        case HeldOutFeatureSums():
            return [
                *within("groups", order.groups, 1, limits.GROUPS),
                *within("frequencies", order.count, 1, limits.FREQUENCIES),
                *within("seed", order.seed, 0, limits.SEED - 1),
                *([] if 0 < order.deviation < 1e9 else [f"deviation = {order.deviation}"]),
            ]
        case Train():
            return _train(order)
        case CountBatchRows():
            return [
                *_train(order.train),
                *within("batches", order.most, 1, limits.BATCH + limits.SITES),
            ]
        case CountLeaves():
            lengths = {len(order.targets), len(order.nodes), len(order.sizes)}
            return [
                *within("exchange", order.exchange, 1, limits.LEAF_EXCHANGES),
                *within("bins", order.bins, 2, limits.CODES),
                *within("trees", len(order.targets), 1, limits.COLUMNS),
                *([] if len(lengths) == 1 else ["trees of which not each has a column and nodes"]),
                *(p for n in order.nodes for p in within("nodes", n, 1, limits.NODES)),
                *(p for n in order.sizes for p in within("codes", n, 1, limits.CODES)),
            ][:5]
        case CountMarginals():
            return within("groups", order.groups, 1, limits.GROUPS)
        case CountNeighbours():
            balls = [
                problem for n in order.sizes for problem in within("balls", n, 0, limits.BALLS)
            ]
            return [
                *within("groups", len(order.sizes), 1, limits.GROUPS),
                *within("cells of the codebook", order.cells, 1, limits.BOOK),
                *balls[:1],
            ]


def _train(order: Train) -> list[str]:
    problems = [
        *within("round", order.round, 1, limits.ROUNDS),
        *within("critic_steps", order.critic_steps, 1, limits.STEPS),
        *within("generator_steps", order.generator_steps, 0, limits.STEPS),
        *within("batch", order.batch, 1, limits.BATCH),
        *within("minimum", order.minimum, 1, limits.BATCH),
        *within("factor", order.factor, 0, 1),
        *within("strength", order.strength, 0, 1),
        *within("critic_seen", order.critic_seen, 0, limits.ROWS),
        *within("generator_seen", order.generator_seen, 0, limits.ROWS),
        *within("groups", order.groups, 1, limits.GROUPS),
        *within("sites", order.sites, 0, limits.SITES),
        *within("buffers", order.buffers, 0, limits.PARAMETERS),
        *(p for size in order.sizes for p in within("size", size, 1, limits.PARAMETERS)),
        *([] if order.device in ("cpu", "cuda") else [f"device = {order.device[:20]!r}"]),
    ]
    turn = -(-order.critic_steps // max(order.generator_steps, 1))
    problems += within("rows of a turn", turn * max(order.batch, order.minimum), 1, limits.DRAWN)
    if order.training.weighting.basis == "equal" and not order.sites:
        problems.append("sites: 0, of which each counts the same")
    if order.mass:
        problems += [*within("masses", len(order.mass), 1, limits.GROUPS), *_masses(order.mass)]
    return problems + _parts(order.training)


def _parts(training: LocalTraining) -> list[str]:
    """What is wrong with the numbers of a training's parts, whatever parts there are."""
    kinds = [part.kind for part in training.corrections]
    problems = ["a correction twice"] if len(set(kinds)) < len(kinds) else []
    for part in (training.statistics, training.weighting, *training.corrections):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, int | float):
                problems += within(f"{part.kind}.{field.name}", value, 0, 1e9)
    return problems


def _masses(mass: tuple[float, ...]) -> list[str]:
    right = all(0 <= m <= 1 + 1e-6 for m in mass) and abs(sum(mass) - 1) < 1e-3
    return [] if right else ["masses of groups; expected shares that add up to 1"]


def _samples(samples: SampleLayout | None) -> list[str]:
    if samples is None:
        return []
    problems = within("axes of a sample", len(samples.axes), 1, 8)
    if samples.dtype not in DTYPES:
        problems.append(f"samples of type {samples.dtype[:20]!r}; expected {', '.join(DTYPES)}")
    if not problems and any(size < 1 for size in samples.axes):
        problems.append("a sample with an axis of length 0 or less")
    return problems or within("numbers of a sample", samples.width, 1, limits.SAMPLE)


def _forms(forms: tuple[str, ...]) -> list[str]:
    """What is wrong with how cells are said to be written."""
    for form in set(forms):
        if len(form) > limits.FORM:
            return [f"a form of {len(form):,} characters, more than {limits.FORM}"]
        if is_date_form(form):
            if problem := form_problem(form):
                return [f"a form that {problem}"]
            continue
        try:
            parse_notation(form)
        except ValueError as error:
            return [str(error)]
    return []


def _constraints(schema: Schema) -> list[str]:
    """What is wrong with a schema's constraints and the columns that they add."""
    problems = within("constraints", len(schema.constraints), 0, limits.COLUMNS)
    if problems or not (schema.constraints or schema.hidden):
        return problems
    if constraint_problems(schema.columns, schema.constraints):
        return ["constraints that do not fit its columns"]
    wanted = hidden_columns(schema.columns, schema.constraints)
    if [(c.name, c.kind) for c in wanted] != [(c.name, c.kind) for c in schema.hidden]:
        return ["hidden columns other than those of its constraints"]
    return []


def _share(share: float) -> list[str]:
    return [] if 0 <= share < 1 else [f"held_out = {share}; expected 0 to below 1"]


def _one_length(lengths: set[int]) -> list[str]:
    return [] if len(lengths) == 1 else ["expected one kind and one form for each column"]


def _column(column: Column) -> list[str]:
    edges, shares = column.edges, column.cumulative
    problems = [
        *within("categories", len(column.categories), 0, limits.CATEGORIES),
        *within("atoms", len(column.atoms), 0, limits.ATOMS),
        *within("edges", len(edges), 0, limits.EDGES),
        *within("decimals", column.decimals, 0, 15),
        *_forms((column.form,)),
        *([] if parse_zone(column.zone) else [f"time zone {column.zone[:40]!r}"]),
        *within("characters of its type", len(column.storage), 0, limits.FORM),
    ]
    if len(edges) == 1 or any(a >= b for a, b in pairwise(edges)):
        problems.append("edges that do not rise, or one alone")
    if shares and (
        len(shares) != len(edges)
        or any(a > b for a, b in pairwise(shares))
        or not 0 <= shares[0] <= shares[-1] <= 1 + 1e-9
    ):
        problems.append("shares below its edges that do not rise from 0 to 1")
    for what, values in (("categories", column.categories), ("atoms", column.atoms)):
        if len(set(values)) < len(values):
            problems.append(f"{what} named twice")
    count = len(column.categories)
    if column.shares and (len(column.shares) != count or min(column.shares) < 0):
        problems.append("shares of other categories than its own")
    if column.states and (
        len(column.states) != count
        or not column.shares
        or set(column.states) != set(range(max(column.states) + 1))
    ):
        problems.append("states of other categories than its own, or states of none")
    return problems


def check_marginals(marginals: Marginals) -> list[str]:
    """What is wrong with the sizes of an audit's bins."""
    problems = within("columns", len(marginals.columns), 1, limits.COLUMNS)
    for column in marginals.columns:
        name = f"column '{column.name[:40]}'"
        problems += within(f"points of {name}", len(column.points), 0, POINTS)
        problems += within(f"categories of {name}", len(column.categories), 0, limits.CATEGORIES)
        if any(a >= b for a, b in pairwise(column.points)):
            problems.append(f"points of {name} that do not rise")
    return problems
