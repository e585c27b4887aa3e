"""The exchange that drives Flower's grid, and how sites are dealt to its nodes.

The grid is driven by `push_messages` and `pull_messages` with short polling of our own:
`send_and_receive` sleeps a tenth of a second between pulls in simulation and three in deployment,
which at hundreds of exchanges is most of a run.

Whatever is wrong with a node's reply is that node's failure. It is named by its sites, asked again,
and in the end it stops the run or is left out of the round, as configured; a reply that was not
asked for, came twice or came too late is told of and not counted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from everymode.clients.protocol.messages import Request, Train
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.protocol.sums import ReplyError, SiteSums
from everymode.clients.protocol.wire import ORDER, pack_request, unpack_reply
from everymode.server.progress import Interrupted
from everymode.server.replies.releases import Releases
from everymode.server.replies.replies import Checker, Collector, Source
from everymode.server.transport.exchange import ExchangeError, Traffic, payload_nbytes
from everymode.wgan.errors import DataError, NumericalError

POLL = 0.004
"""Seconds between looks at the grid."""

RETRY_WAIT = 2.0
"""Seconds before a failed node is asked again, doubled each time: Ray restarts its process then."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What Flower raises where the parts of a reply do not make a message."""

REASON = 500
"""Most characters of a reason that a node gives for its failure."""

Failures = dict[Source, str]
"""Why sources failed that are worth asking again."""


@dataclass
class GridExchange:
    """Sends each node one message with the sites it serves, and adds up what comes back.

    Attributes:
        grid: Flower's grid.
        shares: The sites each node serves, one tuple a node; None: every node its own.
        simulation_paths: Where simulated nodes find their sites.
        retries: How often a failed node is asked again.
        skip: Whether a round goes on without nodes that keep failing.
        timeout: Seconds after which a node counts as failed.
        traffic: What was carried.
        tell: Is told what a user should know of replies.
        exact: Whether sites have no floor, so that they send all counts they have.
        pause: Seconds before a failed node is asked again, doubled each time.
        stop: Whether to give up at once: the run is to end.
        largest_share: Share of all rows that one site may claim, 0 to 1.
        longest: Most seconds between two tries.
    """

    grid: Grid
    shares: Sequence[tuple[str, ...]] | None
    simulation_paths: SimulationPaths
    retries: int = 3
    skip: bool = False
    timeout: float = 600.0
    traffic: Traffic = field(default_factory=Traffic)
    tell: Callable[[str], None] = lambda text: None
    exact: bool = True
    pause: float = field(default_factory=lambda: RETRY_WAIT)
    stop: Callable[[], bool] = lambda: False
    largest_share: float = 1.0
    longest: float = 120.0
    poll: ClassVar[float] = POLL
    _checker: Checker = field(init=False, repr=False)
    _strangers: set[int] = field(default_factory=set, init=False, repr=False)
    _gone: set[str] = field(default_factory=set, init=False, repr=False)
    _hurry: float | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing has been said yet."""
        self._checker = Checker(self.exact, self.tell, self.largest_share)

    @property
    def names(self) -> tuple[str, ...]:
        """The sites that nodes serve, by name."""
        return tuple(sorted(name for share in self.shares or () for name in share))

    @property
    def suspects(self) -> tuple[str, ...]:
        """Whose updates were out of line; see `everymode.server.transport.exchange.Exchange`."""
        return self._checker.accused()

    @property
    def releases(self) -> Releases:
        """The record of releases; see `everymode.server.transport.exchange.Exchange`."""
        return self._checker.releases

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; see `everymode.server.transport.exchange.Exchange`."""
        collector = self._checker.open(request.order)
        left, failures = self.find_sources(request), Failures()
        for attempt in range(self.retries + 1):
            if attempt:
                # Whoever supervises a process that died starts it anew, which takes a moment.
                self.rest(min(self.pause * 2 ** (attempt - 1), self.longest))
                left = self._again(request, left)
            failures = self._once(request, left, collector)
            left = list(failures)
            if not left or (collector.refusals and not self._may_skip(request)):
                break
        self._settle(request, failures, collector)
        return collector.close()

    def close(self) -> None:
        """Nothing is kept for questions to come."""

    @contextmanager
    def hurried(self, seconds: float) -> Iterator[None]:
        """Within it a node counts as failed after so many seconds, and none is waited for."""
        before, self._hurry = self._hurry, seconds
        try:
            yield
        finally:
            self._hurry = before

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Within it Flower's errors are the exchange's own."""
        yield

    def _may_skip(self, request: Request) -> bool:
        return self.skip and isinstance(request.order, Train)

    def _settle(self, request: Request, failures: Failures, collector: Collector) -> None:
        """Goes on without sources that failed to the end, or says all that went wrong."""
        lost = [p for source, error in collector.refusals for p in source.named(error.problems)]
        tries = f"failed {self.retries + 1} times in a row" if self.retries else "failed"
        again = [f"{source}: {tries}: {reason}" for source, reason in failures.items()]
        if not lost and not again:
            if self._gone and isinstance(request.order, Train):
                self._represented(request.order.round, ())
            return
        order = request.order
        if (
            self._may_skip(request)
            and isinstance(order, Train)
            and float(collector.total["weight"][0]) > 0
        ):
            for problem in [*lost, *again]:
                self.tell(f"note: round {order.round} goes on without a site's part: {problem}")
            absent = [*(source for source, _ in collector.refusals), *failures]
            self._represented(order.round, collector.unrepresented(absent))
            return
        if collector.refusals:
            raise collector.refused(again)
        advice = "The last checkpoint is whole: mend the cause and continue with --resume"
        if isinstance(order, Train) and not self.skip:
            advice += ", or set train.on_failure = 'skip' to go on without"
        raise ExchangeError([*again[:-1], f"{again[-1]}. {advice}"])

    def _represented(self, number: int, gone: tuple[str, ...]) -> None:
        """Tells, once a change, of groups of which no site that is left has a row."""
        for names, text in (
            (set(gone) - self._gone, "no longer represented: no site that takes part has a row"),
            (self._gone - set(gone), "represented again"),
        ):
            for name in sorted(names):
                self.tell(f"note: round {number}: group '{name}' is {text}")
        self._gone = set(gone)

    def _again(self, request: Request, failed: Sequence[Source]) -> list[Source]:
        """Whom to ask in place of sources that failed: those themselves."""
        return list(failed)

    def _fallen(self, source: Source) -> str:
        """Why a source will not answer what it was asked, "" where that is not known."""
        return ""

    def rest(self, seconds: float) -> None:
        """Waits.

        Raises:
            Interrupted: The run is to end.
        """
        deadline = time.monotonic() + seconds
        while True:
            if self.stop():
                raise Interrupted("the run was asked to stop, in the middle of a round")
            if (left := deadline - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.1))

    def _once(self, request: Request, sources: Sequence[Source], collector: Collector) -> Failures:
        """Asks every source once and takes what comes back; returns those that failed, and why."""
        return self.carry(
            sources,
            lambda source: self._asked(request, source),
            lambda reply, source: self._taken(reply, source, collector),
        )

    def carry(
        self,
        sources: Sequence[Source],
        ask: Callable[[Source], str],
        take: Callable[[Message, Source], str],
    ) -> Failures:
        """Asks every source once and hands on what comes back.

        Args:
            sources: Whom to ask.
            ask: Sends a source its message (`push`); returns the message's id, "" where it failed.
            take: Gets a source's reply, which holds content; returns why it cannot be used, or "".

        Returns:
            The sources that failed, and why.
        """
        failures: Failures = {}
        waiting: dict[str, Source] = {}
        for source in sources:
            if identity := ask(source):
                waiting[identity] = source
            else:
                failures[source] = "Flower could not hand it the message; is it still connected?"
        patience = self.timeout if self._hurry is None else min(self._hurry, self.timeout)
        deadline = time.monotonic() + patience
        while waiting:
            heard = False
            for reply in self._pulled(waiting, failures):
                heard = True
                whose = waiting.get(reply.metadata.reply_to_message_id)
                # Errors come from Flower itself, whatever node they are about.
                if whose is None or not (reply.has_error() or _sender(reply) == whose.node):
                    self._ignore(_sender(reply), sources)
                    continue
                del waiting[reply.metadata.reply_to_message_id]
                if reason := _broken(reply) or take(reply, whose):
                    failures[whose] = reason
            for identity, source in list(waiting.items()):
                if reason := self._fallen(source):
                    failures[waiting.pop(identity)] = reason
            if waiting and time.monotonic() > deadline:
                failures |= dict.fromkeys(waiting.values(), f"no reply in {patience:g} seconds")
                break
            if waiting and not heard:
                self.rest(self.poll)
        # In the order in which they were asked, whoever failed first.
        return {source: failures[source] for source in sources if source in failures}

    def _asked(self, request: Request, source: Source) -> str:
        """Sends a source its part of a request; returns the message's id, "" where that failed."""
        part = request.only(source.sites or None)
        if identity := self.push(pack_request(part, self.simulation_paths), source):
            self.traffic.down += payload_nbytes(part)
        return identity

    def push(self, content: RecordDict, source: Source) -> str:
        """Sends a source a message; returns its id, "" where that failed."""
        ttl = self.timeout + 60
        message = Message(content, dst_node_id=source.node, message_type=ORDER, ttl=ttl)
        identities = list(self.grid.push_messages([message]))
        return identities[0] if identities and identities[0] else ""

    def _pulled(self, waiting: dict[str, Source], failures: Failures) -> Iterator[Message]:
        """Replies that have come, one message's after another's; some may be nobody's."""
        for identity in list(waiting):
            if identity not in waiting:
                continue
            try:
                replies = list(self.grid.pull_messages([identity]))
            except UNREADABLE as error:
                # Each is asked for alone, so that it is known whose reply cannot be read.
                failures[waiting.pop(identity)] = (
                    f"its reply is no message that Flower can read ({type(error).__name__})"
                )
                continue
            yield from replies

    def _ignore(self, node: int, sources: Sequence[Source]) -> None:
        """Tells, once a node, of a reply that came twice or late, or that nobody asked for."""
        if node not in self._strangers:
            self._strangers.add(node)
            who = next((str(s) for s in sources if s.node == node), f"node {node}")
            self.tell(f"note: {who}: a reply came that nobody waits for; it is not counted")

    def _taken(self, reply: Message, source: Source, collector: Collector) -> str:
        """Adds a reply; returns why it could not be, "" where it was or says so itself."""
        try:
            sums = unpack_reply(reply, collector.layout, source.sites or None)
        except (DataError, NumericalError, RefusedError) as error:
            collector.refusals.append((source, error))
            return ""
        except ReplyError as error:
            return "; ".join(error.problems)
        self.traffic.up += sums.nbytes
        try:
            collector.take(source, sums)
        except ReplyError as error:
            return "; ".join(error.problems)
        return ""

    def find_sources(self, request: Request) -> list[Source]:
        """Whom to ask: nodes, with those sites of theirs that are wanted."""
        nodes = self._nodes()
        if self.shares is None:
            return [Source((), node) for node in nodes]
        wanted = set(self.names if request.sites is None else request.sites)
        shares = (tuple(n for n in share if n in wanted) for share in self.shares)
        return [Source(share, n) for n, share in zip(nodes, shares, strict=True) if share]

    def _nodes(self) -> list[int]:
        """The connected nodes; waits until there are enough."""
        wanted = 1 if self.shares is None else len(self.shares)
        deadline = time.monotonic() + self.timeout
        while True:
            nodes = sorted(self.grid.get_node_ids())
            if len(nodes) >= wanted:
                return nodes if self.shares is None else nodes[:wanted]
            if time.monotonic() > deadline:
                raise ExchangeError(
                    f"only {len(nodes)} of {wanted} nodes are connected after {self.timeout:g} s"
                )
            time.sleep(0.05)


def _broken(reply: Message) -> str:
    """Why a reply holds no content, or ""."""
    if reply.has_error():
        return str(reply.error.reason)[:REASON] or "it failed"
    return "" if reply.has_content() else "its reply is empty"


def _sender(reply: Message) -> int:
    return int(reply.metadata.src_node_id)


def deal(names: Sequence[str], loads: Sequence[float], nodes: int) -> list[tuple[str, ...]]:
    """Deals sites to nodes, heaviest first, each to the node with the least load so far.

    Source: Graham, "Bounds on Multiprocessing Timing Anomalies", 1969 (longest processing time).

    >>> deal(["a", "b", "c"], [1.0, 5.0, 2.0], 2)
    [('b',), ('c', 'a')]
    """
    shares: list[list[str]] = [[] for _ in range(nodes)]
    totals = [0.0] * nodes
    heaviest = sorted(zip(loads, names, strict=True), key=lambda site: (-site[0], site[1]))
    for weight, name in heaviest:
        least = totals.index(min(totals))
        shares[least].append(name)
        totals[least] += weight
    return [tuple(share) for share in shares]
