"""What models trained on synthetic rows are worth on real ones, group by group.

Each learner (`fairness.utility`) is trained on the synthetic and, beside it, on the real rows, and
predicts real test rows; sensitive features stay among its inputs. Figures per group are fairlearn's
MetricFrames. Intervals are 95 % percentile bootstraps over the test rows: of the same predictions,
so they hold the chance of the test rows and not that of training.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from fairness.findings import Estimate, Prediction, UtilityFinding
from fairness.groups import spelled
from fairness.utility import encode_features, for_trees, labelled, linear, mean_area, trees_of
from wgan.data.schema import Schema

Learner = Literal["logistic", "boosted_trees"]
Table = Literal["synthetic", "real"]

BINS = 10
"""Bins of equal numbers of rows, for the calibration error."""


def group_utility(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    test: pd.DataFrame,
    schema: Schema,
    target: str,
    features: Sequence[str],
    rng: np.random.Generator,
    *,
    minimum: int = 30,
    bootstrap: int = 100,
    learners: Sequence[Learner] = ("logistic", "boosted_trees"),
) -> UtilityFinding:
    """Trains on synthetic and on real rows, tests on real ones.

    Groups with fewer than `minimum` test rows, or of one class alone, are `insufficient`: they have
    no metrics, and no part in differences and ratios between groups.

    Args:
        real: Rows that the generator was trained on.
        synthetic: Rows it made.
        test: Real rows to predict.
        schema: The columns of all three.
        target: The column to predict: two values for figures of fairness, more for AUC and
            accuracy alone.
        features: Sensitive features; several are taken one by one and together.
        rng: Of the learners' seeds and of the bootstrap.
        minimum: Fewest test rows of a group.
        bootstrap: Resamples of the test rows.
        learners: Which learners.

    Raises:
        KeyError: The schema has no such column.
        DataError: Where a value is not of its column's kind.
    """
    column = schema[target]
    if column.numeric and not (len(column.atoms) == 2 and not column.edges):
        return UtilityFinding(target, reason=f"'{target}' is a number, not a class")
    tables = {
        name: labelled(frame, column, True)
        for name, frame in (("real", real), ("synthetic", synthetic), ("test", test))
    }
    for name, (_, labels) in tables.items():
        if len(np.unique(labels)) < 2:
            return UtilityFinding(
                target, reason=f"the {name} rows hold fewer than two values of '{target}'"
            )
    known, counts = np.unique(tables["real"][1], return_counts=True)
    positive = str(known[counts.argmin()]) if len(known) == 2 else None
    groups = {name: _groups(frame, schema, features) for name, (frame, _) in tables.items()}
    enough, insufficient = _enough(groups["test"], tables["test"][1], minimum)
    seed = int(rng.integers(2**31))
    draws = rng.multinomial(
        len(tables["test"][1]),
        np.full(len(tables["test"][1]), 1 / len(tables["test"][1])),
        size=bootstrap,
    )
    predictions = []
    order: tuple[Table, Table] = ("synthetic", "real")
    for table in order:
        for learner in learners:
            classes, scores = _predicted(
                tables[table], tables["test"], schema, target, learner, seed
            )
            predictions.append(
                _measured(
                    table,
                    learner,
                    tables["test"][1],
                    classes,
                    scores,
                    positive,
                    groups["test"],
                    enough,
                    draws,
                )
            )
    if positive is None:
        return UtilityFinding(target, None, predictions=tuple(predictions))
    rates: dict[str, dict[str, dict[str, float]]] = {}
    gaps: dict[str, dict[str, Estimate]] = {}
    for table in order:
        hits = (tables[table][1] == positive).astype(np.float64)
        rates[table] = {
            name: {str(g): float(hits[index == g].mean()) for g in np.unique(index)}
            for name, index in groups[table].items()
        }
        gaps[table] = {
            name: _rate_gap(hits, index, minimum, rng, bootstrap)
            for name, index in groups[table].items()
        }
    return UtilityFinding(target, positive, rates, gaps, tuple(predictions), insufficient)


def _groups(
    frame: pd.DataFrame, schema: Schema, features: Sequence[str]
) -> dict[str, NDArray[np.object_]]:
    values = {name: spelled(frame[name], schema[name], "the table") for name in features}
    if len(values) > 1:
        joint = [", ".join(row) for row in zip(*values.values(), strict=True)]
        values[", ".join(features)] = np.array(joint, dtype=object)
    return values


def _enough(
    groups: Mapping[str, NDArray[np.object_]], labels: NDArray[Any], minimum: int
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    kept: dict[str, tuple[str, ...]] = {}
    lacking = []
    for name, index in groups.items():
        good = []
        for group in sorted(set(index)):
            own = labels[index == group]
            if len(own) >= minimum and len(np.unique(own)) > 1:
                good.append(group)
            else:
                lacking.append(f"{name}: {group}")
        kept[name] = tuple(good)
    return kept, tuple(lacking)


def _predicted(
    train: tuple[pd.DataFrame, NDArray[Any]],
    test: tuple[pd.DataFrame, NDArray[Any]],
    schema: Schema,
    target: str,
    learner: Learner,
    seed: int,
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Classes `(C,)` and their probabilities on the test rows, `(n, C)`."""
    x_train, x_test, categorical = encode_features(train[0], test[0], schema.without((target,)))
    if learner == "logistic":
        model = linear(LogisticRegression(max_iter=2000), categorical)
    else:
        model = trees_of(True, train[1], categorical, seed)
        x_train, x_test = for_trees(x_train, x_test, categorical)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x_train, train[1])
    return model.classes_, np.asarray(model.predict_proba(x_test))


def _measured(
    table: Table,
    learner: Learner,
    labels: NDArray[Any],
    classes: NDArray[Any],
    scores: NDArray[np.float64],
    positive: str | None,
    groups: Mapping[str, NDArray[np.object_]],
    enough: Mapping[str, tuple[str, ...]],
    draws: NDArray[np.int64],
) -> Prediction:
    if positive is None:
        right = classes[scores.argmax(axis=1)] == labels
        overall = {
            "auc": Estimate(mean_area(labels, scores, classes)),
            "accuracy": _estimate(float(right.mean()), draws @ right / draws.sum(axis=1)),
        }
        return Prediction(table, learner, overall, {}, {})
    truth = (labels == positive).astype(np.int64)
    place = np.flatnonzero(classes == positive)
    score = scores[:, place[0]] if len(place) else np.zeros(len(labels))
    overall = _metrics(truth, score, draws)
    by_group: dict[str, dict[str, dict[str, Estimate]]] = {}
    fairness = {}
    for name, index in groups.items():
        by_group[name] = {}
        for group in sorted(set(index)):
            own = index == group
            good = group in enough[name]
            by_group[name][group] = _metrics(truth[own], score[own], draws[:, own]) if good else {}
        kept = np.isin(index, list(enough[name]))
        if len(enough[name]) > 1:
            fairness[name] = _fairness(truth[kept], score[kept] >= 0.5, index[kept], draws[:, kept])
    return Prediction(table, learner, overall, by_group, fairness)


def _metrics(
    truth: NDArray[np.int64], score: NDArray[np.float64], draws: NDArray[np.int64]
) -> dict[str, Estimate]:
    chosen = (score >= 0.5).astype(np.int64)
    total = np.maximum(draws.sum(axis=1), 1)
    hits = draws @ (truth & chosen)
    found = np.maximum(draws @ truth + draws @ chosen, 1)
    return {
        "auc": _estimate(float(roc_auc_score(truth, score)), _areas(truth, score, draws)),
        "accuracy": _estimate(
            float(accuracy_score(truth, chosen)), draws @ (truth == chosen) / total
        ),
        "f1": _estimate(float(f1_score(truth, chosen, zero_division=0.0)), 2 * hits / found),
        "calibration_error": _estimate(
            calibration_error(truth, score), _calibrations(truth, score, draws)
        ),
        "selection_rate": _estimate(float(chosen.mean()), draws @ chosen / total),
    }


def _areas(
    truth: NDArray[np.int64], score: NDArray[np.float64], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Area under the ROC curve of each resample: pairs in order, a tie counting half, `(B,)`."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) > 0))
    up = np.add.reduceat(draws[:, order] * truth[order], starts, axis=1).astype(np.float64)
    down = np.add.reduceat(draws[:, order] * (1 - truth[order]), starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    pairs = up.sum(axis=1) * down.sum(axis=1)
    none = np.full(len(draws), np.nan)
    areas: NDArray[np.float64] = np.divide((up * below).sum(1), pairs, out=none, where=pairs > 0)
    return areas


def calibration_error(truth: NDArray[np.int64], score: NDArray[np.float64]) -> float:
    """Expected calibration error over `BINS` bins of equal numbers of rows.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", 2015, section 4.

    >>> calibration_error(np.array([0, 1, 1, 0]), np.full(4, 0.5))
    0.5
    """
    one = np.ones((1, len(truth)), dtype=np.int64)
    return float(_calibrations(truth, score, one)[0])


def _calibrations(
    truth: NDArray[np.int64], score: NDArray[np.float64], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    order = np.argsort(score, kind="stable")
    starts = np.unique(np.linspace(0, len(order), BINS, endpoint=False).astype(np.int64))
    gaps = np.add.reduceat(draws[:, order] * (truth - score)[order], starts, axis=1)
    return np.asarray(np.abs(gaps).sum(axis=1) / np.maximum(draws.sum(axis=1), 1))


def _fairness(
    truth: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    index: NDArray[np.object_],
    draws: NDArray[np.int64],
) -> dict[str, Estimate]:
    rates: dict[str, Callable[..., Any]] = {
        "selection": selection_rate,
        "hit": true_positive_rate,
        "false": false_positive_rate,
    }
    frame = MetricFrame(
        metrics=rates, y_true=truth, y_pred=chosen.astype(np.int64), sensitive_features=index
    )
    resampled = _rates(truth, chosen, index, draws)
    found: dict[str, Estimate] = {}
    difference, ratio = frame.difference(), frame.ratio()
    for name, parts in (
        ("demographic_parity", ("selection",)),
        ("equal_opportunity", ("hit",)),
        ("equalized_odds", ("hit", "false")),
    ):
        # fairlearn's "worst case": the larger of the differences, the smaller of the ratios.
        gaps = np.max([np.ptp(resampled[part], axis=1) for part in parts], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            lows = [resampled[p].min(axis=1) / resampled[p].max(axis=1) for p in parts]
        value = float(max(difference[part] for part in parts))
        found[f"{name}_difference"] = _estimate(value, gaps)
        value = float(min(ratio[part] for part in parts))
        found[f"{name}_ratio"] = _estimate(value, np.min(lows, axis=0))
    return found


def _rates(
    truth: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    index: NDArray[np.object_],
    draws: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """Rates of every group in every resample, `(B, G)` each."""
    members = [index == group for group in sorted(set(index))]
    conditions = {
        "selection": np.ones(len(truth), dtype=bool),
        "hit": truth == 1,
        "false": truth == 0,
    }
    found = {}
    for name, condition in conditions.items():
        columns = []
        for member in members:
            rows = member & condition
            drawn = draws[:, rows]
            columns.append(drawn @ chosen[rows] / np.maximum(drawn.sum(axis=1), 1))
        found[name] = np.stack(columns, axis=1)
    return found


def _rate_gap(
    hits: NDArray[np.float64],
    index: NDArray[np.object_],
    minimum: int,
    rng: np.random.Generator,
    bootstrap: int,
) -> Estimate:
    """Largest less smallest share of the positive class over groups that are large enough."""
    own = [hits[index == group] for group in sorted(set(index))]
    own = [values for values in own if len(values) >= minimum]
    if len(own) < 2:
        return Estimate()
    rates = np.array([values.mean() for values in own])
    counts = np.array([len(values) for values in own])
    resampled = rng.binomial(counts, rates, size=(bootstrap, len(own))) / counts
    return _estimate(float(np.ptp(rates)), np.ptp(resampled, axis=1))


def _estimate(value: float, resampled: NDArray[Any]) -> Estimate:
    known = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(known):
        return Estimate()
    low, high = np.quantile(known, [0.025, 0.975])
    # A difference of noisy rates is biased upwards: the interval shall hold what was measured.
    return Estimate(value, float(min(low, value)), float(max(high, value)))
