"""Candidates for categories, point masses and bins of a column, and what is kept of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.sketch import frequent, log_edges, peel
from everymode.clients.protocol.sums import SiteSums
from everymode.server.schema.categories import SHOWN, settle_categories
from everymode.server.schema.cells import SENSITIVE_VALUES
from everymode.server.schema.drafts import Draft
from everymode.server.schema.table_spec import TableSpec
from everymode.wgan.data.dates import write_dates
from everymode.wgan.data.extent import extent
from everymode.wgan.data.ranks import jitter
from everymode.wgan.data.schema import Column
from everymode.wgan.errors import DataError

Floats = npt.NDArray[np.float64]

END_BINS = 32
"""Fine bins of the lowest and the highest coarse one: ranges are right to 1.1 % / 32 = .035 %."""

OUTWARD = 0.15
"""Share of its width by which a range may be rounded outward with nothing said."""

FINE_BINS = 2048
"""Fine bins a numeric column gets, shared out by the coarse histogram's mass."""


def find_candidates(draft: Draft, i: int, found: SiteSums, rows: int, data: TableSpec) -> Column:
    """Categories or atoms to be counted, and the edges of fine bins."""
    column = draft.column
    declared = data.columns.get(column.name)
    if not column.numeric:
        if declared and declared.categories:
            return replace(column, categories=declared.categories)
        try:
            values = peel(found.units(f"sketch.{i}"), column.name)
        except DataError:
            if column.name not in data.sensitive:
                raise
            values = dict.fromkeys(map(str, range(SENSITIVE_VALUES + 1)), 0)
        if column.name in data.sensitive and len(values) > SENSITIVE_VALUES:
            raise DataError(
                f"data.sensitive: '{column.name}' holds more than {SENSITIVE_VALUES} different "
                "values, and each would be a group of its own; add a column of bands "
                "(age 18-29, 30-44, ...) to the tables and name that one"
            )
        if column.kind == "boolean":
            spelling: dict[str, str] = {}
            for value in sorted(values, key=lambda v: (-values[v], v)):
                spelling.setdefault(value.lower(), value)
            return replace(column, categories=tuple(sorted(spelling.values())))
        return replace(column, categories=tuple(sorted(values)))
    histogram = found[f"histogram.{i}"]
    linear = data.numbers == "linear"
    atoms = () if linear else frequent(found.units(f"vote.{i}"), data.atom_share * rows)
    column = replace(column, scale=data.numbers)
    grid = log_edges(draft.shift)
    used = histogram.nonzero()[0]
    if not len(used):
        return column
    column = replace(column, atoms=atoms, low=float(grid[used[0]]), high=float(grid[used[-1] + 1]))
    return replace(column, edges=tuple(_fine(histogram, used, grid, jitter(column)).tolist()))


def _fine(histogram: Floats, used: npt.NDArray[np.intp], grid: Floats, step: float) -> Floats:
    """Edges that cut every occupied coarse bin in proportion to its rows.

    The outermost bins are cut finely in any case: the range is read from them. Values on a grid of
    `step` get edges halfway between them.
    """
    shares = histogram[used] / histogram.sum()
    cuts = np.maximum(np.rint(FINE_BINS * shares).astype(np.int64), 1)
    cuts[[0, -1]] = np.maximum(cuts[[0, -1]], END_BINS)
    if not step:
        # Nothing but 0 is in the bin around it.
        cuts[(grid[used] < 0) & (grid[used + 1] > 0)] = 1
    pieces = [np.linspace(grid[b], grid[b + 1], 1 + n) for b, n in zip(used, cuts, strict=True)]
    edges = np.unique(np.concatenate(pieces))
    if step:
        first = np.floor(edges[0] / step + 0.5) - 0.5
        last = np.ceil(edges[-1] / step - 0.5) + 0.5
        inner = np.floor(edges / step) + 0.5
        edges = np.unique([*np.clip(inner, first, last), first, last]) * step
    return edges


def settle_column(
    column: Column, i: int, counted: SiteSums, rows: int, data: TableSpec
) -> tuple[Column, str]:
    """Drops what is too rare, turns counts into ranks, and reads the range.

    Returns:
        The column, and what has to be said of it; "" where there is nothing.
    """
    if not column.numeric:
        declared = data.columns.get(column.name)
        if declared and declared.categories:
            return column, ""
        rare = int(counted[f"rare.{i}"][0])
        return settle_categories(column, counted.units(f"categories.{i}"), rare, data)
    counts = counted[f"bins.{i}"].copy()
    edges = np.array(column.edges)
    heavy = []
    for atom, n in zip(column.atoms, counted[f"atoms.{i}"], strict=True):
        if n > data.atom_share * rows and n >= data.floor:
            heavy.append(atom)
        elif len(counts):
            # A candidate that turns out too rare goes back to its bin.
            at = int(np.clip(np.searchsorted(edges, atom, side="right") - 1, 0, len(counts) - 1))
            counts[at] += n
    few = int(counts.sum())
    if few < data.floor and (heavy or column.missing or not few):
        column = replace(
            column,
            atoms=tuple(heavy),
            edges=(),
            low=min(heavy, default=0.0),
            high=max(heavy, default=0.0),
        )
        note = (
            f"column '{column.name}': {few} number{'s' * (few > 1)} beside its point masses "
            f"{'are' if few > 1 else 'is'} fewer than data.floor = {data.floor}; each is taken for "
            f"{'the nearest of these' if heavy else 'missing'}"
        )
        return column, note if few else ""
    fine, rows_in = edges, counts
    edges, counts = merged_bins(edges, counts, data.floor, jitter(column))
    half = jitter(column) / 2
    first, last = extent(column)
    # A few values within it are always there.
    edges[[0, -1]] = max(edges[0], first - half), min(edges[-1], last + half)
    low, high = float(edges[0]) + half, float(edges[-1]) - half
    beyond = int(rows_in[fine[1:] <= edges[0]].sum() + rows_in[fine[:-1] >= edges[-1]].sum())
    least, most = min([low, *heavy]), max([high, *heavy])
    note = (
        f"column '{column.name}': {beyond} value{'s' * (beyond > 1)} too few to be told apart "
        f"(data.floor = {data.floor}) {'are' if beyond > 1 else 'is'} taken for the nearest of "
        f"those from {_shown(least, column)} to {_shown(most, column)}"
    )
    if data.numbers == "linear" and half and low >= high - half:
        # One value has no range to be placed in. Edges are right to rounding, the value is exact.
        value = round(low, column.decimals)
        return replace(column, atoms=(value,), edges=(), low=value, high=value), ""
    return replace(
        column,
        atoms=tuple(heavy),
        edges=tuple(edges.tolist()),
        cumulative=tuple(np.append(0.0, np.cumsum(counts) / counts.sum()).tolist()),
        low=least,
        high=most,
    ), note if beyond else ""


def note_rounded_ranges(
    candidates: Sequence[Column], columns: Sequence[Column], counted: SiteSums, floor: int
) -> Iterator[str]:
    """One sentence on all columns whose range is rounded outward by much.

    Args:
        candidates: The columns with fine bins, as they were counted.
        columns: The same, settled.
        counted: The sums of the counts.
        floor: Rows that a range needs at its ends.
    """
    found = []
    for i, (fine, column) in enumerate(zip(candidates, columns, strict=True)):
        if not (fine.edges and column.edges):
            continue
        half, used = jitter(column) / 2, counted[f"bins.{i}"].nonzero()[0]
        held = [a for a, n in zip(fine.atoms, counted[f"atoms.{i}"], strict=True) if n]
        if len(used):
            held += [fine.edges[used[0]] + half, fine.edges[used[-1] + 1] - half]
        low, high = min(held), max(held)
        ends = []
        if low - column.low > OUTWARD * (high - low):
            ends.append(f"from {_shown(column.low, column)}")
        if column.high - high > OUTWARD * (high - low):
            ends.append(f"to {_shown(column.high, column)}")
        if ends:
            found.append(f"'{column.name}' ({' '.join(ends)})")
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield (
            f"ranges that fewer rows decide than data.floor = {floor} are rounded outward by "
            f"{OUTWARD:.0%} or more: {', '.join(found[:SHOWN])}{more}"
        )


def _shown(number: float, column: Column) -> str:
    """A number for people: a moment in the form of its column."""
    if column.kind != "datetime":
        return f"{number:,.10g}"
    moment = pd.DatetimeIndex([np.datetime64(round(number * 1e6), "us")])
    return str(write_dates(moment, column.form, column.zone)[0])


def merged_bins(edges: Floats, counts: Floats, floor: int, step: float) -> tuple[Floats, Floats]:
    """Fine bins of `floor` rows at least, and a range that no few rows decide.

    Neighbouring bins of fewer rows are merged until they hold enough. Where they hold too few even
    together, between larger bins, they count as `floor` rows or as none, whichever is nearer
    (controlled rounding; Hundepool et al., "Statistical Disclosure Control", 2012, chapter 4), and
    beyond the outermost larger bin as none. Merged with a larger bin they would spread its rows
    over theirs. Where the outermost rows were merged, the range is rounded outward, to the largest
    1, 2 or 5 times a power of ten that is no wider than they lie apart.

    Args:
        edges: Ascending, `(n + 1,)`.
        counts: Rows in each bin, `(n,)`, of which there are some.
        floor: Rows a bin shall hold.
        step: The grid that values lie on; edges are halfway between them. 0: there is none.

    Examples:
        >>> rows = np.array([1, 9, 1, 2, 0, 4, 9, 7, 0, 3, 1, 1])
        >>> edges, counts = merged_bins(np.arange(12.0, 25.0) - 0.5, rows, 5, 1.0)
        >>> edges.tolist(), counts.tolist()
        ([12.5, 13.5, 17.5, 18.5, 19.5, 20.5, 24.5], [9, 7, 9, 7, 0, 5])
    """
    large = counts.max() >= floor
    groups: list[tuple[int, int, int]] = []  # First bin, the one behind the last, rows.
    run: list[tuple[int, int, int]] = []

    def close(last: bool = False) -> None:
        if not run:
            return
        outermost = last or not groups
        first, end, held = run.pop()
        if held < floor and run:
            first, _, before = run.pop()
            held += before
        elif held < floor:
            held = 0 if large and (outermost or 2 * held < floor) else floor
        groups.extend([*run, (first, end, held)])
        run.clear()

    for i in np.flatnonzero(counts):
        place, rows = int(i), int(counts[i])
        if rows >= floor:
            close()
            groups.append((place, place + 1, rows))
        elif run and run[-1][2] < floor:
            run[-1] = (run[-1][0], place + 1, run[-1][2] + rows)
        else:
            run.append((place, place + 1, rows))
    close(last=True)
    groups = [group for group in groups if group[2]]
    found, held = [float(edges[groups[0][0]])], []
    for first, last, rows in groups:
        if edges[first] > found[-1]:
            found.append(float(edges[first]))
            held.append(0)
        found.append(float(edges[last]))
        held.append(rows)
    half = step / 2
    if groups[0][1] - groups[0][0] > 1:
        width = found[1] - found[0]
        found[0] = _outward(found[0] + half, width, step, np.floor) - half
    if groups[-1][1] - groups[-1][0] > 1:
        width = found[-1] - found[-2]
        found[-1] = _outward(found[-1] - half, width, step, np.ceil) + half
    return np.array(found), np.array(held)


def _outward(value: float, width: float, step: float, rounded: Callable[[float], float]) -> float:
    nice = 10.0 ** np.floor(np.log10(width))
    nice *= max(factor for factor in (1.0, 2.0, 5.0) if factor * nice <= width * (1 + 1e-9))
    found = rounded(value / nice) * nice
    return float(rounded(found / step) * step if step else found)
