"""How a request reaches sites and answers come back.

- `exchange`: the protocol, and the exchange within one process.
- `grid`: over Flower.
- `run_identity`: the name of the run on every request.
- `sockets`: which sockets this process tree listens on.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from server.transport.exchange import Exchange, InProcess, Traffic, payload_nbytes
    from server.transport.grid import GridExchange, deal
    from server.transport.run_identity import Named
    from server.transport.sockets import refuse_exposed
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "server.transport.exchange": ("Exchange", "InProcess", "Traffic", "payload_nbytes"),
            "server.transport.grid": ("GridExchange", "deal"),
            "server.transport.run_identity": ("Named",),
            "server.transport.sockets": ("refuse_exposed",),
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
