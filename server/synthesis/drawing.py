"""Rows drawn at random from a trained generator, under conditions if wanted, piece by piece.

A condition on a column that the generator is conditioned on chooses cells, which costs nothing. Any
other condition is met by rejection sampling: rows are drawn in the mixture of cells that is asked
for, and those that fit are kept. They therefore have the generator's own conditional distribution,
over cells, too: cells come in proportion to their share times their acceptance.

No other choice of cells needs fewer rows. Of `m` rows in all, cell c must give
`m * share_c * acceptance_c / acceptance`, each of which takes `1 / acceptance_c` draws, and the
acceptances of the single cells cancel: what is left is `m / acceptance` times the share of the
cells that have fitting rows at all. Rows can be saved only in cells without any. They are left out
once the Good-Turing estimate says that hardly any fitting row is missed that way (Good, "The
population frequencies of species and the estimation of population parameters", 1953): the
probability that the next fitting row comes from a cell that has given none yet is about the number
of cells that have given exactly one, over the number of fitting rows.

Rows come in pieces of `ROWS`, each from a seed of its own, so that a table of any length takes the
memory of one piece.

How long a search may take is a limit in seconds. The rows do not depend on it: a search ends with
the same rows, or with an error that estimates its time.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.groups.conditions import MISSING
from everymode.fairness.parity.mixture import ParityMixture
from everymode.server.datasets.choice import choose_modality
from everymode.server.datasets.tables import with_identifiers
from everymode.server.synthesis.conditions import Condition, parse_conditions
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError

Groups = Literal["data", "uniform"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]

PATIENCE = 60.0
"""Seconds that a search may take, unless others are asked for."""

FIRST, PIECE = 4096, 32_768
"""Rows drawn at once, where they are narrow: at first, and at most. The number doubles."""

ROWS = 65_536
"""Rows of a piece that is handed on."""

NUMBERS = 2**24
"""Numbers that a piece of wider rows holds at most."""

PILOT = 4
"""Pieces drawn before a time is estimated: the first are slower than the rest."""

MISSED = 0.005
"""Share of the fitting rows, by estimate, below which cells that have given none are left out."""

MIN_HITS = 400
"""Fitting rows below which no such estimate is made."""


class RowSource(Protocol):
    """What rows are drawn from: `everymode.server.synthesis.synthesizer.Synthesizer`."""

    @property
    def plan(self) -> Plan: ...  # noqa: D102

    @property
    def parity(self) -> ParityMixture | None: ...  # noqa: D102

    def check_table(self) -> None: ...  # noqa: D102

    def table(self, cells: Ints, seed: int) -> pd.DataFrame: ...  # noqa: D102

    def encoded(self, cells: Ints, seed: int) -> Rows: ...  # noqa: D102


@dataclass(frozen=True)
class Search:
    """How long rows that meet a condition are searched for.

    Attributes:
        patience: Seconds; a search that would take longer by estimate is refused.
        progress: Hears rows found, rows wanted, and the estimate of the seconds left (None: not
            known yet).
        clock: The time in seconds.
    """

    patience: float = PATIENCE
    progress: Callable[[int, int, float | None], None] = lambda found, wanted, left: None
    clock: Callable[[], float] = time.monotonic


def draw(
    synthesizer: RowSource,
    rows: int,
    seed: int,
    groups: Groups,
    where: Mapping[str, Any] | None,
    search: Search,
) -> pd.DataFrame:
    """Random rows, under conditions if wanted: all pieces of `draw_pieces` in one table."""
    pieces = list(draw_pieces(synthesizer, rows, seed, groups, where, search))
    return pieces[0] if len(pieces) == 1 else pd.concat(pieces, ignore_index=True)


def draw_pieces(
    synthesizer: RowSource,
    rows: int,
    seed: int,
    groups: Groups,
    where: Mapping[str, Any] | None,
    search: Search,
) -> Iterator[pd.DataFrame]:
    """Random rows in pieces of `ROWS`, under conditions if wanted.

    Args:
        synthesizer: Makes them.
        rows: How many.
        seed: Their seed.
        groups: Mixture of groups: as in the data, or uniform.
        where: Conditions by column; see `everymode.server.synthesis.conditions`.
        search: How long rows are searched for.

    Raises:
        DataError: A column or value is unknown, or occurs too rarely; or uniform groups are asked
            of a generator that is not conditioned on groups.
        SettingsError: The rows are arrays.
    """
    plan = synthesizer.plan
    wanted = parse_conditions(plan, where or {})
    share = cell_shares(synthesizer, wanted, groups)
    synthesizer.check_table()
    rng = np.random.default_rng(derive_seed(seed, "cells"))
    sought = tuple(c for c in wanted if c.column.name not in plan.conditions.given)
    if sought:
        pieces = _search(synthesizer, rows, seed, share, rng, sought, search)
    else:
        pieces = _drawn(synthesizer, rows, seed, share, rng, search)
    return pieces if rows <= ROWS else _with_codes(pieces, plan.schema, rows, seed)


def _with_codes(
    pieces: Iterator[pd.DataFrame], schema: Schema, rows: int, seed: int
) -> Iterator[pd.DataFrame]:
    """Pieces whose codes (`everymode.wgan.data.identifiers`) are unlike those of other pieces."""
    own = np.random.default_rng(derive_seed(seed, "identifiers"))
    codes = {each.name: each.make(rows, own) for each in schema.identifiers}
    start = 0
    for piece in pieces:
        for name, made in codes.items():
            column = pd.Series(made[start : start + len(piece)], index=piece.index, dtype="str")
            piece[name] = column.astype(piece[name].dtype)
        start += len(piece)
        yield piece


def _drawn(
    synthesizer: RowSource,
    rows: int,
    seed: int,
    share: Floats,
    rng: np.random.Generator,
    search: Search,
) -> Iterator[pd.DataFrame]:
    """`rows` rows, each of a cell drawn from the shares `(cells,)`."""
    started = search.clock()
    for start in range(0, rows, ROWS):
        cells = rng.choice(len(share), min(ROWS, rows - start), p=share)
        # A table of one piece has the seed itself, as it had before there were pieces.
        own = derive_seed(seed, "piece", start // ROWS) if start else seed
        yield synthesizer.table(cells, own)
        done = start + len(cells)
        search.progress(done, rows, (search.clock() - started) * (rows - done) / done)


def cell_shares(
    synthesizer: RowSource, wanted: Sequence[Condition], groups: Groups = "data"
) -> Floats:
    """The share of each cell, `(cells,)`, among rows that meet the conditions on cells.

    Raises:
        DataError: No cell meets them; or uniform groups are asked of a generator that is not
            conditioned on groups.
    """
    conditions = synthesizer.plan.conditions
    if groups == "uniform" and conditions.sensitive and not conditions.blocks[0]:
        raise DataError(
            f"groups cannot be drawn alike: data.condition = '{conditions.conditioned_on}', so "
            "that the generator is not conditioned on the group; train it with "
            "'group_and_label' or 'group', or ask for single groups with --where"
        )
    given = [c for c in wanted if c.column.name in conditions.given]
    allowed = {c.column.name: _allowed(c, conditions.values(c.column.name)) for c in given}
    parity = synthesizer.parity
    mixed = conditions.table if parity is None else parity.counts(conditions)
    table = mixed * conditions.select(allowed).reshape(mixed.shape)
    if not table.any():
        told = " ".join(c.words for c in given)
        raise DataError(f"{told}: the data hold no such rows together")
    weights = table.astype(np.float64)
    if groups == "uniform":
        size = weights.sum(1, keepdims=True)
        weights = np.divide(weights, size, out=np.zeros_like(weights), where=size > 0)
    share: Floats = weights.reshape(-1) / weights.sum()
    return share


def decoded(
    plan: Plan,
    names: Sequence[str],
    rows: Rows,
    cells: Ints,
    draws: np.random.Generator | None = None,
) -> dict[str, "pd.Series[Any]"]:
    """Columns of encoded rows `(n, D)` of cells `(n,)`; `draws` as of `TableCodec.decode`.

    Without constraints no more than these columns is decoded.
    """
    schema = plan.schema
    if schema.constraints:
        own = draws or np.random.default_rng(derive_seed(plan.seed, "decode"))
        table = choose_modality(schema).decode(plan, rows, cells, own).rows
        return {name: table[name] for name in names}
    return {name: _column(plan, name, rows, draws) for name in names}


def _column(
    plan: Plan, name: str, rows: Rows, draws: np.random.Generator | None = None
) -> "pd.Series[Any]":
    """One column of encoded rows `(n, D)`, which no constraint determines."""
    span = plan.conditions.table_codec(plan.schema).span(name)
    own = TableCodec(Schema((plan.schema[name],)))
    return own.decode(rows[:, span], draws)[name]


def _untouched(schema: Schema) -> frozenset[str]:
    """Columns that no constraint names, and whose codes say their value."""
    named = {name for constraint in schema.constraints for name in constraint.columns}
    return frozenset(c.name for c in schema.columns if c.name not in named and not c.states)


def piece_rows(piece: int, width: int) -> int:
    """Rows of a piece, counted from 0, of rows of `width` numbers."""
    most = int(np.clip(NUMBERS // max(width, 1), 1024, PIECE))
    return min(most, FIRST << min(piece, 8))


def _search(
    synthesizer: RowSource,
    rows: int,
    seed: int,
    share: Floats,
    rng: np.random.Generator,
    sought: tuple[Condition, ...],
    search: Search,
) -> Iterator[pd.DataFrame]:
    """`rows` rows that meet the conditions on generated columns."""
    plan = synthesizer.plan
    width = plan.shape.width
    hits = np.zeros(len(share), dtype=np.int64)
    found: list[_Found] = []
    draws = np.random.default_rng(derive_seed(seed, "decode"))
    started, piece, held, drawn, given = search.clock(), 0, 0, 0, 0
    while held < rows:
        size = piece_rows(piece, width)
        cells = rng.choice(len(share), size, p=share)
        encoded = synthesizer.encoded(cells, derive_seed(seed, piece))
        fitting = _fitting(plan, encoded, cells, sought, draws)
        piece, held, drawn = piece + 1, held + len(fitting.cells), drawn + size
        hits += np.bincount(fitting.cells, minlength=len(hits))
        found.append(fitting)
        share = _live(share, hits)
        seconds = search.clock() - started
        left = seconds * (rows - held) / held if held else None
        search.progress(min(held, rows), rows, left)
        if piece >= PILOT and _too_long(seconds, held, rows, search.patience):
            told = " ".join(c.words for c in sought)
            raise DataError(_refusal(told, held, drawn, rows, seconds))
        while held - given >= ROWS < rows - given:
            whole = _joined(found)
            yield _finished(plan, whole.part(slice(ROWS)), draws)
            given, found = given + ROWS, [whole.part(slice(ROWS, None))]
    yield _finished(plan, _joined(found).part(slice(rows - given)), draws)


@dataclass(frozen=True)
class _Found:
    """Rows that meet the conditions.

    Attributes:
        rows: Encoded, `(n, D)`.
        cells: Their cells, `(n,)`.
        kept: Categories that were drawn of states that several share, by column.
        table: The rows decoded, where there are constraints; else None.
    """

    rows: Rows
    cells: Ints
    kept: dict[str, Objects]
    table: pd.DataFrame | None = None

    def part(self, places: slice) -> "_Found":
        """Some of them."""
        kept = {name: own[places] for name, own in self.kept.items()}
        table = None if self.table is None else self.table[places]
        return _Found(self.rows[places], self.cells[places], kept, table)


def _joined(found: Sequence[_Found]) -> _Found:
    tables = [own.table for own in found if own.table is not None and len(own.cells)]
    return _Found(
        np.concatenate([own.rows for own in found]),
        np.concatenate([own.cells for own in found]),
        {n: np.concatenate([own.kept[n] for own in found]) for n in found[0].kept},
        pd.concat(tables, ignore_index=True) if tables else None,
    )


def _finished(plan: Plan, found: _Found, draws: np.random.Generator) -> pd.DataFrame:
    """The table of rows that meet the conditions."""
    if found.table is not None:
        # Codes of one piece are unlike each other, not unlike those of the next.
        return with_identifiers(found.table.reset_index(drop=True), plan.schema, draws)
    table = choose_modality(plan.schema).decode(plan, found.rows, found.cells, draws).rows
    for name, own in found.kept.items():
        table[name] = own
    return table


def _fitting(
    plan: Plan,
    encoded: Rows,
    cells: Ints,
    sought: Sequence[Condition],
    draws: np.random.Generator,
) -> _Found:
    """Those of encoded rows that meet the conditions."""
    kept: dict[str, Objects] = {}
    if plan.schema.constraints:
        # Columns that no constraint names are known from the codes: rare rows are found without
        # decoding all others.
        for condition in sought:
            if (name := condition.column.name) in _untouched(plan.schema):
                mask = condition.fits(_column(plan, name, encoded))
                encoded, cells = encoded[mask], cells[mask]
        if not len(cells):
            return _Found(encoded, cells, kept)
        # What a constraint determines is known of whole rows alone, and these stay what they are.
        table = choose_modality(plan.schema).decode(plan, encoded, cells, draws).rows
        mask = np.ones(len(cells), dtype=np.bool_)
        for condition in sought:
            mask &= condition.fits(table[condition.column.name])
        return _Found(encoded[mask], cells[mask], kept, table[mask])
    for condition in sought:
        name = condition.column.name
        values = decoded(plan, [name], encoded, cells, draws)[name]
        mask = condition.fits(values)
        encoded, cells = encoded[mask], cells[mask]
        if condition.column.states:
            # A category of its state that was drawn: the row keeps it.
            kept[name] = values.to_numpy(dtype=object)
        kept = {n: own[mask] for n, own in kept.items()}
    return _Found(encoded, cells, kept)


def _allowed(condition: Condition, values: Sequence[str]) -> tuple[str, ...]:
    """Those of a cell's values that meet a condition."""
    cells = pd.Series([None if value == MISSING else value for value in values], dtype=object)
    return tuple(v for v, fits in zip(values, condition.fits(cells), strict=True) if fits)


def _live(share: Floats, hits: Ints) -> Floats:
    """The share of each cell without those that have given none of many fitting rows."""
    total = hits.sum()
    if total < MIN_HITS or (hits == 1).sum() > MISSED * total:
        return share
    kept = np.where(hits > 0, share, 0.0)
    return np.asarray(kept / kept.sum())


def _too_long(seconds: float, held: int, rows: int, patience: float) -> bool:
    """Whether a search outlasts the patience, even if far more rows fit than have so far."""
    # About the upper end of a Poisson count's 95 % interval.
    most = held + 2 * held**0.5 + 3
    return held < rows and seconds * rows / most > patience


def _refusal(told: str, held: int, drawn: int, rows: int, seconds: float) -> str:
    if not held:
        return (
            f"{told}: none of {drawn:,} rows drawn fits, so that {rows:,} would take more than "
            f"{time_span(seconds * rows / 3)}; ask for a wider condition"
        )
    expected = seconds * rows / held
    one = float(f"{drawn / held:.2g}")
    patience = float(f"{1.5 * expected + 1:.2g}")
    return (
        f"{told}: about 1 in {one:,.0f} rows fits, so that {rows:,} rows would take about "
        f"{time_span(expected)}; ask for fewer rows or a wider condition, or allow it with "
        f"--patience {patience:.0f}"
    )


def time_span(seconds: float) -> str:
    """A time for people.

    >>> time_span(42.3), time_span(720), time_span(9000), time_span(1e6)
    ('42 seconds', '12 minutes', '2.5 hours', '12 days')
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86_400:,.0f} days"
