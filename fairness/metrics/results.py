"""What is measured of a group and of models, as plain values.

Every figure that depends on a draw of rows comes as an `Estimate` with its 95 % interval. A figure
that cannot be had is None, and what it belongs to says why; it is never a pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; all None where there is nothing to measure."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class GroupFinding:
    """One group: the rows that share a value of every feature in `sensitive`.

    Attributes:
        name: The values, joined by ", "; "all rows" for the whole table.
        sensitive: The value of each feature; empty for the whole table.
        rows_real: Its real rows.
        rows_synthetic: Its synthetic rows.
        rows_holdout: Its held-out rows; None where none are held out.
        share_real: Of all real rows.
        share_synthetic: Of all synthetic rows.
        state: `measured`; `absent` if the synthetic table has none of a group of which it should
            have at least the minimum; `insufficient` if either table has too few rows to judge by.
        compared: Rows of either table that the neighbour figures compare.
        standardised_coverage: Coverage over what equal distributions would give; 1 is ideal.
        standardised_recall: Recall over what equal distributions would give.
        coverage: Share of real rows with a synthetic row within their k-th real neighbour.
        density: Mean number of real balls that a synthetic row lies in, over k.
        precision: Share of synthetic rows within some real row's k-th-neighbour ball.
        recall: Share of real rows within some synthetic row's k-th-neighbour ball.
        copied: Share of synthetic rows that equal a real row that was trained on.
        copied_expected: The same share of held-out rows, where rows are held out.
        copied_held_out: Share of synthetic rows that equal a held-out row.
        copied_held_out_expected: The same share of the real rows that were trained on.
        repeated: How many rows of the group equal another of their own table, real or synthetic,
            at most: upper end of a 95 % interval. It stands for coincidence where no rows are held
            out.
        closer_to_training: Share of synthetic rows nearer to a real row that was trained on than to
            any held-out row, as if as many were held out; half where nothing was learnt by heart,
            less where held-out rows were (`everymode.fairness.audit.copies`).
        closer_to_training_fresh: The same share of rows trained on, each without itself.
        mmd: Squared maximum mean discrepancy, unbiased; near 0 is good, may be negative.
        sliced_w1: Sliced Wasserstein distance of the embedded rows.
        sliced_w1_null: What two halves of the real rows give, the noise floor.
        tv: Mean total variation of category columns.
        ks: Mean Kolmogorov-Smirnov distance of numeric columns.
        pairwise: Difference of a column's associations with the others, real to synthetic, of the
            column where it is largest.
        pairwise_null: What the largest over columns is among real and synthetic rows mixed: mean
            and two standard deviations over permutations.
        pairwise_column: That column.
        modes_real: Cells of the codebook that hold real rows of the group.
        modes_covered: Of these, cells that hold synthetic rows of the group.
        modes_sure: Cells that are covered beyond chance.
        modes_lost: Cells that are not, beyond chance (`everymode.fairness.metrics.modes`).
        missing_categories: By column: categories of real rows of the group that no synthetic row of
            the group has.
        range_lost: By column: share of the group's real range that the synthetic range leaves out.
        c2st_trees: Area under the ROC curve of boosted trees that tell synthetic rows from real
            ones; half where they cannot (`everymode.fairness.metrics.two_sample`).
        c2st_logistic: The same of a logistic regression.
        tv_pairs: Mean total variation of joint distributions of two columns, in bins
            (`everymode.fairness.metrics.joint`).
        tv_pairs_fresh: What as many real rows give in place of the synthetic ones.
        tv_triples: The same of three columns.
        tv_triples_fresh: Likewise.
        alpha_precision: Integrated alpha-precision; 1 where distributions are equal
            (`everymode.fairness.metrics.alpha_beta`).
        beta_recall: Integrated beta-recall; one half where distributions are equal.
        impossible: Share of synthetic rows with a pair of values that no real row of the whole
            table has, though chance would expect ten.
        impossible_held_out: The same share of held-out rows.
        efficacy: Of all rows: mean over columns of the area under the ROC curve of models that
            predict the column from the others, trained on synthetic rows and tested on held-out
            ones (`everymode.fairness.metrics.efficacy`).
        efficacy_real: The same, trained on as many real rows.
        membership_nearest: Area under the ROC curve of the membership attack by the nearest row.
        membership_nearest_found: Share of rows trained on that it finds at a rate of false alarms
            of .01.
        membership_density: Likewise of the attack by a density ratio.
        membership_density_found: Likewise.
        figures: Figures of further metrics, by name; in `audit.json` they are fields like the
            others.
    """

    name: str
    sensitive: Mapping[str, str]
    rows_real: int
    rows_synthetic: int
    share_real: float
    share_synthetic: float
    state: Literal["measured", "absent", "insufficient"]
    rows_holdout: int | None = None
    compared: int = 0
    standardised_coverage: Estimate = Estimate()
    standardised_recall: Estimate = Estimate()
    coverage: float | None = None
    density: float | None = None
    precision: float | None = None
    recall: float | None = None
    copied: float | None = None
    copied_expected: float | None = None
    copied_held_out: float | None = None
    copied_held_out_expected: float | None = None
    repeated: float | None = None
    closer_to_training: Estimate = Estimate()
    closer_to_training_fresh: Estimate = Estimate()
    mmd: float | None = None
    sliced_w1: float | None = None
    sliced_w1_null: float | None = None
    tv: float | None = None
    ks: float | None = None
    pairwise: float | None = None
    pairwise_null: float | None = None
    pairwise_column: str | None = None
    modes_real: int | None = None
    modes_covered: int | None = None
    modes_sure: int | None = None
    modes_lost: int | None = None
    missing_categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    range_lost: Mapping[str, float] = field(default_factory=dict)
    c2st_trees: Estimate = Estimate()
    c2st_logistic: Estimate = Estimate()
    tv_pairs: float | None = None
    tv_pairs_fresh: float | None = None
    tv_triples: float | None = None
    tv_triples_fresh: float | None = None
    alpha_precision: float | None = None
    beta_recall: float | None = None
    impossible: float | None = None
    impossible_held_out: float | None = None
    efficacy: float | None = None
    efficacy_real: float | None = None
    membership_nearest: Estimate = Estimate()
    membership_nearest_found: Estimate = Estimate()
    membership_density: Estimate = Estimate()
    membership_density_found: Estimate = Estimate()
    figures: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(values: Mapping[str, Any]) -> "GroupFinding":
        """A finding from fields by name; names that are no field go into `figures`."""
        known = {item.name for item in fields(GroupFinding)}
        own = {name: value for name, value in values.items() if name in known}
        more = {name: value for name, value in values.items() if name not in known}
        return GroupFinding(**own, figures=more)

    def figure(self, name: str) -> "Estimate":
        """The figure `name` as an estimate; a plain number is its own interval.

        Raises:
            AttributeError: There is no figure of this name.
        """
        value = self.figures[name] if name in self.figures else getattr(self, name)
        return value if isinstance(value, Estimate) else Estimate(value, value, value)

    @property
    def features(self) -> tuple[str, ...]:
        """The features whose values make the group."""
        return tuple(self.sensitive)


@dataclass(frozen=True)
class Prediction:
    """One learner, trained on one table and tested on real rows that neither table holds.

    Attributes:
        trained_on: `synthetic` or `real`.
        learner: `logistic` or `boosted_trees`.
        overall: By metric: auc, accuracy, f1, calibration_error, selection_rate.
        by_group: The same by feature, then by value; a metric a small group cannot have is empty.
        fairness: By feature, then by metric: demographic_parity_difference and _ratio,
            equalized_odds_difference and _ratio, equal_opportunity_difference and _ratio.
    """

    trained_on: Literal["synthetic", "real"]
    learner: Literal["logistic", "boosted_trees"]
    overall: Mapping[str, Estimate]
    by_group: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    fairness: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class UtilityFinding:
    """What models trained on the synthetic rows are worth on real ones, group by group.

    Attributes:
        target: The predicted column.
        positive: The class that counts as selected, the rarer of two; None for other targets.
        base_rates: By table (`real`, `synthetic`), feature and value: share of the positive class.
        base_rate_difference: By table and feature: largest less smallest of these.
        predictions: A learner and a training table each; empty with a `reason`.
        insufficient: Groups, as "feature: value", with too few test rows to judge by.
        reason: Why nothing could be measured.
    """

    target: str
    positive: str | None = None
    base_rates: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    base_rate_difference: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    insufficient: tuple[str, ...] = ()
    reason: str | None = None
