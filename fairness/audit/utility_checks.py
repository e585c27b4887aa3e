"""Thresholds held against what models trained on the synthetic rows are worth."""

from collections.abc import Iterator

from fairness.audit.findings import Audit, Check
from fairness.audit.limits import at_least, at_most, shown, told
from fairness.audit.thresholds import Thresholds
from fairness.metrics.results import Estimate


def of_utility(audit: Audit, limits: Thresholds) -> Iterator[Check]:
    """The checks of models, and of the target's rates in the rows themselves."""
    utility = audit.utility
    if utility is None:
        return
    if not utility.predictions and limits.auc_ratio is not None:
        text = f"not judged: {utility.reason}"
        yield Check("auc_ratio", utility.target, "insufficient", Estimate(), limits.auc_ratio, text)
    real = {p.learner: p for p in utility.predictions if p.trained_on == "real"}
    made = {p.learner: p for p in utility.predictions if p.trained_on == "synthetic"}
    for learner in [name for name in made if name in real]:
        title = learner.replace("_", " ")
        if limits.auc_ratio is not None:
            one, two = made[learner].overall.get("auc"), real[learner].overall.get("auc")
            if one and two and two.value and one.value is not None:
                found = Estimate(
                    one.value / two.value,
                    None if one.low is None else one.low / two.value,
                    None if one.high is None else one.high / two.value,
                )
                text = f"AUC {one.value:.3f} trained on synthetic rows, {two.value:.3f} on real"
                yield Check(
                    "auc_ratio",
                    title,
                    at_least(found, limits.auc_ratio),
                    found,
                    limits.auc_ratio,
                    text,
                )
        for metric, limit in (
            ("demographic_parity_difference", limits.demographic_parity_difference),
            ("equalized_odds_difference", limits.equalized_odds_difference),
        ):
            if limit is None:
                continue
            for feature, figures in made[learner].fairness.items():
                base = real[learner].fairness.get(feature, {}).get(metric, Estimate())
                found = _beyond(figures.get(metric, Estimate()), base)
                text = (
                    f"{shown(figures.get(metric, Estimate()).value)} for a model trained on "
                    f"synthetic rows, {shown(base.value)} on real ones"
                )
                subject = f"{feature} ({title})"
                yield Check(metric, subject, at_most(found, limit), found, limit, text)
    if limits.base_rate_difference is not None:
        limit = limits.base_rate_difference
        data = utility.base_rate_difference.get("real", {})
        for feature, gap in utility.base_rate_difference.get("synthetic", {}).items():
            base = data.get(feature, Estimate())
            found = _beyond(gap, base)
            text = (
                f"rates of '{utility.positive}' differ by {shown(gap.value)} between groups, by "
                f"{shown(base.value)} in the real rows"
            )
            check = Check(
                "base_rate_difference", feature, at_most(found, limit), found, limit, text
            )
            yield told(check, audit, (utility.target, *_columns_of(feature, audit)))


def _columns_of(feature: str, audit: Audit) -> tuple[str, ...]:
    """The columns that a feature's values are of: its own, or of all features together."""
    together = feature not in audit.sensitive_features
    return audit.sensitive_features if together else (feature,)


def _beyond(found: Estimate, base: Estimate) -> Estimate:
    """What a gap is more than another; the intervals' half-widths add as independent errors."""
    values = (found.value, found.low, found.high, base.value, base.low, base.high)
    if any(value is None for value in values):
        return Estimate()
    value, low, high, start, below, above = (float(v) for v in values if v is not None)
    less = ((value - low) ** 2 + (above - start) ** 2) ** 0.5
    more = ((high - value) ** 2 + (start - below) ** 2) ** 0.5
    return Estimate(value - start, value - start - less, value - start + more)
