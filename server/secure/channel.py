"""How steps of secure summation reach the sites: in this process, or over Flower's grid."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch
from flwr.app import Message

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.sums import ReplyError
from everymode.clients.secure.answering import take_step
from everymode.clients.secure.steps import Step
from everymode.clients.secure.wire import Outcome, pack_steps, unpack_outcomes
from everymode.server.replies.replies import Source
from everymode.server.transport.exchange import InProcess
from everymode.server.transport.grid import GridExchange
from everymode.wgan.errors import DataError, EveryModeError, NumericalError

PARTING = 10.0
"""Most seconds for which the end of a run waits for sites to forget what they kept."""


class Channel(Protocol):
    """Carries steps to sites."""

    def send(self, steps: Mapping[str, Step], request: Request) -> dict[str, Outcome]:
        """Carries steps, by site, and returns what became of each.

        A `ReplyError` stands for a site that could not be reached, or whose reply is not what was
        agreed on; any other error is what the site says.

        Args:
            steps: The steps.
            request: What they are about, for these sites.
        """
        ...

    def part(self, steps: Mapping[str, Step], request: Request) -> None:
        """Carries last steps, whose outcomes nobody needs, and waits for nobody."""
        ...

    def rest(self, seconds: float) -> None:
        """Waits before sites that failed are asked again."""
        ...


@dataclass(frozen=True)
class InProcessChannel:
    """Has the sites of an exchange in this process take their steps on this thread."""

    exchange: InProcess

    def send(self, steps: Mapping[str, Step], request: Request) -> dict[str, Outcome]:
        """See `Channel`."""
        sites = {site.name: site for site in self.exchange.sites}
        outcomes: dict[str, Outcome] = {}
        # As in the exchange: sums of floats depend on the number of threads.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for name, step in steps.items():
                try:
                    outcomes[name] = take_step(step, sites[name], request.only((name,)))
                except (DataError, NumericalError, RefusedError, ReplyError) as error:
                    outcomes[name] = error
        finally:
            torch.set_num_threads(threads)
        return outcomes

    def part(self, steps: Mapping[str, Step], request: Request) -> None:
        """See `Channel`."""
        with suppress(EveryModeError):
            self.send(steps, request)

    def rest(self, seconds: float) -> None:
        """What fails here does not come back by itself."""


@dataclass(frozen=True)
class GridChannel:
    """Sends each node one message with the steps of its sites, by an exchange over the grid."""

    exchange: GridExchange

    def send(self, steps: Mapping[str, Step], request: Request) -> dict[str, Outcome]:
        """See `Channel`."""
        outcomes: dict[str, Outcome] = {}
        layout = request.order.layout()

        def ask(source: Source) -> str:
            own = {name: steps[name] for name in source.sites}
            content = pack_steps(own, request.only(source.sites), self.exchange.simulation_paths)
            return self.exchange.push(content, source)

        def take(reply: Message, source: Source) -> str:
            try:
                outcomes.update(unpack_outcomes(reply, layout, steps, source.sites))
            except ReplyError as error:
                return "; ".join(error.problems)
            return ""

        wanted = request.only(tuple(steps))
        with self.exchange.explained():
            failures = self.exchange.carry(self.exchange.find_sources(wanted), ask, take)
        for source, reason in failures.items():
            outcomes.update(dict.fromkeys(source.sites, ReplyError(f"{source}: {reason}")))
        return outcomes

    def part(self, steps: Mapping[str, Step], request: Request) -> None:
        """See `Channel`."""
        with suppress(EveryModeError), self.exchange.hurried(PARTING):
            self.send(steps, request)

    def rest(self, seconds: float) -> None:
        """See `Channel`."""
        self.exchange.rest(seconds)
