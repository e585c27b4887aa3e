"""Corrections of a trained generator's rows, from sums that sites sent.

- `calibration`: shares of categories, by iterative proportional fitting.
- `projection`, `projection_problem`: rejection sampling so that second moments are met.
- `products`: products of coordinates of rows, few of which are not 0 where tables are wide.
- `dependencies`: functional dependencies between columns.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.postprocessing.calibration import CategoryMarginals, fit_calibration
    from everymode.fairness.postprocessing.dependencies import (
        FunctionalDependency,
        find_dependencies,
        impute_dependents,
    )
    from everymode.fairness.postprocessing.projection import Projection, project
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.postprocessing.calibration": (
                "CategoryMarginals",
                "fit_calibration",
            ),
            "everymode.fairness.postprocessing.dependencies": (
                "FunctionalDependency",
                "find_dependencies",
                "impute_dependents",
            ),
            "everymode.fairness.postprocessing.projection": (
                "Projection",
                "project",
            ),
        },
    )

__all__ = [
    "CategoryMarginals",
    "FunctionalDependency",
    "Projection",
    "find_dependencies",
    "fit_calibration",
    "impute_dependents",
    "project",
]
