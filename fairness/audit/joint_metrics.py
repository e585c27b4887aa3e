"""Entries of the table of metrics: whole rows, and values of several columns at once.

They have no limit. What a good generator reaches differs between tables, so each figure comes with
what other real rows would have: by its definition (one half, 1), or measured on real rows.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from everymode.fairness.audit.metric import Column, Metric
from everymode.fairness.metrics.results import Estimate

if TYPE_CHECKING:
    from everymode.fairness.audit.group_sample import GroupSample
    from everymode.fairness.metrics.utility import Learner

MAX_CELLS = 1_000_000
"""Most cells of either table that a classifier learns from: up to 125 columns, all rows."""

MIN_CLASSIFIED = 200
"""Rows of either table without which no classifier is asked: its interval would be .1 wide."""


def two_sample_areas(sample: "GroupSample", learner: "Learner") -> Estimate:
    """How well a classifier tells a group's synthetic rows from its reference rows.

    All None where either table has fewer than `MIN_CLASSIFIED` rows, or so many columns that fewer
    have `MAX_CELLS` cells; and for images.
    """
    tables = sample.tables
    limit = min(sample.limits.classified, MAX_CELLS // max(len(sample.within.columns), 1))
    count = min(limit, len(sample.reference), len(sample.synthetic))
    if tables.image is not None or count < MIN_CLASSIFIED:
        return Estimate()
    from everymode.fairness.metrics.two_sample import two_sample_area

    rng = sample.rng("two samples")
    real, synthetic = (
        frame.iloc[sample.draw(rows, count, rng)]
        for frame, rows in (
            (tables.reference, sample.reference),
            (tables.synthetic, sample.synthetic),
        )
    )
    return two_sample_area(real, synthetic, sample.within, learner, rng)


def joint_distances(sample: "GroupSample") -> Mapping[str, float | None]:
    """Distances of joint distributions of two and three columns, and those of fresh real rows.

    Synthetic rows and as many rows trained on are both compared with held-out rows. Where none are
    held out, half of the rows trained on stand for these, and the other half is the fresh rows.
    """
    from everymode.fairness.metrics.joint import column_subsets, joint_distance

    joint = sample.tables.joint
    if joint is None:
        return {}
    limit, rng = sample.limits.counted, sample.rng("joint")
    if joint.holdout is None:
        order = rng.permutation(sample.real)
        reference, fresh = joint.real[order[::2]], joint.real[order[1::2]]
    else:
        reference, fresh = joint.holdout[sample.reference], joint.real[sample.real]
    made = joint.synthetic[sample.synthetic]
    count = min(limit, len(fresh), len(made))
    reference, fresh, made = (
        rows[rng.choice(len(rows), size, replace=False)]
        for rows, size in ((reference, min(limit, len(reference))), (fresh, count), (made, count))
    )
    # The values of the features that make the group are the same in all of its rows.
    kept = [place for place, name in enumerate(joint.names) if name in sample.within.names]
    reference, fresh, made = (rows[:, kept] for rows in (reference, fresh, made))
    found: dict[str, float | None] = {}
    for size, name in ((2, "tv_pairs"), (3, "tv_triples")):
        subsets = column_subsets(len(kept), size, sample.seed)
        found[name] = joint_distance(reference, made, joint.sizes[kept], subsets)
        found[f"{name}_fresh"] = joint_distance(reference, fresh, joint.sizes[kept], subsets)
    return found


def alpha_and_beta(sample: "GroupSample") -> Mapping[str, float]:
    """Integrated alpha-precision and beta-recall of a group's points."""
    from everymode.fairness.metrics.alpha_beta import alpha_precision, beta_recall

    real, synthetic = sample.points
    if not real.shape[1]:
        return {}
    return {
        "alpha_precision": alpha_precision(real, synthetic),
        "beta_recall": beta_recall(real, synthetic),
    }


def impossible_rows(sample: "GroupSample") -> Mapping[str, Any]:
    """Shares of a group's synthetic and held-out rows with an impossible pair of values."""
    marks = sample.tables.impossible
    if marks is None:
        return {}
    synthetic, held = marks
    return {
        "impossible": float(synthetic[sample.synthetic].mean()),
        "impossible_held_out": None if held is None else float(held[sample.reference].mean()),
    }


JOINT_METRICS: tuple[Metric, ...] = (
    Metric(
        name="c2st_trees",
        topic="realism",
        direction="lower",
        measure=lambda sample: {"c2st_trees": two_sample_areas(sample, "boosted_trees")},
        column=Column("C2ST,\ntrees", digits=4),
        legend=(
            "C2ST",
            "Classifier two-sample test: area under the ROC curve of boosted trees and of a "
            "logistic regression that tell synthetic rows from real ones, with its 95 % interval. "
            "Half where they cannot, 1 where they always can; groups of fewer than "
            f"{MIN_CLASSIFIED} rows have none. Lopez-Paz, Oquab, 2017, Revisiting Classifier "
            "Two-Sample Tests.",
        ),
    ),
    Metric(
        name="c2st_logistic",
        topic="realism",
        direction="lower",
        measure=lambda sample: {"c2st_logistic": two_sample_areas(sample, "logistic")},
        column=Column("C2ST,\nlogistic", digits=4),
    ),
    Metric(
        name="tv_pairs",
        topic="realism",
        direction="lower",
        measure=joint_distances,
        column=Column("2-way TV\n(fresh)", aside=lambda group: (group.tv_pairs_fresh,)),
        legend=(
            "2-way and 3-way TV",
            "Mean total variation of the joint distributions of two and three columns, numbers in "
            "ten bins; in brackets what as many fresh real rows give.",
        ),
    ),
    Metric(
        name="tv_triples",
        topic="realism",
        direction="lower",
        column=Column("3-way TV\n(fresh)", aside=lambda group: (group.tv_triples_fresh,)),
    ),
    Metric(
        name="alpha_precision",
        topic="realism",
        direction="higher",
        measure=alpha_and_beta,
        column=Column("alpha-\nprecision"),
        legend=(
            "Alpha-precision and beta-recall",
            "Whether as many synthetic rows as real ones are as typical as any share of the real "
            "rows: 1 where distributions are equal. Whether real rows have a synthetic row as near "
            "as another real one, over typical and rare rows: one half where distributions are "
            "equal, 1 for copies. Alaa et al., 2022, How Faithful is your Synthetic Data?",
        ),
    ),
    Metric(
        name="beta_recall",
        topic="coverage",
        direction="higher",
        column=Column("beta-\nrecall"),
    ),
    Metric(
        name="impossible",
        topic="realism",
        direction="lower",
        measure=impossible_rows,
        column=Column(
            "impossible\n(held-out)", digits=4, aside=lambda group: (group.impossible_held_out,)
        ),
        legend=(
            "Impossible",
            "Share of rows with a pair of values (of numbers, of about fifty bins) that no row "
            "trained on has, though ten of them or more would if the two columns were independent; "
            "in brackets that of held-out rows.",
        ),
    ),
)
