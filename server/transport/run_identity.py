"""The name of a run, which every request carries: a site answers each question of a run once.

The first request of a session says besides what the run will ask, so that a site whose policy
forbids it ends the run there, and not after hours of training.
"""

from dataclasses import replace

from everymode.clients.protocol.announcement import Announcement
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.sums import SiteSums
from everymode.server.transport.exchange import Exchange, Wrapped


class Named(Wrapped):
    """An exchange whose requests all carry the run's name; see `exchange.Exchange`."""

    def __init__(self, inner: Exchange, run: str, announced: Announcement | None = None) -> None:
        """Takes what carries requests, the name, and what the first request announces."""
        super().__init__(inner)
        self.run = run
        self._announced = announced

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request."""
        announced, self._announced = self._announced, None
        return self.inner(replace(request, run=self.run, announced=announced))
