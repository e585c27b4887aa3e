"""A site's table: every column is encoded, those that follow from the condition excepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.datasets.columns import ColumnDataset, Mask
from everymode.clients.parsed import counted, marks, parsed
from everymode.clients.protocol.messages import EncodeData
from everymode.clients.protocol.plan import derive_seed
from everymode.clients.protocol.schema_messages import DescribeColumns, KMeansStep
from everymode.clients.site import Site
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.constrained import with_hidden
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.frame import table_types
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError


@dataclass(frozen=True)
class TableDataset(ColumnDataset):
    """Rows of a CSV, TSV or Parquet file; see `everymode.clients.datasets.base.Dataset`."""

    def frame(self, missing: Sequence[str], form: FileForm = RECOGNISED) -> pd.DataFrame:
        """The table, parsed once; see `everymode.clients.parsed`."""
        return parsed(self.site, missing, form)

    def counts(self, name: str, order: DescribeColumns, declared: str) -> CellCounts:
        """See `ColumnDataset.counts`; they are counted once."""
        return counted(self.site, name, order.missing, order.form, declared)

    def marks(self, order: DescribeColumns) -> Mapping[str, Mapping[str, int]]:
        """See `ColumnDataset.marks`."""
        return marks(self.site, order.missing, order.form)

    def types(self) -> dict[str, str]:
        """See `ColumnDataset.types`."""
        return table_types(self.site.table)

    def check(self, order: DescribeColumns) -> None:
        """See `check_columns`; raises `DataError` where samples are expected, too."""
        if order.samples is not None:
            raise DataError(
                f"{self.site.table}: is a table, and the other sites hold samples; write an .npz "
                "file"
            )
        frame, own = self.frame(order.missing, order.form), order.form == RECOGNISED
        check_columns(frame, order.columns, order.drop, self.site, own)

    def codes(
        self,
        kept: Mask,
        schema: Schema,
        conditions: ConditionSpace,
        order: KMeansStep | EncodeData,
    ) -> npt.NDArray[np.float32]:
        """Numbers and one-hot vectors, `(kept.sum(), D)`; see `TableCodec`."""
        seed = derive_seed(order.seed, self.site.name, "encode")
        noised = isinstance(order, EncodeData) and order.noised
        # Jitter of a row that another row's absence changes would change all sums.
        rng = None if noised else np.random.default_rng(seed)
        where = str(self.site.table)
        frame = with_hidden(
            self.frame(order.missing, order.form).loc[kept], schema, where, mended=True
        )
        return conditions.table_codec(schema).encode(frame, rng, where)


def check_columns(
    frame: pd.DataFrame,
    columns: tuple[str, ...],
    drop: tuple[str, ...],
    site: Site,
    named: bool = True,
) -> None:
    """Raises `DataError` where a site's table has not just the agreed columns.

    Args:
        frame: The table.
        columns: The agreed columns.
        drop: Columns to be left out where they exist.
        site: Whose table it is.
        named: Whether headers that are not agreed are named. They are not where a server declared
            how the file is written: it could make any row of it the line of headers.
    """
    there = [name for name in frame.columns if name not in drop]
    lacking = [name for name in columns if name not in there]
    extra = [name for name in there if name not in columns]
    problems = []
    if lacking:
        problems.append(
            f"site '{site.name}' ({site.table}): lacks the column{_names(lacking)} that the other "
            "sites have; add it (empty cells are allowed) or leave it out everywhere with data.drop"
        )
    if extra and (len(lacking) == len(columns) or not named):
        # Without a line of headers the first row's cells are taken for them: they stay here.
        none = " and none of those expected" if len(lacking) == len(columns) else ""
        problems.append(
            f"site '{site.name}' ({site.table}): has {len(extra)} other column"
            f"{'s' * (len(extra) > 1)}{none}; the first line of the file must name the columns, or "
            "data.header = false be declared"
        )
    elif extra:
        problems.append(
            f"site '{site.name}' ({site.table}): has the column{_names(extra)} that the other "
            "sites do not have; remove it or add it to data.drop"
        )
    if problems:
        raise DataError(problems)


def _names(names: list[str]) -> str:
    return ("s " if len(names) > 1 else " ") + ", ".join(f"'{name}'" for name in names)
