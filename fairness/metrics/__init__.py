"""Metrics of a synthetic table against a real one, each a function of arrays or tables.

- `coverage`, `neighbours`, `ties`, `blocks`: coverage and recall by nearest neighbours.
- `codebook`: recall from counts that sites add up.
- `modes`: which cells of a codebook are covered, beyond chance.
- `marginals`, `distances`: distances of single columns, and of whole rows.
- `joint`: distances of joint distributions of two and three columns; impossible pairs of values.
- `two_sample`: how well a classifier tells synthetic rows from real ones.
- `alpha_beta`: alpha-precision and beta-recall.
- `utility`, `group_utility`: models trained on synthetic rows, overall and by group.
- `efficacy`: every column predicted from the others.
- `bootstrap`, `intervals`: confidence intervals.
- `image_features`: features of images in place of their pixels.
- `streams`: independent random streams.
- `results`: the records that all of them return.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.metrics.alpha_beta import alpha_precision, beta_recall
    from everymode.fairness.metrics.codebook import (
        Codebook,
        ball_radii,
        codebook_reach,
        recall_by_group,
    )
    from everymode.fairness.metrics.coverage import embed, expected_coverage, standardise
    from everymode.fairness.metrics.distances import (
        association_gaps,
        association_weights,
        sliced_w1,
    )
    from everymode.fairness.metrics.image_features import ImageFeatures, image_shape
    from everymode.fairness.metrics.intervals import wilson
    from everymode.fairness.metrics.joint import column_subsets, impossible_pairs, joint_distance
    from everymode.fairness.metrics.marginals import Comparison, Marginals, compare
    from everymode.fairness.metrics.neighbours import Neighbours
    from everymode.fairness.metrics.results import (
        Estimate,
        GroupFinding,
        Prediction,
        UtilityFinding,
    )
    from everymode.fairness.metrics.streams import stream
    from everymode.fairness.metrics.two_sample import delong, two_sample_area
    from everymode.fairness.metrics.utility import train_and_test
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.metrics.alpha_beta": ("alpha_precision", "beta_recall"),
            "everymode.fairness.metrics.codebook": (
                "Codebook",
                "ball_radii",
                "codebook_reach",
                "recall_by_group",
            ),
            "everymode.fairness.metrics.coverage": (
                "embed",
                "expected_coverage",
                "standardise",
            ),
            "everymode.fairness.metrics.distances": (
                "association_gaps",
                "association_weights",
                "sliced_w1",
            ),
            "everymode.fairness.metrics.image_features": (
                "ImageFeatures",
                "image_shape",
            ),
            "everymode.fairness.metrics.intervals": ("wilson",),
            "everymode.fairness.metrics.joint": (
                "column_subsets",
                "impossible_pairs",
                "joint_distance",
            ),
            "everymode.fairness.metrics.marginals": (
                "Comparison",
                "Marginals",
                "compare",
            ),
            "everymode.fairness.metrics.neighbours": ("Neighbours",),
            "everymode.fairness.metrics.results": (
                "Estimate",
                "GroupFinding",
                "Prediction",
                "UtilityFinding",
            ),
            "everymode.fairness.metrics.streams": ("stream",),
            "everymode.fairness.metrics.two_sample": ("delong", "two_sample_area"),
            "everymode.fairness.metrics.utility": ("train_and_test",),
        },
    )

__all__ = [
    "Codebook",
    "Comparison",
    "Estimate",
    "GroupFinding",
    "ImageFeatures",
    "Marginals",
    "Neighbours",
    "Prediction",
    "UtilityFinding",
    "alpha_precision",
    "association_gaps",
    "association_weights",
    "ball_radii",
    "beta_recall",
    "codebook_reach",
    "column_subsets",
    "compare",
    "delong",
    "embed",
    "expected_coverage",
    "image_shape",
    "impossible_pairs",
    "joint_distance",
    "recall_by_group",
    "sliced_w1",
    "standardise",
    "stream",
    "train_and_test",
    "two_sample_area",
    "wilson",
]
