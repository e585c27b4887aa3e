"""From the keys of [data] to what is wanted of the sites' tables."""

from everymode.server.config.sections import DataSettings
from everymode.server.schema.table_spec import DeclaredColumn, TableSpec


def build_table_spec(data: DataSettings) -> TableSpec:
    """How a schema is agreed on, as [data] says."""
    return TableSpec(
        sensitive=data.sensitive,
        target=data.target,
        drop=data.drop,
        missing=data.missing,
        form=data.form,
        floor=data.floor,
        rare=data.rare,
        decimal=data.decimal,
        thousands=data.thousands,
        atom_share=data.atom_share,
        held_out=data.held_out,
        numbers=data.numbers,
        condition=data.condition,
        clusters=data.clusters,
        columns={
            name: DeclaredColumn(
                column.kind,
                column.categories,
                column.format,
                column.low,
                column.high,
                column.atoms or (),
                bool(column.missing),
            )
            for name, column in data.columns.items()
        },
        constraints=data.constraints,
    )
