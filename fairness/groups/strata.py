"""Strata of a table: all rows, the values of each sensitive feature, their joint values."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.groups.conditions import category_labels
from everymode.wgan.data.schema import Schema


def strata(sensitive: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The strata: all rows, each feature, all features together.

    >>> strata(["sex", "race"])
    ((), ('sex',), ('race',), ('sex', 'race'))
    """
    alone = tuple((name,) for name in sensitive)
    return ((), *alone, *([tuple(sensitive)] if len(alone) > 1 else []))


def keys(frame: pd.DataFrame, schema: Schema, features: Sequence[str], where: str) -> pd.Series:
    """The group of each row: a tuple of the features' values as text."""
    columns = [category_labels(frame[name], schema[name], where) for name in features]
    groups = list(zip(*columns, strict=True)) if columns else [()] * len(frame)
    return pd.Series(groups, dtype=object)


def group_codes(
    frames: Sequence[pd.DataFrame], schema: Schema, features: Sequence[str]
) -> tuple[list[NDArray[np.int64]], list[tuple[str, ...]]]:
    """The group of each row of several tables, as a place among the groups of all, in order.

    Args:
        frames: Tables with the schema's columns.
        schema: Their columns.
        features: The columns whose joint values are the groups; none: all rows are one.

    Returns:
        Codes `(n,)` of each table, and the groups.
    """
    of_row = [keys(frame, schema, features, "the table") for frame in frames]
    groups: list[tuple[str, ...]] = sorted(set().union(*of_row))
    places = {name: i for i, name in enumerate(groups)}
    codes = [np.asarray(rows.map(places), dtype=np.int64) for rows in of_row]
    return codes, groups
