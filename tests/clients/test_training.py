"""Local steps: rows held out, looks at the critic, constraints, packs, lazy penalties, views."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from everymode.clients import rows as site_rows
from everymode.clients.datasets.base import held_out
from everymode.clients.protocol.messages import CountBatchRows, EncodeData, Request, Train, to_json
from everymode.clients.protocol.parts.arrays import SCORES, LocalTraining
from everymode.clients.protocol.parts.statistics import Averaged, Frozen
from everymode.clients.protocol.plan import Plan, derive_seed, fingerprint, parse_plan, resident
from everymode.clients.rows import Rows
from everymode.clients.site import Site
from everymode.clients.tasks.dispatch import computed as serve
from everymode.clients.tasks.dispatch import handle_at_site
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.weighting.group_weights import group_mass, row_weights
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.schema.table_spec import TableSpec
from everymode.server.training.aggregation import apply_means, means
from everymode.server.training.monitor import _scores
from everymode.server.transport.exchange import InProcess
from everymode.wgan.augmentations import InstanceNoise
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import StateError
from everymode.wgan.generators import SkipGeneratorSpec
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm
from everymode.wgan.objectives import Hinge
from everymode.wgan.optimizers import Adam, RMSprop
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.slopes import SLOPE_EDGES
from everymode.wgan.strength import Decay

pytestmark = pytest.mark.usefixtures("sites_without_gate")

RECIPE = Recipe(
    SkipGeneratorSpec((8,), noise=4),
    MLPCriticSpec((8,)),
    generator_optimizer=Adam(2e-3),
    critic_optimizer=Adam(2e-3),
)
NOISY = replace(RECIPE, augmentations=(InstanceNoise(0.5),), strength=Decay())
SPECTRAL = replace(RECIPE, lipschitz=SpectralNorm())
CLIPPED = replace(RECIPE, lipschitz=Clipping(0.05), critic_optimizer=RMSprop(1e-3))
LAZY = replace(RECIPE, lipschitz=Penalised((GradientPenalty(every=4),)))
PACKED = replace(RECIPE, pack=3)
LINEAR = replace(RECIPE, critic=MLPCriticSpec(()))
RECIPES = {
    "plain": RECIPE,
    "views": NOISY,
    "spectral": SPECTRAL,
    "clipped": CLIPPED,
    "lazy": LAZY,
    "packed": PACKED,
    "all": replace(SPECTRAL, pack=2, augmentations=(InstanceNoise(0.5),), objective=Hinge()),
}
SIZES = (8, 60, 132)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Three sites of very different size, and what they agree on."""
    folder = tmp_path_factory.mktemp("sites")
    rng = np.random.default_rng(0)
    rows = sum(SIZES)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=rows).round(4),
            "y": rng.gamma(2, 3, rows).round(4),
            "job": rng.choice(["clerk", "smith"], rows),
            "sex": rng.choice(["f", "m"], rows, p=[0.3, 0.7]),
        }
    )
    owner = np.repeat(range(3), SIZES)
    sites = []
    for k in range(3):
        site = Site(f"site-{k}", folder / f"{k}.csv", folder / f"work-{k}")
        frame[owner == k].to_csv(site.table, index=False)
        sites.append(site)
    pooled = Site("pooled", folder / "pooled.csv", folder / "work-pooled")
    frame.to_csv(pooled.table, index=False)
    data = TableSpec(sensitive=("sex",))
    return sites, pooled, agree(InProcess(sites), tuple(frame.columns), data)


@dataclass(frozen=True)
class Case:
    """Sites that were prepared for a recipe."""

    order: EncodeData
    sites: list[Site]

    @staticmethod
    def of(sites: list[Site], agreed: Agreement, recipe: Recipe, **options) -> "Case":
        mass = group_mass(agreed.conditions.group_counts, "tempered")
        order = EncodeData(
            agreed.schema.to_json(),
            agreed.conditions.to_json(),
            tuple(mass.tolist()),
            recipe.to_json(),
            **{"seed": 0, "matching": "none"} | options,
        )
        serve(Request(order), sites)
        return Case(order, sites)

    @property
    def plan(self) -> Plan:
        return Plan.of(self.order)

    @property
    def name(self) -> str:
        return fingerprint(self.order)

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

    def players(self) -> Players:
        return Players(self.plan.recipe, self.plan.shape, seed=1)

    def resident(self) -> Players:
        """The networks of the process, as the last site to answer left them."""
        return resident(to_json(self.order), "cpu")

    def request(self, players: Players | None = None, **options) -> Request:
        players = players or self.players()
        usual = {
            "plan": self.name,
            "round": 1,
            "critic_steps": 3,
            "generator_steps": 0,
            "batch": 40,
            "minimum": 6,
            "factor": 1.0,
            "critic_seen": players.critic_statistics.steps,
            "generator_seen": players.generator_statistics.steps,
            "device": "cpu",
            "sizes": (len(players.generator.vector), len(players.critic.vector)),
            "groups": len(self.plan.conditions.groups),
            "buffers": len(players.critic.buffers),
            "strength": players.strength,
        }
        order = Train(**usual | options)
        tensors = {n: t.numpy() for n, t in players.tensors().items() if n not in SERVER_ONLY}
        if not order.generator_steps:
            del tensors["generator_first"], tensors["generator_second"]
        return Request(order, tensors)


SERVER_ONLY = ("average", "strength")


def parts(frozen):
    return LocalTraining(statistics=Frozen() if frozen else Averaged())


FROZEN = {"training": parts(True), "generator_steps": 2}


def case_of(ground, recipe=RECIPE, **options):
    sites, _, agreed = ground
    return Case.of(sites, agreed, recipe, **options)


# Plan -----------------------------------------------------------------------------------------


def test_a_plan_is_read_from_its_order_alone(ground):
    case = case_of(ground, NOISY, held_out=0.25)
    plan = parse_plan(to_json(case.order))
    assert plan.recipe == NOISY
    assert (plan.seed, plan.held_out) == (0, 0.25)
    assert plan.schema == Schema.from_json(case.order.schema)
    assert (
        plan.conditions.names == ConditionSpace.from_json(case.order.conditions).names == ("f", "m")
    )
    # Every key of it is told by the fingerprint.
    others = [replace(case.order, **change) for change in ({"held_out": 0.2}, {"seed": 1})]
    assert len({fingerprint(order) for order in (case.order, *others)}) == 3
    with pytest.raises(StateError, match="another order than 'prepare'"):
        parse_plan(to_json(case.request().order))


# Rows held out --------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5])
def test_so_many_rows_are_held_out_and_one_is_left(share):
    counts = np.arange(60)
    held = np.array([held_out(n, share, 0, "a").sum() for n in counts])
    assert (np.abs(held - share * counts) <= 0.5 + (counts <= 1)).all()
    assert (held[1:] < counts[1:]).all()
    assert held[0] == 0


def test_which_rows_are_held_out_depends_on_seed_and_site_alone(ground):
    case = case_of(ground, held_out=0.3)
    kept = [site.array(case.name, "held").copy() for site in case.sites]
    assert [int(h.sum()) for h in kept] == [2, 18, 40]
    serve(Request(case.order), reversed(case.sites))
    for site, held in zip(case.sites, kept, strict=True):
        np.testing.assert_array_equal(site.array(case.name, "held"), held)
    last = case.sites[-1]
    seeded = case_of(ground, held_out=0.3, seed=1)
    assert (last.array(seeded.name, "held") != kept[-1]).any()
    assert (held_out(SIZES[-1], 0.3, 0, "b") != kept[-1]).any()
    # All rows have the same chance, the first and the last too.
    draws = [held_out(20, 0.3, s, last.name) for s in range(400)]
    assert chisquare(np.sum(draws, axis=0)).pvalue > 0.001


def test_rows_held_out_are_never_drawn_and_the_others_in_proportion(ground):
    case = case_of(ground, held_out=0.3)
    part = case.rows()[1]
    held = np.array(case.sites[1].array(case.name, "held"))
    weights = (case.plan.mass / case.plan.conditions.group_counts)[part.groups]
    rng = torch.Generator().manual_seed(0)
    for draw, own in ((part.draw, ~held), (part.draw_held, held)):
        counts = np.bincount(draw(100_000, rng).numpy(), minlength=len(held))
        assert not counts[~own].any()
        assert chisquare(counts[own], 100_000 * weights[own] / weights[own].sum()).pvalue > 0.001
    assert part.weight == pytest.approx(weights[~held].sum(), rel=1e-12)
    assert part.weight_held == pytest.approx(weights[held].sum(), rel=1e-12)


def test_a_site_s_weight_is_that_of_the_rows_it_trains_on(ground):
    case = case_of(ground, held_out=0.3)
    parts = case.rows()
    trained = sum(part.weight for part in parts)
    request = case.request()
    assert serve(request, case.sites)["weight"][0] == pytest.approx(trained, abs=1e-9)
    assert trained + sum(part.weight_held for part in parts) == pytest.approx(1, abs=1e-12)
    assert 0.6 < trained < 0.8
    assert sum(part.weight for part in case_of(ground).rows()) == pytest.approx(1, abs=1e-12)


def test_training_does_not_read_the_rows_held_out(ground):
    case = case_of(ground, held_out=0.3)
    site = case.sites[1]
    request = case.request(generator_steps=2)
    before = handle_at_site(request.order, request.tensors, site).vector
    rows, cells, held = (
        np.array(site.array(case.name, name)) for name in ("rows", "cells", "held")
    )

    def with_nonsense_at(rows_hit):
        spoilt = rows.copy()
        spoilt[rows_hit] = 1e3
        arrays = {"rows": spoilt, "cells": cells, "held": held}
        site.store(case.name, arrays, {"order": to_json(case.order)})
        site_rows.opened.cache_clear()
        return handle_at_site(request.order, request.tensors, site).vector

    np.testing.assert_array_equal(with_nonsense_at(held), before)
    # The control.
    assert (with_nonsense_at(~held) != before).any()
    serve(Request(case.order), case.sites)
    site_rows.opened.cache_clear()


# Looks at the critic --------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("options", [{}, FROZEN], ids=["averaged", "frozen"])
def test_a_look_changes_nothing_else(name, options, ground):
    case = case_of(ground, RECIPES[name], held_out=0.2)
    players = case.players()
    # Statistics can be frozen once they have seen something.
    for statistics in (players.critic_statistics, players.generator_statistics):
        statistics.steps = 4
        statistics.second.fill_(0.01)
    without = case.request(players, **options)
    request = case.request(players, inspect=True, **options)
    plain, looked = serve(without, case.sites), serve(request, case.sites)
    fields = [field.name for field in request.order.layout().fields]
    shared = [field.name for field in without.order.layout().fields]
    assert set(fields) - set(shared) == {*("slopes", "group_slopes", "sloped", "scored", "scores")}
    for field in shared:
        np.testing.assert_array_equal(looked.units(field), plain.units(field), field)
    assert plain["critic"].any()
    for field in ("slopes", "scored", "scores"):
        assert np.isfinite(looked[field]).all()
    # Every site's slopes count as much as the site.
    assert looked["slopes"].sum() == pytest.approx(plain["weight"][0], abs=1e-6)
    assert looked["sloped"].sum() > 0 and (looked["group_slopes"][looked["sloped"] > 0] > 0).all()
    assert plain["penalties"].shape == plain["estimate"].shape


def linear(players):
    """Weights over samples and conditions, and the bias, of a critic without hidden layers."""
    (layer,) = [m for m in players.critic.module.modules() if isinstance(m, nn.Linear)]
    return layer.weight.detach().double().numpy()[0], float(layer.bias.detach())


def test_what_a_look_at_linear_critics_shows_by_hand(ground):
    """A linear critic has one slope, |w|, and scores that NumPy can take."""
    case = case_of(ground, LINEAR, held_out=0.05)
    request = case.request(inspect=True)
    plan, width = case.plan, case.plan.shape.width
    histogram, means, scored = np.zeros(len(SLOPE_EDGES) + 1), np.zeros(4), 0.0
    norms = []
    for site, part in zip(case.sites, case.rows(), strict=True):
        alone = handle_at_site(request.order, request.tensors, site)
        players = case.resident()
        weights, bias = linear(players)
        norms.append(np.linalg.norm(weights[:width]) * plan.shape.scale)
        histogram[np.searchsorted(SLOPE_EDGES, norms[-1], side="right")] += part.weight
        assert np.count_nonzero(alone["slopes"]) == 1
        if not part.weight_held:
            # The smallest site has too few rows to hold one out: its scores are left out.
            assert alone["scored"][0] == 0 and not alone["scores"].any()
            continue

        def score(rows, condition, weights=weights, bias=bias):
            return np.concatenate([rows, condition], 1).astype(np.float64) @ weights + bias

        rng = torch.Generator().manual_seed(derive_seed(0, site.name, 1, "inspect"))
        count = max(6, round(40 * part.weight))
        index = part.draw(count, rng)
        fake = players.fake(part.conditions[index], rng)
        torch.rand(count, generator=rng)  # where between real and fake a slope is taken
        held = part.draw_held(count, rng)
        seen = score(part.rows[index], part.conditions[index])
        found = {
            "train": seen.mean(),
            "held": score(part.rows[held], part.conditions[held]).mean(),
            "fake": score(fake, part.conditions[index]).mean(),
            "sign": np.sign(seen).mean(),
        }
        means += part.weight * np.array([found[name] for name in SCORES])
        scored += part.weight
    sums = serve(request, case.sites)
    np.testing.assert_allclose(sums["slopes"], histogram, atol=1e-8)
    # Sites of one slope each: a group's mean lies between the least and the largest.
    target = plan.recipe.lipschitz.target
    found = sums["group_slopes"][sums["sloped"] > 0] / sums["sloped"][sums["sloped"] > 0] * target
    assert (found > min(norms) - 1e-6).all() and (found < max(norms) + 1e-6).all()
    total = _scores(sums)
    assert total.pop("scored") == pytest.approx(scored, abs=1e-9)
    assert scored < float(sums["weight"][0])
    assert list(total) == list(SCORES)
    np.testing.assert_allclose(list(total.values()), means / scored, atol=1e-5)
    assert len(set(norms)) == 3


def test_scores_of_a_long_look_are_those_of_all_rows(ground):
    """Means over draws in proportion to weights tend to weighted means over rows."""
    case = case_of(ground, LINEAR, held_out=0.4)
    request = case.request(inspect=True, critic_steps=1, batch=40_000)
    site, part = case.sites[2], case.rows()[2]
    sums = handle_at_site(request.order, request.tensors, site)
    weights, bias = linear(case.resident())
    scores = torch.cat([part.rows, part.conditions], 1).double().numpy() @ weights + bias
    found = _scores(sums)
    for name, cumulative in (("train", part.cumulative), ("held", part.held)):
        p = np.diff(cumulative.numpy(), prepend=0)
        exact = np.average(scores, weights=p)
        spread = np.sqrt(np.average((scores - exact) ** 2, weights=p) / (40_000 * part.weight))
        assert abs(found[name] - exact) < 5 * spread
    # The control: the two are apart by more than that.
    assert abs(found["train"] - found["held"]) > 5 * spread


def test_without_rows_held_out_all_sites_give_scores(ground):
    case = case_of(ground)
    sums = serve(case.request(inspect=True), case.sites)
    assert sums["scored"][0] == pytest.approx(1, abs=1e-9)
    assert _scores(sums)["held"] == 0.0


# Constraints after the mean -------------------------------------------------------------------


def layers(players):
    return [m for m in players.critic.module.modules() if isinstance(m, nn.Linear)]


def norms_of(players):
    return [np.linalg.svd(m.weight.detach().numpy(), compute_uv=False)[0] for m in layers(players)]


def advance(case, players, rounds, **options):
    for number in range(1, rounds + 1):
        request = case.request(players, round=number, **options)
        apply_means(players, request.order, means(request.order, serve(request, case.sites)))


@pytest.mark.parametrize("frozen", [False, True])
def test_the_mean_of_spectrally_normalised_critics_is_normalised(frozen, ground):
    case = case_of(ground, SPECTRAL)
    players = case.players()
    start = players.tensors()
    advance(case, players, 1)
    advance(case, players, 5, training=parts(frozen))
    after = players.tensors()
    assert not torch.equal(after["critic_buffers"], start["critic_buffers"])
    np.testing.assert_allclose(norms_of(players), 1, atol=0.02)
    # What travels: each layer's two vectors, which are of length 1 again.
    buffers = [b for m in layers(players) for b in m.parametrizations.weight.buffers()]
    assert len(players.critic.buffers) == sum(len(b) for b in buffers) > 0
    for buffer in buffers:
        assert float(buffer.norm()) == pytest.approx(1, abs=1e-5)
    # The controls: other vectors bound nothing, nor does a mean that is not settled.
    players.critic.buffers.copy_(torch.randn(len(after["critic_buffers"]), generator=seeded()))
    assert max(abs(norm - 1) for norm in norms_of(players)) > 0.1


def seeded():
    return torch.Generator().manual_seed(0)


def test_no_aggregated_spectral_critic_is_steeper_than_its_bound(ground):
    case = case_of(ground, SPECTRAL)
    players = case.players()
    advance(case, players, 3)
    rng = seeded()
    a, b = (3 * torch.randn(500, case.plan.shape.width, generator=rng) for _ in range(2))
    condition = torch.eye(case.plan.shape.condition)[torch.zeros(500, dtype=torch.long)]
    with torch.no_grad():
        rise = players.critic.module(a, condition) - players.critic.module(b, condition)
    assert float((rise.abs() / (a - b).norm(dim=1)).max()) <= 1.02


@pytest.mark.parametrize("name", ["plain", "spectral", "clipped", "all"])
def test_one_site_that_holds_all_rows_loses_nothing_in_the_exchange(name, ground):
    _, pooled, agreed = ground
    case = Case.of([pooled], agreed, RECIPES[name])
    players = case.players()
    request = case.request(players, generator_steps=2)
    apply_means(players, request.order, means(request.order, serve(request, [pooled])))
    here = case.resident()
    # The server projects once more.
    here.project_critic()
    site, server = here.tensors(), players.tensors()
    for field in ("critic", "critic_first", "generator", "generator_first", "critic_buffers"):
        if field in site:
            # One unit of a float32 and one of the sums.
            np.testing.assert_allclose(server[field], site[field], rtol=2.4e-7, atol=1e-7)
    for field in ("critic_second", "generator_second"):
        np.testing.assert_allclose(server[field], site[field], rtol=1e-6, atol=2**-40)


@pytest.mark.parametrize("frozen", [False, True])
def test_clipped_weights_stay_within_the_limit(frozen, ground):
    case = case_of(ground, CLIPPED)
    players = case.players()
    advance(case, players, 1)
    advance(case, players, 3, training=parts(frozen))
    sizes = players.critic.vector.abs()
    assert float(sizes.max()) == np.float32(0.05)
    assert not torch.equal(players.critic.vector, case.players().critic.vector)
    # The control: without the limit they go beyond it.
    free = case_of(ground, replace(CLIPPED, lipschitz=Clipping(10.0)))
    players = free.players()
    advance(free, players, 1)
    assert float(players.critic.vector.abs().max()) > 0.05


# Packs, lazy penalties, views -----------------------------------------------------------------


@pytest.mark.parametrize("pack", [1, 2, 3, 7])
def test_batches_are_rounded_up_to_whole_packs(pack, ground):
    case = case_of(ground, replace(RECIPE, pack=pack))
    sums = serve(case.request(critic_steps=2, generator_steps=1, inspect=True), case.sites)
    batches = [max(6, round(40 * part.weight)) for part in case.rows()]
    whole = [pack * int(np.ceil(batch / pack)) for batch in batches]
    assert sums["estimated"].sum() == 2 * sum(whole)
    assert pack < 3 or whole != batches
    assert sums["critic"].any() and sums["generator"].any()


@pytest.mark.parametrize("pack", [1, 3])
def test_a_site_says_beforehand_how_many_rows_it_would_take(pack, ground):
    case = case_of(ground, replace(RECIPE, pack=pack))
    order = case.request(critic_steps=1).order
    told = serve(Request(CountBatchRows(order, 60)), case.sites)["rows"]
    for batch in (1, 17, 40, 60):
        sums = serve(case.request(critic_steps=1, batch=batch), case.sites)
        assert sums["estimated"].sum() == told[batch - 1]
    assert told[0] < told[-1]


def test_a_lazy_penalty_s_turn_goes_on_where_the_last_round_ended(ground):
    case = case_of(ground, LAZY)
    taken = {}
    for number in range(1, 8):
        # Frozen statistics see one gradient a round, however many steps there are.
        for seen in (0, number):
            request = case.request(round=number, critic_steps=3, critic_seen=seen)
            taken[number, seen] = serve(request, case.sites)["penalty"][0] > 0
    # Steps 3 (n - 1) to 3 n - 1, of which one in four has a penalty: 0, 4, 8, 12, 16, 20.
    assert sorted({number for (number, _), there in taken.items() if there}) == [1, 2, 3, 5, 6, 7]
    assert all(taken[number, 0] == taken[number, number] for number in range(1, 8))


def test_a_lazy_penalty_counts_for_the_steps_without_it(ground):
    """At the same weights, so that only the factor and the divisor differ."""
    still = {"factor": 0.0, "critic_steps": 4}
    every, lazy = (case_of(ground, recipe) for recipe in (RECIPE, LAZY))
    penalties = [
        np.mean([serve(c.request(round=r, **still), c.sites)["penalty"][0] for r in range(12)])
        for c in (every, lazy)
    ]
    assert penalties[1] == pytest.approx(penalties[0], rel=0.25)
    assert penalties[0] > 0


def test_the_strength_of_the_order_is_the_one_that_counts(ground):
    """Not the one that the process's players have from the order before."""
    case = case_of(ground, NOISY)
    site = case.sites[2]

    def sums(strength):
        request = case.request(strength=strength)
        return handle_at_site(request.order, request.tensors, site).vector

    none, full = sums(0.0), sums(1.0)
    assert (none != full).any()
    np.testing.assert_array_equal(sums(0.0), none)
    np.testing.assert_array_equal(sums(1.0), full)


def test_frozen_statistics_stay_and_take_in_one_gradient(ground):
    for name in ("spectral", "clipped", "packed", "views", "lazy"):
        case = case_of(ground, RECIPES[name])
        players = case.players()
        advance(case, players, 1)
        seen, before = players.critic_statistics.steps, players.tensors()
        request = case.request(players, round=2, training=parts(True))
        sums = serve(request, case.sites)
        apply_means(players, request.order, means(request.order, sums))
        assert players.critic_statistics.steps == seen + 1
        gradient = torch.from_numpy(sums["critic_gradient"] / sums["weight"][0]).float()
        rule = case.plan.recipe.critic_optimizer
        expected = case.players()
        expected.load(before, seen, 0)
        rule.observe(expected.critic_statistics, gradient)
        for moment in ("first", "second"):
            found = getattr(players.critic_statistics, moment)
            torch.testing.assert_close(found, getattr(expected.critic_statistics, moment))
        assert not torch.equal(players.critic.vector, before["critic"])
