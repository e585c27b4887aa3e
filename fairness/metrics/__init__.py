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

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Codebook": "codebook",
    "Comparison": "marginals",
    "Estimate": "results",
    "GroupFinding": "results",
    "ImageFeatures": "image_features",
    "Marginals": "marginals",
    "Neighbours": "neighbours",
    "Prediction": "results",
    "UtilityFinding": "results",
    "association_gaps": "distances",
    "association_weights": "distances",
    "ball_radii": "codebook",
    "codebook_reach": "codebook",
    "compare": "marginals",
    "embed": "coverage",
    "expected_coverage": "coverage",
    "image_shape": "image_features",
    "recall_by_group": "codebook",
    "sliced_w1": "distances",
    "standardise": "coverage",
    "stream": "streams",
    "train_and_test": "utility",
    "wilson": "intervals",
}

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


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
