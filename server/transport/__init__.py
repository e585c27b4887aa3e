"""How a request reaches sites and answers come back.

- `exchange`: the protocol, and the exchange within one process.
- `grid`: over Flower.
- `run_identity`: the name of the run on every request.
- `sockets`: which sockets this process tree listens on.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.transport.exchange import Exchange, InProcess, Traffic, payload_nbytes
    from everymode.server.transport.grid import GridExchange, deal
    from everymode.server.transport.run_identity import Named
    from everymode.server.transport.sockets import refuse_exposed
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.transport.exchange": (
                "Exchange",
                "InProcess",
                "Traffic",
                "payload_nbytes",
            ),
            "everymode.server.transport.grid": ("GridExchange", "deal"),
            "everymode.server.transport.run_identity": ("Named",),
            "everymode.server.transport.sockets": ("refuse_exposed",),
        },
    )

__all__ = [
    "Exchange",
    "GridExchange",
    "InProcess",
    "Named",
    "Traffic",
    "deal",
    "payload_nbytes",
    "refuse_exposed",
]
