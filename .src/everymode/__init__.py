"""One synthetic-data generator, trained across sites that cannot pool their data.

    import everymode

    model = everymode.fit(frame, sensitive_features=["sex", "race"], target="income", sites=10)
    women = model.sample(1000, where={"sex": "Female"})
    report = everymode.audit(
        frame, model.sample(), sensitive_features=["sex", "race"], target="income", holdout=unseen
    )

- `everymode.simulations`: the command line, and these functions.
- `everymode.server`: configuration, strategies, rounds, outputs.
- `everymode.clients`: what happens inside a site.
- `everymode.fairness`: groups, weights, matching and the audit.
- `everymode.wgan`: adversarial learning in one process.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.simulations.api.model import Model, fit, load
    from everymode.simulations.api.report import AuditReport, audit
    from everymode.simulations.api.tables import load_adult
    from everymode.wgan.errors import (
        DataError,
        EveryModeError,
        NumericalError,
        SettingsError,
        StateError,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.simulations.api.model": ("Model", "fit", "load"),
            "everymode.simulations.api.report": ("AuditReport", "audit"),
            "everymode.simulations.api.tables": ("load_adult",),
            "everymode.wgan.errors": (
                "DataError",
                "EveryModeError",
                "NumericalError",
                "SettingsError",
                "StateError",
            ),
        },
    )

__version__ = "0.1.0"

__all__ = [
    "AuditReport",
    "DataError",
    "EveryModeError",
    "Model",
    "NumericalError",
    "SettingsError",
    "StateError",
    "audit",
    "fit",
    "load",
    "load_adult",
]
