"""The exchange that learns sums only: it drives secure summation over any channel to the sites.

Once a session the sites make keys. Every question then takes two messages to a site: one for its
masked answer, and one that opens the masks of the sum and brings the secrets for the next question.
A question that fails is asked again as another attempt, with fresh masks. At the end of a run the
sites are told to forget the session.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from everymode.clients.protocol.messages import Request, Train
from everymode.clients.protocol.sums import Ints, ReplyError, SiteSums
from everymode.clients.secure.graph import (
    FEWEST,
    choose_degree,
    choose_threshold,
    sites_problems,
)
from everymode.clients.secure.steps import (
    AnswerMasked,
    AttemptShares,
    EndSession,
    Keys,
    MakeKeys,
    MakeShares,
    PublicMask,
    Revealed,
    SiteList,
    Step,
    Unmask,
    said_to_json,
    step_to_json,
)
from everymode.clients.secure.wire import Outcome
from everymode.server.replies.releases import Releases
from everymode.server.replies.replies import Checker, Collector, Source
from everymode.server.secure.channel import Channel
from everymode.server.secure.opening import Masked
from everymode.server.transport.exchange import ExchangeError, Traffic, payload_nbytes
from everymode.wgan.errors import EveryModeError, SettingsError, named

Kind = TypeVar("Kind", Keys, AttemptShares)


@dataclass(frozen=True)
class Masking:
    """How sums are masked.

    Attributes:
        threshold: Holders of shares who open a mask; 0: two thirds of them.
        neighbours: Others that a site masks with; 0: all, up to 20 sites, and then 4 log2 of them.
        retries: How often a question is asked again.
        pause: Seconds before that, doubled each time.
        skip: Whether a round goes on without sites that are lost.
    """

    threshold: int = 0
    neighbours: int = 0
    retries: int = 3
    pause: float = 0.0
    skip: bool = False


class AttemptError(Exception):
    """An attempt that brought no sum, and why; the question may be asked again."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Takes what went wrong, in words."""
        super().__init__(*problems)
        self.problems = list(problems)


@dataclass
class _Session:
    """The keys of all sites, and what was contributed to the next attempt."""

    run: str
    name: str
    site_list: SiteList
    scope: str
    neighbours: dict[str, tuple[str, ...]]
    accepted: set[str] = field(default_factory=set)
    number: int = 1
    prepared: dict[str, AttemptShares] = field(default_factory=dict)

    @property
    def attempt(self) -> str:
        return f"{self.number:08d}"

    def move_on(self, upcoming: Mapping[str, AttemptShares]) -> None:
        """Goes to the next attempt, for which some sites have contributed already."""
        self.number += 1
        self.prepared = dict(upcoming)

    def give_up(self) -> None:
        """Leaves out the next attempt: sites may have made secrets for it that never came."""
        self.number += 2
        self.prepared = {}


@dataclass
class MaskedExchange:
    """Sums over sites, none of whose parts the server sees.

    Attributes:
        names: The sites, by name.
        channel: Carries steps to them.
        checker: Holds sums against what is known of them.
        masking: How sums are masked.
        tell: Is told what a user should know.
        traffic: What was carried.
    """

    names: tuple[str, ...]
    channel: Channel
    checker: Checker
    masking: Masking = Masking()
    tell: Callable[[str], None] = lambda text: None
    traffic: Traffic = field(default_factory=Traffic)
    _session: _Session | None = field(default=None, init=False, repr=False)
    _asked: Request | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuses what cannot be masked.

        Raises:
            SettingsError: Too few sites, or a threshold that they cannot have.
        """
        if problems := sites_problems(
            len(self.names), self.masking.threshold, self.masking.neighbours
        ):
            raise SettingsError(problems)

    def close(self) -> None:
        """Lets sites forget the session; one that does not hear of it forgets it in time."""
        session, self._session = self._session, None
        if session is not None and self._asked is not None:
            steps = dict.fromkeys(session.site_list.names, EndSession(session.name))
            self.channel.part(steps, self._asked.only(tuple(steps)))

    @property
    def suspects(self) -> tuple[str, ...]:
        """Nobody: updates of single sites are not seen."""
        return self.checker.accused()

    @property
    def releases(self) -> Releases:
        """The record of releases."""
        return self.checker.releases

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; see `everymode.server.transport.exchange.Exchange`.

        Raises:
            SettingsError: The request asks for more than sums, or too few sites.
        """
        self._check(request)
        self._asked = replace(request, tensors={}, announced=None)
        collector = self.checker.open(request.order)
        problems: list[str] = []
        for number in range(self.masking.retries + 1):
            if number:
                self.channel.rest(self.masking.pause * 2 ** (number - 1))
            try:
                who, total = self._attempt(request, collector)
            except AttemptError as error:
                problems = error.problems
                if self._session is not None:
                    self._session.give_up()
                continue
            try:
                collector.take(Source(who), total)
            except ReplyError as error:
                raise ExchangeError(
                    f"{problem}. Single sites are not seen under secure summation, so it is not "
                    "known whose part that is"
                    for problem in named(error.problems, str(Source(who)))
                ) from error
            return collector.close()
        tries = f"{self.masking.retries + 1} attempts" if self.masking.retries else "1 attempt"
        raise ExchangeError(
            [
                *problems[:-1],
                f"{problems[-1]}. Secure summation of '{request.order.order}' failed in {tries}, "
                "each with fresh masks. The last checkpoint is whole: mend the cause and continue "
                "with --resume",
            ]
        )

    def _check(self, request: Request) -> None:
        if request.per_site or request.order.layout().per_site:
            raise SettingsError(
                f"secure.summation = 'masked': '{request.order.order}' asks for arrays of single "
                "sites; write federation.sums_only = true"
            )
        asked = len(self.names if request.sites is None else request.sites)
        if problems := sites_problems(asked, 0, 0):
            raise SettingsError(problems)

    def _attempt(self, request: Request, collector: Collector) -> tuple[tuple[str, ...], SiteSums]:
        """The sum over sites, and which; raises `AttemptError` where there is none."""
        wanted = tuple(sorted(self.names if request.sites is None else request.sites))
        may_skip = self._may_skip(request)
        session = self._begun(request)
        lost = self._prepare(session, wanted, request)
        active = tuple(name for name in wanted if name in session.prepared)
        if lost and not may_skip:
            raise AttemptError(lost)
        answers, mechanisms, more = self._answers(session, active, request, collector)
        lost += more
        if lost and not may_skip:
            raise AttemptError(lost)
        prepared = {name: session.prepared[name] for name in active}
        threshold, neighbours = session.site_list.threshold, session.neighbours
        masked = Masked(session.scope, session.attempt, threshold, neighbours, prepared, answers)
        if len(answers) < FEWEST or masked.too_few():
            raise AttemptError(
                [
                    *lost,
                    f"answers of {len(answers)} of {len(wanted)} sites came, too few to open "
                    f"the sum: masks of {len(masked.too_few())} sites take {threshold} holders of "
                    f"shares (secure.threshold), and a sum {FEWEST} sites",
                ]
            )
        revealed, silent = self._reveal(session, masked, request)
        try:
            vector = masked.open_sum(revealed)
        except ReplyError as error:
            raise AttemptError([*lost, *silent, *error.problems]) from error
        if silent:
            session.give_up()
        else:
            session.move_on({n: r.upcoming for n, r in revealed.items() if r.upcoming})
        for problem in lost:
            self.tell(f"note: '{request.order.order}' goes on without a site's part: {problem}")
        total = SiteSums(collector.layout, vector, {}, mechanisms)
        return tuple(answers), total

    def _begun(self, request: Request) -> _Session:
        """The session of a run: the keys of all sites."""
        if self._session is not None and self._session.run == request.run:
            return self._session
        name = secrets.token_hex(8)
        step = MakeKeys(request.run, name, len(self.names))
        found, lost = self._said(dict.fromkeys(self.names, step), request, Keys)
        if lost:
            raise AttemptError(lost)
        keys = tuple(found[n] for n in sorted(found))
        holding = choose_degree(len(keys), self.masking.neighbours) + 1
        site_list = SiteList(
            keys, choose_threshold(holding, self.masking.threshold), self.masking.neighbours
        )
        scope = site_list.digest(request.run, name)
        self._session = _Session(
            request.run, name, site_list, scope, site_list.neighbourhood(scope)
        )
        return self._session

    def _prepare(self, session: _Session, wanted: Sequence[str], request: Request) -> list[str]:
        """Asks sites for what they contribute to an attempt, where that did not come before."""
        missing = [name for name in wanted if name not in session.prepared]
        if not missing:
            return []
        steps = {
            name: MakeShares(
                session.name,
                session.attempt,
                None if name in session.accepted else session.site_list,
            )
            for name in missing
        }
        found, lost = self._said(steps, request, AttemptShares)
        session.accepted.update(found)
        for name, shares in found.items():
            who = {name, *session.neighbours[name]}
            if shares.of_own.keys() != who or shares.of_key.keys() != who:
                lost.append(f"site '{name}': its shares are not for itself and its neighbours")
            else:
                session.prepared[name] = shares
        return lost

    def _answers(
        self, session: _Session, active: tuple[str, ...], request: Request, collector: Collector
    ) -> tuple[dict[str, Ints], tuple[str, ...], list[str]]:
        """The masked answers that came, what mechanisms state, and why others did not come."""
        steps: dict[str, Step] = {}
        for name in active:
            others = (session.prepared[n] for n in session.neighbours[name] if n in active)
            masks = (PublicMask(s.name, s.mask, s.commitment, s.signature) for s in others)
            steps[name] = AnswerMasked(session.name, session.attempt, active, tuple(masks))
        outcomes = self._send(steps, request)
        answers: dict[str, Ints] = {}
        stated: set[str] = set()
        lost: list[str] = []
        refusals: list[tuple[Source, EveryModeError]] = []
        for name in active:
            match outcomes[name]:
                case SiteSums() as sums:
                    answers[name] = sums.vector
                    stated.update(sums.mechanisms)
                case ReplyError() as error:
                    lost += named(error.problems, f"site '{name}'")
                case EveryModeError() as error:
                    refusals.append((Source((name,)), error))
        if refusals and not self._may_skip(request):
            collector.refusals += refusals
            raise collector.refused(lost)
        lost += [p for source, error in refusals for p in source.named(error.problems)]
        return answers, tuple(sorted(stated)), lost

    def _reveal(
        self, session: _Session, masked: Masked, request: Request
    ) -> tuple[dict[str, Revealed], list[str]]:
        """What sites open, and why others do not."""
        survivors = tuple(masked.answers)
        upcoming = f"{session.number + 1:08d}"
        steps = {
            name: Unmask(
                session.name, session.attempt, survivors, masked.sealed_for(name), upcoming
            )
            for name in survivors
        }
        outcomes = self._send(steps, request)
        found = {n: o for n, o in outcomes.items() if isinstance(o, Revealed)}
        silent = [
            problem
            for name, outcome in outcomes.items()
            if isinstance(outcome, EveryModeError)
            for problem in named(outcome.problems, f"site '{name}'")
        ]
        return found, silent

    def _said(
        self, steps: Mapping[str, Step], request: Request, kind: type[Kind]
    ) -> tuple[dict[str, Kind], list[str]]:
        """What sites say to steps, and why others do not.

        Raises:
            EveryModeError: What a site says is wrong there; asking again does not help.
        """
        outcomes = self._send(steps, request)
        told = [e for e in outcomes.values() if isinstance(e, EveryModeError)]
        if final := [e for e in told if not isinstance(e, ReplyError)]:
            raise type(final[0])([p for error in told for p in error.problems])
        lost = [
            problem
            for name, error in outcomes.items()
            if isinstance(error, ReplyError)
            for problem in named(error.problems, f"site '{name}'")
        ]
        return {n: o for n, o in outcomes.items() if isinstance(o, kind)}, lost

    def _send(self, steps: Mapping[str, Step], request: Request) -> dict[str, Outcome]:
        """Carries steps and counts their bytes."""
        outcomes = self.channel.send(steps, request.only(tuple(steps)))
        content = payload_nbytes(request.only(()))
        for name, step in steps.items():
            self.traffic.down += len(step_to_json(step))
            if isinstance(step, AnswerMasked):
                self.traffic.down += content
            match outcomes[name]:
                case SiteSums() as sums:
                    self.traffic.up += sums.nbytes
                case Keys() | AttemptShares() | Revealed() as said:
                    self.traffic.up += len(said_to_json(said))
        return outcomes

    def _may_skip(self, request: Request) -> bool:
        return self.masking.skip and isinstance(request.order, Train)
