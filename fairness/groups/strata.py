"""Strata of a table: all rows, the values of each sensitive feature, their joint values."""

from collections.abc import Sequence

import pandas as pd

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
