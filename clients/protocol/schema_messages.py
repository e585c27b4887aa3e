"""What a server asks before anything is agreed on: the orders from which a schema is made.

`DescribeColumns` asks how the cells of columns are written, `CollectVocabulary` for vocabularies,
candidates for point masses and coarse histograms, `CountHistograms` for fine histograms and exact
counts of categories, groups and labels: a grid can be refined only where the coarser one is known.
`KMeansStep` follows where latent clusters are wanted. On the wire they are named *look*, *values*,
*ranks* and *cluster*.
"""

from dataclasses import dataclass
from typing import Any, Literal

from everymode.clients.protocol.noise import COUNT_BITS, Noise
from everymode.clients.protocol.sketch import (
    BINS,
    BUCKETS,
    CELLS,
    LEVELS,
    MAGNITUDES,
    STYLES,
    VOTES,
    sketch_shape,
)
from everymode.clients.protocol.sums import Field, Layout
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.data.cell_counts import SIZE
from everymode.wgan.data.constrained import number_hidden
from everymode.wgan.data.constraints import Constraint
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.schema import Column, Kind, Schema

WHOLE, FRACTIONS = 4, 30
"""Resolutions, in bits, of sums of samples' numbers: exact for whole ones, whose totals may reach
2^58; sums of fractions may reach 2^32."""


@dataclass(frozen=True)
class HeldOut:
    """Which rows of every site no question but the kinds of columns is about.

    Attributes:
        share: Share of a site's rows.
        seed: The run's seed; with the site's name it says which rows they are.
    """

    share: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class DescribeColumns:
    """Counts of every column's cells by how they are written.

    Attributes:
        columns: The columns expected, in order; a table with others is refused by its site.
        drop: Columns to be left out where they exist.
        formats: How dates or numbers of columns are declared to be written; empty: of none.
        held_out: Rows that are counted apart: cells are those of all rows, so that none of them
            comes as a surprise.
        samples: The samples expected beside the columns; None: rows of a table. A file with others
            is refused by its site.
        form: How the sites' CSV and TSV files are declared to be written.
    """

    columns: tuple[str, ...]
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    held_out: HeldOut = HeldOut()
    samples: SampleLayout | None = None
    form: FileForm = RECOGNISED
    order: Literal["look"] = "look"

    def layout(self) -> Layout:
        """Rows and those held out; per column cells by how they are written, and more.

        That is the range of its largest number, about how many values it has, and in a sketch the
        types and time zones of sites' files, and their commonest spelling of a missing value.
        """
        fields = [Field("rows", (1,)), Field("held", (1,))]
        for i in range(len(self.columns)):
            fields += [
                Field(f"cells.{i}", (SIZE,)),
                Field(f"magnitude.{i}", (MAGNITUDES,)),
                Field(f"distinct.{i}", (LEVELS, BUCKETS)),
                Field(f"sketch.style.{i}", sketch_shape(STYLES)),
            ]
        return Layout(tuple(fields))


@dataclass(frozen=True)
class CollectVocabulary:
    """Vocabularies, candidates for atoms, coarse histograms.

    Attributes:
        kinds: The agreed kind of every column, in order.
        forms: How its date-times or numbers are written; see `everymode.wgan.data.schema.Column`.
        lenient: Whether cells that are none of its kind are missing; empty: nowhere.
        shifts: Powers of two that its numbers' grid is scaled by; empty: 0 everywhere.
        sizes: Cells of the tables of its sketch; empty: `CELLS` everywhere.
        held_out: Rows that are not read.
        samples: The samples whose moments are asked for; None: rows of a table.
        identifiers: Columns of codes whose patterns are asked for.
        constraints: Constraints, whose hidden columns stand behind those of the table.
        form: As in `DescribeColumns`.
    """

    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    forms: tuple[str, ...]
    missing: tuple[str, ...] = ()
    lenient: tuple[bool, ...] = ()
    shifts: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    held_out: HeldOut = HeldOut()
    samples: SampleLayout | None = None
    identifiers: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    form: FileForm = RECOGNISED
    order: Literal["values"] = "values"

    @property
    def drafted(self) -> Schema:
        """The schema that this order speaks of, without any values."""
        lenient = self.lenient or (False,) * len(self.columns)
        columns = tuple(
            Column(name, kind, form=form, lenient=odd)
            for name, kind, form, odd in zip(
                self.columns, self.kinds, self.forms, lenient, strict=True
            )
        )
        own = len(columns) - number_hidden(self.constraints)
        return Schema(columns[:own], constraints=self.constraints, hidden=columns[own:])

    def layout(self) -> Layout:
        """Per column a value sketch; for numeric ones a vote and a signed logarithmic histogram.

        Of identifiers a sketch of their patterns, and a histogram of the numbers that they end in.
        `tiny` are numbers that are not 0 and lie in the bin of 0.

        Of samples their number, and sums and sums of squares of each coordinate, from which
        `everymode.wgan.data.arrays.ArrayCodec.from_moments` has centre and scale.
        """
        fields = []
        for i, kind in enumerate(self.kinds):
            if kind in ("category", "boolean"):
                size = self.sizes[i] if self.sizes else CELLS
                fields.append(Field(f"sketch.{i}", sketch_shape(size)))
            else:
                fields.append(Field(f"vote.{i}", VOTES))
                fields.append(Field(f"histogram.{i}", (BINS,)))
                fields.append(Field(f"tiny.{i}", (1,)))
        for i in range(len(self.identifiers)):
            fields.append(Field(f"sketch.pattern.{i}", sketch_shape(STYLES)))
            fields.append(Field(f"run.{i}", (BINS,)))
        if self.samples is not None:
            shape, bits = (self.samples.width,), WHOLE if self.samples.whole else FRACTIONS
            fields.append(Field("samples", (1,)))
            fields += [Field(name, shape, bits) for name in ("sample_sums", "sample_squares")]
        return Layout(tuple(fields))


@dataclass(frozen=True)
class CountHistograms:
    """Exact counts over what was agreed: categories, atoms, fine bins, cells of group and label.

    Attributes:
        schema: Columns with candidates for categories and atoms, and fine edges without shares.
        conditions: All cells that could occur, without counts.
        held_out: Rows that are not counted.
        form: As in `DescribeColumns`.
        noise: What every site adds; then categories are declared and not counted, and no question
            comes before. None: counts are exact.
    """

    schema: dict[str, Any]
    conditions: dict[str, Any]
    missing: tuple[str, ...] = ()
    held_out: HeldOut = HeldOut()
    form: FileForm = RECOGNISED
    noise: Noise | None = None
    order: Literal["ranks"] = "ranks"

    def layout(self) -> Layout:
        """Per column counts of its categories or of its atoms and bins; counts of cells.

        `rare` are cells of values that are none of the candidates. `left_out` are rows that sites
        leave out by a floor of their own, `broken` rows that break each constraint.
        """
        conditions = ConditionSpace.from_json(self.conditions)
        # What has noise lies on a finer grid.
        bits = 0 if self.noise is None else COUNT_BITS
        fields = [Field("cells", (len(conditions.groups), len(conditions.labels)), bits)]
        fields.append(Field("left_out", (1,)))
        schema = Schema.from_json(self.schema)
        if schema.constraints:
            fields.append(Field("broken", (len(schema.constraints),)))
        for i, column in enumerate(schema.counted):
            if column.numeric:
                fields.append(Field(f"atoms.{i}", (len(column.atoms),), bits))
                fields.append(Field(f"bins.{i}", (max(len(column.edges) - 1, 0),), bits))
            else:
                fields.append(Field(f"categories.{i}", (len(column.categories),)))
                fields.append(Field(f"rare.{i}", (1,)))
        return Layout(tuple(fields))


@dataclass(frozen=True)
class KMeansStep:
    """How rows lie around the centres of latent clusters; see `everymode.fairness.groups.clusters`.

    Attributes:
        schema: The agreed schema.
        conditions: The agreed cells of group and label, with the centres.
        seed: The run's seed, for a site encodes its rows as it will for training.
        cells: Whether counts of cells are wanted, instead of sums around the centres.
        held_out: Share of the rows that are not counted.
        form: As in `DescribeColumns`.
    """

    schema: dict[str, Any]
    conditions: dict[str, Any]
    seed: int
    missing: tuple[str, ...] = ()
    cells: bool = False
    held_out: float = 0.0
    form: FileForm = RECOGNISED
    order: Literal["cluster"] = "cluster"

    def layout(self) -> Layout:
        """Rows per cell; or per centre rows, their sum, and the sum of their squares."""
        conditions = ConditionSpace.from_json(self.conditions)
        if self.cells:
            return Layout((Field("cells", (len(conditions.groups), conditions.per_group)),))
        shape = (conditions.clusters, conditions.codec(Schema.from_json(self.schema)).width)
        # Codes are of the order of 1: totals may reach 2^32 rows.
        sums = (Field("sums", shape, bits=30), Field("squares", shape, bits=30))
        return Layout((Field("counts", shape[:1]), *sums))
