"""Classifier two-sample tests: how well a classifier tells synthetic rows from real ones.

Lopez-Paz, Oquab, "Revisiting Classifier Two-Sample Tests", 2017, with the area under the ROC curve
in place of the accuracy: .5 where the two tables cannot be told apart, 1 where every row can.
"""

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from everymode.fairness.metrics.results import Estimate
from everymode.fairness.metrics.utility import (
    Learner,
    encode_features,
    for_trees,
    linear,
)
from everymode.wgan.data.schema import Schema

Floats = NDArray[np.float64]

FOLDS = 5
"""Parts of the rows; each is scored by a classifier of the others."""

Z = 1.959964
"""The .975 quantile of the normal distribution."""


def two_sample_area(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    schema: Schema,
    learner: Learner,
    rng: np.random.Generator,
) -> Estimate:
    """Area under the ROC curve of a classifier of real against synthetic rows, cross-fitted.

    No row is scored by a classifier that has seen it. The figure is the mean over folds of the
    area in each, since scores of different classifiers do not compare; its variance is the mean of
    DeLong's, over the folds. That the folds' classifiers share most of their rows is not in the
    interval.

    Args:
        real: n rows; as many as synthetic ones, or the classifier learns the sizes.
        synthetic: m rows.
        schema: The columns to use.
        learner: Logistic regression or boosted trees, on inputs as of
            `everymode.fairness.metrics.utility`. Boosting stops once a tenth of its rows, held out,
            gains no more, in small groups as in large ones. Longer boosting finds somewhat more.
        rng: Deals the rows to folds.

    Returns:
        All None where no column is left or a fold would lack rows of a table.

    Raises:
        DataError: Where a value is not of its column's kind.
    """
    if not schema.columns or min(len(real), len(synthetic)) < 2 * FOLDS:
        return Estimate()
    both = pd.concat([real, synthetic], ignore_index=True)
    made = np.repeat([0, 1], [len(real), len(synthetic)])
    # Ranks of categories by their frequency in both tables say nothing of either.
    inputs, _, categorical = encode_features(both, both[:1], schema)
    fold = np.concatenate([rng.permutation(len(rows)) % FOLDS for rows in (real, synthetic)])
    seed = int(rng.integers(2**31))
    areas, variances = [], []
    for k in range(FOLDS):
        train, test = inputs[fold != k], inputs[fold == k]
        labels = made[fold != k]
        if learner == "logistic":
            model = linear(LogisticRegression(max_iter=500), categorical)
        else:
            train, test = for_trees(train, test, categorical)
            model = HistGradientBoostingClassifier(
                categorical_features=categorical, early_stopping=True, random_state=seed
            )
        with warnings.catch_warnings():
            # Steps that end short of the tolerance still rank the rows.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, labels)
        scores = np.asarray(model.predict_proba(test))[:, 1]
        truth = made[fold == k] == 1
        area, variance = delong(scores[truth], scores[~truth])
        areas.append(area)
        variances.append(variance)
    value = float(np.mean(areas))
    half = Z * (float(np.mean(variances)) / FOLDS) ** 0.5
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))


def delong(positive: Floats, negative: Floats) -> tuple[float, float]:
    """Area under the ROC curve, and DeLong's estimate of its variance.

    DeLong, DeLong, Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves", 1988, equations 2 to 6; by ranks as in Sun, Xu, "Fast
    Implementation of DeLong's Algorithm", 2014.

    Args:
        positive: Scores of the positive class `(m,)`, at least two.
        negative: Scores of the other class `(n,)`, at least two.

    >>> delong(np.array([0.8, 0.4]), np.array([0.4, 0.2]))
    (0.875, 0.03125)
    """
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    # The share of negative scores below each positive one, and of positive above each negative.
    below = (ranks[:m] - rankdata(positive)) / n
    above = 1 - (ranks[m:] - rankdata(negative)) / m
    variance = below.var(ddof=1) / m + above.var(ddof=1) / n
    return float(below.mean()), float(variance)
