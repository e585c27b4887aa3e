"""Synthetic tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from everymode.clients.protocol.plan import Plan
from everymode.server.datasets.base import Codes, Ints, Synthetic
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.constrained import with_hidden
from everymode.wgan.data.restored import restored
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.spreadsheets import Marked
from everymode.wgan.data.write import write_table


@dataclass(frozen=True)
class TableModality:
    """Rows of a table; see `everymode.server.datasets.base.Modality`."""

    file: str = "synthetic.csv"
    not_judged: tuple[str, ...] = ()

    def agree(
        self, exchange: Exchange, columns: Sequence[str], spec: TableSpec, seed: int
    ) -> Agreement:
        """See `everymode.server.schema.agreement.agree`."""
        return agree(exchange, columns, spec, seed)

    def decode(self, plan: Plan, codes: Codes, cells: Ints, rng: np.random.Generator) -> Synthetic:
        """Typed columns in the agreed order; those that follow from the condition are filled in."""
        decoded = plan.conditions.table_codec(plan.schema).decode(codes, rng)
        columns: dict[str, pd.Series] = {str(name): decoded[name] for name in decoded.columns}
        columns |= plan.conditions.decode(cells, plan.schema)
        conditions, frame = plan.conditions, pd.DataFrame(columns)
        found = restored(frame, plan.schema, conditions.given, conditions.asked, cells, rng)
        rows = with_identifiers(found.rows, plan.schema, rng)
        return Synthetic(rows, moved=found.moved, replaced=found.replaced)

    def encode(
        self, plan: Plan, synthetic: Synthetic, index: Ints, rng: np.random.Generator
    ) -> Codes:
        """See `Modality.encode`."""
        codec = plan.conditions.table_codec(plan.schema)
        where = "the synthetic table"
        rows = with_hidden(synthetic.rows.iloc[index], plan.schema, where, mended=True)
        return codec.encode(rows, rng, where)

    def write(self, plan: Plan, synthetic: Synthetic, path: Path, safe: bool) -> Marked:
        """See `Modality.write` and `everymode.wgan.data.write.write_table`."""
        return write_table(synthetic.rows, plan.schema, path, safe)


def with_identifiers(rows: pd.DataFrame, schema: Schema, rng: np.random.Generator) -> pd.DataFrame:
    """The rows with new codes at the places of their columns, in place of those that are there."""
    rows = rows.drop(columns=[i.name for i in schema.identifiers if i.name in rows.columns])
    for identifier in sorted(schema.identifiers, key=lambda each: each.place):
        made = pd.Series(identifier.make(len(rows), rng), index=rows.index, dtype="str")
        place = min(identifier.place, rows.shape[1])
        rows.insert(place, identifier.name, made.astype("int64") if identifier.whole else made)
    return rows
