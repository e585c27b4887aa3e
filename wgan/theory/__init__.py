"""Exact values to compare trained networks with: optimal transport, and stability of games."""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.wgan.theory.checks import Array
    from everymode.wgan.theory.dirac import (
        critical_penalty,
        dirac_eigenvalues,
        quadratic_eigenvalues,
    )
    from everymode.wgan.theory.graph import GraphTransport, graph_wasserstein
    from everymode.wgan.theory.stability import (
        classify,
        convergence_rate,
        sign_changes,
        spectrum,
        trajectory,
    )
    from everymode.wgan.theory.transport import Potential, assignment, dual_potentials, wasserstein
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.wgan.theory.checks": ("Array",),
            "everymode.wgan.theory.dirac": (
                "critical_penalty",
                "dirac_eigenvalues",
                "quadratic_eigenvalues",
            ),
            "everymode.wgan.theory.graph": ("GraphTransport", "graph_wasserstein"),
            "everymode.wgan.theory.stability": (
                "classify",
                "convergence_rate",
                "sign_changes",
                "spectrum",
                "trajectory",
            ),
            "everymode.wgan.theory.transport": (
                "Potential",
                "assignment",
                "dual_potentials",
                "wasserstein",
            ),
        },
    )

__all__ = [
    "Array",
    "GraphTransport",
    "Potential",
    "assignment",
    "classify",
    "convergence_rate",
    "critical_penalty",
    "dirac_eigenvalues",
    "dual_potentials",
    "graph_wasserstein",
    "quadratic_eigenvalues",
    "sign_changes",
    "spectrum",
    "trajectory",
    "wasserstein",
]
