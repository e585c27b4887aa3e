"""Rounds over sites in process: complete metrics, the same whatever the order, resumable."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

import everymode.server.training.monitor
from everymode.clients.protocol.messages import EncodeData, Request
from everymode.clients.protocol.parts.statistics import Averaged, Frozen
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.clients.site import Site
from everymode.fairness.matching.moments import MomentMatching
from everymode.fairness.weighting.group_weights import group_mass
from everymode.server.config.federation import FederationSettings
from everymode.server.config.settings import Settings
from everymode.server.config.tables import build_table_spec
from everymode.server.config.training import build_training
from everymode.server.schema.agreement import agree
from everymode.server.training.penalties import request_moments
from everymode.server.training.round import shared_tensors
from everymode.server.training.rounds import Rounds
from everymode.server.training.state import TrainingState
from everymode.server.transport.exchange import InProcess
from everymode.wgan.augmentations import InstanceNoise
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import NumericalError
from everymode.wgan.files import read_json, write_json
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm
from everymode.wgan.objectives import Hinge
from everymode.wgan.optimizers import RMSprop
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.recipe import Recipe
from everymode.wgan.state import read_tensors, write_tensors
from everymode.wgan.strength import Adaptive, Constant, Decay

pytestmark = pytest.mark.usefixtures("sites_without_gate")

RECIPE = Recipe(SkipGeneratorSpec((8,), noise=4), MLPCriticSpec((8,)), averaging=0.9)
FIELDS = {
    "round",
    "seconds",
    "sites",
    "estimate",
    "estimate_by_group",
    "worst_group",
    "penalty",
    "penalty_by_group",
    "generator_loss",
    "critic_rows",
    "rate",
    "bytes_up",
    "bytes_down",
}
MODES = {
    "server": {},
    "sites": {"generator": "sites"},
    "frozen": {"statistics": "frozen", "warmup": 2},
    "frozen sites": {"statistics": "frozen", "warmup": 2, "generator": "sites"},
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Sites of one table with a plan: `(sites, plan, name, moments)`."""
    folder = tmp_path_factory.mktemp("sites")
    rng = np.random.default_rng(0)
    rows = 300
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "job": rng.choice(["clerk", "smith"], rows),
            "sex": rng.choice(["f", "m"], rows, p=[0.3, 0.7]),
        }
    )
    owner = np.where(frame["sex"] == "f", 0, rng.integers(1, 4, rows))
    sites = []
    for k in range(4):
        site = Site(f"site-{k}", folder / f"{k}.csv", folder / f"work-{k}")
        frame[owner == k].to_csv(site.table, index=False)
        sites.append(site)
    exchange = InProcess(sites)
    data = build_table_spec(configured().data)
    agreed = agree(exchange, tuple(frame.columns), data)
    mass = group_mass(agreed.conditions.group_counts, "tempered")
    order = EncodeData(
        agreed.schema.to_json(),
        agreed.conditions.to_json(),
        tuple(mass.tolist()),
        RECIPE.to_json(),
        seed=0,
        matching="moments",
    )
    ready = exchange(Request(order))
    plan, name = Plan.of(order), fingerprint(order)
    return sites, plan, name, request_moments(exchange, plan, name, ready)[0]


def configured(rounds=6, **train):
    usual = {"rounds": rounds, "critic_steps": 3, "generator_steps": 2, "batch": 40}
    return Settings.model_validate(
        {
            "data": {"path": "x", "sensitive": ["sex"]},
            "train": usual
            | {"site_minimum": 8, "generator_batch": 32}
            | {k: v for k, v in train.items() if k not in FederationSettings.model_fields},
            "federation": {k: v for k, v in train.items() if k in FederationSettings.model_fields},
        }
    )


def built(ground, settings=None, sites=None, saved=None, history=()):
    own, plan, name, moments = ground
    recipe = build_training(settings or configured())
    penalties = (MomentMatching.of(moments, 0.3),)
    exchange = InProcess(sites or own)
    return Rounds(recipe, plan, name, exchange, penalties, "cpu", saved, history)


def same(rounds, others):
    a, b = rounds.players.tensors(), others.players.tensors()
    return all(torch.equal(a[name], b[name]) for name in a)


def timeless(metrics):
    return [{k: v for k, v in m.items() if k != "seconds"} for m in metrics]


@pytest.mark.parametrize("mode", MODES)
def test_metrics_are_complete_finite_and_counted_from_one(mode, ground):
    rounds = built(ground, configured(**MODES[mode]))
    start = rounds.players.tensors()
    metrics = list(rounds.run())
    assert [m["round"] for m in metrics] == [1, 2, 3, 4, 5, 6]
    evaluated = [m for m in metrics if m.pop("evaluation", None)]
    assert [m["round"] for m in evaluated] == [6]
    slopes = evaluated[0].pop("slope_by_group")
    assert slopes.keys() == evaluated[0]["penalty_by_group"].keys()
    assert all(0 < value < 100 for value in slopes.values())
    for m in metrics:
        assert set(m) == FIELDS and m["sites"] == 4
        by_group = m["estimate_by_group"]
        assert set(by_group) == {"f", "m"} and m["worst_group"] == max(by_group, key=by_group.get)
        mean = sum(p * by_group[g] for p, g in zip(ground[1].mass, ("f", "m"), strict=True))
        assert m["estimate"] == pytest.approx(mean)
        numbers = [m[k] for k in ("estimate", "penalty", "generator_loss", "seconds")]
        assert np.isfinite(numbers).all() and m["penalty"] > 0
    after = rounds.players.tensors()
    for name in ("critic", "generator", "average"):
        assert torch.isfinite(after[name]).all() and not torch.equal(after[name], start[name])
    assert rounds.progress.critic_seen == rounds.players.critic_statistics.steps > 0
    assert rounds.progress.generator_seen == rounds.players.generator_statistics.steps > 0
    assert rounds.progress.up == sum(m["bytes_up"] for m in metrics)
    assert rounds.progress.down == sum(m["bytes_down"] for m in metrics)


@pytest.mark.parametrize("mode", MODES)
def test_neither_the_order_nor_the_number_of_callers_matters(mode, ground):
    settings = configured(rounds=4, **MODES[mode])
    rounds, again = built(ground, settings), built(ground, settings, ground[0][::-1])
    assert timeless(rounds.run()) == timeless(again.run())
    assert same(rounds, again)
    # The control: without one site the result is another.
    fewer = built(ground, settings, ground[0][1:])
    list(fewer.run())
    assert not same(rounds, fewer)


@pytest.mark.parametrize("mode", MODES)
def test_saving_and_resuming_changes_nothing(mode, ground, tmp_path):
    settings = configured(**MODES[mode])
    whole = built(ground, settings)
    expected = timeless(whole.run())
    first = built(ground, settings)
    metrics = timeless(first.run(stop=lambda: first.progress.round == 3))
    assert first.progress.round == 3
    write_tensors(tmp_path / "state", first.tensors(), {})
    tensors = read_tensors(tmp_path / "state")[0]
    second = built(ground, settings, saved=(tensors, first.progress))
    metrics += timeless(second.run())
    assert metrics == expected and same(second, whole)
    kept = ("round", "critic_seen", "generator_seen", "up", "down")
    for name in kept:
        assert getattr(second.progress, name) == getattr(whole.progress, name)
    # The control: forgetting how much the statistics have seen is noticed.
    third = built(ground, settings, saved=(tensors, TrainingState(3, 1, 1)))
    list(third.run())
    assert not same(third, whole)


def test_rates_fall_linearly_to_their_last_step_or_stay(ground):
    rounds = built(ground, configured(rounds=4))
    assert [rounds.setup.recipe.factor(n) for n in (1, 2, 3, 4)] == [1, 0.75, 0.5, 0.25]
    assert [m["rate"] for m in rounds.run()] == [1, 0.75, 0.5, 0.25]
    flat = built(ground, configured(rounds=4, decay="none"))
    assert {flat.setup.recipe.factor(n) for n in (1, 2, 3, 4)} == {1.0}


def test_statistics_are_frozen_after_the_warm_up_only(ground):
    rounds = built(ground, configured(statistics="frozen", warmup=2))
    found = [rounds.order(n).training.statistics for n in (1, 2, 3, 4)]
    assert found == [Averaged(), Averaged(), Frozen(), Frozen()]
    assert {built(ground).order(n).training.statistics for n in (1, 6)} == {Averaged()}
    seen = []
    for _ in rounds.run():
        seen.append(rounds.progress.critic_seen)
    # Three local steps a round, then one gradient at the common point.
    assert seen == [3, 6, 7, 8, 9, 10]


def test_only_sites_that_train_the_generator_are_sent_its_statistics(ground):
    for generator, steps in (("server", 0), ("sites", 2)):
        rounds = built(ground, configured(generator=generator))
        order = rounds.order(1)
        assert order.generator_steps == steps
        names = set(shared_tensors(order, rounds.state))
        assert ({"generator_first", "generator_second"} <= names) == (steps > 0)
        assert {"generator", "critic", "critic_first", "critic_second"} <= names
        fields = {f.name for f in order.layout().fields}
        assert ("generator" in fields) == (steps > 0)


def test_the_average_follows_the_generator_s_steps(ground):
    for generator in ("server", "sites"):
        rounds = built(ground, configured(rounds=1, generator=generator))
        list(rounds.run())
        players = rounds.players
        assert players.generator_statistics.steps == 2
        assert not torch.equal(players.average, players.generator.vector)


def test_an_exact_batch_is_shared_out_whatever_the_sites_minimum(ground):
    rows = {}
    for exact in (False, True):
        rounds = built(ground, configured(rounds=1, exact_batch=exact, site_minimum=9))
        rows[exact] = next(rounds.run())["critic_rows"] / 3
    assert rows[False] > 42 and rows[True] == pytest.approx(40, abs=1)
    # Where the minimum alone is more, that is what sites take.
    rounds = built(ground, configured(rounds=1, exact_batch=True, site_minimum=20))
    assert next(rounds.run())["critic_rows"] == 3 * 4 * 20


def test_stopping_before_the_first_round_does_nothing(ground):
    rounds = built(ground)
    start = rounds.players.tensors()
    assert list(rounds.run(stop=lambda: True)) == []
    assert all(torch.equal(t, start[n]) for n, t in rounds.players.tensors().items())


def test_a_round_without_rows_is_an_error(ground):
    _, plan, name, _ = ground
    rounds = Rounds(build_training(configured()), plan, name, InProcess([]), (), "cpu")
    with pytest.raises(NumericalError, match="round 1: no site with rows took part"):
        list(rounds.run())
    assert rounds.progress == TrainingState()


def test_divergence_is_an_error_that_says_what_to_lower(ground):
    rounds = built(ground)
    rounds.state.players["critic"].vector.fill_(1e30)
    with pytest.raises(NumericalError, match=r"lower model\."):
        list(rounds.run())
    rounds = built(ground)
    rounds.state.players["generator"].vector.fill_(float("nan"))
    with pytest.raises(NumericalError, match=r"not finite.*lower model\."):
        list(rounds.run())


def test_the_run_s_seed_decides(ground):
    one, two = (
        built(ground, configured(rounds=2).model_copy(update={"seed": seed})) for seed in (0, 1)
    )
    list(one.run()), list(two.run())
    assert not same(one, two)


# Looks at the critic, views, stopping ---------------------------------------------------------

NOISY = replace(RECIPE, augmentations=(InstanceNoise(0.5),), strength=Decay(1.0, 0.8))
LAZY = replace(RECIPE, lipschitz=Penalised((GradientPenalty(every=4),)))
RECIPES = {
    "spectral": replace(NOISY, lipschitz=SpectralNorm()),
    "clipped": replace(
        NOISY, lipschitz=Clipping(), critic_optimizer=RMSprop(1e-3), strength=Constant(0.5)
    ),
    "adaptive": replace(NOISY, strength=Adaptive(0.05, 0.1)),
    "packed": replace(RECIPE, pack=3),
    "lazy": LAZY,
}


def planned(ground, recipe, held_out=0.0):
    """The same sites, prepared for another recipe."""
    sites, plan, _, _ = ground
    order = EncodeData(
        plan.schema.to_json(),
        plan.conditions.to_json(),
        tuple(plan.mass.tolist()),
        recipe.to_json(),
        seed=0,
        matching="moments",
        held_out=held_out,
    )
    ready = InProcess(sites)(Request(order))
    plan, name = Plan.of(order), fingerprint(order)
    return sites, plan, name, request_moments(InProcess(sites), plan, name, ready)[0]


def evaluations(metrics):
    return {m["round"]: m["evaluation"] for m in metrics if "evaluation" in m}


@pytest.mark.parametrize(
    ("rounds", "every", "expected"), [(5, 2, [2, 4, 5]), (4, 2, [2, 4]), (3, 10, [3])]
)
def test_the_critic_is_looked_at_now_and_then_and_in_the_end(rounds, every, expected, ground):
    trained = built(planned(ground, RECIPE, 0.2), configured(rounds, evaluate_every=every))
    metrics = list(trained.run())
    found = evaluations(metrics)
    assert list(found) == expected == [o.step for o in trained.state.observations]
    for m in metrics:
        if look := m.get("evaluation"):
            assert all(look[k] == m[k] for k in ("estimate", "penalty", "generator_loss"))
            assert len(look["slopes"]) == 5
            assert look["slopes"] == sorted(look["slopes"])
            assert None not in (look["train_score"], look["held_score"], look["fake_score"])
    # What was not held out has no score.
    without = built(ground, configured(1))
    (last,) = evaluations(without.run()).values()
    assert last["held_score"] is None and last["train_score"] is not None


def test_looks_do_not_change_the_training(ground):
    often, never = (built(ground, configured(4, evaluate_every=e)) for e in (1, 4))
    one, other = list(often.run()), list(never.run())
    assert same(often, never)
    assert [m["estimate"] for m in one] == [m["estimate"] for m in other]


def test_the_strength_falls_round_by_round_as_the_rule_says(ground):
    rounds = built(planned(ground, NOISY), configured(5, evaluate_every=1))
    sent = []
    for number in range(1, 6):
        sent.append(rounds.order(number).strength)
        next(iter(rounds.run()))
    expected = [1, 0.75, 0.5, 0.25, 0]
    assert sent == pytest.approx(expected, abs=1e-12)
    assert [o.strength for o in rounds.state.observations] == sent
    still = built(planned(ground, replace(NOISY, strength=Constant(0.3))), configured(3))
    list(still.run())
    assert still.state.strength == still.order(4).strength == 0.3
    # Without views there is nothing to strengthen, nor to look at for it.
    idle = replace(RECIPE, strength=Adaptive(0.05, 0.1, "sign"), objective=Hinge())
    without = built(planned(ground, idle), configured(3))
    assert list(evaluations(without.run())) == [3]
    assert without.state.strength == 0.0


@pytest.mark.parametrize("target", [0.0, 0.05, 1.0])
def test_adaptive_views_follow_the_scores_of_rows_held_out(target, ground):
    recipe = replace(NOISY, strength=Adaptive(target, 0.1, start=0.3))
    rounds = built(planned(ground, recipe, 0.3), configured(6, evaluate_every=100))
    strength = 0.3
    for metrics in rounds.run():
        look = metrics["evaluation"]
        assert look["strength"] == pytest.approx(strength, abs=1e-12)
        gap = look["train_score"] - look["fake_score"]
        share = (look["train_score"] - look["held_score"]) / gap if gap > 0 else 0.0
        share = min(1.0, max(0.0, share))
        strength += 0.1 * ((share > target) - (share < target))
        strength = min(0.85, max(0.0, strength))
    assert rounds.state.strength == pytest.approx(strength, abs=1e-12)
    # A target of 1 is never passed, and one of 0 never missed.
    assert strength <= 0.3 - 0.25 if target == 1.0 else strength >= 0.0
    assert target > 0.0 or strength >= 0.3


def test_adaptive_views_follow_the_sign_of_scores(ground):
    def last(target):
        rule = Adaptive(target, 0.1, "sign", start=0.5)
        recipe = replace(NOISY, objective=Hinge(), strength=rule)
        rounds = built(planned(ground, recipe), configured(3))
        assert [o.held_score for o in rounds.state.observations] == []
        assert list(evaluations(rounds.run())) == [1, 2, 3]
        return rounds.state.strength

    assert last(1.0) == pytest.approx(0.2)
    assert last(0.0) >= 0.5


@pytest.mark.parametrize("name", RECIPES)
def test_every_kind_of_training_goes_on_bit_for_bit(name, ground, tmp_path):
    prepared = planned(ground, RECIPES[name], 0.2)
    settings = configured(5, evaluate_every=2, patience=3)
    whole = built(prepared, settings)
    expected = timeless(whole.run())
    first = built(prepared, settings)
    metrics = timeless(first.run(stop=lambda: first.progress.round == 3))
    write_tensors(tmp_path / "state", first.tensors(), {})
    # Both through the files they would lie in.
    write_json(tmp_path / "rest.json", {"progress": asdict(first.progress), "history": metrics})
    rest = read_json(tmp_path / "rest.json")
    saved = (read_tensors(tmp_path / "state")[0], TrainingState(**rest["progress"]))
    second = built(prepared, settings, saved=saved, history=rest["history"])
    metrics += timeless(second.run())
    assert metrics == expected and same(second, whole)
    assert second.state.observations == whole.state.observations
    assert second.progress.plateau == whole.progress.plateau
    assert second.progress.plateau["seen"] == len(whole.state.observations) > 1
    assert second.findings == whole.findings
    assert second.state.strength == whole.state.strength


def test_a_forgotten_state_of_the_power_iterations_is_noticed(ground, tmp_path):
    prepared = planned(ground, RECIPES["spectral"])
    whole, first, fresh = (built(prepared, configured(3)) for _ in range(3))
    list(whole.run())
    list(first.run(stop=lambda: first.progress.round == 2))
    tensors = first.tensors()
    tensors["players/critic/buffers"] = fresh.tensors()["players/critic/buffers"]
    second = built(prepared, configured(3), saved=(tensors, first.progress))
    list(second.run())
    assert not same(second, whole)


def test_a_lazy_penalty_keeps_its_turn_over_rounds(ground):
    rounds = built(planned(ground, LAZY), configured(5))
    # Three steps a round; a penalty at steps 0, 4, 8 and 12, of which none is in the fourth round.
    assert [m["penalty"] > 0 for m in rounds.run()] == [True, True, True, False, True]


def stubbed(monkeypatch, values):
    """Calibrated estimates that are made up."""
    left = iter(values)
    monkeypatch.setattr(
        everymode.server.training.monitor, "calibrated", lambda estimate, slope: next(left)
    )


def test_training_stops_where_the_estimate_falls_no_more(ground, monkeypatch):
    settings = configured(12, evaluate_every=1, patience=2)
    stubbed(monkeypatch, [1.2, *[1.0] * 12])
    rounds = built(ground, settings)
    count = len(list(rounds.run()))
    assert 5 <= count < 12
    assert rounds.finished and rounds.stopped
    assert list(rounds.run()) == []
    # The controls: one that falls on, one without patience, one that never says anything.
    stubbed(monkeypatch, [2.0**-n for n in range(12)])
    falling = built(ground, settings)
    assert len(list(falling.run())) == 12
    assert falling.finished and not falling.stopped
    stubbed(monkeypatch, [1.0] * 12)
    patient = built(ground, configured(12, evaluate_every=1))
    assert len(list(patient.run())) == 12
    assert patient.progress.plateau is None and not patient.stopped
    stubbed(monkeypatch, [None] * 12)
    mute = built(ground, settings)
    assert len(list(mute.run())) == 12
    assert not mute.stopped


@pytest.mark.parametrize("at", [1, 4])
def test_patience_is_remembered_over_sessions(at, ground, monkeypatch):
    settings = configured(12, evaluate_every=1, patience=2)
    values = [1.2, *[1.0] * 12]
    stubbed(monkeypatch, values)
    whole = built(ground, settings)
    count = len(list(whole.run()))
    stubbed(monkeypatch, values)
    first = built(ground, settings)
    history = list(first.run(stop=lambda: first.progress.round == at))
    saved = (first.tensors(), first.progress)
    second = built(ground, settings, saved=saved, history=history)
    list(second.run())
    assert second.progress.round == count
    assert second.progress.plateau == whole.progress.plateau
    # A session that starts at the plateau has nothing left to do.
    third = built(ground, settings, saved=(second.tensors(), second.progress))
    assert third.finished and list(third.run()) == []


def test_findings_say_what_the_looks_have_shown(ground):
    rounds = built(ground, configured(3, evaluate_every=1))
    assert [f.verdict for f in rounds.findings] == ["unknown"]
    list(rounds.run())
    found = {f.aspect: f for f in rounds.findings}
    assert set(found) == {"estimate", "slopes", "overfitting", "generator loss", "penalty"}
    assert "held out" in found["overfitting"].what
    # Under clipping no slope is asked for, so none is judged.
    clipped = built(planned(ground, RECIPES["clipped"]), configured(1))
    list(clipped.run())
    slopes = {f.aspect: f for f in clipped.findings}["slopes"]
    assert slopes.verdict == "unknown" and "nothing bounds them" in slopes.what
