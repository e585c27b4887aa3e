"""A site's answers: exact under any split, and a function of the order and the site alone."""

from dataclasses import replace
from functools import reduce
from operator import add
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from everymode.clients.protocol import plan
from everymode.clients.protocol.messages import (
    CountMarginals,
    EncodeData,
    Request,
    SumMoments,
    Train,
    from_json,
    to_json,
)
from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.statistics import Frozen
from everymode.clients.protocol.plan import Plan, derive_seed, fingerprint
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
)
from everymode.clients.rows import Rows
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import computed as serve
from everymode.clients.tasks.dispatch import handle_at_site
from everymode.fairness.matching.moments import (
    first_moments,
    second_moments,
    size_of_moments,
    stratum_memberships,
)
from everymode.fairness.matching.suppression import to_text
from everymode.fairness.metrics.marginals import Marginals
from everymode.fairness.weighting.group_weights import group_mass, row_weights
from everymode.server.schema.agreement import agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.training.aggregation import apply_means, means
from everymode.server.transport.exchange import InProcess
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import DataError, StateError
from everymode.wgan.flat import FlatModule
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import CriticPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.recipe import Recipe

pytestmark = pytest.mark.usefixtures("sites_without_gate")

RECIPE = Recipe(SkipGeneratorSpec((8,), noise=4), MLPCriticSpec((8, 8)))
RULES = ("share", "uniform", "tempered")
ROWS = 400


def table(rows=ROWS):
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], rows, p=[0.2, 0.8])
    frame = pd.DataFrame(
        {
            "age": rng.integers(17, 90, rows) + 5 * (sex == "f"),
            "gain": np.where(rng.random(rows) < 0.7, 0.0, rng.gamma(2, 3, rows).round(2)),
            "job": rng.choice(["clerk", "smith"], rows),
            "sex": sex,
            "income": rng.choice(["high", "low"], rows, p=[0.3, 0.7]),
        }
    ).astype(object)
    frame.loc[rng.random(rows) < 0.1, "job"] = None
    return frame


def owners_of(frame, split):
    """Who holds which row."""
    rng = np.random.default_rng(3)
    if split == "group":  # all women on one site, and one of twenty men
        return np.where(frame["sex"] == "f", 0, rng.integers(1, 3, len(frame)))
    if split == "uneven":
        return np.repeat([0, 1, 2], [20, 80, len(frame) - 100])
    return rng.integers(0, 3, len(frame))


class SimulationPaths:
    """Sites with everything agreed on."""

    def __init__(self, folder, split="random", rule="tempered", frame=None, **options):
        self.frame = table() if frame is None else frame
        self.owners = owners_of(self.frame, split) if isinstance(split, str) else split
        self.sites = []
        folder.mkdir(parents=True, exist_ok=True)
        for k in np.unique(self.owners):
            site = Site(f"site-{k}", folder / f"site-{k}.csv", folder / "work" / f"site-{k}")
            self.frame.loc[self.owners == k].to_csv(site.table, index=False)
            self.sites.append(site)
        self.columns = tuple(self.frame.columns)
        data = TableSpec(sensitive=("sex",), target="income")
        agreed = agree(InProcess(self.sites), self.columns, data)
        mass = group_mass(agreed.conditions.group_counts, rule)
        self.order = EncodeData(
            agreed.schema.to_json(),
            agreed.conditions.to_json(),
            tuple(mass.tolist()),
            RECIPE.to_json(),
            **{"seed": 0, "matching": "moments"} | options,
        )
        self.plan = Plan.of(self.order)
        self.name = fingerprint(self.order)
        self.ready = serve(Request(self.order), self.sites)

    def rows(self):
        """Each site's rows with what they are drawn from, side by side."""
        weights = row_weights(self.plan.mass, self.plan.conditions.group_counts)
        opened = [Rows.of(site, self.name, self.plan, "cpu") for site in self.sites]
        urns = [rows.urn(weights) for rows in opened]
        return [
            SimpleNamespace(
                **vars(rows) | vars(urn),
                weight=urn.weight,
                weight_held=urn.weight_held,
                draw=urn.draw,
                draw_held=urn.draw_held,
            )
            for rows, urn in zip(opened, urns, strict=True)
        ]

    def train(self, **options):
        players = Players(RECIPE, self.plan.shape, seed=1)
        usual = {
            "plan": self.name,
            "round": 1,
            "critic_steps": 3,
            "generator_steps": 0,
            "batch": 60,
            "minimum": 8,
            "factor": 1.0,
            "critic_seen": 4,
            "generator_seen": 2,
            "device": "cpu",
            "sizes": (len(players.generator.vector), len(players.critic.vector)),
            "groups": len(self.plan.conditions.groups),
        }
        tensors = {name: tensor.numpy() for name, tensor in players.tensors().items()}
        # Statistics that have seen something.
        for name in ("critic", "generator"):
            rng = np.random.default_rng(7)
            shape = tensors[name].shape
            tensors[f"{name}_first"] = rng.normal(0, 0.1, shape).astype(np.float32)
            tensors[f"{name}_second"] = rng.uniform(0.01, 0.1, shape).astype(np.float32)
        order = Train(**usual | options)
        del tensors["average"]
        if not order.generator_steps:
            del tensors["generator_first"], tensors["generator_second"]
        return Request(order, tensors)


# Exactness: the sum over sites of p_k times a gradient is the pooled, group-weighted gradient


class Midpoints(CriticPenalty):
    """A gradient penalty without chance, at the middle of each pair."""

    name = "midpoints"
    every = 1
    weight = 10.0
    holds_slope = True

    def value(self, step, drawn):
        points = (step.real + step.fake) / 2
        slopes = step.slopes(step.critic, points, step.condition)
        return (slopes.norm(dim=1) - 1).square()


class FixedNoise(nn.Module):
    """A generator whose noise is handed over in place of a source of noise."""

    def __init__(self, condition, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(condition + 4, 8), nn.Tanh(), nn.Linear(8, width))

    def forward(self, condition, noise):
        return self.layers(torch.cat([noise, condition], 1))


def doubled(shape):
    """Both players in float64."""
    players = Players(replace(RECIPE, lipschitz=Penalised((Midpoints(),))), shape, seed=2)
    players.critic = FlatModule(players.critic.module.double())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        players.generator = FlatModule(FixedNoise(shape.condition, shape.width).double())
    return players


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("split", ["random", "group", "uneven"])
def test_gradients_over_sites_are_the_pooled_group_weighted_ones(split, rule, tmp_path):
    ground = SimulationPaths(tmp_path, split, rule)
    players = doubled(ground.plan.shape)
    parts = ground.rows()
    assert sum(part.weight for part in parts) == pytest.approx(1, abs=1e-12)
    rng = torch.Generator().manual_seed(0)

    def gradients(real, condition, noise, weights):
        with torch.no_grad():
            fake = players.generator.module(condition, noise)
        critic, _ = players.critic_gradient(Batch(real, condition, weights), fake, rng)
        generator, _ = players.generator_gradient(condition, weights, noise)
        return torch.cat([critic, generator])

    pooled, total = [], 0
    for part in parts:
        real, condition = part.rows.double(), part.conditions.double()
        noise = torch.randn(len(real), 4, generator=rng, dtype=torch.float64)
        weights = torch.diff(part.cumulative, prepend=torch.zeros(1, dtype=torch.float64))
        total = total + part.weight * gradients(real, condition, noise, weights)
        pooled.append((real, condition, noise, part.groups))
    real, condition, noise, groups = (torch.cat(parts) for parts in zip(*pooled, strict=True))
    expected = 0
    for g, mass in enumerate(ground.plan.mass):
        held = groups == g
        one = torch.ones(int(held.sum()), dtype=torch.float64)
        expected = expected + mass * gradients(real[held], condition[held], noise[held], one)
    np.testing.assert_allclose(total, expected, rtol=1e-9, atol=1e-12)
    # The control: weighing sites by rows alone is another gradient, unless groups keep their share.
    by_rows = sum(
        len(r) / ROWS * gradients(r, c, z, torch.ones(len(r)).double()) for r, c, z, _ in pooled
    )
    off = float((by_rows - expected).norm() / expected.norm())
    assert off < 1e-9 if rule == "share" else off > 0.01


def test_rows_are_drawn_in_proportion_to_their_weights(tmp_path):
    ground = SimulationPaths(tmp_path, "random", "uniform")
    part = ground.rows()[0]
    weights = np.diff(part.cumulative.numpy(), prepend=0)
    drawn = part.draw(200_000, torch.Generator().manual_seed(0))
    counts = np.bincount(drawn.numpy(), minlength=len(weights))
    assert chisquare(counts, 200_000 * weights / weights.sum()).pvalue > 0.001
    assert chisquare(counts, np.full(len(weights), 200_000 / len(weights))).pvalue < 1e-9
    # Exactly w_g = pi_g / n_g each.
    n = ground.plan.conditions.group_counts
    np.testing.assert_allclose(weights, (ground.plan.mass / n)[part.groups], rtol=1e-9)


# Answers add up whatever the grouping and the order of sites


FROZEN = LocalTraining(statistics=Frozen())
VARIANTS = {
    "critic": {},
    "both": {"generator_steps": 2},
    "frozen": {"training": FROZEN},
    "frozen both": {"training": FROZEN, "generator_steps": 5},
}


def requests(ground):
    kinds = tuple(c.kind for c in ground.plan.schema.columns)
    marginals = Marginals.of(ground.plan.schema, ground.frame)
    yield Request(DescribeColumns(ground.columns))
    yield Request(CollectVocabulary(ground.columns, kinds, ("",) * len(kinds)))
    yield Request(CountHistograms(ground.order.schema, ground.order.conditions))
    yield Request(ground.order)
    yield Request(CountMarginals(ground.name, marginals.to_json(), 2))
    for options in VARIANTS.values():
        yield ground.train(**options)


def test_sums_do_not_depend_on_who_serves_which_site_in_what_order(tmp_path):
    ground = SimulationPaths(tmp_path)
    a, b, c = ground.sites
    for request in requests(ground):
        total = serve(request, [a, b, c])
        assert total.vector.any()
        for nodes in ([[c, b, a]], [[b], [a, c]], [[c], [], [b], [a]]):
            again = reduce(add, (serve(request, node) for node in nodes))
            np.testing.assert_array_equal(again.vector, total.vector, request.order.order)


def test_orders_survive_json(tmp_path):
    for request in requests(SimulationPaths(tmp_path)):
        text = to_json(request.order)
        again = from_json(text)
        # Fingerprints are taken of the text.
        assert type(again) is type(request.order) and to_json(again) == text
        assert again.layout() == request.order.layout()


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_depends_on_seed_site_and_round_alone(variant, tmp_path):
    ground = SimulationPaths(tmp_path / "a")
    other = SimulationPaths(tmp_path / "b", "group", "uniform")
    request = ground.train(**VARIANTS[variant])
    site = ground.sites[0]
    plan.resident.cache_clear()
    fresh = handle_at_site(request.order, request.tensors, site).vector
    # Leave traces of others in the resident players.
    for between in (ground.train(round=2, generator_steps=4), request, other.train()):
        for neighbour in (other if between.order.plan == other.name else ground).sites:
            handle_at_site(between.order, between.tensors, neighbour)
        again = handle_at_site(request.order, request.tensors, site).vector
        np.testing.assert_array_equal(again, fresh)
    later = replace(request.order, round=2)
    assert (handle_at_site(later, request.tensors, site).vector != fresh).any()
    renamed = replace(site, name="elsewhere")
    assert (handle_at_site(request.order, request.tensors, renamed).vector != fresh).any()
    seeded = SimulationPaths(tmp_path / "a", seed=1)
    order = replace(request.order, plan=seeded.name)
    assert (handle_at_site(order, request.tensors, seeded.sites[0]).vector != fresh).any()


def test_training_leaves_the_global_generator_and_the_request_alone(tmp_path):
    ground = SimulationPaths(tmp_path)
    request = ground.train(generator_steps=2)
    before = {name: t.copy() for name, t in request.tensors.items()}
    state = torch.get_rng_state()
    serve(request, ground.sites)
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in request.tensors.items():
        np.testing.assert_array_equal(tensor, before[name])


@pytest.mark.parametrize("variant", VARIANTS)
def test_updates_are_finite_and_of_the_agreed_fields(variant, tmp_path):
    ground = SimulationPaths(tmp_path)
    request = ground.train(**VARIANTS[variant])
    sums = serve(request, ground.sites)
    names = [field.name for field in request.order.layout().fields]
    for name in names:
        assert np.isfinite(sums[name]).all()
    players = ["critic"] + ["generator"] * bool(request.order.generator_steps)
    for player in ("critic", "generator"):
        gradient, moment = f"{player}_gradient", f"{player}_first"
        assert (player in names) == (player in players)
        assert (gradient in names) == (player in players and (request.order.training == FROZEN))
        assert (moment in names) == (player in players and request.order.training != FROZEN)
        if player in players:
            assert sums[player].any()
    assert sums["weight"][0] == pytest.approx(1, abs=1e-9) and sums["sites"][0] == 3
    assert sums["penalty"][0] > 0
    # A site's batch is its share of the rows of a step, or the minimum.
    batches = [max(8, round(60 * part.weight)) for part in ground.rows()]
    assert sums["estimated"].sum() == 3 * sum(batches)


def adam_step(adam, vector, first, second, seen, gradient):
    """Kingma and Ba, algorithm 1, in float64."""
    first = adam.beta1 * first + (1 - adam.beta1) * gradient
    second = adam.beta2 * second + (1 - adam.beta2) * gradient**2
    seen += 1
    root = np.sqrt(second / (1 - adam.beta2**seen)) + adam.epsilon
    return vector - adam.rate * first / (1 - adam.beta1**seen) / root, first, second


@pytest.mark.parametrize("frozen", [False, True])
def test_one_step_and_the_mean_by_hand(frozen, tmp_path):
    ground = SimulationPaths(tmp_path, "group")
    parts = FROZEN if frozen else LocalTraining()
    request = ground.train(critic_steps=1, training=parts)
    start = {name: t.astype(np.float64) for name, t in request.tensors.items()}
    adam, seen = RECIPE.critic_optimizer, request.order.critic_seen
    expected = dict.fromkeys(("critic", "first", "second", "gradient"), 0.0)
    players = Players(RECIPE, ground.plan.shape)
    for site, part in zip(ground.sites, ground.rows(), strict=True):
        zero = torch.zeros_like(players.generator.vector)
        blank = dict.fromkeys(("average", "generator_first", "generator_second"), zero)
        shared = {name: torch.from_numpy(t.copy()) for name, t in request.tensors.items()}
        players.load(blank | shared, seen, 2)
        rng = torch.Generator().manual_seed(derive_seed(0, site.name, 1))
        index = part.draw(max(8, round(60 * part.weight)), rng)
        batch = Batch(part.rows[index], part.conditions[index], torch.ones(len(index)))
        fake = players.fake(batch.condition, rng)
        gradient = players.critic_gradient(batch, fake, rng)[0].double().numpy()
        moments = start["critic_first"], start["critic_second"]
        first = adam.beta1 * moments[0] + (1 - adam.beta1) * gradient
        if frozen:
            freed = moments[1] / (1 - adam.beta2**seen)
            # The guard: the site's own second moment of its part in the mean gradient.
            own = adam.beta2 * freed + (1 - adam.beta2) * (part.weight * gradient) ** 2
            root = np.sqrt(np.maximum(freed, own)) + adam.epsilon
            # The first moment has one gradient more than the second, which stands still.
            unbiased = first / (1 - adam.beta1 ** (seen + 1))
            moved = start["critic"] - adam.rate * unbiased / root
            second = moments[1]
        else:
            moved, first, second = adam_step(adam, start["critic"], *moments, seen, gradient)
        expected["critic"] += part.weight * moved
        expected["first"] += part.weight * first
        expected["second"] += part.weight * second
        expected["gradient"] += part.weight * gradient
    if frozen:
        # The common statistics take in the mean gradient.
        g = expected["gradient"]
        expected["first"] = adam.beta1 * start["critic_first"] + (1 - adam.beta1) * g
        expected["second"] = adam.beta2 * start["critic_second"] + (1 - adam.beta2) * g**2
    shared = {name: torch.from_numpy(t.copy()) for name, t in request.tensors.items()}
    players.load(blank | shared, seen, 2)
    apply_means(players, request.order, means(request.order, serve(request, ground.sites)))
    assert players.critic_statistics.steps == seen + 1
    for found, name in (
        (players.critic.vector, "critic"),
        (players.critic_statistics.first, "first"),
        (players.critic_statistics.second, "second"),
    ):
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-6)
    assert np.abs(expected["critic"] - start["critic"]).max() > 1e-4


# Preparing and auditing


def test_preparation_sums_are_those_of_all_encoded_rows(tmp_path):
    ground = SimulationPaths(tmp_path, "group")
    ready, parts = ground.ready, ground.rows()
    assert (ready["rows"][0], ready["sites"][0]) == (ROWS, 3)
    assert ready["weight"][0] == pytest.approx(1, abs=1e-9)
    assert dict(zip(ground.plan.conditions.names, ready["group_sites"], strict=True)) == {
        "f": 1,
        "m": 2,
    }
    rows, conditions, groups = (
        torch.cat([getattr(p, name) for p in parts]).numpy()
        for name in ("rows", "conditions", "groups")
    )
    weights = (ground.plan.mass / ground.plan.conditions.group_counts)[groups]
    joined = np.concatenate([rows, conditions], 1)
    member = stratum_memberships(conditions)
    each = member * weights[:, None]
    np.testing.assert_array_equal(ready.units("counts"), member.T @ (joined != 0))
    choices = ground.plan.choices
    np.testing.assert_allclose(
        ready["marginals"], first_moments(joined * choices, each), atol=1e-10
    )
    # Nothing is said of numbers but how many rows have one.
    assert not ready["marginals"][:, :-1][:, ~choices].any()
    published = np.random.default_rng(0).random((5, joined.shape[1])) < 0.7
    order = SumMoments(ground.name, to_text(published))
    found = serve(Request(order), ground.sites)["moments"]
    np.testing.assert_allclose(found, second_moments(joined, each, published), atol=1e-10)
    # Of what is not asked for, nothing is sent.
    assert len(found) == size_of_moments(published)


def test_rows_held_out_are_in_no_sum_that_a_generator_learns_from(tmp_path):
    ground = SimulationPaths(tmp_path, "group", held_out=0.25)
    held = np.concatenate([np.array(s.array(ground.name, "held")) for s in ground.sites])
    rows = np.concatenate([np.array(s.array(ground.name, "rows")) for s in ground.sites])
    assert 0 < held.sum() < len(held)
    assert ground.ready["rows"][0] == (~held).sum()
    everywhere = ground.ready.units("counts")[-1, : rows.shape[1]]
    assert everywhere.tolist() == (rows[~held] != 0).sum(0).tolist()
    published = np.ones((5, ground.ready["counts"].shape[1]), dtype=bool)
    order = SumMoments(ground.name, to_text(published))
    before = serve(Request(order), ground.sites).vector
    for site in ground.sites:
        changed = np.array(site.array(ground.name, "rows"))
        own = np.array(site.array(ground.name, "held"))
        changed[own] = 7.0
        site.store(
            ground.name,
            {"rows": changed, "held": own, "cells": np.array(site.array(ground.name, "cells"))},
            site.plan(ground.name),
        )
    np.testing.assert_array_equal(serve(Request(order), ground.sites).vector, before)


def test_a_group_too_small_to_be_described_is_in_no_count(tmp_path):
    frame = table()
    frame.loc[:39, "sex"] = "x"
    ground = SimulationPaths(tmp_path, frame=frame)
    small = ground.plan.conditions.names.index("x")
    counts = ground.ready.units("counts")
    assert counts.any(axis=1).tolist() == [level != small for level in range(6)]
    assert counts[-1].max() == ROWS - 40


def test_a_site_whose_rows_were_all_floored_contributes_nothing(tmp_path):
    frame = table()
    owners = np.repeat([0, 1], [4, ROWS - 4])
    frame.loc[:3, "sex"] = "x"
    ground = SimulationPaths(tmp_path, owners, frame=frame)
    empty, full = ground.sites
    assert handle_at_site(ground.order, {}, empty)["rows"][0] == 0
    assert (ground.ready["rows"][0], ground.ready["group_sites"].max()) == (ROWS - 4, 1)
    for options in VARIANTS.values():
        request = ground.train(**options)
        assert not handle_at_site(request.order, request.tensors, empty).vector.any()
        both, alone = serve(request, ground.sites), serve(request, [full])
        np.testing.assert_array_equal(both.vector, alone.vector)


def test_audit_sums_are_the_pooled_counts(tmp_path):
    ground = SimulationPaths(tmp_path, "group")
    conditions, schema = ground.plan.conditions, ground.plan.schema
    synthetic = ground.frame.sample(100, random_state=0)
    marginals = Marginals.of(schema, synthetic)
    sums = serve(Request(CountMarginals(ground.name, marginals.to_json(), 2)), ground.sites)
    group = conditions.group_index(ground.frame, schema, "t")
    expected = marginals.count(ground.frame, group, 2)
    for name, counts in expected.items():
        np.testing.assert_array_equal(sums.units(name), counts)
        assert counts.sum() == ROWS


def test_encoding_depends_on_the_site_s_name_and_seed_alone(tmp_path):
    ground = SimulationPaths(tmp_path)
    site = ground.sites[0]
    before = site.array(ground.name, "rows").copy()
    serve(Request(ground.order), reversed(ground.sites))
    np.testing.assert_array_equal(site.array(ground.name, "rows"), before)
    seeded = replace(ground.order, seed=1)
    serve(Request(seeded), [site])
    assert (site.array(fingerprint(seeded), "rows") != before).any()


def test_a_site_that_was_not_prepared_says_so(tmp_path):
    ground = SimulationPaths(tmp_path)
    request = ground.train(plan="0" * 16)
    with pytest.raises(StateError, match=r"site 'site-0' has not been prepared.*'prepare' order"):
        serve(request, ground.sites)


def test_problems_of_all_sites_are_told_at_once(tmp_path):
    ground = SimulationPaths(tmp_path)
    order = CollectVocabulary(("age",), ("boolean",), ("",))
    with pytest.raises(DataError) as caught:
        serve(Request(order), ground.sites)
    named = [f"site '{s.name}': {s.table}" for s in ground.sites]
    assert [":".join(p.split(":")[:2]) for p in caught.value.problems] == named
