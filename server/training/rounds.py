"""All rounds of a training, from any state to the last."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from everymode.clients.protocol.messages import (
    CountBatchRows,
    HeldOutFeatureSums,
    Request,
    SiteStatistics,
    Train,
)
from everymode.clients.protocol.parts.weighting import PerSiteRule
from everymode.clients.protocol.plan import Plan, derive_seed, widths
from everymode.clients.protocol.sums import SitePayload
from everymode.server.federation.recipe import TrainingRecipe
from everymode.server.training.generator_step import GeneratorSteps
from everymode.server.training.monitor import read_observations
from everymode.server.training.round import Metrics, Setup, first_state, load, run_round, task
from everymode.server.training.state import ServerState, TrainingState
from everymode.server.training.weighting import FREQUENCIES, GroupMass, SiteWeights, site_kernel
from everymode.server.training.without_critic import run_round_without_critic
from everymode.server.transport.exchange import Exchange, Traffic
from everymode.wgan.diagnostics import Finding
from everymode.wgan.numerics import flush_denormals
from everymode.wgan.penalties import GeneratorPenalty
from everymode.wgan.players import Players


def exchange_site_statistics(
    recipe: TrainingRecipe,
    plan: Plan,
    plan_name: str,
    exchange: Exchange,
    penalties: tuple[GeneratorPenalty, ...],
    device: str,
) -> Setup:
    """Asks the sites once for what the parts read of them before the first round.

    Args:
        recipe: The parts of the training.
        plan: What server and sites agreed on.
        plan_name: The plan's fingerprint.
        exchange: The way to the sites.
        penalties: Terms of the generator's loss where the server trains it.
        device: Where the server's tensors live, and what sites are asked to use.

    Raises:
        SettingsError: Absences of sites that are none, or more sites a round than there are.
    """
    federation = recipe.federation
    setup = Setup(
        recipe,
        plan,
        plan_name,
        Players(plan.recipe, plan.shape, device, derive_seed(recipe.seed, "weights")),
        exchange.names,
        device,
        GeneratorSteps(recipe, plan, penalties),
        recipe.batch,
        {},
    )
    setup.sampler.check(federation.aggregation)
    if federation.needs_site_statistics:
        cells = plan.conditions.table.size
        ask = SiteStatistics(plan_name, cells, sum(widths(plan.shape.blocks)))
        setup = replace(setup, site_statistics=exchange(Request(ask)).per_site)
    rule = federation.training.weighting
    if isinstance(rule, PerSiteRule):
        setup = replace(setup, site_weights=SiteWeights(rule, setup.site_statistics, plan))
    if federation.exact_batch:
        setup = replace(setup, batch=_exact_batch_size(setup, exchange))
    if recipe.minimax is not None:
        groups = len(plan.conditions.groups)
        held_out = HeldOutFeatureSums(plan_name, groups, FREQUENCIES, *site_kernel(plan))
        answer = exchange(Request(held_out))
        setup = replace(setup, group_mass=GroupMass.of(recipe.minimax.rule, plan, answer))
    return setup


def _exact_batch_size(setup: Setup, exchange: Exchange) -> int:
    """The batch for which sites, with their minimum, take as many rows together as were asked."""
    wanted, sites = setup.recipe.batch, len(setup.sites)
    # Rounding may lose half a row at each site.
    ask = CountBatchRows(task(setup, first_state(setup), 1), wanted + sites)
    rows = exchange(Request(ask))["rows"]
    return 1 + int(np.abs(rows - wanted).argmin())


class Rounds:
    """Trains from any round to the last.

    Attributes:
        setup: What does not change from round to round.
        state: Where the training stands.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        plan: Plan,
        plan_name: str,
        exchange: Exchange,
        penalties: tuple[GeneratorPenalty, ...],
        device: str,
        saved: tuple[Mapping[str, Tensor], TrainingState] | None = None,
        history: Sequence[Metrics] = (),
    ) -> None:
        """Asks sites for what the parts need; see `exchange_site_statistics`.

        Args:
            recipe: The parts of the training.
            plan: What server and sites agreed on.
            plan_name: The plan's fingerprint.
            exchange: The way to the sites.
            penalties: Terms of the generator's loss where the server trains it.
            device: Where the server's tensors live, and what sites are asked to use.
            saved: A checkpoint to go on from; None: training begins.
            history: Metrics of the rounds before.

        Raises:
            StateError: The checkpoint is of other networks.
        """
        self.exchange = exchange
        self.setup = exchange_site_statistics(recipe, plan, plan_name, exchange, penalties, device)
        self.state = first_state(self.setup)
        self._before = Traffic()
        if saved is not None:
            tensors, training = saved
            self.state = ServerState.from_tensors(tensors, training, read_observations(history))
            self._before = Traffic(training.down, training.up)
            load(self.setup, self.state)

    @property
    def plan(self) -> Plan:
        """What server and sites agreed on."""
        return self.setup.plan

    @property
    def device(self) -> str:
        """Where the server's tensors live."""
        return self.setup.device

    @property
    def players(self) -> Players:
        """Networks with the weights of the last round."""
        return self.setup.players

    @property
    def site_statistics(self) -> Mapping[str, SitePayload]:
        """Counts of each site's rows, by its name, where a part reads them."""
        return self.setup.site_statistics

    @property
    def progress(self) -> TrainingState:
        """Where the training stands."""
        return self.state.training

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of a checkpoint."""
        return self.state.to_tensors()

    @property
    def carried(self) -> Traffic:
        """All bytes so far, of this session and of those before it."""
        return self._before + self.exchange.traffic

    def order(self, number: int) -> Train:
        """What the sites are asked for in round `number`, counted from 1."""
        return task(self.setup, self.state, number)

    def run(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Metrics]:
        """Yields the metrics of each round once it is finished; ends early when `stop` says so."""
        torch.set_num_threads(self.setup.recipe.threads)
        with_critic = self.setup.recipe.federation.with_critic
        step = run_round if with_critic else run_round_without_critic
        while not self.finished and not stop():
            with flush_denormals():
                self.state, metrics = step(self.setup, self.state, self.exchange, self._before)
            yield metrics

    @property
    def finished(self) -> bool:
        """Whether the last round is done, or the estimate has stopped falling."""
        return self.progress.round >= self.setup.recipe.rounds or self.stopped

    @property
    def stopped(self) -> bool:
        """Whether training ended early, at a plateau."""
        return self.setup.monitor.has_plateaued(self.progress.plateau)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the evaluations so far show, with advice."""
        return self.setup.monitor.findings(self.state.observations)


__all__ = ["Metrics", "Rounds", "exchange_site_statistics"]
