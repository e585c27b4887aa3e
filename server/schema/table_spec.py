"""What is wanted of the sites' tables, before anything is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from everymode.fairness.groups.conditioned_on import ConditionedOn
from everymode.wgan.data.constraints import Constraint
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.schema import Kind


@dataclass(frozen=True)
class DeclaredColumn:
    """What is declared of one column instead of being agreed on.

    Attributes:
        kind: Its kind; None: as its cells say; "id": codes that are made anew.
        categories: The values that it may hold; empty: those that sites hold.
        format: How its dates or numbers are written; empty: as the cells say.
        low: Least value of a number, in private runs.
        high: Largest value, likewise.
        atoms: Values that many rows may share, likewise.
        missing: Whether cells may have no value, likewise.
    """

    kind: Kind | Literal["id"] | None = None
    categories: tuple[str, ...] = ()
    format: str = ""
    low: float | None = None
    high: float | None = None
    atoms: tuple[float, ...] = ()
    missing: bool = False


@dataclass(frozen=True)
class TableSpec:
    """How a schema is agreed on.

    Attributes:
        sensitive: Sensitive features; their joint values are the groups.
        target: The column that users of the synthetic table will predict.
        drop: Columns to leave out.
        missing: Cells that stand for no value.
        form: How the sites' CSV and TSV files are declared to be written.
        floor: Categories and cells of group and label with fewer rows are dropped, and bins of
            numbers are merged until they hold as many.
        rare: What stands for categories with fewer rows than `floor`: a text, "missing", or
            "spread" for values that begin like them.
        decimal: The decimal mark of numbers in text; empty: as the cells say.
        thousands: What separates thousands in text; None: as the cells say.
        atom_share: A number that this share of the rows holds is a category of its own.
        held_out: Share of every site's rows that nothing is learnt from.
        numbers: How numbers are encoded, by ranks or from their range to [-1, 1].
        condition: What the generator is conditioned on.
        clusters: Latent clusters to condition on as well; 0: none.
        columns: What is declared, by column.
        constraints: What every row fulfils.
    """

    sensitive: tuple[str, ...] = ()
    target: str | None = None
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    form: FileForm = RECOGNISED
    floor: int = 5
    rare: str = "(other)"
    decimal: str = ""
    thousands: str | None = None
    atom_share: float = 0.05
    held_out: float = 0.0
    numbers: Literal["ranks", "linear"] = "ranks"
    condition: ConditionedOn = "group_and_label"
    clusters: int = 0
    columns: Mapping[str, DeclaredColumn] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Columns of codes that are made anew instead of being modelled."""
        return tuple(name for name, column in self.columns.items() if column.kind == "id")
