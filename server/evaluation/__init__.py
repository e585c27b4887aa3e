"""The end of a run.

- `figures`: utility, coverage, recall from sums.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.evaluation.figures import (
        by_group,
        check_holdout,
        check_values,
        compute_coverage,
        compute_utility,
        counted,
        request_marginals,
        request_recall,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.evaluation.figures": (
                "by_group",
                "check_holdout",
                "check_values",
                "compute_coverage",
                "compute_utility",
                "counted",
                "request_marginals",
                "request_recall",
            )
        },
    )

__all__ = [
    "by_group",
    "check_holdout",
    "check_values",
    "compute_coverage",
    "compute_utility",
    "counted",
    "request_marginals",
    "request_recall",
]
