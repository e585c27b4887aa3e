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


MAX_PREDICTED = 16
"""Columns that are predicted; of more, so many at random."""

MAX_LEARNT = 4000
"""Rows of either table that models of columns learn from, and rows that they are tested on."""


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


def efficacy(sample: "GroupSample") -> Mapping[str, float | None]:
    """How well each column is predicted from the others, mean over columns; of all rows alone.

    None where no rows are held out, and for images. Of more than `MAX_LEARNT` rows so many are
    drawn, and of more than `MAX_PREDICTED` columns: models are trained twice for each column.
    """
    names = sample.within.names
    tables = sample.tables
    if sample.values or sample.nearness is None or tables.image is not None:
        return {"efficacy": None, "efficacy_real": None}
    import numpy as np

    from everymode.fairness.metrics.efficacy import efficacy_of_columns

    rng = sample.rng("efficacy")
    limit = min(MAX_LEARNT, MAX_CELLS // len(names)) if names else 0
    count = min(limit, len(sample.real), len(sample.synthetic))
    sizes = (count, count, min(limit, len(sample.reference)))
    frames = (
        (tables.real, sample.real),
        (tables.synthetic, sample.synthetic),
        (tables.reference, sample.reference),
    )
    real, synthetic, held = (
        frame.iloc[sample.draw(rows, size, rng)].reset_index(drop=True)
        for (frame, rows), size in zip(frames, sizes, strict=True)
    )
    places = np.sort(rng.permutation(len(names))[:MAX_PREDICTED])
    targets = [names[place] for place in places]
    seed = int(rng.integers(2**31))
    found = efficacy_of_columns(real, synthetic, held, sample.within, targets, seed).means
    made, own = (None, None) if found is None else found
    return {"efficacy": made, "efficacy_real": own}


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
    Metric(
        name="efficacy",
        topic="models",
        direction="higher",
        measure=efficacy,
        column=Column("efficacy\n(real)", aside=lambda group: (group.efficacy_real,)),
        legend=(
            "Efficacy",
            "Mean over all columns as targets: area under the ROC curve, on held-out rows, of "
            "randomised trees that predict the column (of a number, its quarter) from all others, "
            "trained on synthetic rows; in brackets trained on as many real ones. Of all rows "
            f"alone, {MAX_LEARNT:,} of either table at most, and {MAX_PREDICTED} columns.",
        ),
    ),
)
