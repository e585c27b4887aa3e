"""Critics, generators, and the recipe that says how they are built."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from wgan.critics import MLPCriticSpec
from wgan.data.codec import Block
from wgan.errors import StateError
from wgan.generators import Head, SkipGeneratorSpec
from wgan.optimizers import Adam
from wgan.penalties import GradientPenalty
from wgan.recipe import Recipe

# A number with a gate, its states, a number without one, a category, a number at the end.
BLOCKS = (
    Block(0, 1, "value", gate=1),
    Block(1, 4, "choice"),
    Block(4, 5, "value"),
    Block(5, 7, "choice"),
    Block(7, 8, "value"),
)
WIDTH, CONDITION = 8, 3
CRITICS = [MLPCriticSpec(()), MLPCriticSpec((8,)), MLPCriticSpec((8, 5), slope=0.0)]
GENERATORS = [SkipGeneratorSpec(h, noise=4) for h in ((), (8,), (8, 5))]
every_critic = pytest.mark.parametrize("spec", CRITICS, ids=repr)
every_generator = pytest.mark.parametrize("spec", GENERATORS, ids=repr)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def critic_of(spec):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(WIDTH, CONDITION)


def generator_of(spec, blocks=BLOCKS, width=WIDTH):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spec.build(blocks, width, CONDITION)


def conditions(count, seed=0):
    kinds = torch.randint(CONDITION, (count,), generator=seeded(seed))
    return nn.functional.one_hot(kinds, CONDITION).float()


@every_critic
@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_critic_gives_one_score_a_row(spec, count):
    sample = torch.randn(count, WIDTH, generator=seeded(1))
    before = torch.get_rng_state()
    scores = critic_of(spec)(sample, conditions(count))
    assert scores.shape == (count,) and scores.isfinite().all()
    assert torch.equal(torch.get_rng_state(), before)


@every_critic
def test_a_critic_looks_at_one_row_at_a_time(spec):
    critic = critic_of(spec).double()
    sample = torch.randn(9, WIDTH, generator=seeded(2), dtype=torch.float64)
    condition = conditions(9).double()
    scores = critic(sample, condition)
    single = [critic(sample[i : i + 1], condition[i : i + 1])[0] for i in range(9)]
    torch.testing.assert_close(scores, torch.stack(single), rtol=1e-12, atol=1e-12)
    # And at the condition beside it.
    assert not torch.allclose(critic(sample, condition.roll(1, 1)), scores)


def test_a_critic_is_what_its_layers_say():
    critic = critic_of(MLPCriticSpec((5,), slope=0.3)).double()
    sample = torch.randn(9, WIDTH, generator=seeded(3), dtype=torch.float64)
    first, _, last = critic.layers
    raw = torch.cat([sample, conditions(9).double()], 1) @ first.weight.T + first.bias
    hidden = torch.where(raw > 0, raw, 0.3 * raw)
    expected = hidden @ last.weight[0] + last.bias
    torch.testing.assert_close(critic(sample, conditions(9).double()), expected)


@every_generator
@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_generator_gives_rows_as_the_codec_writes_them(spec, count):
    before = torch.get_rng_state()
    rows = generator_of(spec)(conditions(count), seeded(1))
    assert rows.shape == (count, WIDTH) and rows.isfinite().all()
    for block in BLOCKS:
        if block.kind == "choice":
            part = rows[:, block.start : block.stop]
            assert (part >= 0).all()
            torch.testing.assert_close(part.sum(1), torch.ones(count))
    assert torch.equal(torch.get_rng_state(), before)


@every_generator
def test_rows_depend_on_their_own_condition_and_on_rng_alone(spec):
    generator = generator_of(spec)
    condition = conditions(9)
    rows = generator(condition, seeded(4))
    assert torch.equal(generator(condition, seeded(4)), rows)
    assert not torch.allclose(generator(condition, seeded(5)), rows)
    changed = condition.clone()
    changed[3] = condition[3].roll(1)
    other = generator(changed, seeded(4))
    same = torch.arange(9) != 3
    torch.testing.assert_close(other[same], rows[same])
    assert not torch.allclose(other[3], rows[3])


def test_numbers_pass_and_gated_ones_shrink_with_their_gate():
    raw = torch.randn(20, WIDTH, generator=seeded(6))
    rows = Head(BLOCKS, 0.5)(raw, seeded(7))
    assert torch.equal(rows[:, [4, 7]], raw[:, [4, 7]])
    torch.testing.assert_close(rows[:, 0], raw[:, 0] * rows[:, 1])
    assert not torch.allclose(rows[:, 0], raw[:, 0])


def test_rows_of_numbers_pass_as_they_are_and_draw_nothing():
    raw = torch.randn(5, 2, generator=seeded(8))
    rng = seeded(9)
    state = rng.get_state()
    rows = Head((Block(0, 1, "value"), Block(1, 2, "value")), 0.5)(raw, rng)
    assert torch.equal(rows, raw) and torch.equal(rng.get_state(), state)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 2.0])
def test_the_largest_entry_follows_the_softmax_of_the_outputs(temperature):
    logits = torch.tensor([1.0, -0.5, 0.3])
    head = Head((Block(0, 3, "choice"),), temperature)
    largest = head(logits.expand(20_000, 3), seeded(10)).argmax(1)
    counts = np.bincount(largest.numpy(), minlength=3)
    expected = 20_000 * torch.softmax(logits.double(), 0).numpy()
    assert chisquare(counts, expected).pvalue > 0.01
    # The test has the power to tell: flat outputs would not pass.
    assert chisquare(counts).pvalue < 1e-9


def test_temperature_makes_choices_hard_or_soft():
    raw = torch.randn(200, 3, generator=seeded(11))
    blocks = (Block(0, 3, "choice"),)
    hard, soft = (Head(blocks, t)(raw, seeded(12)).max(1).values for t in (1e-3, 1e3))
    assert (hard > 0.99).float().mean() > 0.95 and (soft < 0.35).all()


@pytest.mark.parametrize("drawn", [0.0, 1 - 2**-24])
def test_extreme_draws_and_outputs_stay_finite(drawn, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda size, **_: torch.full(size, drawn))
    raw = torch.tensor([[1e4, 1e4, -1e4, 0.0, 3.0, -1e4, 1e4, 1.0]], requires_grad=True)
    rows = Head(BLOCKS, 0.2)(raw, seeded(0))
    rows.sum().backward()
    assert rows.isfinite().all() and raw.grad.isfinite().all()


def test_gradients_reach_the_gate():
    raw = torch.zeros(1, WIDTH, requires_grad=True)
    raw.data[0, 0] = 2.0
    Head(BLOCKS, 1.0)(raw, seeded(13))[0, 0].backward()
    assert raw.grad[0, 0] > 0 and raw.grad[0, 1] > 0 and raw.grad[0, 2] < 0


CHANGED = Recipe(
    generator=SkipGeneratorSpec((3,), noise=2, temperature=0.7),
    critic=MLPCriticSpec((), slope=0.1),
    penalties=(GradientPenalty(1.5, 0.5, True, "first"), GradientPenalty(weight=2)),
    generator_adam=Adam(1e-3, 0.0, 0.99, 1e-6),
    critic_adam=Adam(2e-3),
    averaging=0.25,
)


@pytest.mark.parametrize("recipe", [Recipe(), CHANGED, Recipe(penalties=())])
def test_a_recipe_comes_back_from_json(recipe):
    back = Recipe.from_json(recipe.to_json())
    assert back == recipe and hash(back) == hash(recipe)
    # JSON with other white space, as run directories hold it, is the same recipe.
    assert Recipe.from_json(json.dumps(json.loads(recipe.to_json()), indent=2)) == recipe


def test_a_recipe_with_other_fields_is_refused():
    good = json.loads(CHANGED.to_json())
    without = {k: v for k, v in good.items() if k != "averaging"}
    bad = [
        good | {"averagin": 0.1},
        without,
        good | {"critic": good["critic"] | {"norm": "spectral"}},
        good | {"critic": {"hidden": ["wide"], "slope": 0.1}},
        good | {"averaging": None},
        [],
    ]
    for value in bad:
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(json.dumps(value))
    for text in ("", "{", "\x00"):
        with pytest.raises(StateError, match="not a recipe of this version"):
            Recipe.from_json(text)
    with pytest.raises(StateError, match=r"critic\.hidden\.0"):
        Recipe.from_json(json.dumps(bad[3]))
