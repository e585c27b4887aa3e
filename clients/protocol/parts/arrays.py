"""The arrays of one round, put together from the parts: what goes down, what comes up."""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pydantic

from everymode.clients.protocol.parts.corrections import LocalCorrection
from everymode.clients.protocol.parts.placement import PLAYERS, Placement, Player
from everymode.clients.protocol.parts.statistics import Averaged, OptimizerStatistics
from everymode.clients.protocol.parts.weighting import GroupWeights, WeightingRule
from everymode.clients.protocol.sums import Field, Layout
from everymode.wgan.slopes import SLOPE_EDGES

SCORES = ("train", "held", "fake", "sign")
"""Mean scores of rows trained on, held out and fake, and of the sign of the first."""


@dataclass(frozen=True)
class LocalTraining:
    """The parts of local training, together.

    Attributes:
        placement: Where generator and critic live.
        statistics: What becomes of the optimizers' moments.
        weighting: What a site's update counts.
        sampling: Whether a site draws its rows by their groups' weights or all alike.
        corrections: What corrects its steps.
        single_updates: Whether each site sends its updates apart from the sum, with what it
            counts: for aggregation that withstands hostile sites. Left out of a message where
            it is not so.
    """

    placement: Placement = field(default_factory=Placement)
    statistics: OptimizerStatistics = field(default_factory=Averaged)
    weighting: WeightingRule = field(default_factory=GroupWeights)
    sampling: Literal["groups", "rows"] = "groups"
    corrections: tuple[LocalCorrection, ...] = ()
    single_updates: Annotated[bool, pydantic.Field(exclude_if=operator.not_)] = False

    @property
    def per_site_updates(self) -> bool:
        """Whether the server sees each site's updates."""
        return self.single_updates or self.weighting.per_site_updates

    @property
    def reports_share(self) -> bool:
        """Whether a site says what its updates count, which no rule of the server finds out."""
        return self.single_updates and not self.weighting.per_site_updates

    def incompatibilities(self) -> Iterator[str]:
        """What does not go together, in the words of the parts."""
        yield from self.placement.incompatibilities()
        yield from self.statistics.incompatibilities(self.placement)
        kinds = [part.kind for part in self.corrections]
        for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            yield f"federation.corrections: {kind} twice; write it once"
        if not self.placement.averaged_players:
            for kind in dict.fromkeys(kinds):
                yield (
                    f"federation.{_key(kind)}: nothing is shared between sites that it could act "
                    "on; leave it out"
                )
            if self.weighting.per_site_updates:
                yield (
                    f"federation.weights = '{self.weighting.kind}' weighs the sites' updates, and "
                    "nothing is averaged here; write 'equal'"
                )
        for part in self.corrections:
            yield from part.incompatibilities(self.placement, self.statistics, self.weighting)


def _key(kind: str) -> str:
    return kind if kind in ("proximal", "control_variates") else f"corrections: {kind}"


@dataclass(frozen=True)
class RoundArrays:
    """Names and shapes of all that travels in a round.

    Attributes:
        figures: Diagnostics, added up over sites.
        updates: Changes that are averaged: part of the sum, or sent by each site.
        totals: What corrections add up over sites.
        state: What each site carries (`everymode.clients.protocol.parts.states.SiteState`), down
            and up.
        reports: What each site says of itself besides.
        shared: What all sites get.
        per_site_updates: Whether each site sends its updates apart from the sum.
    """

    figures: tuple[Field, ...]
    updates: tuple[Field, ...]
    totals: tuple[Field, ...]
    state: tuple[Field, ...]
    reports: tuple[Field, ...]
    shared: Mapping[str, tuple[int, ...]]
    per_site_updates: bool

    @property
    def layout(self) -> Layout:
        """The layout of a site's answer."""
        sums = (*self.figures, *self.totals)
        own = (*self.state, *self.reports)
        if self.per_site_updates:
            return Layout(sums, (*self.updates, *own))
        return Layout((*sums, *self.updates), own)


def round_arrays(
    training: LocalTraining,
    trained: tuple[Player, ...],
    sizes: Mapping[Player, int],
    buffers: int,
    groups: int,
    inspect: bool,
) -> RoundArrays:
    """All arrays of a round, from the parts.

    Args:
        training: The parts.
        trained: Players that sites train in this round.
        sizes: P of each player.
        buffers: Q, length of what the critic keeps besides its parameters.
        groups: G.
        inspect: Whether slopes and scores of the trained critic are wanted.
    """
    local = training.placement.local_players
    private = training.statistics.local_optimizer_state
    updates: list[Field] = []
    totals: list[Field] = []
    state: list[Field] = []
    shared: dict[str, tuple[int, ...]] = {}
    if buffers:
        own = "critic" in local
        (state if own else updates).append(
            Field("critic_buffers", (buffers,), bits=40, client_state=own)
        )
        if not own:
            shared["critic_buffers"] = (buffers,)
    for player in PLAYERS:
        size = sizes[player]
        averaged = player in trained and player not in local
        if player in trained and (player in local or private):
            state += [
                Field(f"{player}_{moment}", (size,), client_state=True)
                for moment in ("first", "second")
            ]
        if player in trained and player in local:
            # A server that trains its generator against the sites' critics has to see them.
            seen = "generator" not in trained
            state.append(Field(player, (size,), client_state=not seen))
        if player not in local:
            shared[player] = (size,)
            # Only who trains a player needs its moments.
            if player in trained and not private:
                shared |= {f"{player}_first": (size,), f"{player}_second": (size,)}
        if not averaged:
            continue
        updates.append(Field(player, (size,), bits=40))
        updates += training.statistics.updates(player, size)
        for part in training.corrections:
            shared |= {f"{player}_{name}": (size,) for name in part.shared_vectors}
            state += [Field(f"{player}_{n}", (size,), client_state=True) for n in part.site_vectors]
            totals += [
                Field(f"{player}_{name}", (size,) if shape is None else shape, bits=40)
                for name, shape in part.totals.items()
            ]
    if local or private:
        state.append(Field("seen", (2,), client_state=True))
    return RoundArrays(
        (*_figures(groups), *(_inspection(groups) if inspect else ())),
        tuple(updates),
        tuple(totals),
        tuple(state),
        tuple(_reports(training)),
        shared,
        training.per_site_updates,
    )


def _reports(training: LocalTraining) -> Iterator[Field]:
    if training.weighting.risk != "none":
        yield Field("risk", (1,))
    if training.reports_share:
        yield Field("share", (1,))


def _figures(groups: int) -> tuple[Field, ...]:
    return (
        Field("sites", (1,)),
        Field("weight", (1,), bits=40),
        Field("estimate", (groups,), bits=24),
        Field("estimated", (groups,)),
        Field("penalty", (1,), bits=30),
        Field("penalties", (groups,), bits=24),
        Field("generator_loss", (1,), bits=30),
    )


def _inspection(groups: int) -> tuple[Field, ...]:
    return (
        Field("slopes", (len(SLOPE_EDGES) + 1,), bits=30),
        Field("group_slopes", (groups,), bits=24),
        Field("sloped", (groups,)),
        Field("scored", (1,), bits=40),
        Field("scores", (len(SCORES),), bits=24),
    )
