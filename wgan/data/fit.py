"""The schema of a table that lies on one machine, read from its rows exactly.

It serves single-site users and tests, which compare the federated schema, read from sums, with it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.wgan.data.ranks import jitter
from everymode.wgan.data.readings import read_counts
from everymode.wgan.data.schema import Column, Kind, Schema
from everymode.wgan.data.values import count_cells, describe, find_zone, parse_column
from everymode.wgan.errors import DataError

Numbers = npt.NDArray[np.float64]


def fit_schema(
    frame: pd.DataFrame,
    atom_share: float = 0.05,
    bins: int = 1024,
    kinds: Mapping[str, Kind] | None = None,
) -> Schema:
    """Reads a schema off the rows of a table.

    Args:
        frame: The rows, as text or typed.
        atom_share: A number held by more than this share of the rows is an atom.
        bins: At most so many bins give the ranks of a column; their edges are quantiles.
        kinds: Kinds of columns to use in place of those described; a column without any value
            is otherwise a category.

    Raises:
        DataError: There are no rows, `kinds` names a column that is not there, or values do not
            parse as their kind.

    >>> table = pd.DataFrame({"n": ["1", "2", "3"], "constant": ["a", "a", "a"]})
    >>> schema = fit_schema(table, atom_share=0.5)
    >>> schema["n"].edges, schema["constant"].categories
    ((0.5, 1.5, 2.5, 3.5), ('a',))
    """
    kinds = kinds or {}
    problems = [
        f"data.columns.{name}: no such column; the table has {', '.join(map(str, frame.columns))}"
        for name in kinds
        if name not in frame.columns
    ]
    if frame.empty:
        problems.append("the table has no rows; expected at least one")
    columns = []
    for name in map(str, frame.columns) if not problems else ():
        try:
            columns.append(_column(frame[name], name, kinds.get(name), atom_share, bins))
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError(problems)
    return Schema(tuple(columns))


def _column(
    series: "pd.Series[Any]", name: str, kind: Kind | None, atom_share: float, bins: int
) -> Column:
    seen = describe(series)
    kind = kind or seen.kind or "category"
    if kind != seen.kind:
        seen = read_counts(count_cells(series), kind)
    lenient = seen.strays > 0 and seen.readable
    values = parse_column(series, kind, name, "the table", seen.form, lenient)
    column = Column(
        name,
        kind,
        missing=seen.missing,
        decimals=seen.decimals,
        dtype="str" if pd.api.types.is_object_dtype(series.dtype) else str(series.dtype),
        form=seen.form,
        zone=find_zone(series, seen),
        lenient=lenient,
    )
    if not column.numeric:
        return replace(column, categories=_categories(values, kind))
    present = values[~np.isnan(values)]
    if not len(present):
        return column
    unique, counts = np.unique(present, return_counts=True)
    frequent = counts > atom_share * len(values)
    column = replace(
        column,
        atoms=tuple(unique[frequent].tolist()),
        low=float(unique[0]),
        high=float(unique[-1]),
    )
    if frequent.all():
        return column
    edges, cumulative = _ranks(unique[~frequent], counts[~frequent], jitter(column), bins)
    return replace(column, edges=tuple(edges.tolist()), cumulative=tuple(cumulative.tolist()))


def _categories(values: npt.NDArray[Any], kind: Kind) -> tuple[str, ...]:
    spellings = Counter(v for v in values if v is not None)
    if kind != "boolean":
        return tuple(sorted(spellings))
    # TRUE and True are one value, spelled as it is most often.
    chosen: dict[str, str] = {}
    for text, _ in sorted(spellings.items(), key=lambda item: (-item[1], item[0])):
        chosen.setdefault(text.lower(), text)
    return tuple(sorted(chosen.values()))


def _ranks(
    unique: Numbers, counts: npt.NDArray[np.int_], step: float, bins: int
) -> tuple[Numbers, Numbers]:
    """Edges of at most `bins` bins, and the share of the values below each.

    Values with a step have edges halfway between them. Dense ones have edges at values, where half
    the ties count as below; the smallest and largest are at ranks 0 and 1.
    """
    if step:
        edges = np.unique(np.concatenate([unique - step / 2, unique + step / 2]))
        # Neighbours meet at one edge, up to rounding.
        edges = edges[np.append(True, np.diff(edges) > step / 4)]
        below = np.append(0, np.cumsum(counts))
        shares = below[np.searchsorted(unique, edges)] / below[-1]
    elif len(unique) == 1:
        width = 1e-9 * max(abs(unique[0]), 1.0)
        return np.array([unique[0] - width, unique[0] + width]), np.array([0.0, 1.0])
    else:
        edges, middle = unique, np.cumsum(counts) - counts / 2
        shares = (middle - middle[0]) / (middle[-1] - middle[0])
    if len(edges) > bins + 1:
        nearest = np.searchsorted(shares, np.linspace(0, 1, bins + 1))
        chosen = np.unique(np.append(nearest, [0, len(edges) - 1]))
        edges, shares = edges[chosen], shares[chosen]
    return edges, shares
