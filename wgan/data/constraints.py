"""Constraints between the columns of a row, as they are declared in [[data.constraints]].

What they mean for rows is in `everymode.wgan.data.constrained`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field


def _plain_date(bound: object) -> object:
    """A date as text: TOML has dates of its own."""
    return bound.isoformat() if isinstance(bound, date) else bound


Bound = Annotated[float | str | None, BeforeValidator(_plain_date)]


@dataclass(frozen=True)
class Order:
    """Numbers or dates in order: `low <= high`, or `<`; a missing value on either side is fine.

    Attributes:
        low: The column with the smaller value.
        high: The column with the larger one.
        strict: Whether equal values break it.
        force: Whether a table many of whose rows break it is taken nevertheless.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    low: str
    high: str
    strict: bool = False
    force: bool = False
    kind: Literal["order"] = "order"

    def __post_init__(self) -> None:
        """Raises `ValueError` where it says nothing."""
        if self.low == self.high:
            raise ValueError("a column compared with itself; name two columns")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return self.low, self.high

    @property
    def words(self) -> str:
        """What it demands, for people."""
        return f"{self.low} {'<' if self.strict else '<='} {self.high}"


@dataclass(frozen=True)
class Range:
    """Numbers or dates between two bounds, either of which may be left out.

    Attributes:
        column: The column.
        low: Its smallest value: a number, or a date as text.
        high: Its largest.
        force: Whether a table many of whose rows break it is taken nevertheless.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    column: str
    low: Bound = None
    high: Bound = None
    force: bool = False
    kind: Literal["range"] = "range"

    def __post_init__(self) -> None:
        """Raises `ValueError` where it says nothing, or the bounds are the wrong way round."""
        if self.low is None and self.high is None:
            raise ValueError("a range without bounds; give low, high or both")
        numbers = isinstance(self.low, float | int) and isinstance(self.high, float | int)
        if numbers and self.low > self.high:  # type: ignore[operator]
            raise ValueError(f"low = {self.low} above high = {self.high}; exchange them")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return (self.column,)

    @property
    def words(self) -> str:
        """What it demands, for people."""
        low = "" if self.low is None else f"{_plain(self.low)} <= "
        high = "" if self.high is None else f" <= {_plain(self.high)}"
        return f"{low}{self.column}{high}"


@dataclass(frozen=True)
class OneHot:
    """Exactly one of several 0/1 or true/false columns is 1, or all are missing.

    Attributes:
        columns: The columns.
        force: Whether a table many of whose rows break it is taken nevertheless.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    columns: tuple[str, ...]
    force: bool = False
    kind: Literal["one_hot"] = "one_hot"

    def __post_init__(self) -> None:
        """Raises `ValueError` where it says nothing."""
        _several(self.columns, "columns")

    @property
    def words(self) -> str:
        """What it demands, for people."""
        return f"one of {_names(self.columns)} is 1"


@dataclass(frozen=True)
class Sum:
    """A number that is the sum of others, to its own decimals; a missing value is fine.

    Attributes:
        total: The column with the sum.
        parts: The columns that are added up.
        force: Whether a table many of whose rows break it is taken nevertheless.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    total: str
    parts: tuple[str, ...]
    force: bool = False
    kind: Literal["sum"] = "sum"

    def __post_init__(self) -> None:
        """Raises `ValueError` where it says nothing."""
        _several(self.parts, "parts")
        if self.total in self.parts:
            raise ValueError("the total among its own parts; name another column")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return (self.total, *self.parts)

    @property
    def words(self) -> str:
        """What it demands, for people."""
        return f"{self.total} = {' + '.join(self.parts)}"


@dataclass(frozen=True)
class Combination:
    """Only combinations of values that `data.floor` rows or more have.

    Attributes:
        columns: The columns: categories, or whole numbers.
        force: Unused: rows of rarer combinations take the place of none.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    columns: tuple[str, ...]
    force: bool = False
    kind: Literal["combination"] = "combination"

    def __post_init__(self) -> None:
        """Raises `ValueError` where it says nothing."""
        _several(self.columns, "columns")

    @property
    def words(self) -> str:
        """What it demands, for people."""
        return f"known combinations of {_names(self.columns)}"


@dataclass(frozen=True)
class OnlyIf:
    """A value only in rows of a condition; it is missing in all others.

    Attributes:
        column: The column that is missing elsewhere.
        when: The column with the condition: a category, or whole numbers.
        values: The values of `when` for which there may be a value, as text.
        force: Whether a table many of whose rows break it is taken nevertheless.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    column: str
    when: str
    values: tuple[str, ...]
    force: bool = False
    kind: Literal["only_if"] = "only_if"

    def __post_init__(self) -> None:
        """Raises `ValueError` where it says nothing."""
        if self.column == self.when:
            raise ValueError("a column under a condition on itself; name another one in when")
        if not self.values:
            raise ValueError("no values, so that the column would be empty; name some, or drop it")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it is about."""
        return self.column, self.when

    @property
    def words(self) -> str:
        """What it demands, for people."""
        return f"{self.column} only if {self.when} is {' or '.join(self.values)}"


Constraint = Annotated[
    Order | Range | OneHot | Sum | Combination | OnlyIf, Field(discriminator="kind")
]
"""Any constraint; in a configuration, `kind` says which."""

_KINDS: Mapping[str, type[Any]] = {
    "order": Order,
    "range": Range,
    "one_hot": OneHot,
    "sum": Sum,
    "combination": Combination,
    "only_if": OnlyIf,
}


def constraint_to_json(constraint: Constraint) -> dict[str, Any]:
    """As plain values for JSON, without what is as usual.

    >>> constraint_to_json(Order("start", "end"))
    {'low': 'start', 'high': 'end', 'kind': 'order'}
    """
    return {k: v for k, v in asdict(constraint).items() if v is not None and v is not False}


def constraint_from_json(value: Mapping[str, Any]) -> Constraint:
    """The inverse of `constraint_to_json`."""
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    found: Constraint = _KINDS[value["kind"]](**fields)
    return found


def _several(names: tuple[str, ...], what: str) -> None:
    if len(names) < 2:
        raise ValueError(f"{what}: expected two or more")
    if len(set(names)) < len(names):
        raise ValueError(f"{what}: one is named twice; name each once")


def _names(names: tuple[str, ...]) -> str:
    shown = names if len(names) <= 6 else (*names[:5], f"{len(names) - 5} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _plain(bound: Bound) -> str:
    return f"{bound:.10g}" if isinstance(bound, float) else str(bound)
