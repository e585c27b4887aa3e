"""The sum from masked answers, once enough sites have opened their shares of the masks.

The answers' sum holds the own mask of every site whose answer came, which is taken off; and of the
masks that two sites have in common, those whose other half is missing, because a site was lost
after the others had masked with it. Nothing else is opened: never both masks of one site.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.sums import ReplyError
from everymode.clients.secure.masks import add_mask, derive_pair_seed, pair_sign, public_key
from everymode.clients.secure.shamir import combine_shares
from everymode.clients.secure.steps import AttemptShares, Revealed, holders

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Masked:
    """The masked answers of one attempt.

    Attributes:
        scope: Digest of the session's list of sites.
        attempt: The attempt.
        threshold: AttemptShares that open a secret.
        neighbours: Of every site of the session.
        prepared: What the sites that were asked contributed beforehand.
        answers: The masked vectors that came.
    """

    scope: str
    attempt: str
    threshold: int
    neighbours: Mapping[str, tuple[str, ...]]
    prepared: Mapping[str, AttemptShares]
    answers: Mapping[str, Ints]

    def find_holders(self, name: str) -> tuple[str, ...]:
        """Who holds shares of a site's secrets and can open them now."""
        return tuple(n for n in holders(name, self.neighbours) if n in self.answers)

    @property
    def wanted(self) -> tuple[str, ...]:
        """Whose masks have to be opened: of those lost, where a neighbour's answer came."""
        found = (n for n in self.prepared if n in self.answers or self._halves(n))
        return tuple(sorted(found))

    def _halves(self, name: str) -> tuple[str, ...]:
        return tuple(n for n in self.neighbours[name] if n in self.answers)

    def too_few(self) -> list[str]:
        """Sites whose masks cannot be opened by those whose answers came."""
        return [name for name in self.wanted if len(self.find_holders(name)) < self.threshold]

    def sealed_for(self, holder: str) -> dict[str, str]:
        """The encrypted shares that a site is to open."""
        return {
            name: (shares.of_own if name in self.answers else shares.of_key)[holder]
            for name, shares in sorted(self.prepared.items())
            if name in self.wanted and holder in holders(name, self.neighbours)
        }

    def open_sum(self, revealed: Mapping[str, Revealed]) -> Ints:
        """The sum over all sites whose answers came.

        Args:
            revealed: What sites opened.

        Raises:
            ReplyError: Too few shares came, or they do not fit what was said beforehand.
        """
        total = np.zeros(len(next(iter(self.answers.values()))), dtype=np.int64)
        for vector in self.answers.values():
            np.add(total, vector, out=total)
        for name in self.wanted:
            secret = self._open(name, revealed)
            shares = self.prepared[name]
            if name in self.answers:
                if hashlib.sha256(secret).hexdigest() != shares.commitment:
                    raise ReplyError(f"the shares of the own mask of site '{name}' do not fit")
                add_mask(total, secret, -1)
                continue
            if public_key(secret).hex() != shares.mask:
                raise ReplyError(f"the shares of the mask key of site '{name}' do not fit")
            for other in self._halves(name):
                theirs = bytes.fromhex(self.prepared[other].mask)
                pair = {name, other}
                seed = derive_pair_seed(secret, theirs, self.scope, self.attempt, pair)
                # What the other had added to its answer.
                add_mask(total, seed, -pair_sign(other, name))
        return total

    def _open(self, name: str, revealed: Mapping[str, Revealed]) -> bytes:
        numbers = {n: x for x, n in enumerate(holders(name, self.neighbours), 1)}
        found = {
            numbers[holder]: bytes.fromhex(revealed[holder].shares[name])
            for holder in sorted(numbers.keys() & revealed.keys())
            if name in revealed[holder].shares
        }
        if len(found) < self.threshold:
            raise ReplyError(
                f"{len(found)} shares of the masks of site '{name}' came, and opening them takes "
                f"{self.threshold} (secure.threshold)"
            )
        chosen = dict(sorted(found.items())[: self.threshold])
        try:
            return combine_shares(chosen)
        except ValueError as error:
            raise ReplyError(f"site '{name}': {error}") from None
