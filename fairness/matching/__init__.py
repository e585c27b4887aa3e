"""Matching of the distribution of each group, from sums that sites send once.

- `moments`: second moments within each level of the condition.
- `features`: random features (kernel) and sliced histograms.
- `kernels`: Gaussian kernels and their bandwidths.
- `binning`: bins of numbers that join the second moments.
- `suppression`: which moments rest on enough rows to be summed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairness.matching.binning import Binning
    from fairness.matching.features import BINS, FeatureMap, build_matching, feature_count
    from fairness.matching.kernels import Features, bandwidth, mmd2, mmd2_from_sums
    from fairness.matching.moments import (
        LevelMoments,
        MomentMatching,
        eligible_strata,
        first_moments,
        level_counts,
        second_moments,
        size_of_moments,
        stratum_memberships,
        width_of_moments,
    )
    from fairness.matching.suppression import publishable

_HOMES = {
    "BINS": "features",
    "Binning": "binning",
    "FeatureMap": "features",
    "Features": "kernels",
    "LevelMoments": "moments",
    "MomentMatching": "moments",
    "bandwidth": "kernels",
    "build_matching": "features",
    "eligible_strata": "moments",
    "feature_count": "features",
    "first_moments": "moments",
    "level_counts": "moments",
    "mmd2": "kernels",
    "mmd2_from_sums": "kernels",
    "publishable": "suppression",
    "second_moments": "moments",
    "size_of_moments": "moments",
    "stratum_memberships": "moments",
    "width_of_moments": "moments",
}

__all__ = [
    "BINS",
    "Binning",
    "FeatureMap",
    "Features",
    "LevelMoments",
    "MomentMatching",
    "bandwidth",
    "build_matching",
    "eligible_strata",
    "feature_count",
    "first_moments",
    "level_counts",
    "mmd2",
    "mmd2_from_sums",
    "publishable",
    "second_moments",
    "size_of_moments",
    "stratum_memberships",
    "width_of_moments",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
