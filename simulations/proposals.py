"""Constraints that a table fulfils in every row and that are worth keeping in a synthetic one.

They are looked for in some of the rows and checked in all. A constraint is proposed where it holds
by chance in no table of independent columns, and where it is met by construction. No search goes
over more than `MOST_COLUMNS` columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.sketch import BYTES
from everymode.simulations.units import comparable, find_unit
from everymode.wgan.data.constrained import construction, hidden_columns
from everymode.wgan.data.constraint_rules import broken
from everymode.wgan.data.constraints import Combination, Constraint, OneHot, OnlyIf, Order, Sum
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.data.values import parse_values

MOST = 20
"""Constraints proposed at most."""

MOST_COLUMNS = 40
"""Columns of one kind among which constraints are looked for, in the table's order."""

SAMPLE = 10_000
"""Rows in which constraints are looked for."""

FEWEST = 50
"""Rows below which a table says nothing of constraints."""

SURE = -20.0
"""Logarithm of the probability of chance, below which a constraint is none."""

ParsedColumns = dict[str, npt.NDArray[np.float64] | npt.NDArray[np.object_]]


@dataclass(frozen=True)
class _Look:
    """Some rows of a table, by columns of a kind.

    Attributes:
        values: Values of each column, as they are parsed.
        numbers: Columns of numbers with more than two values.
        dates: Columns of dates.
        flags: Columns of 0 and 1, or of true and false, without gaps.
        texts: Columns of categories.
        floor: Rows that a combination needs.
        units: Of each column, by `everymode.simulations.units`.
    """

    values: ParsedColumns
    numbers: list[str]
    dates: list[str]
    flags: list[str]
    texts: list[str]
    floor: int
    units: dict[str, tuple[str, str]]


def propose_constraints(
    frame: pd.DataFrame, columns: Sequence[Column], fixed: Sequence[str], floor: int
) -> tuple[Constraint, ...]:
    """Constraints that every row fulfils, at most `MOST`.

    Args:
        frame: The rows.
        columns: Kinds and forms of the columns that are modelled, in the table's order.
        fixed: Sensitive features and the target, which no constraint determines.
        floor: Rows that a combination of values needs.
    """
    if len(frame) < FEWEST:
        return ()
    step = max(1, len(frame) // SAMPLE)
    look = _look(frame.iloc[::step], columns, floor)
    schema = Schema(tuple(columns))
    found: list[Constraint] = []
    for constraint in _candidates(look, schema, fixed):
        if len(found) == MOST:
            break
        # What another constraint determines already would be met by moving rows.
        both = (*found, constraint)
        plan = Schema(schema.columns, constraints=both, hidden=hidden_columns(columns, both))
        if all(construction(plan, fixed).built) and _holds(frame, constraint, schema, floor):
            found.append(constraint)
    return tuple(found)


def _holds(frame: pd.DataFrame, constraint: Constraint, schema: Schema, floor: int) -> bool:
    """Whether all rows fulfil a constraint; of combinations all but a few in a thousand."""
    if isinstance(constraint, Combination):
        cells = [frame[name].astype("str").fillna("") for name in constraint.columns]
        sizes = frame.groupby(cells, observed=True).size()
        return bool(sizes[sizes < floor].sum() <= 0.01 * len(frame))
    cells_of = {name: parse_values(frame, schema[name], "") for name in constraint.columns}
    return not broken(constraint, cells_of, schema).any()


def _look(frame: pd.DataFrame, columns: Sequence[Column], floor: int) -> _Look:
    values: ParsedColumns = {}
    kinds: dict[str, list[str]] = {"numbers": [], "dates": [], "flags": [], "texts": []}
    for column in columns:
        name = column.name
        kind = "texts"
        own = parse_values(frame, column, "")
        if column.numeric:
            distinct = np.unique(own[~np.isnan(own)])
            two = len(distinct) == 2 and distinct.tolist() == [0, 1] and not np.isnan(own).any()
            kind = "flags" if two else "dates" if column.kind == "datetime" else "numbers"
            if kind == "numbers" and len(distinct) <= 2:
                values[name] = own
                continue
        elif column.kind == "boolean" and not pd.isna(own).any() and len(set(own)) == 2:
            kind = "flags"
        values[name] = own
        if len(kinds[kind]) < MOST_COLUMNS:
            kinds[kind].append(name)
    units = {column.name: find_unit(column, frame[column.name]) for column in columns}
    return _Look(values, floor=floor, units=units, **kinds)


def _candidates(look: _Look, schema: Schema, fixed: Sequence[str]) -> Iterator[Constraint]:
    sums = [c for c in _sums(look, schema) if c.total not in fixed]
    yield from sums
    yield from (c for c in _one_hots(look) if not set(fixed) & set(c.columns))
    yield from (c for c in _only_ifs(look, schema) if c.column not in fixed)
    yield from _combinations(look, fixed)
    parts = {(part, c.total) for c in sums for part in c.parts}
    orders = [*_orders(look, look.dates), *_orders(look, look.numbers)]
    pairs = {(c.low, c.high) for c in orders} | parts
    for order in orders:
        between = any(
            (order.low, name) in pairs and (name, order.high) in pairs for name in look.values
        )
        if not between and (order.low, order.high) not in parts and order.high not in fixed:
            yield order


def _sums(look: _Look, schema: Schema) -> Iterator[Sum]:
    """Pairs of columns, and up to eight neighbours, that add up to another one."""
    names = look.numbers
    if len(names) < 3:
        return
    table = np.stack([look.values[name] for name in names], axis=1).astype(np.float64)
    first = table[~np.isnan(table).any(1)][:24]
    if len(first) < 12:
        return
    size = np.abs(first).max(0) + 1e-300
    used = (np.abs(first) > 0).mean(0) > 0.2
    for t, total in enumerate(names):
        groups: list[tuple[int, ...]] = [
            pair for pair in combinations(range(len(names)), 2) if t not in pair
        ]
        for side in (-1, 1):
            for length in range(3, 9):
                block = [t + side * k for k in range(1, length + 1)]
                if min(block) >= 0 and max(block) < len(names):
                    groups.append(tuple(sorted(block)))
        for group in groups:
            if not used[list(group)].all():
                continue
            if not all(comparable(look.units[names[i]], look.units[total]) for i in group):
                continue
            off = np.abs(first[:, list(group)].sum(1) - first[:, t]).max()
            if off <= 0.51 * 10.0 ** -min(schema[total].decimals, 12) + 1e-9 * size[t]:
                yield Sum(total, tuple(names[i] for i in group))
                break


def _one_hots(look: _Look) -> Iterator[OneHot]:
    """Neighbours among the columns of 0 and 1 of which just one is 1 in every row."""
    ones = [
        own == 1 if own.dtype != object else pd.Series(own).str.lower().eq("true").to_numpy()
        for own in (look.values[name] for name in look.flags)
    ]
    start = 0
    while start < len(ones):
        total = np.zeros(len(ones[start]), dtype=np.int64)
        stop = start
        while stop < len(ones) and total.max(initial=0) <= 1 and not (total == 1).all():
            total = total + ones[stop]
            stop += 1
        if stop - start > 1 and (total == 1).all():
            yield OneHot(tuple(look.flags[start:stop]))
            start = stop
        else:
            start += 1


def _only_ifs(look: _Look, schema: Schema) -> Iterator[OnlyIf]:
    """Columns that are missing outside some values of a category, and mostly there within."""
    keys = [*look.texts, *look.flags]
    coded = {}
    for name in keys:
        codes, uniques = pd.factorize(look.values[name])
        if 2 <= len(uniques) <= 20 and schema[name].kind != "float":
            coded[name] = codes, uniques
    for column in list(look.values)[: 4 * MOST_COLUMNS]:
        gone = pd.isna(look.values[column])
        if not 0.02 < gone.mean() < 0.98:
            continue
        best: tuple[int, OnlyIf] | None = None
        for when, (codes, uniques) in coded.items():
            if when == column:
                continue
            there = np.bincount(codes[codes >= 0], ~gone[codes >= 0], len(uniques))
            inside = (codes >= 0) & (there[codes] > 0)
            outside = int((~inside).sum())
            if gone[inside].mean() > 0.5 or outside * np.log(gone.mean()) > SURE:
                continue
            if best is None or outside > best[0]:
                held = [u for u, n in zip(uniques, there, strict=True) if n > 0]
                texts = tuple(u if isinstance(u, str) else f"{u:.15g}" for u in held)
                best = outside, OnlyIf(column, when, texts)
        if best is not None:
            yield best[1]


def _combinations(look: _Look, fixed: Sequence[str]) -> Iterator[Combination]:
    """A category and those that it determines."""
    names = [name for name in look.texts if name not in fixed]
    coded = {name: pd.factorize(look.values[name], use_na_sentinel=False) for name in names}
    found: list[tuple[str, ...]] = []
    for name in names:
        codes, uniques = coded[name]
        rows = np.bincount(codes, minlength=len(uniques))
        if len(uniques) < 3 or len(codes) < 2 * look.floor * len(uniques):
            continue
        follows = []
        for other in names:
            theirs, values = coded[other]
            if other == name or not 2 <= len(values) <= len(uniques):
                continue
            pairs = len(np.unique(codes * len(values) + theirs))
            common = np.bincount(theirs).max() / len(theirs)
            if pairs == len(uniques) and (rows - 1).sum() * np.log(common) < SURE:
                follows.append(other)
        if follows:
            found.append((name, *follows[:4]))
    for group in sorted(found, key=len, reverse=True):
        longest = sum(max(len(str(u).encode()) for u in coded[name][1]) + 3 for name in group)
        if longest + 1 <= BYTES:
            yield Combination(group)


def _orders(look: _Look, names: Sequence[str]) -> Iterator[Order]:
    """Pairs in order in every row, which independent values in these ranges would not be.

    Values of unlike units are not compared, nor numbers of which one is ten times as large.
    """
    rng = np.random.default_rng(0)
    for low, high in permutations(names, 2):
        if not comparable(look.units[low], look.units[high]):
            continue
        one, other = look.values[low], look.values[high]
        both = ~(np.isnan(one.astype(np.float64)) | np.isnan(other.astype(np.float64)))
        if both.sum() < FEWEST:
            continue
        a, b = one[both].astype(np.float64), other[both].astype(np.float64)
        if (a > b).any() or (a == b).all():
            continue
        sizes = np.median(np.abs(a)), np.median(np.abs(b))
        if names is look.numbers and max(sizes) > 10 * min(sizes):
            continue
        chance = float((a[rng.permutation(len(a))] <= b).mean())
        if chance < 0.95 and len(a) * np.log(max(chance, 1e-12)) < SURE:
            yield Order(low, high)
