"""Replies are held against what is known of them before they are added, and told whose they are.

`Checker` lasts for a run and remembers what each source of replies has said. For every request it
opens a `Collector`, which takes the replies one by one and gives the total.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from everymode.clients.protocol.messages import (
    CountBatchRows,
    CountLeaves,
    CountMarginals,
    CountNeighbours,
    EncodeData,
    HeldOutFeatureSums,
    SiteStatistics,
    SumMoments,
    Task,
    Train,
)
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.protocol.sums import Layout, ReplyError, SiteSums
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.server.replies import invariants
from everymode.server.replies import moments as moment_invariants
from everymode.server.replies import training as training_invariants
from everymode.server.replies.invariants import Known, Prepared, Problems, Reply
from everymode.server.replies.outliers import outliers, update_norms
from everymode.server.replies.releases import Releases
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.errors import EveryModeError, NumericalError, named

SHOWN = 5
"""Sites of a node that are named; of more, their number is."""

LASTING = 20
"""Rounds for which it is remembered that an update was out of line."""


@dataclass(frozen=True)
class Source:
    """Whose replies they are: a node's, for the sites that it is asked for.

    Attributes:
        sites: Their names; empty: the node serves a site of its own, whose name is not known.
        node: The node's id; 0 within this process.
    """

    sites: tuple[str, ...] = ()
    node: int = 0

    @property
    def key(self) -> frozenset[str]:
        """What it is remembered by: nodes come and go, sites stay."""
        return frozenset(self.sites or (f"node {self.node}",))

    def __str__(self) -> str:
        """As told to people."""
        if not self.sites:
            return f"node {self.node}"
        shown = ", ".join(f"'{name}'" for name in self.sites[:SHOWN])
        more = f" and {len(self.sites) - SHOWN} more" if len(self.sites) > SHOWN else ""
        return f"site{'s' if len(self.sites) > 1 else ''} {shown}{more}"

    def named(self, problems: Iterable[str]) -> list[str]:
        """Its problems, with its name where they do not name one of its sites already."""
        return named(problems, str(self), [f"site '{name}'" for name in self.sites])


@dataclass
class Checker:
    """What the sources of a run have said so far, and what follows from it for the next reply.

    Attributes:
        exact: Whether sites send all counts they have. Where they leave small ones out, sums may
            be smaller than what they are held against.
        tell: Is told of updates that are out of line.
        suspects: Those of the last rounds, in words, by their source and the field.
        releases: Every reply that was taken.
    """

    exact: bool = True
    tell: Callable[[str], None] = lambda text: None
    suspects: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    releases: Releases = field(default_factory=Releases)
    _known: dict[frozenset[str], Known] = field(default_factory=dict)
    _plans: dict[str, Plan] = field(default_factory=dict)
    _proposed: ConditionSpace | None = None

    def open(self, order: Task) -> "Collector":
        """What takes the replies to one request."""
        plan = self._plans.get(_plan_name(order))
        if isinstance(order, EncodeData):
            plan = self._plans[fingerprint(order)] = Plan.of(order)
        return Collector(order, order.layout(), plan, self, self.releases.number(order))

    def check(self, order: Task, plan: Plan | None, source: Source, sums: SiteSums) -> None:
        """Raises `ReplyError` where a reply breaks what is known of it; names nobody."""
        known, same = self._said(source)
        # The first question is held against itself alone.
        exact = self.exact and (same or isinstance(order, DescribeColumns))
        reply = Reply(sums, source.sites, known, exact, self._proposed, plan)
        # What is no count cannot be added up to be held against others.
        problems = list(invariants.in_range(sums)) or list(_broken(order, reply))
        if problems:
            raise ReplyError(problems)

    def learn(self, order: Task, source: Source, sums: SiteSums) -> None:
        """Remembers what a reply said that was taken."""
        match order:
            case DescribeColumns():
                counts = [CellCounts(sums.units(f"cells.{i}")) for i in range(len(order.columns))]
                blank = tuple(c["missing"] + c["blank"] for c in counts)
                rows, held = (int(sums.units(name)[0]) for name in ("rows", "held"))
                self._known[source.key] = Known(rows, held, blank)
            case CollectVocabulary():
                self._of(source).present = invariants.present(order, sums)
            case CountHistograms():
                self._proposed = ConditionSpace.from_json(order.conditions)
                self._of(source).cells = sums.units("cells").copy()
            case EncodeData():
                told = any(field.name == "marginals" for field in sums.layout.fields)
                first = sums["marginals"] if told else None
                groups = frozenset(np.flatnonzero(sums.units("group_sites")).tolist())
                said = Prepared(int(sums.units("rows")[0]), float(sums["weight"][0]), first, groups)
                self._of(source).prepared[fingerprint(order)] = said

    def _of(self, source: Source) -> Known:
        return self._known.setdefault(source.key, Known())

    def _said(self, source: Source) -> tuple[Known, bool]:
        """What a source said, and whether just its sites did; else more sites than it."""
        if (known := self._known.get(source.key)) is not None:
            return known, True
        for key, known in self._known.items():
            if key >= source.key:
                return known, False
        return Known(), False

    def compare(self, order: Train, sizes: dict[str, dict[str, float]]) -> None:
        """Tells of updates that are out of line, each source once."""
        for key in [
            k for k, (number, _) in self.suspects.items() if number + LASTING < order.round
        ]:
            del self.suspects[key]
        for who, name, ratio in outliers(sizes):
            text = (
                f"{who}: its update of '{name}' in round {order.round} was {ratio:.2g} times as "
                "large as those of the other sites"
            )
            if not any(other == who for other, _ in self.suspects):
                self.tell(f"note: {text}")
            self.suspects.setdefault((who, name), (order.round, text))

    def unrepresented(self, name: str, absent: Iterable[Source]) -> tuple[str, ...]:
        """Groups of a plan of which only sources that are absent said that they have rows.

        Nothing is said of groups where that is not known: of a node that lacks some of its sites.
        """
        away = frozenset[str]().union(*(source.key for source in absent))
        there = {
            key: known.prepared[name].groups
            for key, known in self._known.items()
            if name in known.prepared
        }
        left = frozenset[int]().union(*(groups for key, groups in there.items() if not key <= away))
        lost = frozenset[int]().union(*there.values()) - left
        plan = self._plans.get(name)
        return () if plan is None else tuple(plan.conditions.names[g] for g in sorted(lost))

    def accused(self) -> tuple[str, ...]:
        """Who may have made training diverge, in words; nobody where all are alike."""
        return tuple(text for _, text in self.suspects.values())


def _plan_name(order: Task) -> str:
    match order:
        case CountBatchRows():
            return order.train.plan
        case (
            SumMoments()
            | SiteStatistics()
            | HeldOutFeatureSums()
            | Train()
            | CountLeaves()
            | CountMarginals()
            | CountNeighbours()
        ):
            return order.plan
        case _:
            return ""


def _broken(order: Task, reply: Reply) -> Problems:
    """The table of invariants: which hold of which order."""
    match order:
        case DescribeColumns():
            return invariants.describe_columns(order, reply)
        case CollectVocabulary():
            return invariants.values(order, reply)
        case CountHistograms():
            return invariants.ranks(order, reply)
        case KMeansStep():
            return invariants.cluster(order, reply)
        case EncodeData():
            return training_invariants.prepare(order, reply)
        case SumMoments():
            return moment_invariants.moments(order, reply)
        case SiteStatistics():
            return training_invariants.site_statistics(order, reply)
        case HeldOutFeatureSums():
            return training_invariants.held_out_feature_sums(order, reply)
        case Train():
            return training_invariants.train(order, reply)
        case CountBatchRows():
            return training_invariants.measure(order, reply)
        case CountLeaves():
            return invariants.leaves(order, reply)
        case CountMarginals():
            return invariants.audit(order, reply)
        case CountNeighbours():
            return invariants.recall(order, reply)


@dataclass
class Collector:
    """Takes the replies to one request, each source's once, and adds them up.

    Attributes:
        order: What was asked.
        layout: What was agreed on.
        plan: What it builds on; None: nothing, or it is not known.
        checker: What the sources have said before.
        number: Of the request, in the record of releases.
        total: The sum of what was taken.
        refusals: Sources that say what is wrong with a table, or that training has diverged.
    """

    order: Task
    layout: Layout
    plan: Plan | None
    checker: Checker
    number: int
    total: SiteSums = field(init=False)
    refusals: list[tuple[Source, EveryModeError]] = field(default_factory=list)
    _sizes: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is taken yet."""
        self.total = self.layout.zero()

    def take(self, source: Source, sums: SiteSums) -> None:
        """Adds a reply.

        Raises:
            ReplyError: It breaks what is known of it; it is not added.
            NumericalError: The total leaves its range.
        """
        self.checker.check(self.order, self.plan, source, sums)
        if self.total.per_site.keys() & sums.per_site.keys():
            raise ReplyError("payloads of its sites have come before")
        if isinstance(self.order, Train):
            for name, sizes in update_norms(self.order, sums, str(source)).items():
                self._sizes.setdefault(name, {}).update(sizes)
        try:
            self.total = self.total + sums
        except NumericalError as error:
            self._compare()
            raise self.explained(error) from error
        self.checker.learn(self.order, source, sums)
        sites = source.sites or (str(source),)
        self.checker.releases.add(self.order.order, self.number, sites, sums)

    def close(self) -> SiteSums:
        """The total, once all have come and updates were held against one another.

        Raises:
            ReplyError: Replies do not go together.
        """
        self._compare()
        if isinstance(self.order, EncodeData):
            problems = list(training_invariants.whole(self.plan, self.total)) if self.plan else []
            if problems:
                raise ReplyError(problems)
        return self.total

    def _compare(self) -> None:
        if isinstance(self.order, Train):
            self.checker.compare(self.order, self._sizes)

    def unrepresented(self, absent: Iterable[Source]) -> tuple[str, ...]:
        """Groups without a row at the sources that are left; see `Checker.unrepresented`."""
        return self.checker.unrepresented(_plan_name(self.order), absent)

    def explained(self, error: NumericalError) -> NumericalError:
        """The same with who may have caused it."""
        return NumericalError([*error.problems, *self.checker.accused()])

    def refused(self, others: Sequence[str] = ()) -> EveryModeError:
        """What sources say is wrong, as one error.

        Args:
            others: Problems of other sources, to be told with them.
        """
        numerical = [r for r in self.refusals if isinstance(r[1], NumericalError)]
        problems = [p for source, error in self.refusals for p in source.named(error.problems)]
        if len(numerical) == len(self.refusals):
            return self.explained(NumericalError([*problems, *others]))
        kind = next(type(e) for _, e in self.refusals if not isinstance(e, NumericalError))
        return kind([*problems, *others])
