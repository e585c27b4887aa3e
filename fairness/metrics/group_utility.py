"""Utility by group: models trained on synthetic rows and tested on real ones, with fairness.

Each learner (`everymode.fairness.metrics.utility`) is trained on the synthetic rows and, for
comparison, on the real rows, and predicts real test rows; sensitive features stay among its inputs.
Figures per group are those of fairlearn's MetricFrame. Intervals are 95 % percentile bootstraps
over the test rows (`everymode.fairness.metrics.bootstrap`) with fixed predictions: they contain the
sampling error of the test rows and not that of training.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from everymode.fairness.groups.conditions import category_labels
from everymode.fairness.metrics.bootstrap import (
    Counts,
    Floats,
    Ints,
    areas,
    calibration_error,
    calibrations,
    interval,
    over,
    resamples,
)
from everymode.fairness.metrics.results import Estimate, Prediction, UtilityFinding
from everymode.fairness.metrics.streams import stream
from everymode.fairness.metrics.utility import (
    Learner,
    fit_and_predict,
    labelled,
    learner_seed,
    mean_area,
)
from everymode.wgan.data.schema import Schema

Table = Literal["synthetic", "real"]
Metric = Callable[[Any, Any], float]

THRESHOLD: Final = 0.5
"""The score from which a row is selected."""


def _of_choices(metric: Metric) -> Metric:
    """A metric of choices as one of scores."""

    def of_scores(y_true: Any, y_pred: Any) -> float:
        return metric(y_true, (y_pred >= THRESHOLD).astype(np.int64))

    return of_scores


UNTESTED: Final = (
    "no rows are held out, and models tested on rows that the table was made from seem better than "
    "they are; name held-out rows"
)
"""Why no model is tested."""


METRICS: Final[Mapping[str, Metric]] = {
    "auc": roc_auc_score,
    "accuracy": _of_choices(accuracy_score),
    "f1": _of_choices(functools.partial(f1_score, zero_division=0.0)),
    "calibration_error": calibration_error,
    "selection_rate": _of_choices(selection_rate),
}
"""What is measured of true classes and scores, `(n,)` each, overall and in every group."""

RATES: Final[Mapping[str, Metric]] = {
    "selection_rate": METRICS["selection_rate"],
    "true_positive_rate": _of_choices(true_positive_rate),
    "false_positive_rate": _of_choices(false_positive_rate),
}

FAIRNESS: Final[Mapping[str, tuple[str, ...]]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
}
"""The rates that each criterion compares between groups; of two, the worse counts."""


@dataclass(frozen=True)
class _Tested:
    """The test rows.

    Attributes:
        labels: Their true classes, `(n,)`.
        groups: By feature, the group of each, `(n,)`.
        enough: By feature, the groups that are large enough to measure.
        draws: How often each resample holds each, `(B, n)`.
    """

    labels: NDArray[Any]
    groups: Mapping[str, NDArray[np.object_]]
    enough: Mapping[str, tuple[str, ...]]
    draws: Counts


def group_utility(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    test: pd.DataFrame | None,
    schema: Schema,
    target: str,
    features: Sequence[str],
    seed: int,
    *,
    minimum: int = 30,
    bootstrap: int = 200,
    learners: Sequence[Learner] = ("logistic", "boosted_trees"),
) -> UtilityFinding:
    """Trains on synthetic and on real rows, tests on real ones.

    Groups with fewer than `minimum` test rows, or of one class alone, are `insufficient`: they have
    no metrics, and no part in differences and ratios between groups. Rows without a target are left
    out; a missing sensitive value is a value. Nothing is trained anew for an interval, and a
    resample in which a figure has no meaning (no row of the positive class in a group, say) is
    left out of that figure's interval.

    Args:
        real: Rows that the generator was trained on.
        synthetic: Rows of the generator.
        test: Real rows to predict, which the generator did not see; None: no model is trained,
            as a test on rows that the generator was trained on would be optimistic.
        schema: The columns of all three; all but the target are inputs, sensitive ones too.
        target: The column to predict: two values for figures of fairness, more for AUC and
            accuracy alone.
        features: Sensitive features; several are taken one by one and together.
        seed: Of the learners (`learner_seed`) and of the bootstrap.
        minimum: Fewest test rows of a group, and fewest rows of one whose base rate is compared.
        bootstrap: Resamples of the test rows; with 0, figures come without an interval.
        learners: Which learners.

    Returns:
        The figures, with the class that fewer real rows have as the positive one; a `reason` and
        no figure where the target is a number, has one value, or is the only column; a `reason` and
        base rates alone where there are no test rows.

    Raises:
        KeyError: The schema has no such column.
        DataError: Where a value is not of its column's kind.
    """
    column = schema[target]
    if column.numeric and not (len(column.atoms) == 2 and not column.edges):
        told = f"'{target}' is a number, and AUC, accuracy and fairness are measured of classes"
        return UtilityFinding(target, reason=told)
    inputs = schema.without((target,))
    if not inputs.columns:
        return UtilityFinding(target, reason=f"no column is left to predict '{target}' from")
    tables = {
        name: labelled(frame, column, True)
        for name, frame in (("real", real), ("synthetic", synthetic), ("test", test))
        if frame is not None
    }
    for name, (_, labels) in tables.items():
        if len(np.unique(labels)) < 2:
            return UtilityFinding(
                target, reason=f"the {name} rows hold fewer than two values of '{target}'"
            )
    known, counts = np.unique(tables["real"][1], return_counts=True)
    positive = str(known[counts.argmin()]) if len(known) == 2 else None
    groups = {name: _groups(frame, schema, features) for name, (frame, _) in tables.items()}
    insufficient: tuple[str, ...] = ()
    predictions: list[Prediction] = []
    reason: str | None = UNTESTED
    order: tuple[Table, Table] = ("synthetic", "real")
    if test is not None:
        reason = None
        enough, insufficient = _enough(groups["test"], tables["test"][1], minimum)
        draws = resamples(len(tables["test"][1]), bootstrap, stream(seed, "test rows"))
        tested = _Tested(tables["test"][1], groups["test"], enough, draws)
        for table in order:
            for learner in learners:
                scores, classes = fit_and_predict(
                    tables[table], tables["test"], inputs, learner, True, learner_seed(seed)
                )
                area = mean_area(tested.labels, scores, classes)
                if positive is None:
                    overall = _of_classes(tested, classes, scores, area)
                    predictions.append(Prediction(table, learner, overall, {}, {}))
                    continue
                # A class that the training rows lack is never predicted.
                score = scores[:, classes == positive].sum(axis=1)
                truth = (tested.labels == positive).astype(np.int64)
                predictions.append(Prediction(table, learner, *_of_two(tested, truth, score, area)))
    if positive is None:
        return UtilityFinding(target, None, predictions=tuple(predictions), reason=reason)
    rates: dict[str, dict[str, dict[str, float]]] = {}
    gaps: dict[str, dict[str, Estimate]] = {}
    for table in order:
        hits = (tables[table][1] == positive).astype(np.float64)
        rates[table] = {
            name: {str(g): float(hits[index == g].mean()) for g in np.unique(index)}
            for name, index in groups[table].items()
        }
        gaps[table] = {
            name: _rate_gap(
                hits, index, minimum, stream(seed, "base rates", table, name), bootstrap
            )
            for name, index in groups[table].items()
        }
    return UtilityFinding(
        target, positive, rates, gaps, tuple(predictions), insufficient, reason=reason
    )


def _groups(
    frame: pd.DataFrame, schema: Schema, features: Sequence[str]
) -> dict[str, NDArray[np.object_]]:
    values = {name: category_labels(frame[name], schema[name], "the table") for name in features}
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


def _of_classes(
    tested: _Tested, classes: NDArray[Any], scores: Floats, area: float
) -> dict[str, Estimate]:
    """AUC and accuracy of any number of classes `(C,)` from their scores `(n, C)`."""
    labels, draws = tested.labels, tested.draws
    column = {name: scores[:, i] for i, name in enumerate(classes.tolist())}
    none = np.zeros(len(labels))
    found = []
    for name in np.unique(labels).tolist():
        score = column.get(name, none)
        order = np.argsort(score, kind="stable")
        found.append(areas((labels == name)[order], score[order], draws[:, order]))
    # As `mean_area` does: over the classes that the resample holds.
    means = over(np.nansum(found, axis=0), np.isfinite(found).sum(axis=0))
    right = classes[scores.argmax(axis=1)] == labels
    return {
        "auc": interval(area, means),
        "accuracy": interval(float(right.mean()), over(draws @ right, draws.sum(axis=1))),
    }


def _of_two(
    tested: _Tested, truth: Ints, score: Floats, area: float
) -> tuple[
    dict[str, Estimate],
    dict[str, dict[str, dict[str, Estimate]]],
    dict[str, dict[str, Estimate]],
]:
    """All figures of two classes: overall, by group, and the fairness between groups."""
    values = {name: float(metric(truth, score)) for name, metric in METRICS.items()}
    # As `train_and_test` has it, to the last digit.
    values["auc"] = area
    overall = _estimates(values, _resampled(truth, score, tested.draws))
    by_group: dict[str, dict[str, dict[str, Estimate]]] = {}
    fairness = {}
    for name, index in tested.groups.items():
        by_group[name] = {group: {} for group in sorted(set(index))}
        members = {group: np.flatnonzero(index == group) for group in tested.enough[name]}
        if not members:
            continue
        kept = np.concatenate(list(members.values()))
        frame = MetricFrame(
            metrics={**METRICS, **RATES},
            y_true=truth[kept],
            y_pred=score[kept],
            sensitive_features=index[kept],
        )
        for group, rows in members.items():
            values = {metric: float(frame.by_group.loc[group, metric]) for metric in METRICS}
            by_group[name][group] = _estimates(
                values, _resampled(truth[rows], score[rows], tested.draws[:, rows])
            )
        if len(members) > 1:
            rates = _rates(truth, score >= THRESHOLD, members, tested.draws)
            fairness[name] = _fairness(frame, rates)
    return overall, by_group, fairness


def _resampled(truth: Ints, score: Floats, draws: Counts) -> dict[str, Floats]:
    """Every one of `METRICS` in each resample, `(B,)`; NaN where it has no meaning there."""
    order = np.argsort(score, kind="stable")
    truth, score, draws = truth[order], score[order], draws[:, order]
    chosen = score >= THRESHOLD
    total = draws.sum(axis=1)
    either = draws @ truth + draws @ chosen
    return {
        "auc": areas(truth, score, draws),
        "accuracy": over(draws @ (truth == chosen), total),
        "f1": 2 * (draws @ (truth * chosen)) / np.maximum(either, 1),
        "calibration_error": calibrations(truth, score, draws),
        "selection_rate": over(draws @ chosen, total),
    }


def _rates(
    truth: Ints, chosen: NDArray[np.bool_], members: Mapping[str, Ints], draws: Counts
) -> dict[str, Floats]:
    """`RATES` of every group, given its rows, in every resample, `(B, G)` each."""
    conditions = {
        "selection_rate": np.ones(len(truth), dtype=np.bool_),
        "true_positive_rate": truth == 1,
        "false_positive_rate": truth == 0,
    }
    found = {}
    for name, condition in conditions.items():
        columns = []
        for rows in members.values():
            rows = rows[condition[rows]]
            drawn = draws[:, rows]
            columns.append(over(drawn @ chosen[rows], drawn.sum(axis=1)))
        found[name] = np.stack(columns, axis=1)
    return found


def _fairness(frame: MetricFrame, rates: Mapping[str, Floats]) -> dict[str, Estimate]:
    """Differences and ratios of fairlearn's criteria, from its frame and the resampled rates."""
    found: dict[str, Estimate] = {}
    difference, ratio = frame.difference(), frame.ratio()
    for name, parts in FAIRNESS.items():
        gaps = np.max([np.ptp(rates[part], axis=1) for part in parts], axis=0)
        value = max(float(difference[part]) for part in parts)
        found[f"{name}_difference"] = interval(value, gaps)
        # fairlearn passes over a rate of 0 in all groups if another of the criterion is not.
        value = min(float(ratio[part]) for part in parts)
        lows = [over(rates[part].min(axis=1), rates[part].max(axis=1)) for part in parts]
        low = functools.reduce(lambda worst, other: np.where(other < worst, other, worst), lows)
        found[f"{name}_ratio"] = interval(value, low)
    return found


def _rate_gap(
    hits: Floats, index: NDArray[np.object_], minimum: int, rng: np.random.Generator, bootstrap: int
) -> Estimate:
    """Largest less smallest share of the positive class over groups that are large enough.

    Resampling within each group is a binomial draw: the groups keep their sizes.
    """
    own = [hits[index == group] for group in sorted(set(index))]
    own = [values for values in own if len(values) >= minimum]
    if len(own) < 2:
        return Estimate()
    rates = np.array([values.mean() for values in own])
    counts = np.array([len(values) for values in own])
    resampled = rng.binomial(counts, rates, size=(bootstrap, len(own))) / counts
    return interval(float(np.ptp(rates)), np.ptp(resampled, axis=1))


def _estimates(values: Mapping[str, float], resampled: Mapping[str, Floats]) -> dict[str, Estimate]:
    return {name: interval(value, resampled[name]) for name, value in values.items()}
