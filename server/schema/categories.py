"""The categories of a column: those with enough rows, and a state for all that are rarer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.sketch import CAPACITY
from everymode.server.schema.table_spec import TableSpec
from everymode.wgan.data.schema import Column
from everymode.wgan.errors import DataError

STATES = 256
"""Most states of a column: of more categories those share one that begin alike."""

NAMED = 0.05
"""Share of rare rows from which on a column is named."""

SHOWN = 8
"""Columns that one sentence names."""

Ints = npt.NDArray[np.int64]


def settle_categories(
    column: Column, counts: Ints, others: int, data: TableSpec
) -> tuple[Column, str]:
    """A column with the categories of enough rows, and what has to be said of it.

    Values of sensitive features and of the target that are too rare take no part: their rows are
    left out with their groups and labels.

    Args:
        column: With candidates for its categories.
        counts: Rows of each candidate, `(n,)`.
        others: Rows of values that are none of the candidates.
        data: Says how rare values are treated.

    Raises:
        DataError: Of very many values none is held by enough rows.
    """
    names = column.categories
    # Most frequent first: where there is no better place, what is not known is taken for the first.
    ranking = sorted(range(len(counts)), key=lambda c: (-counts[c], names[c]))
    kept = [c for c in ranking if counts[c] >= data.floor]
    rare = others + int(counts.sum() - counts[kept].sum())
    present = others + int(counts.sum())
    if not kept and len(counts) > CAPACITY:
        raise DataError(
            f"column '{column.name}': of {len(counts):,} distinct values none is held by "
            f"{data.floor} rows (data.floor): that is text or an identifier, not a category. Leave "
            f'it out with data.drop = ["{column.name}"], or, for a column of unique codes, set '
            f'data.columns.{column.name}.kind = "id"'
        )
    kept = kept or ranking[:1]
    settled = replace(column, categories=tuple(names[c] for c in kept))
    if column.name in (*data.sensitive, data.target) or column.kind == "boolean":
        return settled, ""
    note = _note(column, rare, present, len(kept), data)
    if rare >= data.floor and data.rare == "missing":
        return _shared(replace(settled, missing=True), counts[kept]), note
    if rare >= data.floor and data.rare == "spread":
        shares = tuple((counts[kept] / max(counts[kept].sum(), 1)).tolist())
        return _shared(replace(settled, shares=shares), counts[kept]), note
    if rare >= data.floor:
        name = data.rare
        while name in settled.categories:
            name = f"({name})"
        none = not len(counts) or counts.max() < data.floor
        settled = replace(settled, rare=name, categories=() if none else settled.categories)
        kept = [] if none else kept
    return _shared(settled, counts[kept]), note


def note_few_rare(
    columns: Sequence[Column], present: Sequence[int], kept: Sequence[int], data: TableSpec
) -> Iterator[str]:
    """One sentence on all columns with so few rare cells that none has a sentence of its own.

    Args:
        columns: The settled columns.
        present: Cells of each with a value; 0 where it holds no categories.
        kept: Those whose value is one of its categories.
        data: Says how rare values are treated.
    """
    fates: dict[str, list[str]] = {}
    for column, cells, known in zip(columns, present, kept, strict=True):
        rare = cells - known
        own = column.name in (*data.sensitive, data.target) or column.kind == "boolean"
        if own or not 0 < rare < NAMED * cells:
            continue
        fate = "the commonest"
        if rare >= data.floor:
            spread = "values that begin alike"
            fate = {"missing": "missing", "spread": spread}.get(data.rare, repr(column.rare))
        fates.setdefault(fate, []).append(f"'{column.name}' ({rare:,} cell{'s' * (rare > 1)})")
    for fate, names in fates.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield (
            f"values in fewer rows than data.floor = {data.floor} are taken for {fate} in "
            f"{', '.join(names[:SHOWN])}{more}"
        )


def _note(column: Column, rare: int, present: int, kept: int, data: TableSpec) -> str:
    if rare < NAMED * present or not rare:
        return ""
    fate = {
        "missing": "are missing in synthetic rows",
        "spread": "are spread over values that begin like them",
    }.get(data.rare, f"are written {data.rare!r} in synthetic rows")
    staying = "1 value stays" if kept == 1 else f"{kept} values stay"
    return (
        f"column '{column.name}': {rare:,} of {present:,} cells ({rare / present:.0%}) hold rare "
        f"values, each in fewer rows than data.floor = {data.floor}; they {fate} ({staying}). "
        "Coarser values (the first digits of a code), a lower data.floor, or data.rare help"
    )


def _shared(column: Column, counts: Ints) -> Column:
    """The column with at most `STATES` states: categories that begin alike share one."""
    if len(column.categories) <= STATES:
        return column
    shares = tuple((counts / counts.sum()).tolist())
    return replace(column, shares=shares, states=prefix_states(column.categories, counts, STATES))


def prefix_states(names: Sequence[str], counts: Ints, most: int) -> tuple[int, ...]:
    """States of values by what they begin with: the largest class is parted first.

    >>> prefix_states(["10115", "10117", "80331", "80333", "x"], np.array([5, 5, 9, 1, 1]), 4)
    (0, 0, 1, 2, 3)
    """
    classes: list[tuple[int, str, list[int]]] = [(int(counts.sum()), "", list(range(len(names))))]
    closed: list[list[int]] = []
    while classes and len(classes) + len(closed) < most:
        place = max(range(len(classes)), key=lambda c: (classes[c][0], classes[c][1]))
        _, prefix, members = classes.pop(place)
        parts: dict[str, list[int]] = {}
        for member in members:
            parts.setdefault(names[member][: len(prefix) + 1], []).append(member)
        if len(members) == 1 or len(parts) + len(classes) + len(closed) > most:
            closed.append(members)
            continue
        for start, own in parts.items():
            ended = len(start) == len(prefix)
            if ended or len(own) == 1:
                closed.append(own)
            else:
                classes.append((int(counts[own].sum()), start, own))
    groups = sorted([*closed, *(members for _, _, members in classes)], key=min)
    states = np.zeros(len(names), dtype=np.int64)
    for state, members in enumerate(groups):
        states[members] = state
    return tuple(states.tolist())
