"""The name of a run, which every request carries: a site answers each question of a run once."""

import hashlib
import json
from dataclasses import replace

from clients.orders import Request
from clients.sums import SiteSums
from server.exchange import Exchange, Traffic
from server.settings import Settings

PASSING = ("device", "simulation", "output")
"""Keys and sections that may change when a run goes on."""

PASSING_IN_TRAIN = ("retries", "on_failure", "timeout")
"""Keys of [train] that may."""


def run_of(settings: Settings) -> str:
    """16 hexadecimal digits that name all that decides a run's result."""
    values = settings.model_dump(mode="json", exclude=set(PASSING))
    for key in PASSING_IN_TRAIN:
        del values["train"][key]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class Named:
    """An exchange whose requests all carry the run's name; see `server.exchange.Exchange`."""

    def __init__(self, inner: Exchange, run: str) -> None:
        """Takes what carries requests, and the name."""
        self.inner = inner
        self.run = run

    @property
    def traffic(self) -> Traffic:
        """What has been carried so far."""
        return self.inner.traffic

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, by name."""
        return self.inner.names

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request."""
        return self.inner(replace(request, run=self.run))
