"""Several critics: parts of a batch, mixtures of odds."""

import math

import pytest
import torch
from torch import nn

from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.flat import FlatModule
from everymode.wgan.mixtures import judged_by_odds, judged_in_parts
from everymode.wgan.objectives import JensenShannon
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Block, Shape

SHAPE = Shape(blocks=(Block(0, 1, "value"), Block(1, 2, "value")), width=2, condition=1)


def critics(count: int) -> tuple[FlatModule[nn.Module], torch.Tensor]:
    """One network and the parameters of several like it."""
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(FlatModule(MLPCriticSpec((8,)).build(SHAPE)).vector)
    return FlatModule(MLPCriticSpec((8,)).build(SHAPE)), torch.stack(made)


def scored(flat: FlatModule[nn.Module], vector: torch.Tensor, *args: torch.Tensor) -> torch.Tensor:
    flat.load(vector)
    with torch.no_grad():
        scores: torch.Tensor = flat.module(*args)
    return scores


@pytest.mark.parametrize("rows", [1, 5, 6])
def test_every_critic_scores_its_part(rows: int) -> None:
    flat, vectors = critics(3)
    before = flat.vector.clone()
    x, c = torch.randn(rows, 2), torch.ones(rows, 1)
    found = judged_in_parts(flat, vectors)(x, c)
    assert torch.equal(flat.vector, before)
    for i in range(rows):
        one = scored(flat, vectors[i % 3], x[i : i + 1], c[i : i + 1])
        assert float(found[i].detach()) == pytest.approx(float(one[0]), abs=1e-6)


def test_odds_add_up_by_the_sites_shares() -> None:
    flat, vectors = critics(2)
    x, c = torch.randn(7, 2), torch.ones(7, 1)
    shares = torch.rand(7, 1)
    shares = torch.cat([shares, 1 - shares], 1)
    found = judged_by_odds(flat, vectors, shares.log())(x, c).detach()
    d = torch.stack([scored(flat, v, x, c) for v in vectors], 1).sigmoid()
    odds = (shares * d / (1 - d)).sum(1)
    torch.testing.assert_close(found.sigmoid(), odds / (1 + odds))


def test_a_site_without_rows_of_a_class_has_no_say() -> None:
    flat, vectors = critics(2)
    x, c = torch.randn(4, 2), torch.ones(4, 1)
    prior = torch.tensor([[0.0, -math.inf]]).expand(4, 2)
    leaf = vectors.clone().requires_grad_()
    found = judged_by_odds(flat, leaf, prior)(x, c)
    torch.testing.assert_close(found.detach(), scored(flat, vectors[0], x, c))
    (slope,) = torch.autograd.grad(found.sum(), leaf)
    assert torch.isfinite(slope).all()


def test_optimal_critics_of_sites_make_the_optimal_critic_of_all() -> None:
    """Densities p_k at the sites, q of the generator: D_k = p_k / (p_k + q) gives p / (p + q)."""
    x = torch.linspace(-3, 3, 50)
    p = torch.stack([torch.exp(-((x - m) ** 2) / 2) for m in (-1.0, 1.5)], 1)
    q, pi = torch.exp(-(x**2) / 8), torch.tensor([0.3, 0.7])
    logits = (p / q[:, None]).log()
    mixed = torch.logsumexp(logits + pi.log(), 1).sigmoid()
    whole = (p * pi).sum(1)
    torch.testing.assert_close(mixed, whole / (whole + q))


def test_the_generators_gradient_is_the_mean_over_critics() -> None:
    """MD-GAN's step: with a plain loss, that against all critics is the mean of their gradients."""
    recipe = Recipe(critic=MLPCriticSpec((8,)), objective=JensenShannon())
    players = Players(recipe, SHAPE)
    _, vectors = critics(2)
    condition, ones = torch.ones(8, 1), torch.ones(8)

    def gradient(vectors: torch.Tensor) -> torch.Tensor:
        judge = judged_in_parts(players.critic, vectors)
        rng = torch.Generator().manual_seed(0)
        return players.generator_gradient(condition, ones, rng, (), judge)[0].clone()

    own = [gradient(v[None]) for v in vectors]
    together = gradient(vectors)
    assert not torch.allclose(own[0], own[1])
    # Each critic judges half of the rows: between the two, and equal where both are the same.
    torch.testing.assert_close(gradient(vectors[[0, 0]]), own[0])
    assert not torch.allclose(together, own[0])
