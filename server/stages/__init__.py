"""The stages of a run: `agree`, `encode`, `train`, `postprocess`, `sample`, `evaluate`, `write`.

Each is a function from the frozen results of the stages before it to a frozen result of its own;
`everymode.server.session.Session` calls them in order. `context` is what all of them share:
configuration, run directory, exchange and listener.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.stages.context import RunContext, choose_device
else:
    __getattr__, __dir__ = lazy_exports(
        __name__, {"everymode.server.stages.context": ("RunContext", "choose_device")}
    )

__all__ = ["RunContext", "choose_device"]
