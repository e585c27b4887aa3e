"""Matching of the distribution of each group, from sums that sites send once.

- `moments`: second moments within each level of the condition.
- `features`: random features (kernel) and sliced histograms.
- `kernels`: Gaussian kernels and their bandwidths.
- `binning`: bins of numbers that join the second moments.
- `suppression`: which moments rest on enough rows to be summed.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.matching.binning import Binning
    from everymode.fairness.matching.features import BINS, FeatureMap, build_matching, feature_count
    from everymode.fairness.matching.kernels import Features, bandwidth, mmd2, mmd2_from_sums
    from everymode.fairness.matching.moments import (
        LevelMoments,
        MomentMatching,
        eligible_strata,
        first_moments,
        second_moments,
        size_of_moments,
        stratum_memberships,
        width_of_moments,
    )
    from everymode.fairness.matching.suppression import publishable
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.matching.binning": ("Binning",),
            "everymode.fairness.matching.features": (
                "BINS",
                "FeatureMap",
                "build_matching",
                "feature_count",
            ),
            "everymode.fairness.matching.kernels": (
                "Features",
                "bandwidth",
                "mmd2",
                "mmd2_from_sums",
            ),
            "everymode.fairness.matching.moments": (
                "LevelMoments",
                "MomentMatching",
                "eligible_strata",
                "first_moments",
                "second_moments",
                "size_of_moments",
                "stratum_memberships",
                "width_of_moments",
            ),
            "everymode.fairness.matching.suppression": ("publishable",),
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
    "mmd2",
    "mmd2_from_sums",
    "publishable",
    "second_moments",
    "size_of_moments",
    "stratum_memberships",
    "width_of_moments",
]
