"""What every column holds and how it is written, from the sums of the first exchange."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everymode.clients.protocol.sketch import cells_for, estimate, peel, shift_for
from everymode.clients.protocol.sums import SiteSums
from everymode.server.schema.table_spec import DeclaredColumn, TableSpec
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.date_forms import reading_form
from everymode.wgan.data.readings import Reading, read_counts
from everymode.wgan.data.schema import Column, Kind
from everymode.wgan.data.storage import common_storage
from everymode.wgan.errors import DataError

ALIKE = 0.5
"""Share of a category's cells that read as numbers or dates from which on that is said."""


@dataclass(frozen=True)
class Draft:
    """A column before its values are known.

    Attributes:
        column: Its kind and how it is written.
        shift: The power of two by which the grid of its numbers is scaled.
        size: Cells of the tables of its sketch.
        notes: What has to be said of it.
    """

    column: Column
    shift: int
    size: int
    notes: tuple[str, ...]


def draft_columns(looked: SiteSums, names: Sequence[str], data: TableSpec) -> list[Draft]:
    """A draft of every column; sensitive features are categories.

    Raises:
        DataError: Columns that cannot be modelled as they are; all at once.
    """
    drafts: list[Draft] = []
    problems: list[str] = []
    for i, name in enumerate(names):
        try:
            drafts.append(_draft(looked, i, name, data))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return drafts


def _draft(looked: SiteSums, i: int, name: str, data: TableSpec) -> Draft:
    counts = CellCounts(looked.units(f"cells.{i}"))
    declared = data.columns.get(name, DeclaredColumn())
    kind_declared = None if declared.kind == "id" else declared.kind
    wanted: Kind | None = kind_declared or ("category" if declared.categories else None)
    reading = read_counts(counts, wanted, declared.format, data.decimal, data.thousands)
    if reading.kind is None:
        if wanted is None:
            raise DataError(
                f"column '{name}': every value is missing at every site; leave it out with "
                f'data.drop = ["{name}"]'
            )
        reading = Reading(wanted, True)
    kind: Kind = reading.kind or "category"
    problems = [*_unreadable(name, reading, declared)]
    natural = kind
    if name in data.sensitive:
        if kind == "datetime":
            problems.append(
                f"data.sensitive: '{name}' holds {kind} values, and a group needs categories; "
                "add a column of bands (age 18-29, 30-44, ...) to the tables and name that one"
            )
        kind = "boolean" if kind == "boolean" else "category"
    if problems:
        raise DataError(problems)
    styles = peel(looked.units(f"sketch.style.{i}"), name)
    numeric = kind in ("integer", "float", "datetime")
    column = Column(
        name,
        kind,
        missing=reading.missing if numeric else counts["missing"] > 0,
        decimals=reading.decimals if kind == "float" else 0,
        dtype="int64" if kind == "category" and natural == "integer" else "str",
        form=reading.form if numeric else "",
        zone=_zone(styles, reading),
        storage=common_storage({t.removeprefix("type ") for t in styles if t.startswith("type ")}),
        lenient=numeric and reading.strays > 0,
        step=reading.step if kind == "datetime" else "",
        gap=_gap(styles),
    )
    distinct = estimate(looked.units(f"distinct.{i}"))
    return Draft(
        column,
        shift_for(looked.units(f"magnitude.{i}")),
        # A sketch of the least size holds more values than make groups.
        cells_for(0.0 if numeric or name in data.sensitive else distinct),
        tuple(_notes(name, counts, reading, column)),
    )


def _gap(styles: dict[str, int]) -> str:
    """The spelling of no value that most cells have."""
    told = {text: n for text, n in styles.items() if text.startswith("missing ")}
    marks = {text.removeprefix("missing "): n for text, n in told.items()}
    return max(marks, key=lambda mark: (marks[mark], mark), default="")


def _zone(styles: dict[str, int], reading: Reading) -> str:
    zones = {text.removeprefix("zone ") for text in styles if text.startswith("zone ")}
    aware = reading.kind == "datetime" and "%z" in reading_form(reading.form)
    return zones.pop() if aware and len(zones) == 1 else ""


def _unreadable(name: str, reading: Reading, declared: DeclaredColumn) -> Iterator[str]:
    """Cells that do not read as they are declared to, in words."""
    if not reading.readable:
        what = "dates" if reading.kind == "datetime" else "numbers"
        form = f" in the form {declared.format}" if declared.format else ""
        yield (
            f"column '{name}': {reading.strays:,} of {reading.values:,} cells are no {what}{form}; "
            f'correct them, or set data.columns.{name}.kind = "category"'
        )


def _notes(name: str, counts: CellCounts, reading: Reading, column: Column) -> Iterator[str]:
    values = max(counts["present"] - counts["blank"], 1)
    what = "dates" if reading.kind == "datetime" else "numbers"
    if column.lenient:
        one = reading.strays == 1
        yield (
            f"column '{name}': {reading.strays:,} cell{'' if one else 's'} "
            f"({reading.strays / values:.1%}) {'is no' if one else 'are no'} {what} and "
            f"{'is' if one else 'are'} taken for missing"
        )
    if column.numeric and reading.bounds:
        yield (
            f"column '{name}': {reading.bounds:,} cells such as ≤5 or <5 are read as the number "
            "that they name"
        )
    if column.kind == "category" and not counts["kept"] and reading.alike >= ALIKE:
        yield (
            f"column '{name}' is a category, and {reading.alike:.0%} of its cells look like "
            f"numbers or dates; if it holds such, name what else stands for no value in "
            f"data.missing, or set data.columns.{name}.kind"
        )
