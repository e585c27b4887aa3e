"""Entries of the table of metrics: what models trained on the synthetic rows are worth."""

from collections.abc import Iterator

from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import beyond, shown
from everymode.fairness.audit.metric import Judge, Judged, Limit, Metric
from everymode.fairness.metrics.results import Estimate, Prediction


def _pairs(audit: Audit) -> Iterator[tuple[str, Prediction, Prediction]]:
    """By learner: its title, trained on synthetic and on real rows."""
    predictions = () if audit.utility is None else audit.utility.predictions
    real = {p.learner: p for p in predictions if p.trained_on == "real"}
    for prediction in predictions:
        if prediction.trained_on == "synthetic" and prediction.learner in real:
            title = prediction.learner.replace("_", " ")
            yield title, prediction, real[prediction.learner]


def _auc_ratio(audit: Audit, limit: float) -> Iterator[Judged]:
    utility = audit.utility
    if utility is not None and not utility.predictions:
        yield Judged(utility.target, Estimate(), f"not judged: {utility.reason}")
    for title, synthetic, real in _pairs(audit):
        one, two = synthetic.overall.get("auc"), real.overall.get("auc")
        if one and two and two.value and one.value is not None:
            found = Estimate(
                one.value / two.value,
                None if one.low is None else one.low / two.value,
                None if one.high is None else one.high / two.value,
            )
            text = f"AUC {one.value:.3f} trained on synthetic rows, {two.value:.3f} on real"
            yield Judged(title, found, text)


def _base_rates(audit: Audit, limit: float) -> Iterator[Judged]:
    utility = audit.utility
    if utility is None:
        return
    real = utility.base_rate_difference.get("real", {})
    for feature, gap in utility.base_rate_difference.get("synthetic", {}).items():
        base = real.get(feature, Estimate())
        text = (
            f"rates of '{utility.positive}' differ by {shown(gap.value)} between groups, by "
            f"{shown(base.value)} in the real rows"
        )
        columns = {utility.target, *_columns_of(feature, audit)}
        yield Judged(feature, beyond(gap, base), text, given=columns <= set(audit.given))


def _columns_of(feature: str, audit: Audit) -> tuple[str, ...]:
    """The columns whose values make a feature's groups: its own, or all features together."""
    together = feature not in audit.sensitive_features
    return audit.sensitive_features if together else (feature,)


def _fairness(criterion: str) -> Judge:
    """Differences between groups of a model's rates, beyond those of a model on real rows."""

    def judge(audit: Audit, limit: float) -> Iterator[Judged]:
        for title, synthetic, real in _pairs(audit):
            for feature, figures in synthetic.fairness.items():
                own = figures.get(criterion, Estimate())
                base = real.fairness.get(feature, {}).get(criterion, Estimate())
                text = (
                    f"{shown(own.value)} for a model trained on synthetic rows, "
                    f"{shown(base.value)} on real ones"
                )
                yield Judged(f"{feature} ({title})", beyond(own, base), text)

    return judge


UTILITY_METRICS: tuple[Metric, ...] = (
    Metric(
        name="auc_ratio",
        topic="models",
        direction="higher",
        heading="Models worth less",
        failure="It is too weak to learn from for",
        limit=Limit(
            0.95,
            "least AUC of a model trained on synthetic rows, over real",
            {"ge": 0, "le": 1},
        ),
        judge=_auc_ratio,
    ),
    Metric(
        name="base_rate_difference",
        topic="models",
        direction="lower",
        heading="Target's rates differ more",
        failure="It widens the target's gap by",
        limit=Limit(
            0.05, "most that the target's rates differ beyond the real rows' own gap", {"ge": 0}
        ),
        judge=_base_rates,
    ),
    Metric(
        name="demographic_parity_difference",
        topic="models",
        direction="lower",
        heading="Models select more unequally",
        failure="Models trained on it select more unequally by",
        limit=Limit(
            0.05,
            "most that a model's selection rates differ beyond the same model's trained on real "
            "rows",
            {"ge": 0},
        ),
        judge=_fairness("demographic_parity_difference"),
        legend=(
            "Demographic parity, equalized odds, equal opportunity",
            "How much selection rates, true and false positive rates, or true positive rates alone "
            "differ between groups, as in fairlearn.",
        ),
    ),
    Metric(
        name="equalized_odds_difference",
        topic="models",
        direction="lower",
        heading="Models err more unequally",
        failure="Models trained on it err more unequally by",
        limit=Limit(0.1, "the same of its true and false positive rates", {"ge": 0}),
        judge=_fairness("equalized_odds_difference"),
    ),
)
