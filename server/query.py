"""The schema, the groups and their counts, from three exchanges of sums; more find clusters.

*Look* settles the kind of every column, *values* brings vocabularies, candidates for atoms and a
coarse histogram, *ranks* counts exactly over what the first two found. No site sends a list of
categories: the vocabulary is peeled from the sum of the sites' value sketches (`clients.sketch`),
or declared in the configuration, in which case no sketch is read.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from clients.orders import Request
from clients.questions import Look, Ranks, Values
from clients.sketch import frequent, log_edges, peel
from clients.sums import SiteSums
from fairness.groups import Conditions
from server.cells import SENSITIVE_VALUES, check_declared, counted_cells, possible_cells
from server.clusters import clustered
from server.exchange import Exchange
from server.sections import DataSettings
from wgan.data.frame import DATE_FORMS, widest
from wgan.data.ranks import jitter
from wgan.data.schema import KINDS, Column, Kind, Schema
from wgan.errors import DataError

Floats = npt.NDArray[np.float64]

END_BINS = 32
"""Fine bins of the lowest and the highest coarse one: ranges are right to 1.1 % / 32 = .035 %."""

FINE_BINS = 2048
"""Fine bins a numeric column gets, shared out by the coarse histogram's mass."""


@dataclass(frozen=True)
class Agreement:
    """What server and sites know of the data before training."""

    schema: Schema
    conditions: Conditions
    rows: int


def agree(
    exchange: Exchange, columns: Sequence[str], data: DataSettings, seed: int = 0
) -> Agreement:
    """Asks the sites three times and reads schema and conditions off the sums.

    Latent clusters, where they are wanted, take 2 K + 15 exchanges more at most.

    Args:
        exchange: The way to the sites.
        columns: Headers that every table must have, in order; `data.drop` taken off already.
        data: What is declared.
        seed: The run's; only clusters need it.

    Raises:
        DataError: A table does not fit, or what was found cannot be modelled; all problems at once.
    """
    names = tuple(columns)
    check_names(names, data)
    looked = exchange(Request(Look(names, data.drop, data.missing)))
    rows = int(looked["rows"][0])
    drafts = _draft(looked, names, data)
    kinds, forms = tuple(c.kind for c in drafts), tuple(c.form for c in drafts)
    order = Values(names, kinds, forms, data.missing)
    found = exchange(Request(order))
    candidates: list[Column] = []
    problems: list[str] = []
    for i, column in enumerate(drafts):
        try:
            candidates.append(_candidates(column, i, found, rows, data))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    proposal = possible_cells(Schema(tuple(candidates)), data, found)
    question = Ranks(Schema(tuple(candidates)).to_json(), proposal.to_json(), data.missing)
    counted = exchange(Request(question))
    schema = Schema(tuple(_settle(c, i, counted, rows, data) for i, c in enumerate(candidates)))
    check_declared(proposal, counted, data)
    conditions = counted_cells(proposal, counted, data)
    if data.clusters:
        conditions = clustered(exchange, schema, conditions, data, seed)
    return Agreement(schema, conditions, rows)


def check_names(names: Sequence[str], data: DataSettings) -> None:
    """Raises `DataError` where the configuration names a column that the tables do not have."""
    problems = []
    wanted = [("data.sensitive", n) for n in data.sensitive]
    wanted += [("data.target", data.target)] if data.target else []
    wanted += [(f"data.columns.{n}", n) for n in data.columns if n not in data.drop]
    for key, name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(names)}"
            problems.append(f"{key}: the tables have no column '{name}'; {hint}")
    if problems:
        raise DataError(problems)


def _draft(looked: SiteSums, names: Sequence[str], data: DataSettings) -> list[Column]:
    """Kinds, from votes; declared ones as declared; sensitive features as categories."""
    drafts, problems = [], []
    for i, name in enumerate(names):
        votes = looked[f"kind.{i}"]
        declared = data.columns.get(name)
        if declared and declared.kind:
            kind: Kind = declared.kind
        elif declared and declared.categories:
            kind = "category"
        elif votes.any():
            kind = widest(k for k, n in zip(KINDS, votes, strict=True) if n)
        else:
            problems.append(
                f"column '{name}': every value is missing at every site; leave it out with "
                f'data.drop = ["{name}"]'
            )
            continue
        natural = kind
        if name in data.sensitive:
            if kind in ("float", "datetime"):
                problems.append(
                    f"data.sensitive: '{name}' holds {kind} values, and a group needs categories; "
                    "add a column of bands (age 18-29, 30-44, ...) to the tables and name that one"
                )
                continue
            kind = "boolean" if kind == "boolean" else "category"
        fits = looked[f"form.{i}"] == votes[KINDS.index("datetime")]
        if kind == "datetime" and not fits.any():
            problems.append(
                f"column '{name}': sites write date-times in ways that no one form fits; write "
                "them alike everywhere, best as 2021-04-03, or declare "
                f'data.columns.{name}.kind = "category"'
            )
            continue
        form = DATE_FORMS[int(np.argmax(fits))] if kind == "datetime" else ""
        decimals = looked[f"decimals.{i}"].nonzero()[0]
        drafts.append(
            Column(
                name,
                kind,
                missing=bool(looked[f"missing.{i}"][0]),
                decimals=int(decimals.max()) if kind == "float" and len(decimals) else 0,
                dtype="int64" if kind == "category" and natural == "integer" else "str",
                form=form,
            )
        )
    if problems:
        raise DataError(problems)
    return drafts


def _candidates(column: Column, i: int, found: SiteSums, rows: int, data: DataSettings) -> Column:
    """Categories or atoms to be counted, and the edges of fine bins."""
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
    grid = log_edges()
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
    pieces = [np.linspace(grid[b], grid[b + 1], 1 + n) for b, n in zip(used, cuts, strict=True)]
    edges = np.unique(np.concatenate(pieces))
    if step:
        first = np.floor(edges[0] / step + 0.5) - 0.5
        last = np.ceil(edges[-1] / step - 0.5) + 0.5
        inner = np.floor(edges / step) + 0.5
        edges = np.unique([*np.clip(inner, first, last), first, last]) * step
    return edges


def _settle(column: Column, i: int, counted: SiteSums, rows: int, data: DataSettings) -> Column:
    """Drops what is too rare, turns counts into ranks, and reads the range."""
    if not column.numeric:
        declared = data.columns.get(column.name)
        if declared and declared.categories:
            return column
        counts = counted[f"categories.{i}"]
        # Most frequent first: what the vocabulary does not know is taken for the first.
        ranking = sorted(range(len(counts)), key=lambda c: (-counts[c], column.categories[c]))
        kept = [column.categories[c] for c in ranking if counts[c] >= data.floor]
        return replace(
            column, categories=tuple(kept or [column.categories[c] for c in ranking[:1]])
        )
    counts = counted[f"bins.{i}"].copy()
    edges = np.array(column.edges)
    heavy = []
    for atom, n in zip(column.atoms, counted[f"atoms.{i}"], strict=True):
        if n > data.atom_share * rows:
            heavy.append(atom)
        elif len(counts):
            # A candidate that turns out too rare goes back to its bin.
            at = int(np.clip(np.searchsorted(edges, atom, side="right") - 1, 0, len(counts) - 1))
            counts[at] += n
    used = counts.nonzero()[0]
    if not len(used):
        return replace(
            column,
            atoms=tuple(heavy),
            edges=(),
            low=min(heavy, default=0.0),
            high=max(heavy, default=0.0),
        )
    edges, counts = edges[used[0] : used[-1] + 2], counts[used[0] : used[-1] + 1]
    half = jitter(column) / 2
    low, high = float(edges[0]) + half, float(edges[-1]) - half
    if data.numbers == "linear" and half and low >= high - half:
        # One value has no range to be placed in. Edges are right to rounding, the value is exact.
        value = round(low, column.decimals)
        return replace(column, atoms=(value,), edges=(), low=value, high=value)
    return replace(
        column,
        atoms=tuple(heavy),
        edges=tuple(edges.tolist()),
        cumulative=tuple(np.append(0.0, np.cumsum(counts) / counts.sum()).tolist()),
        low=min([low, *heavy]),
        high=max([high, *heavy]),
    )
