"""Constraints in the agreement: the columns they add, and how many real rows break them."""

from collections.abc import Sequence

from everymode.clients.protocol.sketch import cells_for
from everymode.clients.protocol.sums import SiteSums
from everymode.server.schema.drafts import Draft
from everymode.server.schema.table_spec import TableSpec
from everymode.wgan.data.constrained import construction, hidden_columns, hidden_name
from everymode.wgan.data.constraint_rules import constraint_problems
from everymode.wgan.data.constraints import Combination
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError

MOST_BROKEN = 0.05
"""Share of the rows that may break a constraint, unless it is forced."""


def draft_hidden(drafts: Sequence[Draft], data: TableSpec) -> list[Draft]:
    """A draft of every column that constraints add.

    Raises:
        DataError: A constraint is about columns that it cannot be about; all at once.
    """
    columns = [draft.column for draft in drafts]
    if problems := constraint_problems(columns, data.constraints):
        raise DataError(problems)
    by_name = {draft.column.name: draft for draft in drafts}
    places = {hidden_name(i, by_name): c for i, c in enumerate(data.constraints)}
    found = []
    for column in hidden_columns(columns, data.constraints):
        own = [by_name[name] for name in places[column.name].columns]
        shift, size = max(draft.shift for draft in own), cells_for(0.0)
        if column.kind == "category":
            # One of the columns often determines the others.
            size = min(2 * max(draft.size for draft in own), cells_for(1e9))
        found.append(Draft(column, shift, size, ()))
    return found


def constraint_notes(
    schema: Schema, fixed: Sequence[str], counted: SiteSums, data: TableSpec
) -> list[str]:
    """What is said of constraints: how they are met, and how many real rows break them.

    Raises:
        DataError: More than `MOST_BROKEN` of the rows break one that is not forced.
    """
    if not schema.constraints:
        return []
    rows = int(counted["cells"].sum())
    built = construction(schema, fixed).built
    names = [column.name for column in schema.counted]
    notes, problems, moved = [], [], []
    for i, constraint in enumerate(schema.constraints):
        place = f"data.constraints[{i}] ({constraint.words})"
        if isinstance(constraint, Combination):
            at = names.index(hidden_name(i, schema.names))
            kept = schema.hidden[at - len(schema.columns)].categories
            found = counted.units(f"rare.{at}")[0] + counted.units(f"categories.{at}").sum()
            broken = int(found) - _kept(counted, at, len(kept))
            why = f"have a combination with fewer rows than data.floor = {data.floor}"
        else:
            broken, why = int(counted["broken"][i]), "break it"
        if broken:
            text = f"{place}: {broken:,} of {rows:,} rows ({broken / max(rows, 1):.1%}) {why}"
            if broken > MOST_BROKEN * rows and not constraint.force:
                problems.append(
                    f"{text}; correct the table or the constraint, or take it nevertheless with "
                    "force = true"
                )
            notes.append(f"{text}; they are trained on with the nearest values that do not")
        if not built[i]:
            moved.append(place)
    if problems:
        raise DataError(problems)
    if moved:
        notes.append(
            f"{', '.join(moved)}: met by moving rows, since sensitive features, the target or "
            "other constraints determine the columns; all other constraints hold by construction"
        )
    return notes


def _kept(counted: SiteSums, place: int, kept: int) -> int:
    """Rows of the `kept` commonest categories of a column."""
    counts = sorted(counted.units(f"categories.{place}").tolist(), reverse=True)
    return int(sum(counts[:kept]))
