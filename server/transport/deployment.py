"""The exchange with real sites: one SuperNode each, found by the name it is registered under.

A SuperLink gives a SuperNode its id when it is registered, and says when the node last came up. Of
every question it is known to which life of a node it went: one that ended takes what it had fetched
with it, so its site is asked again at once instead of after `train.timeout`. Flower itself notices
a killed SuperNode after two heartbeats, a minute.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.retry.retry_invoker import RetryInvoker

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.sums import SiteSums
from everymode.server.progress import Interrupted
from everymode.server.replies.replies import Source
from everymode.server.transport.exchange import ExchangeError
from everymode.server.transport.grid import UNREADABLE, Failures, GridExchange
from everymode.wgan.errors import DataError, EveryModeError

LOOK = 2.0
"""Seconds between looks at who is connected."""

GLANCE = 0.2
"""Seconds between looks at whether the run is to end, while the SuperLink is away."""

OFFLINE = -1
"""In place of the id of a node that is not connected."""

_log = logging.getLogger(__name__)

Life = tuple[int, str]
"""A node's id, and when it came up."""


def leave_when(grid: Grid, stop: Callable[[], bool]) -> None:
    """Has Flower repeat calls to a SuperLink that is away until the run is to end, and no longer.

    Flower 1.41 repeats them for ever, deaf to what its process is told in the meantime. It notices
    that the process that started it is gone, and raises a signal for that; but where it waits for
    threads that repeat calls, no signal of its own is heard. So they look for themselves.
    """
    retries = getattr(grid, "_retry_invoker", None)
    if not isinstance(retries, RetryInvoker):
        return
    gives_up, parent = retries.should_giveup, os.getppid()

    def is_over() -> bool:
        return stop() or os.getppid() != parent

    def should_give_up(error: Exception) -> bool:
        return is_over() or (gives_up is not None and gives_up(error))

    def wait(seconds: float) -> None:
        _log.warning("the SuperLink does not answer; trying again in %.1f seconds", seconds)
        deadline = time.monotonic() + seconds
        while not is_over() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, GLANCE))

    retries.should_giveup, retries.wait_function = should_give_up, wait


@dataclass
class DeploymentExchange(GridExchange):
    """Sends each site one message; `shares` holds one name each.

    Attributes:
        wait: Seconds for which a site may be away before that is a failure.
    """

    wait: float = 600.0
    poll: ClassVar[float] = 0.1
    _lives: dict[str, Life] = field(default_factory=dict, init=False, repr=False)
    _asked_of: dict[str, Life] = field(default_factory=dict, init=False, repr=False)
    _looked: float = field(default=0.0, init=False, repr=False)
    _away: set[str] = field(default_factory=set, init=False, repr=False)

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; see `everymode.server.transport.exchange.Exchange`.

        Raises:
            Interrupted: The run is to end: `flwr stop` takes away its right to ask.
            ExchangeError: The SuperLink does not answer either. Else as `GridExchange`.
        """
        with self.explained():
            return super().__call__(request)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """See `GridExchange.explained`."""
        try:
            yield
        except EveryModeError:
            raise
        except BaseException as error:
            kind = type(error)
            if self.stop() or kind.__name__ == "RunNotRunningException":
                raise Interrupted("the run was asked to stop, in the middle of a round") from error
            if kind.__module__.partition(".")[0] == "httpx":
                raise ExchangeError(
                    f"the SuperLink does not answer ({kind.__name__}); mend the cause and go on "
                    "from the last checkpoint"
                ) from error
            raise

    def find_sources(self, request: Request) -> list[Source]:
        """The sites that are wanted, in the order of the configuration."""
        shares = self.shares or ()
        names = [name for share in shares for name in share]
        if request.sites is not None:
            names = [name for name in names if name in set(request.sites)]
        return self._found(request, names)

    def _again(self, request: Request, failed: Sequence[Source]) -> list[Source]:
        return self._found(request, [name for source in failed for name in source.sites])

    def _found(self, request: Request, names: Sequence[str]) -> list[Source]:
        """Sites with the nodes they have now; waits for those that are away.

        Raises:
            ExchangeError: Some are still away in the end, or two nodes have one name.
            Interrupted: The run is to end.
        """
        deadline, told = time.monotonic() + self.wait, False
        while True:
            self._look()
            self._back()
            missing = [name for name in names if name not in self._lives]
            if self._hurry is not None:
                break
            # Where rounds go on without a site, it is waited for once after it was lost.
            over = time.monotonic() >= deadline
            if not missing or (
                self._may_skip(request) and (over or self._away.issuperset(missing))
            ):
                break
            if over:
                raise ExchangeError(self._absent(missing))
            if not told:
                who = ", ".join(f"'{name}'" for name in missing)
                self.tell(f"note: waits up to {self.wait:g} s for {who} to connect")
                told = True
            self.rest(min(LOOK, max(0.0, deadline - time.monotonic())))
        self._away.update(missing)
        self._asked_of.update({n: self._lives[n] for n in names if n in self._lives})
        return [Source((n,), self._lives.get(n, (OFFLINE, ""))[0]) for n in names]

    def _pulled(self, waiting: dict[str, Source], failures: Failures) -> Iterator[Message]:
        """All replies by one call, which costs a request; one by one where one is unreadable."""
        try:
            replies = list(self.grid.pull_messages(list(waiting)))
        except UNREADABLE:
            yield from super()._pulled(waiting, failures)
            return
        yield from replies

    def push(self, content: RecordDict, source: Source) -> str:
        """Sends a site a message where it is connected; see `GridExchange.push`."""
        return "" if source.node == OFFLINE else super().push(content, source)

    def _fallen(self, source: Source) -> str:
        """Whether the node that was asked is gone, or came up anew since."""
        if time.monotonic() - self._looked > LOOK:
            self._look()
        (name,) = source.sites
        if name not in self._lives:
            return "its SuperNode is no longer connected"
        if self._lives[name] != self._asked_of[name]:
            return "its SuperNode was restarted and lost the question"
        return ""

    def _back(self) -> None:
        for name in sorted(self._away & self._lives.keys()):
            self.tell(f"note: site '{name}' is back")
            self._away.discard(name)

    def _look(self) -> None:
        """Learns who is connected.

        Raises:
            DataError: Two connected nodes have one site's name.
        """
        names = {name for share in self.shares or () for name in share}
        found: dict[str, Life] = {}
        for node in self._online():
            if (name := str(node.name)) not in names:
                continue
            if name in found:
                raise DataError(
                    f"two SuperNodes are registered as '{name}'; unregister one of them with flwr "
                    "supernode unregister"
                )
            found[name] = int(node.node_id), str(node.last_activated_at)
        self._lives, self._looked = found, time.monotonic()

    def _online(self) -> Iterable[Any]:
        grid: Any = self.grid
        # Flower's base class of grids does not have it, that of deployments does.
        return list(grid.get_nodes())

    def _absent(self, missing: Sequence[str]) -> list[str]:
        here = ", ".join(sorted(self._lives)) or "none"
        return [
            f"site '{name}' is not connected after {self.wait:g} s; start its SuperNode, or look "
            f"with flwr supernode list under which name it is registered (connected: {here})"
            for name in missing
        ]
