"""The tables that an audit compares, and which of their rows are whose."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fairness.groups.conditions import category_labels
from fairness.metrics.image_features import ImageFeatures
from wgan.data.schema import Schema


@dataclass(frozen=True)
class Tables:
    """The tables of an audit, all with the schema's columns.

    Attributes:
        schema: Read from the real rows.
        real: Rows that were trained on.
        synthetic: Rows to be judged.
        holdout: Real rows that were not trained on, where there are any.
        image: What rows are compared by where they are images; None: as tables are.
    """

    schema: Schema
    real: pd.DataFrame
    synthetic: pd.DataFrame
    holdout: pd.DataFrame | None = None
    image: ImageFeatures | None = None

    @property
    def reference(self) -> pd.DataFrame:
        """The real rows that synthetic ones are held against."""
        return self.real if self.holdout is None else self.holdout


def levels(sensitive: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """All rows, each feature, all features together.

    >>> levels(["sex", "race"])
    ((), ('sex',), ('race',), ('sex', 'race'))
    """
    alone = tuple((name,) for name in sensitive)
    return ((), *alone, *([tuple(sensitive)] if len(alone) > 1 else []))


def keys(frame: pd.DataFrame, schema: Schema, features: Sequence[str], where: str) -> pd.Series:
    """The group of each row: a tuple of the features' values as text."""
    columns = [category_labels(frame[name], schema[name], where) for name in features]
    groups = list(zip(*columns, strict=True)) if columns else [()] * len(frame)
    return pd.Series(groups, dtype=object)
