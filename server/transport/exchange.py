"""How an order reaches the sites and their sum comes back: one protocol, whatever carries it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from everymode.clients.protocol.messages import Request, Task, Train, to_json
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.sums import ReplyError, SiteSums
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import admission, served
from everymode.server.replies.releases import Releases
from everymode.server.replies.replies import Checker, Collector, Source
from everymode.wgan.errors import DataError, EveryModeError, NumericalError


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

    def __add__(self, other: "Traffic") -> "Traffic":
        """Bytes of both."""
        return Traffic(self.down + other.down, self.up + other.up)


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

    @property
    def suspects(self) -> tuple[str, ...]:
        """Whose updates of the last rounds were far out of line with the others', in words."""
        ...

    @property
    def releases(self) -> Releases:
        """The record of every reply that was taken."""
        ...

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request.

        Raises:
            DataError: Tables do not fit; the problems of all sites, in their words.
            NumericalError: Training has diverged at sites, or their sum leaves its range.
            ExchangeError: Sites failed for another reason, and repeating did not help; all of them.
        """
        ...

    def close(self) -> None:
        """Lets sites forget what they keep for questions of a run that has ended."""
        ...


class Wrapped(ABC):
    """An exchange around another one, which says of itself what that one says; see `Exchange`."""

    def __init__(self, inner: Exchange) -> None:
        """Takes the exchange that carries requests."""
        self.inner = inner

    @property
    def traffic(self) -> Traffic:
        """What has been carried so far."""
        return self.inner.traffic

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, by name."""
        return self.inner.names

    @property
    def suspects(self) -> tuple[str, ...]:
        """Whose updates were out of line."""
        return self.inner.suspects

    @property
    def releases(self) -> Releases:
        """The record of releases."""
        return self.inner.releases

    def close(self) -> None:
        """See `Exchange`."""
        self.inner.close()

    @abstractmethod
    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; see `Exchange`."""


def payload_nbytes(request: Request) -> int:
    """Bytes of a request's content, less what a real site would have kept."""
    kept = {field.name for field in request.order.layout().per_site if field.client_state}
    arrays = [*request.tensors.values()]
    arrays += [a for own in request.per_site.values() for n, a in own.items() if n not in kept]
    return len(to_json(request.order)) + sum(array.nbytes for array in arrays)


@dataclass
class InProcess:
    """The very same rounds without Flower or Ray: yardstick, debugging aid and oracle.

    Attributes:
        sites: All sites.
        traffic: Counted as if the process were one node.
        tell: Is told what a user should know of replies.
        skip: Whether a round goes on without sites that fail.
        largest_share: Share of all rows that one site may claim, 0 to 1.
    """

    sites: Sequence[Site]
    traffic: Traffic = field(default_factory=Traffic)
    tell: Callable[[str], None] = lambda text: None
    skip: bool = False
    largest_share: float = 1.0
    _checker: Checker = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing has been said yet."""
        exact = all(site.floor == 0 for site in self.sites)
        self._checker = Checker(exact, self.tell, self.largest_share)

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, by name."""
        return tuple(sorted(site.name for site in self.sites))

    @property
    def suspects(self) -> tuple[str, ...]:
        """Whose updates were out of line; see `Exchange`."""
        return self._checker.accused()

    @property
    def releases(self) -> Releases:
        """The record of releases; see `Exchange`."""
        return self._checker.releases

    def __call__(self, request: Request) -> SiteSums:
        """Serves the request on this thread, one site after another; see `Exchange`."""
        collector = self._checker.open(request.order)
        failures: list[str] = []
        # Actors compute on one thread each; sums of floats depend on how many there are.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            wanted = request.sites
            asked = tuple(s for s in self.sites if wanted is None or s.name in wanted)
            admit = admission(request, asked)
            for site in asked:
                source = Source((site.name,))
                try:
                    collector.take(source, self._reply(request, site, admit))
                except (DataError, RefusedError) as error:
                    collector.refusals.append((source, error))
                except NumericalError as error:
                    if not self.skip:
                        raise
                    collector.refusals.append((source, error))
                except ReplyError as error:
                    failures += source.named(error.problems)
        except NumericalError as error:
            raise collector.explained(error) from error
        finally:
            torch.set_num_threads(threads)
        if not self._goes_on(request.order, collector, failures):
            if collector.refusals:
                raise collector.refused(failures)
            raise ExchangeError(failures)
        self.traffic.down += payload_nbytes(request)
        self.traffic.up += collector.total.nbytes
        return collector.close()

    def close(self) -> None:
        """Nothing is kept for questions to come."""

    def _reply(self, request: Request, site: Site, admit: Callable[[Site], None]) -> SiteSums:
        """What one site sends back; the tests' hostile sites send something else."""
        return served(request, site, admit)

    def _goes_on(self, order: Task, collector: Collector, failures: Sequence[str]) -> bool:
        """Whether nobody failed, or a round goes on without those that did, which is told."""
        lost = [p for source, error in collector.refusals for p in source.named(error.problems)]
        if not lost and not failures:
            return True
        if not self.skip or not isinstance(order, Train) or collector.total["weight"][0] <= 0:
            return False
        for problem in [*lost, *failures]:
            self.tell(f"note: round {order.round} goes on without a site's part: {problem}")
        return True
