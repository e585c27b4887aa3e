"""The contract of the parts: whatever goes together keeps the rules, the rest is refused in words.

Covered, each as a full product:

- 4 objectives x 16 constraints x 6 augmentations, with one network, on table rows;
- 2 objectives x 6 constraints x 4 augmentations, with one convolutional network, on images;
- 16 critics x 6 codecs x 6 constraints, with the Wasserstein objective;
- 3 codecs x 16 constraints with packs of 2;

and the product of everything (all norms x activations x conditionings of the fully connected
critic, generators, optimizers, strengths, packs too) by random samples.

A combination either is refused by `Players(...)`, in sentences that name the part and say what to
write instead (how many, and for which reason, is written down below), or it goes through
`keeps_the_rules`.
"""

import contextlib
import itertools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from everymode.wgan.augmentations import (
    Diffusion,
    ImageAugmentation,
    InstanceNoise,
    TableAugmentation,
)
from everymode.wgan.critics import CommitteeSpec, ConvCriticSpec, MLPCriticSpec, MultipliersSpec
from everymode.wgan.data.arrays import ArrayCodec
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.whitening import Whitened, Whitening, second_moments
from everymode.wgan.errors import SettingsError
from everymode.wgan.generators import ConvGeneratorSpec, MLPGeneratorSpec, SkipGeneratorSpec
from everymode.wgan.lipschitz import Clipping, Penalised, SpectralNorm, Unconstrained
from everymode.wgan.objectives import Hinge, JensenShannon, Wasserstein
from everymode.wgan.optimizers import SGD, Adam, RMSprop
from everymode.wgan.penalties import ConditionPenalty, Drift, GradientPenalty
from everymode.wgan.players import Batch, Players
from everymode.wgan.points import Fake, Interpolates, Manifold, Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape
from everymode.wgan.state import read_tensors, write_tensors
from everymode.wgan.strength import Adaptive, Constant, Decay

ROWS, CONDITION = 8, 3

OBJECTIVES = {
    "wasserstein": Wasserstein(),
    "jensen_shannon": JensenShannon(),
    "saturating": JensenShannon(saturating=True),
    "hinge": Hinge(),
}
GP = GradientPenalty()
CONSTRAINTS = {
    "mixed": Penalised(),
    "real": Penalised((GradientPenalty(5.0, 0.0, points=Real()),)),
    "fake": Penalised((GradientPenalty(points=Fake()),)),
    "manifold": Penalised((GradientPenalty(points=Manifold(2, 3)),)),
    "one_sided": Penalised((GradientPenalty(one_sided=True),)),
    "lazy": Penalised((GradientPenalty(every=3),)),
    "per_condition": Penalised((GradientPenalty(per_condition=True),)),
    "class_weights": Penalised((GradientPenalty(class_weights=(1.0, 2.0, 0.5)),)),
    "condition": Penalised((GP, ConditionPenalty())),
    "condition_alone": Penalised((ConditionPenalty(),)),
    "drift": Penalised((GP, Drift())),
    "drift_alone": Unconstrained((Drift(),)),
    "clipping": Clipping(0.05),
    "spectral_norm": SpectralNorm(),
    "spectral_norm_and_drift": SpectralNorm(2, (Drift(),)),
    "none": Unconstrained(),
}
FEW = ("mixed", "manifold", "condition", "clipping", "spectral_norm", "none")
AUGMENTATIONS = {
    "none": (),
    "noise": (InstanceNoise(0.3),),
    "diffusion": (Diffusion(20),),
    "table": (TableAugmentation(scale=0.2),),
    "image": (ImageAugmentation(),),
    "turned": (ImageAugmentation(rotate=True),),
}
CRITICS = {
    "mlp": MLPCriticSpec((6,)),
    "linear": MLPCriticSpec(()),
    "tanh": MLPCriticSpec((6,), activation="tanh", conditioning="projection"),
    "relu": MLPCriticSpec((6, 5), activation="relu"),
    "layer": MLPCriticSpec((6,), norm="layer"),
    "group": MLPCriticSpec((8,), norm="group", conditioning="projection"),
    "batch": MLPCriticSpec((6,), norm="batch"),
    "conv": ConvCriticSpec((3,)),
    "conv_projection": ConvCriticSpec((3,), conditioning="projection", activation="tanh"),
    "conv_instance": ConvCriticSpec((2, 3), norm="instance"),
    "conv_layer": ConvCriticSpec((2, 4), norm="layer"),
    "conv_batch": ConvCriticSpec((2, 3), norm="batch"),
    "committee": CommitteeSpec(MLPCriticSpec((4,)), members=2),
    "committee_of_conv": CommitteeSpec(ConvCriticSpec((3,)), members=2),
    "multipliers": MultipliersSpec(MLPCriticSpec((4,))),
    "multipliers_of_conv": MultipliersSpec(ConvCriticSpec((3,))),
}
ROWS_GENERATOR = SkipGeneratorSpec((6,), noise=3)
IMAGE_GENERATOR = ConvGeneratorSpec((3,), noise=3, output="linear")

REASONS = {
    "slope of a batch": r"norm = 'batch'.*write norm = 'layer'",
    "no bottom": r"Wasserstein objective without a constraint.*add a gradient penalty",
    "normalised": r"spectral_norm with a normalised critic.*write norm = 'none'",
    "multiplied": r"spectral_norm with class multipliers.*take the critic without them",
    "clipped": r"clipping with class multipliers.*take the critic without them",
    "sign": r"follows the sign of scores under the Wasserstein.*write statistic = 'held_out'",
    "no condition": r"condition_penalty: there is no condition.*leave it out",
    "class weights": r"gradient_penalty: \d+ class weights for .* length \d+; expected one",
    "no images to augment": r'image_augmentation: expected images.*write kind = "table_aug',
    "no square": r"rotate expects square images.*write rotate = false",
    "no images": r'kind = "conv": expected images.*write kind = "mlp"',
    "members": r'member\.kind = "conv".*write member\.kind = "mlp"',
    "one stage": r'norm = "\w+": the stage next to the image is not.*write norm = "none"',
    "small": r'norm = "instance".*smallest has one; write norm = "layer"',
    "vector": r'norm = "instance": .*a vector has none; write norm = "layer"',
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def codecs():
    """Of every codec, the shape and `ROWS` encoded rows."""
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(40, 4)) * [1, 5, 2, 1] + 3
    points = ArrayCodec.fit(cloud)
    whitened = Whitened(points, Whitening.from_moments(second_moments(points.encode(cloud))))
    frame = pd.DataFrame(
        {
            "gain": np.where(rng.random(40) < 0.6, 0, rng.integers(1, 500, 40)).astype(str),
            "colour": rng.choice(["red", "green", "blue"], 40),
            "age": rng.integers(18, 80, 40).astype(str),
        },
        dtype=object,
    )
    table = TableCodec(fit_schema(frame))
    rows = table.encode(frame, rng)
    assert {b.kind for b in table.blocks} == {"value", "choice"}
    assert any(b.gate is not None for b in table.blocks)
    images = ArrayCodec.images((1, 8, 9))
    pixels = rng.integers(0, 256, (40, 1, 8, 9))
    encoded = images.encode(pixels)
    mixed = Whitened(images, Whitening.from_moments(second_moments(encoded)))
    found = {
        "points": (points.shape(CONDITION), points.encode(cloud)),
        "without_condition": (points.shape(0), points.encode(cloud)),
        "whitened": (whitened.shape(CONDITION), whitened.encode(cloud)),
        "table": (Shape(table.blocks, table.width, CONDITION), rows),
        "images": (images.shape(CONDITION), encoded),
        "whitened_images": (mixed.shape(CONDITION), mixed.encode(pixels)),
    }
    return {k: (shape, torch.from_numpy(rows[:ROWS])) for k, (shape, rows) in found.items()}


CODECS = codecs()


def batch_of(name, seed=0):
    shape, rows = CODECS[name]
    rng = seeded(seed)
    kinds = torch.randint(CONDITION, (ROWS,), generator=rng)
    condition = torch.nn.functional.one_hot(kinds, CONDITION).float()[:, : shape.condition]
    order = torch.randperm(ROWS, generator=rng)
    return Batch(rows[order], condition, torch.rand(ROWS, generator=rng) + 0.1)


@contextlib.contextmanager
def still():
    """Every draw gives the same numbers, so that nothing random tells one row from another."""

    def constant(value):
        def draw(*size, generator=None, device=None, dtype=None):
            size = size[0] if isinstance(size[0], tuple | torch.Size) else size
            return torch.full(tuple(size), value, device=device, dtype=dtype or torch.float32)

        return draw

    def integers(high, size, generator=None, device=None):
        return torch.zeros(size, dtype=torch.int64, device=device)

    def order(count, generator=None, device=None):
        return torch.arange(count, device=device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", constant(0.4))
        patch.setattr(torch, "randn", constant(0.3))
        patch.setattr(torch, "randint", integers)
        patch.setattr(torch, "randperm", order)
        yield


def outcome(recipe, shape):
    """The players; or why the parts are refused, as keys of `REASONS`."""
    try:
        return Players(recipe, shape, seed=1), ()
    except SettingsError as error:
        found = []
        for problem in error.problems:
            keys = [key for key, words in REASONS.items() if re.search(words, problem, re.DOTALL)]
            assert len(keys) == 1, (problem, keys)
            found += keys
        return None, tuple(sorted(found))


def steps(players, batch, fake, rng):
    """A critic and a generator step; what they showed."""
    gradient, report = players.critic_gradient(batch, fake, rng)
    shown = [gradient.clone(), report.estimate, report.penalty, report.real, report.fake]
    players.step_critic(gradient)
    gradient, loss = players.generator_gradient(batch.condition, batch.weights, rng)
    shown += [gradient.clone(), loss]
    players.step_generator(gradient)
    players.update_ema()
    return shown


def through_bytes(tensors):
    return from_bytes(to_bytes(tensors))


def keeps_the_rules(players, codec, through=through_bytes):
    """Shapes, finite values, the order of rows, where randomness is from, JSON, and the state."""
    recipe, shape = players.recipe, players.shape
    batch, before = batch_of(codec), torch.get_rng_state()
    assert Recipe.from_json(recipe.to_json()) == recipe
    rng = seeded(2)
    fake = players.fake(batch.condition, rng)
    assert fake.shape == batch.real.shape
    first = steps(players, batch, fake, rng)
    for values in (*first[1:5], first[6]):
        assert values.shape == (ROWS,) and not values.requires_grad
    assert all(values.isfinite().all() for values in first)
    assert first[5].any()

    # State and the rng's are all there is: fresh players go on to the bit.
    players.strength = 0.75
    state = through({**players.tensors(), "rng": rng.get_state()})
    counts = (players.critic_statistics.steps, players.generator_statistics.steps)
    fresh, again = Players(recipe, shape, seed=99), torch.Generator()
    again.set_state(state.pop("rng"))
    assert set(state) == set(fresh.tensors())
    fresh.load(state, *counts)
    other = batch_of(codec, 3)
    for one, two in zip(
        steps(players, other, fake, rng), steps(fresh, other, fake, again), strict=True
    ):
        assert torch.equal(one, two)
    own, loaded = players.tensors(), fresh.tensors()
    assert all(torch.equal(own[name], loaded[name]) for name in own)

    # Packs change places as a whole.
    pack = recipe.pack
    packs = torch.randperm(ROWS // pack, generator=seeded(4))
    order = (packs[:, None] * pack + torch.arange(pack)).flatten()
    moved = Batch(batch.real[order], batch.condition[order], batch.weights[order])
    noisy = fake + 0.1 * torch.randn(fake.shape, generator=seeded(5))
    with still():
        gradient, report = players.critic_gradient(batch, noisy, rng, 0)
        gradient = gradient.clone()
        shuffled, there = players.critic_gradient(moved, noisy[order], rng, 0)
        # Rounding alone may tell two orders of a sum apart.
        close = {"rtol": 2e-3, "atol": 2e-4 * max(1.0, float(gradient.abs().max()))}
        torch.testing.assert_close(shuffled, gradient, **close)
        for name in ("estimate", "penalty", "real", "fake"):
            torch.testing.assert_close(
                getattr(there, name), getattr(report, name)[order], rtol=2e-3, atol=1e-4
            )
        _, loss = players.generator_gradient(batch.condition, batch.weights, rng)
        _, there_loss = players.generator_gradient(moved.condition, moved.weights, rng)
        torch.testing.assert_close(there_loss, loss[order], rtol=2e-3, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


def tally(cases):
    """Holds every case to the contract; how often each reason for a refusal came up."""
    count: Counter[str] = Counter()
    for label, recipe, codec in cases:
        try:
            players, found = outcome(recipe, CODECS[codec][0])
            if players is not None:
                keeps_the_rules(players, codec)
        except Exception as error:
            error.add_note(str(label))
            raise
        count["kept"] += not found
        count.update(found)
    return dict(count)


def recipe_of(codec, constraint, **parts):
    images = len(CODECS[codec][0].sample) == 3
    return Recipe(
        generator=parts.pop("generator", IMAGE_GENERATOR if images else ROWS_GENERATOR),
        critic=parts.pop("critic", CRITICS["mlp"]),
        lipschitz=CONSTRAINTS[constraint],
        **parts,
    )


def test_objectives_constraints_and_views():
    cases = [
        (
            labels,
            recipe_of(
                "table",
                labels[1],
                objective=OBJECTIVES[labels[0]],
                augmentations=AUGMENTATIONS[labels[2]],
            ),
            "table",
        )
        for labels in itertools.product(OBJECTIVES, CONSTRAINTS, AUGMENTATIONS)
    ]
    # Three constraints leave the Wasserstein critic free; two augmentations are for images.
    assert tally(cases) == {"kept": 244, "no bottom": 3 * 6, "no images to augment": 2 * 64}


def test_objectives_constraints_and_views_of_images():
    some = ("wasserstein", "hinge"), FEW, ("noise", "table", "image", "turned")
    cases = [
        (
            labels,
            recipe_of(
                "images",
                labels[1],
                objective=OBJECTIVES[labels[0]],
                augmentations=AUGMENTATIONS[labels[2]],
                critic=CRITICS["conv"],
            ),
            "images",
        )
        for labels in itertools.product(*some)
    ]
    assert tally(cases) == {"kept": 33, "no bottom": 4, "no square": 12}


# Of the 16 critics: two have batch statistics and three constraints a penalty on the slope; six are
# normalised and two multiplied, which spectral norms exclude; none may be left without constraint.
ALWAYS = {"slope of a batch": 6, "normalised": 6, "multiplied": 2, "clipped": 2, "no bottom": 16}
OF_ROWS = {**ALWAYS, "kept": 37, "no images": 22, "members": 5}


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        ("points", OF_ROWS),
        (
            "without_condition",
            # The combinations are refused before the networks are built.
            {**OF_ROWS, "kept": 29, "no condition": 16, "no images": 17, "members": 4},
        ),
        ("whitened", OF_ROWS),
        ("table", OF_ROWS),
        ("images", {**ALWAYS, "kept": 59, "members": 5}),
        ("whitened_images", {**ALWAYS, "kept": 59, "members": 5}),
    ],
)
def test_critics_and_constraints_by_codec(codec, expected):
    cases = [
        (labels, recipe_of(codec, labels[1], critic=CRITICS[labels[0]]), codec)
        for labels in itertools.product(CRITICS, FEW)
    ]
    assert tally(cases) == expected


def test_packs():
    cases = [
        (labels, recipe_of(*labels, pack=2, objective=Hinge()), labels[0])
        for labels in itertools.product(("without_condition", "table", "images"), CONSTRAINTS)
    ]
    assert tally(cases) == {"kept": 43, "class weights": 3, "no condition": 2}


mlps = st.builds(
    MLPCriticSpec,
    hidden=st.sampled_from([(), (6,), (5, 8)]),
    slope=st.sampled_from([0.0, 0.2]),
    activation=st.sampled_from(["leaky_relu", "relu", "tanh"]),
    norm=st.sampled_from(["none", "layer", "group", "batch"]),
    conditioning=st.sampled_from(["concat", "projection"]),
)
convs = st.builds(
    ConvCriticSpec,
    channels=st.sampled_from([(3,), (2, 4), (2, 2, 2)]),
    activation=st.sampled_from(["leaky_relu", "relu", "tanh"]),
    norm=st.sampled_from(["none", "layer", "instance", "group", "batch"]),
    conditioning=st.sampled_from(["concat", "projection"]),
)
critics = st.one_of(
    mlps,
    convs,
    st.builds(CommitteeSpec, mlps, members=st.integers(1, 3), share=st.sampled_from([0.5, 1.0])),
    st.builds(MultipliersSpec, st.one_of(mlps, convs)),
)
penalties = st.one_of(
    st.builds(
        GradientPenalty,
        weight=st.sampled_from([0.0, 2.0]),
        target=st.sampled_from([0.0, 1.0]),
        one_sided=st.booleans(),
        points=st.sampled_from([Interpolates(), Real(), Fake(), Manifold(1, 2), Manifold(3, 20)]),
        per_condition=st.booleans(),
        class_weights=st.sampled_from([(), (1.0, 2.0, 3.0)]),
        every=st.integers(1, 2),
    ),
    st.just(ConditionPenalty(2.0)),
    st.just(Drift(every=2)),
)
some = st.lists(penalties, max_size=2).map(tuple)
recipes = st.builds(
    Recipe,
    critic=critics,
    objective=st.sampled_from(list(OBJECTIVES.values())),
    lipschitz=st.one_of(
        st.builds(Penalised, some),
        st.builds(Clipping, st.just(0.1), some),
        st.builds(SpectralNorm, st.integers(1, 2), some),
        st.builds(Unconstrained, some),
    ),
    augmentations=st.lists(
        st.sampled_from([v for vs in AUGMENTATIONS.values() for v in vs]), max_size=2
    ).map(tuple),
    strength=st.sampled_from([Constant(0.5), Decay(), Adaptive(), Adaptive(statistic="sign")]),
    pack=st.sampled_from([1, 1, 2, 4]),
    generator_optimizer=st.sampled_from([Adam(), RMSprop(), SGD()]),
    critic_optimizer=st.sampled_from([Adam(), RMSprop(), SGD(1e-3, 0.5)]),
    averaging=st.sampled_from([0.0, 0.99]),
)
generators = st.one_of(
    st.builds(
        MLPGeneratorSpec,
        hidden=st.sampled_from([(), (5,)]),
        noise=st.just(2),
        norm=st.sampled_from(["none", "layer", "batch"]),
    ),
    st.just(ROWS_GENERATOR),
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(recipes, generators, st.sampled_from(list(CODECS)))
def test_anything_at_all(tmp_path, recipe, generator, codec):
    recipe = replace(recipe, generator=generator)

    def through(tensors):
        write_tensors(tmp_path / "state", tensors, {})
        return read_tensors(tmp_path / "state")[0]

    before = torch.get_rng_state()
    players, _ = outcome(recipe, CODECS[codec][0])
    assert torch.equal(torch.get_rng_state(), before)
    if players is not None:
        keeps_the_rules(players, codec, through)
