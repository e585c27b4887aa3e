"""The tables that an audit compares."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.fairness.metrics.image_features import ImageFeatures
from everymode.fairness.metrics.joint import FINE_BINS, JointCodes
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.values import parse_values
from everymode.wgan.errors import DataError

Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Tables:
    """The tables of an audit, all with the schema's columns.

    Attributes:
        schema: Their columns.
        real: Rows that were trained on.
        synthetic: Rows to be judged.
        holdout: Real rows that were not trained on, where there are any.
        image: Features of rows that are images; None: rows are embedded column by column.
    """

    schema: Schema
    real: pd.DataFrame
    synthetic: pd.DataFrame
    holdout: pd.DataFrame | None = None
    image: ImageFeatures | None = None

    @property
    def reference(self) -> pd.DataFrame:
        """The real rows that synthetic ones are compared with."""
        return self.real if self.holdout is None else self.holdout

    @cached_property
    def joint(self) -> JointCodes | None:
        """All rows in bins of their joint values; None for images, whose columns are pixels."""
        if self.image is not None:
            return None
        return JointCodes.of(self.schema, self.real, self.synthetic, self.holdout)

    @cached_property
    def impossible(self) -> tuple[Marks, Marks | None] | None:
        """Which synthetic and which held-out rows hold an impossible pair; None for images."""
        if self.image is not None:
            return None
        tables = (self.schema, self.real, self.synthetic, self.holdout)
        return JointCodes.of(*tables, FINE_BINS).impossible


def parsed(frame: pd.DataFrame, schema: Schema, where: str) -> pd.DataFrame:
    """The schema's columns with numbers parsed once, as every figure asks for them anew.

    Raises:
        DataError: Cells that are not of their column's kind; all problems at once.
    """
    columns: dict[str, pd.Series[Any]] = {}
    problems: list[str] = []
    for column in schema.columns:
        columns[column.name] = frame[column.name].reset_index(drop=True)
        try:
            values = parse_values(frame, column, where)
        except DataError as error:
            problems += error.problems
            continue
        if column.kind in ("integer", "float"):
            columns[column.name] = pd.Series(values)
    if problems:
        raise DataError(problems)
    return pd.DataFrame(columns)
