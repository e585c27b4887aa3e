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
        rows = pd.DataFrame({name: columns[name] for name in plan.schema.names})
        for identifier in sorted(plan.schema.identifiers, key=lambda each: each.place):
            made = pd.Series(identifier.make(len(rows), rng), index=rows.index, dtype="str")
            place = min(identifier.place, rows.shape[1])
            rows.insert(place, identifier.name, made.astype("int64") if identifier.whole else made)
        return Synthetic(rows)

    def encode(
        self, plan: Plan, synthetic: Synthetic, index: Ints, rng: np.random.Generator
    ) -> Codes:
        """See `Modality.encode`."""
        codec = plan.conditions.table_codec(plan.schema)
        return codec.encode(synthetic.rows.iloc[index], rng, "the synthetic table")

    def write(self, plan: Plan, synthetic: Synthetic, path: Path, safe: bool) -> Marked:
        """See `Modality.write` and `everymode.wgan.data.write.write_table`."""
        return write_table(synthetic.rows, plan.schema, path, safe)
