"""`everymode compare`: the same data, seeds and budget under several strategies."""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.simulations.compare.command import compare_strategies
else:
    __getattr__, __dir__ = lazy_exports(
        __name__, {"everymode.simulations.compare.command": ("compare_strategies",)}
    )

__all__ = ["compare_strategies"]
