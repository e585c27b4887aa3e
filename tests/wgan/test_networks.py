"""Critics and generators: what each gives, what it depends on, how it is written down."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy.stats import chisquare
from torch import nn

from everymode.wgan.committee import subsets
from everymode.wgan.critics import (
    CommitteeSpec,
    ConvCriticSpec,
    CriticSpec,
    MLPCriticSpec,
    MultipliersSpec,
)
from everymode.wgan.errors import SettingsError
from everymode.wgan.generators import (
    ConvGeneratorSpec,
    GeneratorSpec,
    Head,
    MLPGeneratorSpec,
    SkipGeneratorSpec,
    table_generator,
)
from everymode.wgan.shape import Block, Shape

# A number with a gate, its states, a number without one, a category, a number at the end.
BLOCKS = (
    Block(0, 1, "value", gate=1),
    Block(1, 4, "choice"),
    Block(4, 5, "value"),
    Block(5, 7, "choice"),
    Block(7, 8, "value"),
)
WIDTH, CONDITION = 8, 3
PLAIN = Shape((), WIDTH, CONDITION)
TABLE = Shape(BLOCKS, WIDTH, CONDITION)
IMAGE = Shape((), 2 * 8 * 9, CONDITION, sample=(2, 8, 9))

MLP_CRITICS = [
    MLPCriticSpec(()),
    MLPCriticSpec((8,)),
    MLPCriticSpec((8, 5), slope=0.0),
    MLPCriticSpec((8, 5), activation="tanh", conditioning="projection"),
    MLPCriticSpec((8,), activation="relu", norm="layer"),
    MLPCriticSpec((8, 16), norm="group"),
    MLPCriticSpec((8,), norm="batch", conditioning="projection"),
    CommitteeSpec(MLPCriticSpec((8,)), members=3, share=0.4, seed=1),
    CommitteeSpec(MLPCriticSpec((8,), norm="batch", conditioning="projection"), members=2),
    MultipliersSpec(MLPCriticSpec((8,)), (0.5, 1.0, 3.0)),
    MultipliersSpec(MultipliersSpec(CommitteeSpec(MLPCriticSpec((6,), norm="batch")))),
]
CONV_CRITICS = [
    ConvCriticSpec((4,)),
    ConvCriticSpec((4, 8), norm="layer", conditioning="projection"),
    ConvCriticSpec((4, 8), norm="instance", activation="relu"),
    ConvCriticSpec((4, 8, 8), norm="group", activation="tanh"),
    ConvCriticSpec((4, 8), norm="batch"),
    MultipliersSpec(ConvCriticSpec((4, 4))),
]
MLP_GENERATORS = [
    *(SkipGeneratorSpec(h, noise=4) for h in ((), (8,), (8, 5))),
    *(MLPGeneratorSpec(h, noise=4) for h in ((), (8,), (8, 5))),
    MLPGeneratorSpec((8,), noise=4, activation="leaky_relu", norm="layer"),
    MLPGeneratorSpec((8, 16), noise=4, activation="tanh", norm="group"),
    MLPGeneratorSpec((8,), noise=4, norm="batch"),
]
CONV_GENERATORS = [
    ConvGeneratorSpec((4,), noise=4, output="linear"),
    ConvGeneratorSpec((8, 4), noise=4, norm="layer"),
    ConvGeneratorSpec((8, 4), noise=4, norm="instance"),
    ConvGeneratorSpec((8, 4, 4), noise=4, norm="group"),
    ConvGeneratorSpec((8, 4), noise=4, norm="batch"),
]
ROWS, IMAGES = (PLAIN, TABLE, IMAGE), (IMAGE,)


def contract(of_rows, of_images):
    """A mark for a test that every spec must pass on every shape that it can take."""
    pairs = [*itertools.product(of_rows, ROWS), *itertools.product(of_images, IMAGES)]
    names = {id(PLAIN): "plain", id(TABLE): "table", id(IMAGE): "image"}
    ids = [f"{names[id(shape)]}-{spec}" for spec, shape in pairs]
    return pytest.mark.parametrize(("spec", "shape"), pairs, ids=ids)


every_critic = contract(MLP_CRITICS, CONV_CRITICS)
every_generator = contract(MLP_GENERATORS, CONV_GENERATORS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def built(spec, shape=TABLE, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(shape)


def conditions(count, seed=0):
    kinds = torch.randint(CONDITION, (count,), generator=seeded(seed))
    return nn.functional.one_hot(kinds, CONDITION).float()


def samples(count, shape=TABLE, seed=1):
    return torch.randn(count, shape.width, generator=seeded(seed))


def pair(count, shape, seed=2):
    """Samples and conditions in double precision."""
    return samples(count, shape, seed).double(), conditions(count).double()


@every_critic
@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_critic_gives_one_score_a_row(spec, shape, count):
    critic, sample = built(spec, shape), samples(count, shape)
    before = torch.get_rng_state()
    scores = critic(sample, conditions(count))
    assert scores.shape == (count,) and scores.isfinite().all()
    assert torch.equal(torch.get_rng_state(), before)


@every_critic
def test_scores_go_where_the_rows_go_and_look_at_the_condition(spec, shape):
    critic = built(spec, shape).double()
    sample, condition = pair(9, shape)
    scores, order = critic(sample, condition), torch.randperm(9, generator=seeded(3))
    again = critic(sample[order], condition[order])
    torch.testing.assert_close(again, scores[order], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(critic(sample, condition.roll(1, 1)), scores)


@every_critic
def test_a_critic_looks_at_one_row_at_a_time_unless_it_says_otherwise(spec, shape):
    critic = built(spec, shape).double()
    sample, condition = pair(9, shape)
    changed = torch.cat([sample[:1], 5 * sample[1:] + 1])
    # Slopes are compared, too: in one unit, batch norm may give a linear score no other value.
    results = []
    for rows in (sample, changed):
        rows = rows.clone().requires_grad_(True)
        scores = critic(rows, condition)
        (slope,) = torch.autograd.grad(scores[0], rows)
        results.append(torch.cat([scores[:1], slope[0]]).detach())
        assert slope[1:].any() == spec.batch_statistics
    assert torch.allclose(*results, rtol=1e-9, atol=1e-9) != spec.batch_statistics
    if not spec.batch_statistics:
        single = [critic(sample[i : i + 1], condition[i : i + 1])[0] for i in range(9)]
        torch.testing.assert_close(
            critic(sample, condition), torch.stack(single), rtol=1e-12, atol=1e-12
        )


@every_critic
def test_the_square_of_a_critics_slope_has_finite_gradients(spec, shape):
    critic = built(spec, shape)
    sample = samples(6, shape).requires_grad_(True)
    scores = critic(sample, conditions(6))
    (slope,) = torch.autograd.grad(scores.sum(), sample, create_graph=True)
    slope.square().sum(1).mean().backward()
    gradients = [p.grad for p in critic.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients) and any(g.any() for g in gradients)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (MLPCriticSpec((4,), activation="tanh", norm="layer", conditioning="projection"), TABLE),
        (MLPCriticSpec((4,), activation="tanh", norm="batch"), TABLE),
        (MultipliersSpec(CommitteeSpec(MLPCriticSpec((3,), activation="tanh"))), TABLE),
        (ConvCriticSpec((2, 4), activation="tanh", norm="instance"), IMAGE),
        (ConvCriticSpec((2, 4), activation="tanh", norm="batch"), IMAGE),
    ],
    ids=repr,
)
def test_the_gradient_of_the_slope_equals_a_finite_difference(spec, shape):
    critic = built(spec, shape).double()
    sample, condition = pair(4, shape)
    parameters = list(critic.parameters())
    rng = seeded(4)
    along = [torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in parameters]

    def cost(step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, along, strict=True):
                parameter += step * direction
        rows = sample.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(critic(rows, condition).sum(), rows, create_graph=True)
        return (slope.square().sum(1) + 1e-3).sqrt().sum()

    gradients = torch.autograd.grad(cost(0.0), parameters, allow_unused=True)
    exact = sum((g * d).sum() for g, d in zip(gradients, along, strict=True) if g is not None)
    above, below = cost(1e-5).item(), cost(-2e-5).item()
    assert (above - below) / 2e-5 == pytest.approx(exact.item(), rel=1e-5, abs=1e-7)


@contract([*MLP_CRITICS, *MLP_GENERATORS], [*CONV_CRITICS, *CONV_GENERATORS])
def test_first_weights_follow_the_seed_and_networks_have_one_mode(spec, shape):
    one, same, other = (built(spec, shape, seed) for seed in (5, 5, 6))
    weights = [torch.cat([p.flatten() for p in n.parameters()]) for n in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    # What a state dict holds is what an optimizer moves.
    assert set(one.state_dict()) == {name for name, _ in one.named_parameters()}
    networks = [one.train(), same.eval()]
    if hasattr(one, "noise"):
        outputs = [n(conditions(5), seeded(7)) for n in networks]
    else:
        outputs = [n(samples(5, shape), conditions(5)) for n in networks]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("shape", ROWS)
def test_the_default_critic_is_the_plain_network(shape):
    # Not to be broken: results of earlier versions rest on these weights.
    torch_rng = torch.get_rng_state()
    critic = built(MLPCriticSpec(), shape, seed=8)
    assert torch.equal(torch.get_rng_state(), torch_rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        plain = nn.Sequential(
            nn.Linear(shape.width + CONDITION, 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 256),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 1),
        )
    sample, condition = samples(9, shape), conditions(9)
    expected = plain(torch.cat([sample, condition], 1)).squeeze(1)
    assert torch.equal(critic(sample, condition), expected)
    for ours, theirs in zip(critic.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_critic_is_what_its_layers_say():
    critic = built(MLPCriticSpec((5,), slope=0.3)).double()
    sample, condition = pair(9, TABLE, seed=3)
    first, last = critic.features[0], critic.readout.linear
    raw = torch.cat([sample, condition], 1) @ first.weight.T + first.bias
    hidden = torch.where(raw > 0, raw, 0.3 * raw)
    torch.testing.assert_close(critic(sample, condition), hidden @ last.weight[0] + last.bias)


def test_projection_multiplies_the_condition_into_the_features():
    critic = built(MLPCriticSpec((5,), activation="tanh", conditioning="projection")).double()
    sample, condition = pair(9, TABLE)
    first, last, v = critic.features[0], critic.readout.linear, critic.readout.projection.weight
    assert first.in_features == WIDTH and v.shape == (5, CONDITION)
    for row, given, score in zip(sample, condition, critic(sample, condition), strict=True):
        hidden = (first.weight @ row + first.bias).tanh()
        expected = last.weight[0] @ hidden + last.bias[0] + (v @ given) @ hidden
        torch.testing.assert_close(score, expected)


@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_without_a_condition_there_is_none_to_see(conditioning):
    shape = Shape((), 64, 0, sample=(1, 8, 8))
    for spec in (MLPCriticSpec((4,), conditioning=conditioning), ConvCriticSpec((4,))):
        for wrapped in (spec, MultipliersSpec(spec)):
            critic = built(wrapped, shape)
            assert critic(samples(3, shape), torch.empty(3, 0)).shape == (3,)


def test_concatenated_conditions_are_constant_planes():
    critic = built(ConvCriticSpec((4,), slope=0.3), IMAGE).double()
    sample, condition = pair(3, IMAGE)
    planes = torch.zeros(3, CONDITION, 8, 9, dtype=torch.float64)
    planes[range(3), condition.argmax(1)] = 1
    seen = torch.cat([sample.reshape(3, 2, 8, 9), planes], 1)
    stage, last = critic.features[0], critic.readout.linear
    maps = nn.functional.conv2d(seen, stage.weight, stage.bias, stride=2, padding=1)
    hidden = torch.where(maps > 0, maps, 0.3 * maps).reshape(3, -1)
    torch.testing.assert_close(critic(sample, condition), hidden @ last.weight[0] + last.bias)


def test_the_stage_next_to_the_image_is_not_normalised_and_the_others_are_before_bending():
    critic = built(ConvCriticSpec((4, 8), norm="layer", activation="tanh"), IMAGE).double()
    sample, condition = pair(3, IMAGE)
    planes = condition[:, :, None, None] * torch.ones(8, 9, dtype=torch.float64)
    maps = torch.cat([sample.reshape(3, 2, 8, 9), planes], 1)
    first, second = (layer for layer in critic.features if isinstance(layer, nn.Conv2d))
    maps = second(first(maps).tanh())
    maps = nn.functional.layer_norm(maps, maps.shape[1:]).tanh()
    expected = critic.readout.linear(maps.flatten(1)).squeeze(1)
    torch.testing.assert_close(critic(sample, condition), expected)


def test_a_critic_of_rows_is_normalised_before_bending():
    critic = built(MLPCriticSpec((5,), norm="layer", activation="tanh")).double()
    sample, condition = pair(9, TABLE)
    raw = critic.features[0](torch.cat([sample, condition], 1))
    expected = critic.readout.linear(nn.functional.layer_norm(raw, (5,)).tanh()).squeeze(1)
    torch.testing.assert_close(critic(sample, condition), expected)


@pytest.mark.parametrize(
    ("size", "last"), [((8, 8), (2, 2)), ((28, 28), (7, 7)), ((12, 20), (3, 5)), ((5, 7), (1, 1))]
)
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_images_of_any_size_go_through_convolutions(size, last, norm):
    shape = Shape((), 3 * math.prod(size), CONDITION, sample=(3, *size))
    critic = built(ConvCriticSpec(norm=norm), shape)
    assert critic.readout.linear.in_features == 64 * math.prod(last)
    generator = built(ConvGeneratorSpec(norm=norm), shape)
    made = generator(conditions(4), seeded(1))
    assert made.shape == (4, shape.width) and (made.abs() < 1).all()
    assert critic(made, conditions(4)).shape == (4,)
    # Every pixel is made of something: none is padding.
    assert (made.std(0) > 0).all()


def test_a_packed_shape_fits_the_critics():
    for spec, shape in [(MLPCriticSpec((4,)), TABLE), (ConvCriticSpec((4,)), IMAGE)]:
        critic = built(spec, shape.packed(2))
        assert critic(torch.ones(3, 2 * shape.width), torch.ones(3, 6)).shape == (3,)


COLUMNS = [{0, 1, 2, 3}, {4}, {5, 6}, {7}]


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("members", [1, 2, 3, 9])
@pytest.mark.parametrize("blocks", [BLOCKS, ()], ids=["table", "plain"])
def test_members_see_whole_columns_and_all_of_them_between_them(blocks, members, share):
    columns = COLUMNS if blocks else [{value} for value in range(WIDTH)]
    wanted = max(math.ceil(share * len(columns)), math.ceil(len(columns) / members))
    for seed in range(5):
        parts = subsets(blocks, WIDTH, members, share, seeded(seed))
        assert len(parts) == members and set().union(*parts) == set(range(WIDTH))
        for part in parts:
            assert part == sorted(set(part))
            inside = [column for column in columns if column & set(part)]
            assert all(column <= set(part) for column in inside) and len(inside) == wanted


def test_columns_are_drawn_alike():
    seen = np.zeros(WIDTH)
    for seed in range(500):
        for part in subsets((), WIDTH, 3, 0.5, seeded(seed)):
            seen[part] += 1
    # 3 members of 4 columns; the draws of a committee are negatively correlated at most.
    assert chisquare(seen).pvalue > 0.01 and seen.sum() == 500 * 3 * 4


def test_a_committee_scores_the_mean_of_its_members():
    spec = CommitteeSpec(MLPCriticSpec((5,)), members=3, share=0.5, seed=2)
    critic = built(spec).double()
    sample, condition = pair(9, TABLE)
    members = critic.members(sample, condition)
    assert members.shape == (9, 3) and not torch.allclose(members[:, 0], members[:, 1])
    torch.testing.assert_close(critic(sample, condition), members.mean(1))
    parts = subsets(BLOCKS, WIDTH, 3, 0.5, seeded(2))
    for index, part in enumerate(parts):
        changed = sample.clone()
        changed[:, [i for i in range(WIDTH) if i not in part]] += 10
        after = critic.members(changed, condition)
        torch.testing.assert_close(after[:, index], members[:, index], rtol=0, atol=0)
        expected = critic.critics[index](sample[:, part], condition)
        torch.testing.assert_close(members[:, index], expected)


def test_the_columns_of_a_committee_follow_its_own_seed():
    def parts(spec, seed):
        buffers = dict(built(spec, PLAIN, seed).named_buffers())
        return [buffers[f"subset_{i}"].tolist() for i in range(4)]

    assert parts(CommitteeSpec(seed=3), 0) == parts(CommitteeSpec(seed=3), 1)
    assert parts(CommitteeSpec(seed=3), 0) != parts(CommitteeSpec(seed=4), 0)


def test_multipliers_stretch_the_scores_of_their_condition():
    start = (0.5, 1.0, 3.0)
    critic = built(MultipliersSpec(MLPCriticSpec((5,)), start)).double()
    sample, condition = pair(9, TABLE)
    plain = critic.critic(sample, condition)
    factors = torch.tensor(start, dtype=torch.float64)[condition.argmax(1)]
    torch.testing.assert_close(critic(sample, condition), factors * plain, rtol=1e-6, atol=0)
    # With mixed conditions the multipliers of both entries count.
    both = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    factor = critic(sample[:1], both) / critic.critic(sample[:1], both)
    assert factor.item() == pytest.approx(1.5, rel=1e-6)
    # However far a step goes, they stay positive, and their gradient is their condition's alone.
    with torch.no_grad():
        critic.logarithms.sub_(50.0)
    assert torch.equal(critic(sample, condition).sign(), plain.sign())
    alone = condition.argmax(1) == 1
    critic(sample[alone], condition[alone]).sum().backward()
    assert (critic.logarithms.grad != 0).tolist() == [False, True, False]


def test_multipliers_start_at_one():
    critic = built(MultipliersSpec(MLPCriticSpec((5,))))
    sample, condition = samples(9), conditions(9)
    assert torch.equal(critic(sample, condition), critic.critic(sample, condition))
    assert torch.equal(critic(sample, condition), built(MLPCriticSpec((5,)))(sample, condition))


@pytest.mark.parametrize(
    ("spec", "normalised", "batch", "activations"),
    [
        (MLPCriticSpec(), False, False, {"leaky_relu"}),
        (MLPCriticSpec((), norm="batch"), False, False, set()),
        (MLPCriticSpec(norm="layer", activation="tanh"), True, False, {"tanh"}),
        (ConvCriticSpec(norm="batch", activation="relu"), True, True, {"relu"}),
        (MultipliersSpec(CommitteeSpec(MLPCriticSpec(norm="batch"))), True, True, {"leaky_relu"}),
        (CommitteeSpec(MLPCriticSpec(norm="group")), True, False, {"leaky_relu"}),
    ],
    ids=repr,
)
def test_specs_tell_what_is_inside_them(spec, normalised, batch, activations):
    assert (spec.normalised, spec.batch_statistics) == (normalised, batch)
    assert spec.activations == activations and isinstance(spec.activations, frozenset)


@every_generator
@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_generator_gives_rows_as_the_codec_writes_them(spec, shape, count):
    generator = built(spec, shape)
    before = torch.get_rng_state()
    rows = generator(conditions(count), seeded(1))
    assert rows.shape == (count, shape.width) and rows.isfinite().all()
    for block in shape.blocks:
        if block.kind == "choice":
            part = rows[:, block.start : block.stop]
            assert (part >= 0).all()
            torch.testing.assert_close(part.sum(1), torch.ones(count))
    assert torch.equal(torch.get_rng_state(), before)


@every_generator
def test_rows_depend_on_their_own_condition_and_on_rng_alone(spec, shape):
    generator = built(spec, shape)
    condition = conditions(9)
    rows = generator(condition, seeded(4))
    assert torch.equal(generator(condition, seeded(4)), rows)
    assert not torch.allclose(generator(condition, seeded(5)), rows)
    changed = condition.clone()
    changed[3] = condition[3].roll(1)
    other = generator(changed, seeded(4))
    same = torch.arange(9) != 3
    # With batch norm, as the spec says, the other rows change with one.
    assert torch.allclose(other[same], rows[same], rtol=1e-4, atol=1e-6) != spec.batch_statistics
    assert not torch.allclose(other[3], rows[3])


@every_generator
def test_noise_can_be_told(spec, shape):
    generator, condition, rng = built(spec, shape), conditions(9), seeded(6)
    assert generator.noise == spec.noise == 4
    noise = torch.randn(9, 4, generator=rng)
    # What `forward` draws, in the order in which it draws.
    rows = generator.from_noise(noise, condition, rng)
    assert torch.equal(rows, generator(condition, seeded(6)))
    other = generator.from_noise(-noise, condition, seeded(7))
    assert not torch.allclose(other, generator.from_noise(noise, condition, seeded(7)))


@every_generator
def test_gradients_reach_every_weight_of_a_generator(spec, shape):
    generator = built(spec, shape)
    weights = torch.randn(shape.width, generator=seeded(8))
    (generator(conditions(9), seeded(1)) @ weights).sum().backward()
    for parameter in generator.parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any()


@pytest.mark.parametrize("shape", ROWS)
def test_the_default_generator_is_the_network_with_skips(shape):
    # Not to be broken: results of earlier versions rest on these weights and draws.
    generator = built(SkipGeneratorSpec(), shape, seed=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        plain = [
            nn.Sequential(nn.Linear(131, 256), nn.LayerNorm(256), nn.ReLU()),
            nn.Sequential(nn.Linear(387, 256), nn.LayerNorm(256), nn.ReLU()),
            nn.Linear(643, shape.width),
        ]
    condition, rng = conditions(9), seeded(9)
    values = torch.cat([torch.randn(9, 128, generator=rng), condition], 1)
    for layer in plain[:2]:
        values = torch.cat([layer(values), values], 1)
    expected = Head(shape.blocks, 0.2)(plain[2](values), rng)
    assert torch.equal(generator(condition, seeded(9)), expected)


def test_a_plain_generator_is_what_its_layers_say():
    generator = built(MLPGeneratorSpec((5,), noise=4, norm="layer"), PLAIN)
    first, norm, _, last = generator.layers
    noise, condition = torch.randn(9, 4, generator=seeded(1)), conditions(9)
    hidden = norm(torch.cat([noise, condition], 1) @ first.weight.T + first.bias).clamp_min(0)
    rows = generator.from_noise(noise, condition, seeded(2))
    torch.testing.assert_close(rows, hidden @ last.weight.T + last.bias)


def test_images_are_cut_from_the_middle():
    shape = Shape((), 5 * 7, CONDITION, sample=(1, 5, 7))
    generator = built(ConvGeneratorSpec((4, 4), noise=4, output="linear"), shape)
    noise, condition = torch.randn(2, 4, generator=seeded(1)), conditions(2)
    whole = generator.layers(torch.cat([noise, condition], 1))
    assert whole.shape == (2, 1, 8, 8)
    rows = generator.from_noise(noise, condition, seeded(2))
    assert torch.equal(rows.reshape(2, 5, 7), whole[:, 0, 1:6, 0:7])


@pytest.mark.parametrize("spec", [*MLP_CRITICS, *CONV_CRITICS], ids=repr)
def test_a_critic_comes_back_from_json(spec):
    adapter = TypeAdapter(CriticSpec)
    back = adapter.validate_json(adapter.dump_json(spec))
    assert back == spec and type(back) is type(spec) and hash(back) == hash(spec)


@pytest.mark.parametrize("spec", [*MLP_GENERATORS, *CONV_GENERATORS], ids=repr)
def test_a_generator_comes_back_from_json(spec):
    adapter = TypeAdapter(GeneratorSpec)
    back = adapter.validate_json(adapter.dump_json(spec))
    assert back == spec and type(back) is type(spec) and hash(back) == hash(spec)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"kind": "transformer"}, r"does not match any of the expected tags"),
        ({"of": {"kind": "mlp", "hidden": ["wide"]}}, r"of\.mlp\.hidden\.0"),
        ({"of": {"kind": "mlp", "norm": "instance"}}, r"of\.mlp\.norm"),
        ({"of": {"kind": "committee", "member": {"kind": "skip"}}}, r"of\.committee\.member"),
    ],
)
def test_json_of_no_critic_is_refused_where_it_is_wrong(change, place):
    text = json.dumps({"kind": "multipliers", "start": []} | change)
    with pytest.raises(ValidationError, match=place):
        TypeAdapter(CriticSpec).validate_json(text)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (MLPCriticSpec((8, 0)), TABLE, r"^hidden = \[8, 0\]: .* each 1 or more$"),
        (MLPCriticSpec(norm="instance"), TABLE, '^norm = "instance": .* write norm = "layer"$'),
        (MLPCriticSpec(activation="gelu"), TABLE, '^activation = "gelu": unknown; write one of'),
        (MLPCriticSpec(conditioning="film"), TABLE, '"film": .*write "concat" or "projection"$'),
        (ConvCriticSpec(), TABLE, r'expected images, .*, got rows .*; write kind = "mlp"$'),
        (ConvCriticSpec((8,) * 4), IMAGE, "^channels = .* 1 to 3 stages, .* 8 x 9; write"),
        (ConvCriticSpec((8,), norm="layer"), IMAGE, '^norm = "layer": .* second entry of chan'),
        (ConvCriticSpec((8,) * 3, norm="instance"), IMAGE, '^norm = "instance": .* write norm'),
        (CommitteeSpec(ConvCriticSpec()), IMAGE, '^member.kind = "conv": .*member.kind = "mlp"$'),
        (CommitteeSpec(CommitteeSpec()), TABLE, '^member.kind = "committee": '),
        (CommitteeSpec(members=0), TABLE, "^members = 0: expected critics; write 1 or more$"),
        (CommitteeSpec(share=0.0), TABLE, "^share = 0.0: .* write above 0 to 1$"),
        (CommitteeSpec(share=math.nan), TABLE, "^share = nan: "),
        (CommitteeSpec(MLPCriticSpec(norm="instance")), TABLE, '^norm = "instance": '),
        (MultipliersSpec(start=(1.0,)), TABLE, "^start: 1 multipliers, expected 3, .* write"),
        (MultipliersSpec(start=(1.0, 0.0, 1.0)), TABLE, "^start = .*: expected .* above 0; wr"),
        (SkipGeneratorSpec((0,)), TABLE, r"^hidden = \[0\]"),
        (SkipGeneratorSpec(temperature=0.0), TABLE, "^temperature = 0.0: expected above 0; write"),
        (MLPGeneratorSpec(noise=0), TABLE, "^noise = 0: expected a length; write 1 or more$"),
        (MLPGeneratorSpec(norm="instance"), TABLE, '^norm = "instance": .* write norm = "layer"$'),
        (ConvGeneratorSpec(), PLAIN, r'expected images, .*, got rows .*; write kind = "mlp"$'),
        (ConvGeneratorSpec((8,) * 4), IMAGE, "^channels = .* 1 to 3 stages, .* 8 x 9; write"),
        (ConvGeneratorSpec(output="relu"), IMAGE, '^output = "relu": .* "tanh" or "linear"$'),
        (
            ConvGeneratorSpec((8,)),
            Shape((Block(0, 16, "choice"),), 16, 3, sample=(1, 4, 4)),
            'got categories; write kind = "mlp" or "skip"$',
        ),
    ],
    ids=repr,
)
def test_specs_that_cannot_be_built_say_what_to_write(spec, shape, message):
    with pytest.raises(SettingsError, match=message):
        built(spec, shape)


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


def test_rows_are_calibrated_and_projected_by_a_protocol_not_a_class():
    shape = Shape((Block(0, 1, "value"), Block(1, 3, "choice")), 3, 2)
    skip = SkipGeneratorSpec((4,), noise=2).build(shape)
    assert table_generator(skip) is skip
    rows = torch.tensor([[0.5, 0.3, 0.7]])
    assert skip.chosen(rows).tolist() == [[0.5, 0.0, 1.0]]
    with pytest.raises(SettingsError, match=r'MLPGenerator shows no raw outputs.*kind = "skip"'):
        table_generator(MLPGeneratorSpec((4,)).build(shape))
