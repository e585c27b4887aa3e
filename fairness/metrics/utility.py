"""Utility of synthetic rows: train on them, test on real rows.

Two learners, one linear and one not, predict a target column from all others. On real *Adult* they
reach areas under the curve of .90 and .93.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from everymode.fairness.metrics.marginals import cells
from everymode.fairness.metrics.streams import stream
from everymode.wgan.data.schema import Column, Schema

Learner = Literal["logistic", "boosted_trees"]

_TREE_CATEGORIES = 250


@dataclass(frozen=True)
class Utility:
    """How well the target is predicted on the test rows.

    Attributes:
        metric: `auc`, the area under the ROC curve (of several classes: one against the rest, mean
            over the classes in the test rows); or `r2`, the share of variance explained.
        logistic: Of logistic regression, or of ridge regression for `r2`; None with a `reason`.
        boosted_trees: Of gradient-boosted trees; None with a `reason`.
        reason: Why nothing could be measured.
    """

    metric: Literal["auc", "r2"]
    logistic: float | None
    boosted_trees: float | None
    reason: str | None = None


def train_and_test(
    train: pd.DataFrame, test: pd.DataFrame, schema: Schema, target: str, seed: int = 0
) -> Utility:
    """Trains both learners on one table and tests them on another.

    A category, a boolean or a number whose only values are two atoms is classified; any other
    number is regressed on. Rows without a target are left out. A missing category is a
    category; a missing number is the median and an indicator to the linear model, and missing to
    the trees. A class that the training rows lack gets score 0 from both.

    Args:
        train: Rows to learn from.
        test: Rows to predict.
        schema: The columns of both; all but the target are used.
        target: The column to predict.
        seed: Of the trees' held-out rows, by `learner_seed`.

    Returns:
        The two scores, or why there are none.

    Raises:
        KeyError: If the schema has no such target.
        DataError: Where a value is not of its column's kind.
    """
    column, features = schema[target], schema.without((target,))
    classes = not column.numeric or (len(column.atoms) == 2 and not column.edges)
    metric: Literal["auc", "r2"] = "auc" if classes else "r2"
    train, y_train = labelled(train, column, classes)
    test, y_test = labelled(test, column, classes)
    reason = _reason(y_train, y_test, column, features)
    if reason is not None:
        return Utility(metric, None, None, reason)
    names: tuple[Learner, ...] = ("logistic", "boosted_trees")
    scores = []
    for learner in names:
        predicted, known = fit_and_predict(
            (train, y_train), (test, y_test), features, learner, classes, learner_seed(seed)
        )
        scores.append(
            mean_area(y_test, predicted, known) if classes else float(r2_score(y_test, predicted))
        )
    logistic, boosted_trees = scores
    return Utility(metric, logistic, boosted_trees)


def learner_seed(seed: int) -> int:
    """The seed of the trees' held-out rows: the same for every table and every report."""
    return int(stream(seed, "learners").integers(2**31))


def fit_and_predict(
    train: tuple[pd.DataFrame, NDArray[Any]],
    test: tuple[pd.DataFrame, NDArray[Any]],
    features: Schema,
    learner: Learner,
    classes: bool,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Trains one learner and predicts the test rows.

    Args:
        train: Rows to learn from, and their targets `(n,)`.
        test: Rows to predict, and their targets `(m,)`, which are not looked at.
        features: The columns to predict from.
        learner: Logistic (ridge, for numbers) regression, or gradient-boosted trees.
        classes: Whether the target is a class.
        seed: Of the trees' held-out rows.

    Returns:
        Probabilities `(m, C)` and the classes `(C,)`; of a numeric target, predictions `(m,)` and
        no classes.
    """
    x_train, x_test, categorical = encode_features(train[0], test[0], features)
    if learner == "logistic":
        model = linear(LogisticRegression(max_iter=2000) if classes else Ridge(), categorical)
    else:
        model = boosted_trees(classes, train[1], categorical, seed)
        x_train, x_test = for_trees(x_train, x_test, categorical)
    with warnings.catch_warnings():
        # Two thousand steps that end short of the tolerance still rank the rows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_train, train[1])
    if not classes:
        return np.asarray(model.predict(x_test)), np.empty(0, dtype=object)
    return np.asarray(model.predict_proba(x_test)), model.classes_


def labelled(
    frame: pd.DataFrame, column: Column, classes: bool
) -> tuple[pd.DataFrame, NDArray[Any]]:
    """The rows with a target, and their targets, as text where they are classes."""
    labels = cells(frame, column)
    kept = ~pd.isna(labels)
    labels = labels[kept]
    return frame.loc[kept], labels.astype(str) if classes else labels


def _reason(
    y_train: NDArray[Any], y_test: NDArray[Any], column: Column, features: Schema
) -> str | None:
    if not features.columns:
        return f"no column is left to predict '{column.name}' from"
    for rows, labels in (("training", y_train), ("test", y_test)):
        if len(np.unique(labels)) < 2:
            return f"the {rows} rows hold fewer than two values of '{column.name}'"
    return None


def encode_features(
    train: pd.DataFrame, test: pd.DataFrame, features: Schema
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers as they are; categories as ranks of their frequency in `train`, -1 if not there."""
    parts: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for column in features.columns:
        values = [cells(f, column) for f in (train, test)]
        if not column.numeric:
            # A tuple cannot be mistaken for a category called "missing".
            keys = [[(v is not None, v or "") for v in side] for side in values]
            counts: dict[tuple[bool, str], int] = {}
            for key in keys[0]:
                counts[key] = counts.get(key, 0) + 1
            order = {key: i for i, key in enumerate(sorted(counts, key=lambda c: (-counts[c], c)))}
            values = [np.array([order.get(k, -1) for k in side], dtype=np.float64) for side in keys]
        for part, side in zip(parts, values, strict=True):
            part.append(side)
    categorical = np.array([not column.numeric for column in features.columns])
    return np.stack(parts[0], axis=1), np.stack(parts[1], axis=1), categorical


def for_trees(
    x_train: NDArray[np.float64], x_test: NDArray[np.float64], categorical: NDArray[np.bool_]
) -> list[NDArray[np.float64]]:
    """Pools the rarest categories, as histograms have 255 bins, and drops numbers without values.

    With fewer than a hundred values none may be left once rows are held out, at which scikit-learn
    fails; so many tell no more than that they are there.
    """
    present = (~np.isnan(x_train)).sum(axis=0)
    rare = ~categorical & (present < min(100, len(x_train)))
    pooled = [np.where(categorical, np.minimum(x, _TREE_CATEGORIES), x) for x in (x_train, x_test)]
    return [np.where(rare, np.where(np.isnan(x), 1.0, 0.0), x) for x in pooled]


def linear(model: Any, categorical: NDArray[np.bool_]) -> Any:
    """A linear model behind scaled numbers and one-hot categories of `encode_features`."""
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    numbers = make_pipeline(imputer, StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore")
    columns = np.arange(len(categorical))
    parts = [("numbers", numbers, columns[~categorical])]
    parts.append(("categories", categories, columns[categorical]))
    return make_pipeline(ColumnTransformer([part for part in parts if len(part[2])]), model)


def boosted_trees(
    classes: bool, labels: NDArray[Any], categorical: NDArray[np.bool_], seed: int
) -> Any:
    """Gradient-boosted trees for inputs of `for_trees`."""
    if not classes:
        return HistGradientBoostingRegressor(categorical_features=categorical, random_state=seed)
    # Holding rows out is stratified and fails on a class with a single row.
    lonely = np.unique(labels, return_counts=True)[1].min() < 2
    return HistGradientBoostingClassifier(
        categorical_features=categorical,
        early_stopping=False if lonely else "auto",
        random_state=seed,
    )


def mean_area(labels: NDArray[Any], scores: NDArray[np.float64], known: NDArray[Any]) -> float:
    """Mean over the classes in `labels` of the area under the ROC curve of each against the rest.

    Args:
        labels: True classes `(n,)`, at least two different ones.
        scores: `(n, C)`.
        known: The classes `(C,)` of the columns of `scores`; any other class scores 0.

    >>> scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    >>> mean_area(np.array(["a", "a", "b", "b"]), scores, np.array(["a", "b"]))
    0.75
    """
    column = {name: scores[:, i] for i, name in enumerate(known.tolist())}
    present = np.unique(labels).tolist()
    if len(present) == 2 and set(column) == set(present):
        # Both areas are one; which side is rounded must not matter.
        present = present[1:]
    none = np.zeros(len(labels))
    return float(np.mean([roc_auc_score(labels == c, column.get(c, none)) for c in present]))
