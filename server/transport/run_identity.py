"""The name of a run, which every request carries: a site answers each question of a run once.

The first request of a session says besides what the run will ask, so that a site whose policy
forbids it ends the run there, and not after hours of training.
"""

from dataclasses import replace

from everymode.clients.protocol.announcement import Announcement
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.sums import SiteSums
from everymode.server.replies.releases import Releases
from everymode.server.transport.exchange import Exchange, Traffic


class Named:
    """An exchange whose requests all carry the run's name; see `exchange.Exchange`."""

    def __init__(self, inner: Exchange, run: str, announced: Announcement | None = None) -> None:
        """Takes what carries requests, the name, and what the first request announces."""
        self.inner = inner
        self.run = run
        self._announced = announced

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

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request."""
        announced, self._announced = self._announced, None
        return self.inner(replace(request, run=self.run, announced=announced))
