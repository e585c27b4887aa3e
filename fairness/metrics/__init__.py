"""Metrics of a synthetic table against a real one, each a function of arrays or tables.

- `coverage`, `neighbours`, `ties`, `blocks`: coverage and recall by nearest neighbours.
- `codebook`: recall from counts that sites add up.
- `marginals`, `distances`: distances of single columns, and of whole rows.
- `utility`, `group_utility`: models trained on synthetic rows, overall and by group.
- `bootstrap`, `intervals`: confidence intervals.
- `image_features`: features of images in place of their pixels.
- `streams`: independent random streams.
- `results`: the records that all of them return.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from fairness.metrics.codebook import Codebook, ball_radii, codebook_reach, recall_by_group
    from fairness.metrics.coverage import embed, expected_coverage, standardise
    from fairness.metrics.distances import association_gaps, association_weights, sliced_w1
    from fairness.metrics.image_features import ImageFeatures, image_shape
    from fairness.metrics.intervals import wilson
    from fairness.metrics.marginals import Comparison, Marginals, compare
    from fairness.metrics.neighbours import Neighbours
    from fairness.metrics.results import Estimate, GroupFinding, Prediction, UtilityFinding
    from fairness.metrics.streams import stream
    from fairness.metrics.utility import train_and_test
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "fairness.metrics.codebook": (
                "Codebook",
                "ball_radii",
                "codebook_reach",
                "recall_by_group",
            ),
            "fairness.metrics.coverage": (
                "embed",
                "expected_coverage",
                "standardise",
            ),
            "fairness.metrics.distances": (
                "association_gaps",
                "association_weights",
                "sliced_w1",
            ),
            "fairness.metrics.image_features": (
                "ImageFeatures",
                "image_shape",
            ),
            "fairness.metrics.intervals": ("wilson",),
            "fairness.metrics.marginals": (
                "Comparison",
                "Marginals",
                "compare",
            ),
            "fairness.metrics.neighbours": ("Neighbours",),
            "fairness.metrics.results": (
                "Estimate",
                "GroupFinding",
                "Prediction",
                "UtilityFinding",
            ),
            "fairness.metrics.streams": ("stream",),
            "fairness.metrics.utility": ("train_and_test",),
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
    "association_gaps",
    "association_weights",
    "ball_radii",
    "codebook_reach",
    "compare",
    "embed",
    "expected_coverage",
    "image_shape",
    "recall_by_group",
    "sliced_w1",
    "standardise",
    "stream",
    "train_and_test",
    "wilson",
]
