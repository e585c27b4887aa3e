"""How an order reaches the sites and their sum comes back: one protocol, whatever carries it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from clients.orders import Request, to_json
from clients.site import Site
from clients.sums import SiteSums
from clients.work import serve
from wgan.errors import EveryModeError


class ExchangeError(EveryModeError):
    """Sites could not be reached or failed again and again."""


@dataclass
class Traffic:
    """Bytes that went over the wire so far, as messages' contents.

    Attributes:
        down: From the server to nodes.
        up: From nodes to the server.
    """

    down: int = 0
    up: int = 0


class Exchange(Protocol):
    """Sends a request to every site and returns the sum of their answers."""

    @property
    def traffic(self) -> Traffic:
        """What has been carried so far."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, by name; none where each node knows only its own."""
        ...

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request.

        Raises:
            DataError: A site's table does not fit; the message comes from the site.
            ExchangeError: A site failed for another reason, and repeating did not help.
        """
        ...


def weight_of(request: Request) -> int:
    """Bytes of a request's content, less what a real site would have kept."""
    kept = {field.name for field in request.order.layout().letters if field.kept}
    arrays = [*request.tensors.values()]
    arrays += [a for own in request.letters.values() for n, a in own.items() if n not in kept]
    return len(to_json(request.order)) + sum(array.nbytes for array in arrays)


@dataclass
class InProcess:
    """The very same rounds without Flower or Ray: yardstick, debugging aid and oracle.

    Attributes:
        sites: All sites.
        traffic: Counted as if the process were one node.
    """

    sites: Sequence[Site]
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, by name."""
        return tuple(sorted(site.name for site in self.sites))

    def __call__(self, request: Request) -> SiteSums:
        """Serves the request on this thread; see `Exchange`."""
        # Actors compute on one thread each; sums of floats depend on how many there are.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            wanted = request.sites
            sums = serve(request, [s for s in self.sites if wanted is None or s.name in wanted])
        finally:
            torch.set_num_threads(threads)
        self.traffic.down += weight_of(request)
        self.traffic.up += sums.travels
        return sums
