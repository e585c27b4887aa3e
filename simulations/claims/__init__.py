"""What theory says of WGANs, measured on the parts of `wgan`: a small file a claim."""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.simulations.claims.command import list_claims, measure_claims
else:
    __getattr__, __dir__ = lazy_exports(
        __name__, {"everymode.simulations.claims.command": ("list_claims", "measure_claims")}
    )

__all__ = ["list_claims", "measure_claims"]
