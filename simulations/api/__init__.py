"""The Python interface: `everymode.fit`, `load`, `audit`, and what they return."""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.simulations.api.model import Model, fit, load
    from everymode.simulations.api.report import AuditReport, audit
    from everymode.simulations.api.tables import load_adult
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.simulations.api.model": ("Model", "fit", "load"),
            "everymode.simulations.api.report": ("AuditReport", "audit"),
            "everymode.simulations.api.tables": ("load_adult",),
        },
    )

__all__ = ["AuditReport", "Model", "audit", "fit", "load", "load_adult"]
