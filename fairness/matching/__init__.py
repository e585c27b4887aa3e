"""Matching of the distribution of each group, from sums that sites send once.

- `moments`: second moments within each level of the condition.
- `features`: random features (kernel) and sliced histograms.
- `kernels`: Gaussian kernels and their bandwidths.
- `binning`: bins of numbers that join the second moments.
- `suppression`: which moments rest on enough rows to be summed.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

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
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "fairness.matching.binning": ("Binning",),
            "fairness.matching.features": (
                "BINS",
                "FeatureMap",
                "build_matching",
                "feature_count",
            ),
            "fairness.matching.kernels": (
                "Features",
                "bandwidth",
                "mmd2",
                "mmd2_from_sums",
            ),
            "fairness.matching.moments": (
                "LevelMoments",
                "MomentMatching",
                "eligible_strata",
                "first_moments",
                "level_counts",
                "second_moments",
                "size_of_moments",
                "stratum_memberships",
                "width_of_moments",
            ),
            "fairness.matching.suppression": ("publishable",),
        },
    )

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
