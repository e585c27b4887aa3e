"""From the keys of [train], [federation], [groups] and [fairness] to the parts of a training."""

from typing import Literal, assert_never

from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.control_variates import ControlVariates
from everymode.clients.protocol.parts.corrections import LocalCorrection
from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.parts.proximal import Proximal
from everymode.clients.protocol.parts.statistics import (
    Averaged,
    Frozen,
    OptimizerStatistics,
    Private,
)
from everymode.clients.protocol.parts.weighting import (
    AFL,
    IFLGAN,
    TERM,
    EqualWeights,
    FedTGAN,
    FeGAN,
    GroupWeights,
    QFedAvg,
    RowWeights,
    WeightingRule,
)
from everymode.fairness.parity.adversary import GroupAdversarySpec
from everymode.fairness.parity.mixture import ParityMixture
from everymode.fairness.weighting.minimax import MinimaxRule
from everymode.server.config.federation import FederationSettings
from everymode.server.config.settings import Settings
from everymode.server.federation.aggregation import (
    Aggregation,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    TrimmedMean,
)
from everymode.server.federation.bounds import UpdateBound
from everymode.server.federation.optimizers import (
    ServerAdam,
    ServerMean,
    ServerMomentum,
    ServerOptimizer,
)
from everymode.server.federation.participation import Absence, Participation
from everymode.server.federation.recipe import Federation, Minimax, TrainingRecipe
from everymode.server.federation.terms import GeneratorTerms, ParityTerm
from everymode.wgan.schedules import Constant, Cosine, Linear, ScheduleSpec


def build_training(settings: Settings) -> TrainingRecipe:
    """The training that a configuration describes."""
    train, groups = settings.train, settings.groups
    minimax = None
    if groups.weights == "minimax":
        floor, ceiling = groups.minimax_bounds
        rule = MinimaxRule(groups.minimax_rate, groups.minimax_momentum, ceiling, floor)
        minimax = Minimax(rule, groups.minimax_every)
    return TrainingRecipe(
        federation=build_federation(settings.federation, train.exact_batch),
        seed=settings.seed,
        rounds=train.rounds,
        critic_steps=train.critic_steps,
        generator_steps=train.generator_steps,
        batch=train.batch,
        site_minimum=train.site_minimum,
        generator_batch=train.generator_batch,
        schedule=_schedule(train.decay),
        evaluate_every=train.evaluate_every,
        patience=train.patience,
        threads=train.threads,
        minimax=minimax,
    )


def build_federation(federation: FederationSettings, exact_batch: bool = False) -> Federation:
    """How sites work together, as [federation] says."""
    return Federation(
        training=LocalTraining(
            Placement(
                federation.generator,
                "shared" if federation.critic == "none" else federation.critic,
            ),
            _statistics(federation),
            _weighting(federation),
            federation.draw,
            _corrections(federation),
        ),
        participation=build_participation(federation),
        aggregation=_aggregation(federation),
        update_bound=UpdateBound(federation.update_bound) if federation.update_bound else None,
        optimizer=_server_optimizer(federation),
        mixture=federation.mixture,
        swap_every=federation.swap_every,
        interpolate_critic=federation.glide,
        exact_batch=exact_batch,
        with_critic=federation.critic != "none",
    )


def build_participation(federation: FederationSettings) -> Participation:
    """Who takes part in which round, as [federation] says."""
    absences = []
    for text in federation.away:
        site, _, rounds = text.rpartition(":")
        first, last = rounds.split("-")
        absences.append(Absence(site, int(first), int(last)))
    return Participation(
        federation.sites_per_round, federation.selection, tuple(absences), federation.sums_only
    )


def build_terms(settings: Settings) -> GeneratorTerms:
    """What the server's generator pays for besides the critic."""
    fairness, parity, adversary = settings.fairness, None, None
    if settings.penalised and fairness.parity_weight and fairness.parity != "none":
        parity = ParityTerm(
            fairness.parity,
            fairness.parity_weight,
            fairness.parity_level,
            fairness.parity_features,
            fairness.parity_shape,
            fairness.parity_label,
        )
    if fairness.bias_head:
        reweighted = fairness.bias_head_reweighted
        adversary = GroupAdversarySpec(fairness.bias_head, reweighted=reweighted)
    return GeneratorTerms(settings.model.matching, parity, adversary)


def build_mixture(settings: Settings) -> ParityMixture | None:
    """How labels are mixed when rows are asked for; None: as in the data.

    Training asks for the data's mixture all the same: what a row of a cell looks like does not
    depend on it, while the moments that a group's rows are matched with do.
    """
    fairness = settings.fairness
    if fairness.parity != "demographic" or settings.penalised:
        return None
    return ParityMixture(fairness.parity_level, fairness.parity_features)


def _statistics(federation: FederationSettings) -> OptimizerStatistics:
    match federation.statistics:
        case "averaged":
            return Averaged()
        case "frozen":
            return Frozen(federation.warmup)
        case "private":
            return Private()
        case _:
            assert_never(federation.statistics)


def _weighting(federation: FederationSettings) -> WeightingRule:
    strength = federation.weights_strength
    match federation.weights:
        case "groups":
            return GroupWeights()
        case "rows":
            return RowWeights()
        case "equal":
            return EqualWeights()
        case "fegan":
            return FeGAN()
        case "fed_tgan":
            return FedTGAN()
        case "ifl_gan":
            return IFLGAN()
        case "afl":
            return AFL(strength)
        case "q_fedavg":
            return QFedAvg(strength)
        case "term":
            return TERM(strength)
        case _:
            assert_never(federation.weights)


def _corrections(federation: FederationSettings) -> tuple[LocalCorrection, ...]:
    found: list[LocalCorrection] = []
    if federation.control_variates:
        found.append(ControlVariates())
    if federation.proximal:
        found.append(Proximal(federation.proximal))
    return (*found, *federation.corrections)


def _aggregation(federation: FederationSettings) -> Aggregation:
    hostile = federation.hostile_sites
    match federation.aggregation:
        case "mean":
            return Mean()
        case "median":
            return Median(hostile)
        case "trimmed_mean":
            return TrimmedMean(hostile)
        case "geometric_median":
            return GeometricMedian(hostile)
        case "krum":
            return Krum(hostile)
        case "multi_krum":
            return MultiKrum(hostile)
        case _:
            assert_never(federation.aggregation)


def _server_optimizer(federation: FederationSettings) -> ServerOptimizer:
    match federation.optimizer:
        case "mean":
            return ServerMean(federation.rate)
        case "momentum":
            return ServerMomentum(federation.rate)
        case "adam":
            return ServerAdam(federation.rate)
        case _:
            assert_never(federation.optimizer)


def _schedule(decay: Literal["linear", "cosine", "none"]) -> ScheduleSpec:
    match decay:
        case "linear":
            return Linear()
        case "cosine":
            return Cosine()
        case "none":
            return Constant()
        case _:
            assert_never(decay)
