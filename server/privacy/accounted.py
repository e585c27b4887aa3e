"""An exchange that keeps to a budget: every question is weighed before it is sent."""

import json
from collections.abc import Iterator
from typing import Any

from everymode.clients.gate.noise import NAME, digest_question
from everymode.clients.gate.noise_rules import is_private
from everymode.clients.protocol.messages import EncodeData, Request
from everymode.clients.protocol.plan import fingerprint
from everymode.clients.protocol.sensitivity import sensitivity
from everymode.clients.protocol.sums import SiteSums
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.server.privacy.budget import Budget
from everymode.server.replies.releases import Entry, Releases
from everymode.server.transport.exchange import Exchange, Wrapped
from everymode.wgan.errors import StateError

SLACK = 1e-9


def stated_noise(entry: Entry) -> Iterator[dict[str, Any]]:
    """What an entry of the record of releases states about noise."""
    for text in entry.mechanisms:
        value = json.loads(text)
        if value["name"] == NAME:
            yield value


def all_noise(releases: Releases) -> Iterator[dict[str, Any]]:
    """What all entries state about noise: one statement for each question, however often asked."""
    for entry in releases.entries.values():
        yield from stated_noise(entry)


def spent(releases: Releases) -> float:
    """ZCDP that all recorded releases have spent, over the union of the sites' rows.

    A question that was repeated got the same answer, and counts once; each has an entry of its own.
    """
    return sum(float(value["rho"]) for value in all_noise(releases))


class Accounted(Wrapped):
    """An exchange that refuses what the budget does not cover; see `exchange.Exchange`."""

    def __init__(self, inner: Exchange, budget: Budget) -> None:
        """Takes what carries requests, and the budget."""
        super().__init__(inner)
        self.budget = budget
        self._conditions: dict[str, ConditionSpace] = {}

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request.

        Raises:
            StateError: It asks without noise, or for more than is left of the budget.
        """
        order = request.order
        if not is_private(order):
            raise StateError(
                f"'{order.order}' would leave the sites without noise, and [privacy] accounts for "
                "every release: this is a mistake of the program; please report it"
            )
        if isinstance(order, EncodeData):
            self._conditions[fingerprint(order)] = ConditionSpace.from_json(order.conditions)
            return self.inner(request)
        conditions = self._conditions.get(getattr(order, "plan", ""))
        noise = order.noise  # type: ignore[union-attr]
        assert noise is not None
        charge = sensitivity(order, conditions).charged(noise)
        question = digest_question(order, request.tensors)
        if any(value["question"] == question for value in all_noise(self.releases)):
            # Asked before the run was resumed: the same question gets the same answer.
            charge = 0.0
        left = self.budget.rho - spent(self.releases)
        if charge > left + SLACK * self.budget.rho:
            raise StateError(
                f"'{order.order}' would spend {charge:.3g} zCDP, and {max(left, 0.0):.3g} of "
                f"{self.budget.rho:.3g} (privacy.epsilon = {self.budget.epsilon:g}, privacy.delta "
                f"= {self.budget.delta:g}) are left; start a new run with a larger budget of its "
                "own, which adds to this one's"
            )
        return self.inner(request)
