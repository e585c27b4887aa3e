"""Corrections of a trained generator's rows, from sums that sites sent.

- `calibration`: shares of categories, by iterative proportional fitting.
- `projection`, `projection_problem`: rejection sampling so that second moments are met.
- `dependencies`: functional dependencies between columns.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairness.postprocessing.calibration import CategoryMarginals, fit_calibration
    from fairness.postprocessing.dependencies import (
        FunctionalDependency,
        find_dependencies,
        impute_dependents,
    )
    from fairness.postprocessing.projection import Projection, project

_HOMES = {
    "CategoryMarginals": "calibration",
    "FunctionalDependency": "dependencies",
    "Projection": "projection",
    "find_dependencies": "dependencies",
    "fit_calibration": "calibration",
    "impute_dependents": "dependencies",
    "project": "projection",
}

__all__ = [
    "CategoryMarginals",
    "FunctionalDependency",
    "Projection",
    "find_dependencies",
    "fit_calibration",
    "impute_dependents",
    "project",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
