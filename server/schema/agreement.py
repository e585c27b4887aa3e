"""The schema, the groups and their counts, from three exchanges of sums; more find clusters.

*Look* settles the kind of every column, *values* brings vocabularies, candidates for atoms and a
coarse histogram, *ranks* counts exactly over what the first two found. No site sends a list of
categories: the vocabulary is peeled from the sum of the sites' value sketches
(`everymode.clients.protocol.sketch`), or declared in the configuration, in which case no sketch is
read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    HeldOut,
)
from everymode.clients.protocol.sketch import HALF, log_edges
from everymode.clients.protocol.sums import SiteSums
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.server.schema.bins import find_candidates, note_rounded_ranges, settle_column
from everymode.server.schema.categories import note_few_rare
from everymode.server.schema.cells import (
    check_declared,
    counted_cells,
    possible_cells,
)
from everymode.server.schema.clusters import clustered
from everymode.server.schema.codes import settle_identifiers
from everymode.server.schema.constraints import constraint_notes, draft_hidden
from everymode.server.schema.drafts import Draft, draft_columns
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.arrays import ArrayCodec, SampleLayout, Samples
from everymode.wgan.data.codec import Codec
from everymode.wgan.data.identifiers import Identifier
from everymode.wgan.data.schema import Column, Schema
from everymode.wgan.errors import DataError, suggest

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """What server and sites know of the data before training.

    Attributes:
        schema: The columns.
        conditions: The cells of group, label and cluster, with their counts of rows to learn from.
        rows: Rows of all sites, those held out included.
        notes: What was taken for something else, in sentences.
    """

    schema: Schema
    conditions: ConditionSpace
    rows: int
    notes: tuple[str, ...] = ()

    @cached_property
    def codec(self) -> Codec:
        """Between rows and encoded ones."""
        return self.conditions.codec(self.schema)


def agree(
    exchange: Exchange,
    columns: Sequence[str],
    data: TableSpec,
    seed: int = 0,
    samples: SampleLayout | None = None,
) -> Agreement:
    """Asks the sites three times and reads schema and conditions off the sums.

    Latent clusters, where they are wanted, take 2 K + 15 exchanges more at most.

    Args:
        exchange: The way to the sites.
        columns: Headers that every table must have, in order; `data.drop` taken off already.
        data: What is declared.
        seed: The run's; clusters and rows held out need it.
        samples: What the samples beside the columns are; None: rows of a table.

    Raises:
        DataError: A table does not fit, or what was found cannot be modelled; all problems at once.
    """
    identifiers = tuple(name for name in data.identifiers if name not in data.drop)
    check_names(columns, data)
    names = tuple(name for name in columns if name not in identifiers)
    if not names:
        raise DataError(
            f"no column is left to model: all are identifiers ({', '.join(identifiers[:5])}), of "
            "which new codes are made; leave data.columns.NAME.kind of one of them out"
        )
    data = replace(data, drop=(*data.drop, *identifiers))
    held_out = HeldOut(data.held_out, seed)
    declared = tuple(data.columns[n].format if n in data.columns else "" for n in names)
    formats = declared if any(declared) else ()
    look = DescribeColumns(names, data.drop, data.missing, formats, held_out, samples, data.form)
    looked = exchange(Request(look))
    rows = int(looked["rows"][0] - looked["held"][0])
    drafts = draft_columns(looked, names, data)
    drafts += draft_hidden(drafts, data)
    if data.constraints and samples is not None:
        raise DataError("data.constraints: arrays have no columns that fulfil them; leave them out")
    columns_of = [draft.column for draft in drafts]
    order = CollectVocabulary(
        tuple(c.name for c in columns_of),
        tuple(c.kind for c in columns_of),
        tuple(c.form for c in columns_of),
        data.missing,
        tuple(c.lenient for c in columns_of),
        tuple(draft.shift for draft in drafts),
        tuple(draft.size for draft in drafts),
        held_out,
        samples,
        identifiers,
        data.constraints,
        data.form,
    )
    found = exchange(Request(order))
    candidates: list[Column] = []
    problems: list[str] = []
    for i, draft in enumerate(drafts):
        try:
            candidates.append(find_candidates(draft, i, found, rows, data))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    scaled = None if samples is None else _scaled(found, samples)
    shifts = {draft.column.name: draft.shift for draft in drafts}
    own = len(names)
    proposal = possible_cells(Schema(tuple(candidates[:own])), data, found, shifts)
    drafted = Schema(
        tuple(candidates[:own]),
        scaled,
        constraints=data.constraints,
        hidden=tuple(candidates[own:]),
    ).to_json()
    counted = exchange(
        Request(CountHistograms(drafted, proposal.to_json(), data.missing, held_out, data.form))
    )
    spread = replace(data, rare="spread")
    settled: list[tuple[Column, str]] = []
    for i, candidate in enumerate(candidates):
        try:
            settled.append(settle_column(candidate, i, counted, rows, data if i < own else spread))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    hidden = [column for column, _ in settled[own:]]
    settled = settled[:own]
    codes = settle_identifiers(found, identifiers, columns, data.floor)
    schema = Schema(
        tuple(column for column, _ in settled), scaled, codes, data.constraints, tuple(hidden)
    )
    check_declared(proposal, counted, data)
    conditions = counted_cells(proposal, counted, data)
    if data.clusters:
        conditions = clustered(exchange, schema, conditions, data, seed)
    notes = [note for draft in drafts for note in draft.notes]
    notes += [note for i, draft in enumerate(drafts[:own]) for note in _tiny_note(draft, i, found)]
    notes += [note for _, note in settled if note]
    notes += note_rounded_ranges(candidates[:own], schema.columns, counted, data.floor)
    notes += note_few_rare(*_rare_cells(candidates[:own], schema.columns, counted), data)
    notes += constraint_notes(schema, conditions.asked, counted, data)
    notes += [note for each in codes for note in _chance_note(each, rows)]
    return Agreement(schema, conditions, int(looked["rows"][0]), tuple(notes))


def _chance_note(identifier: Identifier, rows: int) -> Iterator[str]:
    """What is said of codes that may be real ones by chance."""
    if (chance := identifier.chance(rows)) > 1e-6:
        yield (
            f"column '{identifier.name}': new codes are drawn in the pattern "
            f"{identifier.patterns[0]}, and each is a real one with probability {chance:.1e} or "
            f'less; leave the column out with data.drop = ["{identifier.name}"] if none may be'
        )


def _rare_cells(
    candidates: Sequence[Column], columns: tuple[Column, ...], counted: SiteSums
) -> tuple[tuple[Column, ...], list[int], list[int]]:
    """The columns, their cells with a category, and those of categories that were kept."""
    present, kept = [], []
    for i, (candidate, column) in enumerate(zip(candidates, columns, strict=True)):
        rows: dict[str, int] = {}
        if not column.numeric:
            counts = counted.units(f"categories.{i}").tolist()
            rows = dict(zip(candidate.categories, counts, strict=True))
        rare = int(counted[f"rare.{i}"][0]) if rows else 0
        present.append(sum(rows.values()) + rare)
        kept.append(sum(rows.get(category, 0) for category in column.categories))
    return columns, present, kept


def _tiny_note(draft: Draft, i: int, found: SiteSums) -> Iterator[str]:
    """What is said of numbers that are too small beside the largest."""
    if draft.column.numeric and (tiny := int(found[f"tiny.{i}"][0])):
        least = float(log_edges(draft.shift)[HALF + 1])
        yield (
            f"column '{draft.column.name}': {tiny:,} number{'s' * (tiny > 1)} nearer to 0 than "
            f"{least:.1e} {'are' if tiny > 1 else 'is'} taken for 0; if their size matters, model "
            "their logarithm"
        )


def _scaled(found: SiteSums, samples: SampleLayout) -> Samples:
    """How samples are encoded: to mean 0 in each coordinate and mean variance 1 over all."""
    codec = ArrayCodec.from_moments(
        samples.axes,
        int(found.units("samples")[0]),
        found["sample_sums"],
        found["sample_squares"],
        "the sites' samples",
    )
    return Samples(codec, samples.dtype)


def check_names(names: Sequence[str], data: TableSpec) -> None:
    """Raises `DataError` where the configuration names a column that the tables do not have."""
    problems = []
    wanted = [("data.sensitive", n) for n in data.sensitive]
    wanted += [("data.target", data.target)] if data.target else []
    wanted += [(f"data.columns.{n}", n) for n in data.columns if n not in data.drop]
    for key, name in wanted:
        if name not in names:
            hint = suggest(name, names)
            problems.append(f"{key}: the tables have no column '{name}'; {hint}")
    if problems:
        raise DataError(problems)
