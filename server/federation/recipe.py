"""A training across sites, put together from parts.

A strategy of the literature is a choice of parts (`everymode.server.config.strategies`), and the
same rounds run them all (`everymode.server.training.rounds`). Nothing here reads a configuration: a
recipe can be written in Python as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.fairness.weighting.minimax import MinimaxRule
from everymode.server.federation.aggregation import Aggregation, Mean
from everymode.server.federation.bounds import UpdateBound
from everymode.server.federation.optimizers import ServerMean, ServerOptimizer
from everymode.server.federation.participation import Participation
from everymode.wgan.schedules import Linear, ScheduleSpec


@dataclass(frozen=True)
class Federation:
    """How sites work together.

    Attributes:
        training: The parts that sites know of.
        participation: Who takes part in a round.
        aggregation: How the sites' updates become one.
        update_bound: How long each may be before that; None: any length.
        optimizer: What the server does with that one.
        mixture: How critics of the sites' own judge the server's rows: each its part of a batch
            (MD-GAN: Hardy et al., 2019), or all by their odds (UA-GAN: Zhang et al., 2021).
        swap_every: Rounds until sites swap critics of their own (MD-GAN); 0: never.
        interpolate_critic: Whether generator step i of n on the server meets the critic i / n of
            the way from the last round's weights to this round's, imitating alternating updates.
        exact_batch: Whether sites take `batch` rows together in spite of their minimum.
        with_critic: Whether sites train a critic; without one nothing is asked of them in a round,
            and the server's generator follows its penalties alone.
    """

    training: LocalTraining = field(default_factory=LocalTraining)
    participation: Participation = field(default_factory=Participation)
    aggregation: Aggregation = field(default_factory=Mean)
    update_bound: UpdateBound | None = None
    optimizer: ServerOptimizer = field(default_factory=ServerMean)
    mixture: Literal["parts", "odds"] = "parts"
    swap_every: int = 0
    interpolate_critic: bool = False
    exact_batch: bool = False
    with_critic: bool = True

    @property
    def needs_site_statistics(self) -> bool:
        """Whether the server must know each site's counts before the first round."""
        drawn = self.participation.sites_per_round and self.participation.selection == "balanced"
        own = self.training.placement.critic == "own"
        return bool(self.training.weighting.per_site_updates or own or drawn)

    @property
    def single_updates(self) -> bool:
        """Whether the server must see each site's updates to withstand hostile ones."""
        return self.aggregation.per_site_updates or self.update_bound is not None

    def incompatibilities(self) -> Iterator[str]:
        """What does not go together, in the words of the parts."""
        placement = self.training.placement
        server, own = placement.generator == "server", placement.critic == "own"
        yield from self.training.incompatibilities()
        if self.swap_every and (not own or placement.generator == "own"):
            yield (
                "federation.swap_every: there are no critics to swap unless federation.critic = "
                "'own' and the generator is shared; write 0"
            )
        if self.mixture == "odds" and not (own and server):
            yield (
                "federation.mixture = 'odds' mixes the sites' own critics on the server; write "
                "federation.critic = 'own' and federation.generator = 'server'"
            )
        if self.interpolate_critic and (own or not server):
            yield (
                "federation.glide moves the shared critic under the server's generator; write "
                "federation.generator = 'server' and federation.critic = 'shared'"
            )
        if not placement.averaged_players and not isinstance(self.optimizer, ServerMean):
            yield (
                "federation.optimizer: nothing is shared between sites that it could act on; leave "
                "it out"
            )
        yield from self._aggregation()
        if self.participation.sums_only:
            yield from self._single_sites()

    def _aggregation(self) -> Iterator[str]:
        """What rules that see single updates do not go with."""
        rule = self.aggregation
        if not self.single_updates:
            return
        told = f"federation.aggregation = '{rule.name}'"
        if not rule.per_site_updates:
            told = "federation.update_bound"
        elif not rule.hostile:
            yield (
                f"{told} withstands as many hostile sites as it is built for, and "
                "federation.hostile_sites is 0; write their number, or aggregation = 'mean'"
            )
        if not self.training.placement.averaged_players:
            yield f"{told}: nothing is shared between sites that it could act on; leave it out"
        for part in self.training.corrections:
            if part.totals:
                yield (
                    f"{told} does not protect what the correction {part.kind} adds up over sites; "
                    f"leave one of them out"
                )
        if self.participation.sums_only:
            yield (
                f"federation.sums_only: {told} looks at every site's update, which no sum over "
                "sites contains; write aggregation = 'mean' and update_bound = 0"
            )

    def _single_sites(self) -> Iterator[str]:
        """What no sum over sites contains."""
        training = self.training
        remedy = (
            "which no sum over sites contains; write weights = 'groups', 'rows' or 'equal' and a "
            "shared critic"
        )
        if training.weighting.per_site_updates:
            yield (
                f"federation.sums_only: federation.weights = '{training.weighting.kind}' looks at "
                f"every site's update, {remedy}"
            )
        elif training.placement.critic == "own" and training.placement.generator == "server":
            yield (
                "federation.sums_only: critics of their own are seen one by one by the server's "
                f"generator, {remedy}"
            )
        if self.participation.sites_per_round == 1:
            yield (
                "federation.sums_only: federation.sites_per_round = 1 makes every sum that of a "
                "single site; write 0 for all sites, or 2 and more"
            )


@dataclass(frozen=True)
class Minimax:
    """Group weights that follow held-out risks (`everymode.fairness.weighting.minimax`).

    Attributes:
        rule: How they move.
        every: Rounds between moves.
    """

    rule: MinimaxRule
    every: int = 1


@dataclass(frozen=True)
class TrainingRecipe:
    """All that decides how rounds go, besides the plan.

    Attributes:
        federation: How sites work together.
        seed: The run's.
        rounds: Exchanges of training.
        critic_steps: Critic steps at every site in a round.
        generator_steps: Generator steps in a round, wherever the generator is trained.
        batch: Rows of a critic step over all sites.
        site_minimum: Rows of a critic step that a site takes at least.
        generator_batch: Rows of the server's generator step.
        schedule: Of both learning rates.
        evaluate_every: Rounds between evaluations of slopes, overfitting and trends.
        patience: Evaluations without a lower calibrated estimate after which training stops; 0: it
            goes on to the last round.
        threads: Of the server's steps.
        minimax: Group weights that move; None: they stay.
    """

    federation: Federation = field(default_factory=Federation)
    seed: int = 0
    rounds: int = 300
    critic_steps: int = 12
    generator_steps: int = 8
    batch: int = 250
    site_minimum: int = 16
    generator_batch: int = 500
    schedule: ScheduleSpec = field(default_factory=Linear)
    evaluate_every: int = 10
    patience: int = 0
    threads: int = 1
    minimax: Minimax | None = None

    @property
    def site_generator_steps(self) -> int:
        """Generator steps at each site; 0 where the server trains it."""
        server = self.federation.training.placement.generator == "server"
        return 0 if server else self.generator_steps

    def factor(self, number: int) -> float:
        """What the learning rates are multiplied with in round `number`, counted from 1."""
        return self.schedule.factor(number - 1, self.rounds)
