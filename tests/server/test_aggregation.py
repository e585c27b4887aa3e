"""From updates to the next common point: means, shares, server optimizers."""

from typing import Any

import numpy as np
import pytest
import torch

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.parts.arrays import LocalTraining
from everymode.clients.protocol.parts.placement import Placement
from everymode.clients.protocol.parts.statistics import Private
from everymode.clients.protocol.parts.weighting import FeGAN
from everymode.server.federation.optimizers import ServerAdam, ServerMomentum
from everymode.server.training.aggregation import apply_means, means
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import NumericalError
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Block, Shape

SHAPE = Shape(blocks=(Block(0, 1, "value"),), width=1, condition=0)


def players() -> Players:
    return Players(Recipe(critic=MLPCriticSpec((4,))), SHAPE)


def order(of: Players, **changes: Any) -> Train:
    usual: dict[str, Any] = {
        "plan": "p",
        "round": 1,
        "critic_steps": 2,
        "generator_steps": 0,
        "batch": 8,
        "minimum": 1,
        "factor": 1.0,
        "critic_seen": 0,
        "generator_seen": 0,
        "device": "cpu",
        "sizes": (len(of.generator.vector), len(of.critic.vector)),
        "groups": 1,
    }
    return Train(**usual | changes)


def answered(asked: Train, name: str, weight: float, change: float) -> Any:
    """One site's answer, every entry of every update the same."""
    layout = asked.layout()
    values = {f.name: np.zeros(f.shape) for f in layout.fields}
    values |= {"sites": np.array([1]), "weight": np.array([weight])}
    told = {f.name: np.full(f.shape, change) for f in layout.per_site}
    for field in asked.updates():
        if field in values:
            values[field] = np.full_like(values[field], weight * change)
    return layout.pack(values, layout.site_payload(name, told) if layout.per_site else None)


def test_the_mean_is_weighted_by_what_sites_say_they_count() -> None:
    asked = order(players())
    sums = answered(asked, "a", 0.25, 1.0) + answered(asked, "b", 0.5, 4.0)
    assert means(asked, sums)["critic"] == pytest.approx((0.25 + 2.0) / 0.75)


def test_updates_sent_apart_are_weighted_by_shares_of_those_who_came() -> None:
    asked = order(players(), training=LocalTraining(weighting=FeGAN()), sites=3)
    sums = answered(asked, "a", 1 / 3, 1.0) + answered(asked, "b", 1 / 3, 4.0)
    found = means(asked, sums, {"a": 0.1, "b": 0.3, "c": 0.6})
    assert found["critic"] == pytest.approx((0.1 * 1 + 0.3 * 4) / 0.4)
    assert set(found) == {"critic", "critic_first", "critic_second"}


def test_nobody_took_part() -> None:
    asked = order(players())
    with pytest.raises(NumericalError, match="no site with rows"):
        means(asked, asked.layout().zero())


def test_what_is_a_sites_own_is_never_averaged() -> None:
    of = players()
    parts = LocalTraining(Placement("sites", "own"), Private())
    own = order(of, training=parts, generator_steps=2)
    assert own.updates() == ("generator",)
    assert {f.name for f in own.layout().per_site} >= {"critic", "critic_first", "generator_first"}
    assert order(of, training=LocalTraining(statistics=Private())).updates() == ("critic",)
    alone = LocalTraining(Placement("own", "own"))
    local = order(of, training=alone, generator_steps=2)
    assert local.updates() == ()
    kept = {f.name: f.client_state for f in local.layout().per_site}
    assert all(kept.values())


def test_fedadam_by_hand() -> None:
    optimizer = ServerAdam(rate=0.1)
    state = optimizer.state(1)
    first, second = 0.0, 1e-6
    for change in (0.5, -0.25, 0.1):
        first = 0.9 * first + 0.1 * change
        second = 0.99 * second + 0.01 * change**2
        step = optimizer.step(torch.tensor([change]), state)
        assert float(step[0]) == pytest.approx(0.1 * first / (second**0.5 + 1e-3), rel=1e-5)


def test_momentum_by_hand() -> None:
    optimizer = ServerMomentum(rate=0.5)
    state = optimizer.state(1)
    assert float(optimizer.step(torch.tensor([1.0]), state)[0]) == 0.5
    assert float(optimizer.step(torch.tensor([2.0]), state)[0]) == pytest.approx(0.5 * 2.9)


def test_a_sample_moves_as_far_as_it_stands_for_but_its_statistics_do_not() -> None:
    of = players()
    start, asked = of.critic.vector.clone(), order(of)
    found = means(asked, answered(asked, "a", 0.5, 0.25))
    apply_means(of, asked, found, scale=2.0)
    torch.testing.assert_close(of.critic.vector - start, torch.full_like(start, 0.5))
    assert of.critic_statistics.first.unique().tolist() == [0.25]
