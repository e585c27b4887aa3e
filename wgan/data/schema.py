"""What is known of a table without its rows: columns, their kinds, categories, ranks and atoms.

Of arrays it is the same of their labels, and how samples are scaled.

A schema holds nothing but figures read from sums over sites, so it may be shared. Two tables with
equal fingerprints are encoded to the same tensors.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from everymode.wgan.data.arrays import Samples
from everymode.wgan.data.constraints import (
    Constraint,
    constraint_from_json,
    constraint_to_json,
)
from everymode.wgan.data.identifiers import Identifier, read_identifiers

Kind = Literal["integer", "float", "boolean", "datetime", "category"]
"""What the values of a column are. `integer`, `float` and `datetime` are numeric."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_OPTIONAL: Mapping[str, object] = {
    "zone": "",
    "storage": "",
    "lenient": False,
    "rare": "",
    "shares": (),
    "states": (),
    "scale": "ranks",
    "step": "",
    "gap": "",
}
"""Attributes of a column that are written where they say something."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: The column's header.
        kind: What its values are.
        categories: The values of a `category` or `boolean` column, as text, sorted.
        atoms: Values of a numeric column that hold so many rows that each is a category of its own.
        edges: Ascending edges, at least two, of the bins from which ranks are read; empty where no
            value lies outside the atoms. A date-time is in seconds since 1970.
        cumulative: Share of the non-atom values below each edge; 0 at the first, 1 at the last.
        low: Smallest value of a numeric column, to the resolution of the histogram.
        high: Largest value, likewise.
        missing: Whether any row has no value here.
        decimals: Digits after the decimal point that a `float` column is written with (15: all).
        dtype: The pandas dtype that a decoded column gets.
        form: How a `datetime` is written, as `everymode.wgan.data.dates` has it; how numbers are,
            by a pattern of `everymode.wgan.data.notation`, empty where they are plain.
        zone: The time zone in which a `datetime` is written, or an offset; empty: UTC or none.
        storage: The type in Parquet files, as `everymode.wgan.data.storage` names it; empty: none.
        lenient: Whether cells that are none of its kind are known, and taken for missing.
        rare: What stands for values too rare to be told apart, a state of its own; empty: none.
        shares: Of each category its share of those rows; empty where nothing asks for it.
        states: Of each category the state that encodes it, from 0 on; empty: each has its own.
        scale: How a number is encoded: by its rank, or linearly, from its range to [-1, 1], which
            keeps distances (points, pixels).
        step: The step of the calendar or the clock on which a `datetime` lies, as
            `everymode.wgan.data.calendar_steps` names it; empty: that of its form.
        gap: What stands for no value in text; empty: nothing.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    atoms: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    cumulative: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    missing: bool = False
    decimals: int = 15
    dtype: str = "str"
    form: str = ""
    zone: str = ""
    storage: str = ""
    lenient: bool = False
    rare: str = ""
    shares: tuple[float, ...] = ()
    states: tuple[int, ...] = ()
    scale: Literal["ranks", "linear"] = "ranks"
    step: str = ""
    gap: str = ""

    @property
    def numeric(self) -> bool:
        """Whether values are numbers (a date-time is one)."""
        return self.kind in ("integer", "float", "datetime")


@dataclass(frozen=True)
class Schema:
    """What a row holds.

    Attributes:
        columns: The columns, in their order: of a table all, of arrays their labels.
        samples: How the array beside the columns is encoded; None for a table.
        identifiers: Columns of codes that are made anew, beside those that are modelled.
        constraints: What every row fulfils.
        hidden: Columns that are derived from the others and encoded in their place, so that
            constraints hold; see `everymode.wgan.data.constrained`. No table has them.
    """

    columns: tuple[Column, ...]
    samples: Samples | None = None
    identifiers: tuple[Identifier, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    hidden: tuple[Column, ...] = ()

    def __getitem__(self, name: str) -> Column:
        """The column called `name`; raises `KeyError` where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The headers, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def counted(self) -> tuple[Column, ...]:
        """All columns that sites count: those of the table, then the hidden ones."""
        return self.columns + self.hidden

    def without(self, names: tuple[str, ...]) -> "Schema":
        """The schema less the columns called `names`."""
        kept = tuple(c for c in self.columns if c.name not in names)
        return replace(self, columns=kept)

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON.

        >>> Schema.from_json(Schema((Column("age", "integer"),)).to_json()).names
        ('age',)
        """
        value: dict[str, Any] = {"columns": _columns_to_json(self.columns)}
        if self.samples is not None:
            value["samples"] = self.samples.to_json()
        if self.constraints:
            value["constraints"] = [constraint_to_json(c) for c in self.constraints]
            value["hidden"] = _columns_to_json(self.hidden)
        if self.identifiers:
            value["identifiers"] = [asdict(each) for each in self.identifiers]
        return value

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Schema":
        """The inverse of `to_json`."""
        samples = value.get("samples")
        return Schema(
            _columns_from_json(value["columns"]),
            None if samples is None else Samples.from_json(samples),
            read_identifiers(value.get("identifiers", ())),
            tuple(constraint_from_json(c) for c in value.get("constraints", ())),
            _columns_from_json(value.get("hidden", ())),
        )

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ where the encoding of a table would."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    found = [asdict(column) for column in columns]
    for column in found:
        # Fingerprints of schemas without these stay what they were.
        for name, usual in _OPTIONAL.items():
            if column[name] == usual:
                del column[name]
    return found


def _columns_from_json(values: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    columns: list[dict[str, Any]] = [
        {k: tuple(v) if isinstance(v, list) else v for k, v in column.items()} for column in values
    ]
    return tuple(Column(**column) for column in columns)
