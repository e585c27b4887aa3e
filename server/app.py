"""The ServerApp, and the exchange that drives Flower's grid.

The grid is driven by `push_messages` and `pull_messages` with short polling of our own:
`send_and_receive` sleeps a tenth of a second between pulls in simulation and three in deployment,
which at hundreds of exchanges is most of a run.
"""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from clients import environment
from clients.gate.simulation import Ground
from clients.orders import Request, Train
from clients.sums import SiteSums
from clients.wire import ORDER, pack_request, unpack_reply
from server.configuration import load
from server.display import Display
from server.exchange import ExchangeError, Traffic, weight_of
from server.outputs import RunFolder, default_folder
from server.session import Session
from server.settings import Settings
from server.sockets import refuse_exposed
from server.stage import set_up
from wgan.errors import DataError, SettingsError

app = ServerApp()

POLL = 0.004
"""Seconds between looks at the grid."""

RETRY_WAIT = 2.0
"""Seconds before a failed node is asked again, doubled each time: Ray restarts its process then."""


@dataclass
class GridExchange:
    """Sends each node one message with the sites it serves, and adds up what comes back.

    Attributes:
        grid: Flower's grid.
        shares: The sites each node serves, one tuple a node; None: every node its own.
        ground: Where simulated nodes find their sites.
        retries: How often a failed node is asked again.
        skip: Whether a round goes on without nodes that keep failing.
        timeout: Seconds after which a node counts as failed.
        traffic: What was carried.
    """

    grid: Grid
    shares: Sequence[tuple[str, ...]] | None
    ground: Ground
    retries: int = 3
    skip: bool = False
    timeout: float = 600.0
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def names(self) -> tuple[str, ...]:
        """The sites that nodes serve, by name."""
        return tuple(sorted(name for share in self.shares or () for name in share))

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; see `server.exchange.Exchange`."""
        nodes = self._nodes()
        tasks: list[tuple[int, tuple[str, ...] | None]]
        if self.shares is None:
            tasks = [(node, None) for node in nodes]
        else:
            wanted = self.names if request.sites is None else request.sites
            shares = [tuple(n for n in share if n in wanted) for share in self.shares]
            tasks = [(n, share) for n, share in zip(nodes, shares, strict=True) if share]
        total = request.order.layout().zero()
        failures: list[str] = []
        for attempt in range(self.retries + 1):
            if attempt:
                # A process that died is started anew by Ray, which takes it a moment.
                time.sleep(min(RETRY_WAIT * 2 ** (attempt - 1), 10.0))
            total, tasks, failures = self._once(request, tasks, total)
            if not tasks:
                return total
        if self.skip and isinstance(request.order, Train) and float(total["weight"][0]) > 0:
            return total
        raise ExchangeError(
            f"{len(tasks)} node{'s' if len(tasks) > 1 else ''} failed {self.retries + 1} times in "
            f"a row: {failures[0]}. The last checkpoint is whole: mend the cause and continue with "
            "--resume, or set train.on_failure = 'skip' to go on without"
        )

    def _once(
        self,
        request: Request,
        tasks: list[tuple[int, tuple[str, ...] | None]],
        total: SiteSums,
    ) -> tuple[SiteSums, list[tuple[int, tuple[str, ...] | None]], list[str]]:
        """Asks every task's node once; returns the total, the tasks that failed, and why."""
        waiting: dict[str, tuple[int, tuple[str, ...] | None]] = {}
        for node, sites in tasks:
            part = request.only(sites)
            content = pack_request(part, self.ground)
            message = Message(content, dst_node_id=node, message_type=ORDER, ttl=self.timeout + 60)
            (identity,) = self.grid.push_messages([message])
            waiting[identity] = (node, sites)
            self.traffic.down += weight_of(part)
        failed: list[tuple[int, tuple[str, ...] | None]] = []
        reasons: list[str] = []
        deadline = time.monotonic() + self.timeout
        while waiting:
            replies = list(self.grid.pull_messages(list(waiting)))
            for reply in replies:
                task = waiting.pop(reply.metadata.reply_to_message_id)
                if reply.has_error():
                    failed.append(task)
                    reasons.append(str(reply.error.reason))
                    continue
                sums = unpack_reply(reply, total.layout)
                self.traffic.up += sums.travels
                total = total + sums
            if waiting and time.monotonic() > deadline:
                reasons += [f"no reply in {self.timeout:g} seconds"] * len(waiting)
                failed += waiting.values()
                break
            if not replies:
                time.sleep(POLL)
        return total, failed, reasons

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


@dataclass
class SimulationExchange(GridExchange):
    """A grid of simulated nodes, in processes of Ray's that nobody else may reach."""

    _closed: bool = field(default=False, init=False)

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; after the first, looks where Ray's processes listen.

        Raises:
            StateError: On an interface that others reach. Else as `GridExchange`.
        """
        sums = super().__call__(request)
        if not self._closed:
            refuse_exposed()
            self._closed = True
        return sums


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


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Under `flwr run`: everything comes from the run configuration."""
    environment.require_guards()
    run_config = context.run_config
    source = str(run_config.get("config", "quick"))
    settings = load(source, shlex.split(str(run_config.get("set", ""))))
    out = str(run_config.get("out", ""))
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = RunFolder(Path(out) if out else default_folder(f"{Path(source).stem}-{stamp}"))
    with folder.locked():
        folder.create(settings)
        try:
            _run(settings, folder, grid)
        except (DataError, SettingsError):
            if not folder.metrics.exists():
                folder.discard()
            raise


def _run(settings: Settings, folder: RunFolder, grid: Grid) -> None:
    """Lays out the sites and runs to the end, in a directory that is held."""
    stage = set_up(settings, folder.fresh_sites())
    nodes = min(len(list(grid.get_node_ids())), len(stage.sites))
    train = settings.train
    exchange = SimulationExchange(
        grid,
        deal([s.name for s in stage.sites], stage.loads, nodes),
        stage.ground,
        train.retries,
        train.on_failure == "skip",
        train.timeout,
    )
    with Display(None) as display:
        Session(
            settings,
            folder,
            exchange,
            stage.columns,
            display,
            lambda: stage.frame(settings.data.missing),
        )()
