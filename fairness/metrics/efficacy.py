"""Efficacy over all columns: each column in turn is predicted from the others.

Models trained on synthetic rows are tested on held-out real ones, beside models trained on as many
real rows. One target column says what a generator kept for one question; the mean over all columns
says it for those that nobody has asked yet. Every score is an area under the ROC curve, so that
scores of columns of any kind have one scale: a number is predicted as the quarter of the real rows
that it lies in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from everymode.fairness.metrics.marginals import cells
from everymode.fairness.metrics.utility import encode_features, for_trees, mean_area
from everymode.wgan.data.schema import Column, Schema

Labels = NDArray[np.str_]

TREES = 30
"""Randomised trees of a model: they take any number of classes at once, in little time."""

LEAF = 5
"""Rows of a leaf at least."""

MIN_CLASS = 10
"""Test rows that a class needs for an area of its own; rarer ones are one class together."""

OTHER, MISSING = "(rare)", "(missing)"


@dataclass(frozen=True)
class Efficacy:
    """How well columns are predicted.

    Attributes:
        synthetic: By column, the area of a model trained on synthetic rows.
        real: The same of a model trained on as many real rows.
    """

    synthetic: dict[str, float]
    real: dict[str, float]

    @property
    def means(self) -> tuple[float, float] | None:
        """Means over the columns; None where no column can be predicted."""
        if not self.real:
            return None
        return float(np.mean([*self.synthetic.values()])), float(np.mean([*self.real.values()]))


def efficacy_of_columns(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    test: pd.DataFrame,
    schema: Schema,
    targets: Sequence[str],
    seed: int,
) -> Efficacy:
    """Predicts columns, each from all others.

    A column is passed over where the test rows are all of one class. A class that the rows trained
    on lack has the score 0 everywhere.

    Args:
        real: Rows to learn from, `n`.
        synthetic: Other rows to learn from; as many, or the comparison is unfair.
        test: Held-out real rows.
        schema: The columns.
        targets: The columns to predict.
        seed: Of the trees.

    Raises:
        DataError: Where a value is not of its column's kind.
    """
    found = Efficacy({}, {})
    for name in targets:
        column, features = schema[name], schema.without((name,))
        cuts = _cuts(real, column)
        truth = _classes(test, column, cuts)
        common, counts = np.unique(truth, return_counts=True)
        kept = common[counts >= MIN_CLASS]
        truth = _pooled(truth, kept)
        if not features.columns or len(np.unique(truth)) < 2:
            continue
        for rows, scores in ((real, found.real), (synthetic, found.synthetic)):
            labels = _pooled(_classes(rows, column, cuts), kept)
            scores[name] = _area(rows, labels, test, truth, features, seed)
    return found


def _area(
    rows: pd.DataFrame,
    labels: Labels,
    test: pd.DataFrame,
    truth: Labels,
    features: Schema,
    seed: int,
) -> float:
    if len(np.unique(labels)) < 2:
        return 0.5
    x, x_test, categorical = encode_features(rows, test, features)
    x, x_test = for_trees(x, x_test, categorical)
    model = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, random_state=seed)
    model.fit(x, labels)
    return mean_area(truth, np.asarray(model.predict_proba(x_test)), model.classes_)


def _cuts(real: pd.DataFrame, column: Column) -> NDArray[np.float64] | None:
    """Quartiles of a number; its commonest value, where they are all one. None: it is none."""
    if not column.numeric:
        return None
    known = cells(real, column)
    known = known[~np.isnan(known)]
    if not len(known):
        return np.zeros(0)
    cuts = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower"))
    if len(cuts) > 1:
        return np.asarray(cuts, dtype=np.float64)
    values, counts = np.unique(known, return_counts=True)
    common = values[counts.argmax()]
    # Below it, it, and above it.
    return np.array([np.nextafter(common, -np.inf), common])


def _classes(frame: pd.DataFrame, column: Column, cuts: NDArray[np.float64] | None) -> Labels:
    values = cells(frame, column)
    if cuts is None:
        return np.array([MISSING if v is None else f"={v}" for v in values], dtype=np.str_)
    part = np.searchsorted(cuts, values, side="left").astype(str)
    return np.where(np.isnan(values), MISSING, part)


def _pooled(labels: Labels, kept: Labels) -> Labels:
    return np.where(np.isin(labels, kept), labels, OTHER)
