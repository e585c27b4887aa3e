"""What server and site say to one another so that sums can be masked, as JSON.

Once a session: `MakeKeys`. Then for every attempt at a question: `MakeShares` (mostly sent along
with the attempt before), `AnswerMasked`, `Unmask`. Keys, shares and signatures are hexadecimal.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field, TypeAdapter

from everymode.clients.protocol.limits import SITES
from everymode.clients.protocol.refusal import readable
from everymode.clients.secure.graph import choose_degree, find_neighbours

Name = Annotated[str, Field(max_length=255)]
Hex = Annotated[str, Field(max_length=1024, pattern=r"^(?:[0-9a-f]{2})*$")]
Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Attempt = Annotated[str, Field(pattern=r"^[0-9]{8}$")]


@dataclass(frozen=True)
class Keys:
    """A site's keys of a session.

    Attributes:
        name: The site.
        channel: Its public X25519 key, under which shares are encrypted to it.
        signature: Of run, session, name and key, by the site's own signing key.
    """

    name: Name
    channel: Hex
    signature: Hex


@dataclass(frozen=True)
class AttemptShares:
    """What a site contributes to an attempt beforehand.

    Attributes:
        name: The site.
        mask: Its public X25519 key, from which masks in common with its neighbours follow.
        commitment: SHA-256 of the seed of its own mask.
        signature: Of session, attempt, name, key and commitment.
        of_own: Encrypted shares of that seed, by who holds them.
        of_key: Encrypted shares of the private half of `mask`, likewise.
    """

    name: Name
    mask: Hex
    commitment: Hex
    signature: Hex
    of_own: Mapping[Name, Hex]
    of_key: Mapping[Name, Hex]


@dataclass(frozen=True)
class PublicMask:
    """The part of `AttemptShares` that all neighbours see."""

    name: Name
    mask: Hex
    commitment: Hex
    signature: Hex


@dataclass(frozen=True)
class Revealed:
    """What a site opens after an attempt: shares, by whose masks they are; and the next attempt."""

    shares: Mapping[Name, Hex]
    upcoming: AttemptShares | None


@dataclass(frozen=True)
class MakeKeys:
    """Begins a session.

    Attributes:
        run: The run's name.
        session: 16 hexadecimal digits, new for each.
        sites: How many sites there are.
    """

    run: Identity
    session: Identity
    sites: int
    step: Literal["keys"] = "keys"


@dataclass(frozen=True)
class SiteList:
    """All sites of a session with their keys, and how masks are made.

    Attributes:
        keys: By name, sorted.
        threshold: How many holders open a mask.
        neighbours: How many others a site masks with; 0: see `choose_degree`.
    """

    keys: tuple[Keys, ...]
    threshold: int
    neighbours: int

    @property
    def names(self) -> tuple[str, ...]:
        """The sites."""
        return tuple(keys.name for keys in self.keys)

    def digest(self, run: str, session: str) -> str:
        """What ties everything that follows to these keys; it names the session's scope."""
        told = [[keys.name, keys.channel] for keys in self.keys]
        value = [run, session, self.threshold, self.neighbours, told]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()

    def neighbourhood(self, scope: str) -> dict[str, tuple[str, ...]]:
        """Who masks with whom; `scope` is the digest."""
        return find_neighbours(self.names, choose_degree(len(self.keys), self.neighbours), scope)


def holders(name: str, neighbours: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Who holds shares of a site's secrets: itself and its neighbours, in the order of numbers."""
    return tuple(sorted((name, *neighbours[name])))


@dataclass(frozen=True)
class MakeShares:
    """Asks for the `AttemptShares` of an attempt; the list of sites comes with the first."""

    session: Identity
    attempt: Attempt
    site_list: SiteList | None = None
    step: Literal["shares"] = "shares"


@dataclass(frozen=True)
class AnswerMasked:
    """Asks for the masked answer to the request that comes with it.

    Attributes:
        session: The session.
        attempt: Which masks are used; each once.
        active: All sites that are asked.
        masks: Of the site's neighbours among them.
    """

    session: Identity
    attempt: Attempt
    active: Annotated[tuple[Name, ...], Field(max_length=SITES)]
    masks: tuple[PublicMask, ...]
    step: Literal["answer"] = "answer"


@dataclass(frozen=True)
class Unmask:
    """Asks a site that has answered to open masks.

    Attributes:
        session: The session.
        attempt: The attempt.
        survivors: Sites whose answers came. Shares of their own masks are opened; of the others
            those of their keys.
        shares: The encrypted shares that the site holds, by whose masks they are.
        upcoming: The next attempt, whose shares are wanted along with it; "": none.
    """

    session: Identity
    attempt: Attempt
    survivors: Annotated[tuple[Name, ...], Field(max_length=SITES)]
    shares: Mapping[Name, Hex]
    upcoming: Annotated[str, Field(pattern=r"^([0-9]{8})?$")] = ""
    step: Literal["unmask"] = "unmask"


@dataclass(frozen=True)
class EndSession:
    """Says that nothing more is asked in a session, of which a site then keeps nothing."""

    session: Identity
    step: Literal["end"] = "end"


@dataclass(frozen=True)
class Ended:
    """A site keeps nothing of a session."""

    session: Identity


Step = MakeKeys | MakeShares | AnswerMasked | Unmask | EndSession
Said = Keys | AttemptShares | Revealed | Ended

_STEP: TypeAdapter[Step] = TypeAdapter(Annotated[Step, Discriminator("step")])
_SAID: dict[type, TypeAdapter[Said]] = {
    t: TypeAdapter(t) for t in (Keys, AttemptShares, Revealed, Ended)
}
SITE_LIST: TypeAdapter[SiteList] = TypeAdapter(SiteList)


def step_to_json(step: Step) -> str:
    """A step as JSON text."""
    return _STEP.dump_json(step).decode()


def step_from_json(text: str) -> Step:
    """The inverse; raises `RefusedError` on anything else."""
    with readable("a step of secure summation"):
        return _STEP.validate_json(text)


def said_to_json(said: Said) -> str:
    """What a site says, as JSON text."""
    return _SAID[type(said)].dump_json(said).decode()


def said_from_json(text: str, kind: type[Said]) -> Said:
    """The inverse; raises `pydantic.ValidationError` on anything else."""
    return _SAID[kind].validate_json(text)
