"""Rounds over sites in process: complete metrics, the same whatever the order, resumable."""

import numpy as np
import pandas as pd
import pytest
import torch

from clients.orders import Prepare, Request
from clients.site import Site
from clients.plan import Plan, fingerprint
from fairness.matching import MomentMatching
from fairness.weights import group_mass
from server.exchange import InProcess
from server.query import agree
from server.rounds import Progress, Rounds
from server.settings import Settings
from wgan.critics import MLPCriticSpec
from wgan.data.codec import TableCodec
from wgan.errors import NumericalError
from wgan.generators import SkipGeneratorSpec
from wgan.recipe import Recipe
from wgan.state import read_tensors, write_tensors

RECIPE = Recipe(SkipGeneratorSpec((8,), noise=4), MLPCriticSpec((8,)), averaging=0.9)
FIELDS = {
    "round",
    "seconds",
    "sites",
    "estimate",
    "estimate_by_group",
    "worst_group",
    "penalty",
    "generator_loss",
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
    data = configured().data
    agreed = agree(exchange, tuple(frame.columns), data)
    mass = group_mass(agreed.conditions.group_counts, "tempered")
    order = Prepare(
        agreed.schema.to_json(),
        agreed.conditions.to_json(),
        tuple(mass.tolist()),
        RECIPE.to_json(),
        seed=0,
        matching=True,
    )
    ready = exchange(Request(order))
    return sites, Plan.of(order), fingerprint(order), ready["moments"]


def configured(rounds=6, **train):
    usual = {"rounds": rounds, "critic_steps": 3, "generator_steps": 2, "batch": 40}
    return Settings.model_validate(
        {
            "data": {"path": "x", "sensitive": ["sex"]},
            "train": usual | {"site_minimum": 8, "generator_batch": 32} | train,
        }
    )


def built(ground, settings=None, sites=None):
    own, plan, name, moments = ground
    settings = settings or configured()
    codec = TableCodec(plan.schema.without(plan.conditions.given))
    choices = np.zeros(codec.width, dtype=bool)
    for block in codec.blocks:
        choices[block.start : block.stop] = block.kind == "choice"
    matching = MomentMatching.of(moments, len(plan.conditions.groups), 0.3, choices)
    return Rounds(settings, plan, name, InProcess(sites or own), (matching,), "cpu")


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
    write_tensors(tmp_path / "state", first.players.tensors(), {})
    second = built(ground, settings)
    second.resume(read_tensors(tmp_path / "state")[0], first.progress)
    metrics += timeless(second.run())
    assert metrics == expected and same(second, whole)
    kept = ("round", "critic_seen", "generator_seen", "up", "down")
    for name in kept:
        assert getattr(second.progress, name) == getattr(whole.progress, name)
    # The control: forgetting how much the statistics have seen is noticed.
    third = built(ground, settings)
    third.resume(read_tensors(tmp_path / "state")[0], Progress(3, 1, 1))
    list(third.run())
    assert not same(third, whole)


def test_rates_fall_linearly_to_their_last_step_or_stay(ground):
    rounds = built(ground, configured(rounds=4))
    assert [rounds.factor(n) for n in (1, 2, 3, 4)] == [1, 0.75, 0.5, 0.25]
    assert [m["rate"] for m in rounds.run()] == [1, 0.75, 0.5, 0.25]
    flat = built(ground, configured(rounds=4, decay="none"))
    assert {flat.factor(n) for n in (1, 2, 3, 4)} == {1.0}


def test_statistics_are_frozen_after_the_warm_up_only(ground):
    rounds = built(ground, configured(statistics="frozen", warmup=2))
    assert [rounds.order(n).frozen for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert not any(built(ground).order(n).frozen for n in (1, 6))
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
        names = set(rounds._tensors(order))
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


def test_stopping_before_the_first_round_does_nothing(ground):
    rounds = built(ground)
    start = rounds.players.tensors()
    assert list(rounds.run(stop=lambda: True)) == []
    assert all(torch.equal(t, start[n]) for n, t in rounds.players.tensors().items())


def test_a_round_without_rows_is_an_error(ground):
    _, plan, name, _ = ground
    rounds = Rounds(configured(), plan, name, InProcess([]), (), "cpu")
    with pytest.raises(NumericalError, match="round 1: no site with rows took part"):
        list(rounds.run())
    assert rounds.progress == Progress()


def test_divergence_is_an_error_that_says_what_to_lower(ground):
    rounds = built(ground)
    rounds.players.critic.vector.fill_(1e30)
    with pytest.raises(NumericalError, match=r"lower model\."):
        list(rounds.run())
    rounds = built(ground)
    rounds.players.generator.vector.fill_(float("nan"))
    with pytest.raises(NumericalError, match=r"not finite.*lower model\."):
        list(rounds.run())


def test_the_run_s_seed_decides(ground):
    one, two = (
        built(ground, configured(rounds=2).model_copy(update={"seed": seed})) for seed in (0, 1)
    )
    list(one.run()), list(two.run())
    assert not same(one, two)
