"""Views: random maps in front of the critic, and whether what they hide can be recovered."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy.stats import chisquare, kstest

from everymode.wgan.augmentations import (
    AugmentationSpec,
    Diffusion,
    ImageAugmentation,
    InstanceNoise,
    TableAugmentation,
    compose,
)
from everymode.wgan.errors import SettingsError
from everymode.wgan.shape import Block, Shape

# A number with a gate, its states, a number without one, a category.
BLOCKS = (
    Block(0, 1, "value", gate=1),
    Block(1, 4, "choice"),
    Block(4, 5, "value"),
    Block(5, 7, "choice"),
)
ROWS = Shape(BLOCKS, 7, 3)
POINTS = Shape((), 5, 0)
IMAGES = Shape((), 2 * 5 * 4, 3, sample=(2, 5, 4))
SQUARES = Shape((), 6 * 6, 0, sample=(1, 6, 6))
NOTHING = {"flip": False, "shift": 0.0, "brightness": 0.0, "contrast": 0.0, "cutout": 0.0}
CASES = [
    (InstanceNoise(), POINTS),
    (InstanceNoise(0.3), ROWS),
    (Diffusion(), POINTS),
    (Diffusion(7, 0.1, 0.9, 2.0), IMAGES),
    (TableAugmentation(), ROWS),
    (TableAugmentation(0.5, 0.2, 0.3), POINTS),
    (TableAugmentation(0.5, 0.2, 0.3), ROWS.packed(2)),
    (ImageAugmentation(), IMAGES),
    (ImageAugmentation(shift=0.5, cutout=0.5), IMAGES.packed(3)),
    (ImageAugmentation(rotate=True, shift=0.3), SQUARES),
]
every_case = pytest.mark.parametrize(("augmentation", "shape"), CASES, ids=repr)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def samples(count, shape, seed=0, dtype=torch.float64):
    return torch.randn(count, shape.width, generator=seeded(seed), dtype=dtype)


def drawn(augmentation, shape, strength=1.0, count=4000, seed=1):
    """A map over float64 samples; of rows it is x -> factor x + offset."""
    like = torch.zeros(count, shape.width, dtype=torch.float64)
    return augmentation.draw(like, shape, strength, seeded(seed))


def parts(apply, shape, count=4000):
    zero = torch.zeros(count, shape.width, dtype=torch.float64)
    return apply(zero + 1) - apply(zero), apply(zero)


@every_case
@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(augmentation, shape, strength, dtype):
    real, fake = samples(9, shape, 2, dtype), samples(9, shape, 3, dtype)
    copy, before = real.clone(), torch.get_rng_state()
    apply = augmentation.draw(real, shape, strength, seeded(4))
    seen = apply(real)
    assert seen.shape == real.shape and seen.dtype == dtype and seen.isfinite().all()
    # Nothing is drawn when it is applied: what real rows went through, fake ones go through.
    assert torch.equal(apply(real), seen) and torch.equal(real, copy)
    assert torch.equal(augmentation.draw(fake, shape, strength, seeded(4))(real), seen)
    assert torch.equal(torch.get_rng_state(), before)
    if strength == 0:
        assert torch.equal(seen, real)
    # Affine in each example.
    zero = torch.zeros_like(real)
    torch.testing.assert_close(apply(real + fake) + apply(zero), seen + apply(fake))
    # An example's map looks at that example alone.
    other = real.clone()
    other[1:] = 50.0
    assert torch.equal(apply(other)[0], seen[0])


@every_case
def test_randomness_used_does_not_depend_on_the_strength(augmentation, shape):
    states = []
    for strength in (0.0, 0.3, 1.0):
        rng = seeded(5)
        augmentation.draw(samples(3, shape), shape, strength, rng)
        states.append(rng.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])
    assert not torch.equal(states[0], seeded(5).get_state())


@every_case
def test_an_augmentation_does_something(augmentation, shape):
    x = samples(40, shape)
    rng = seeded(6)
    first, second = (augmentation.draw(x, shape, 1.0, rng)(x) for _ in range(2))
    assert not torch.equal(first, x) and not torch.equal(first, second)


@every_case
def test_gradients_pass_to_the_generator(augmentation, shape):
    fake = samples(3, shape).requires_grad_(True)
    apply = augmentation.draw(fake, shape, 0.8, seeded(7))
    assert torch.autograd.gradcheck(apply, fake)
    assert torch.autograd.grad(apply(fake).sum(), fake)[0].any()


@every_case
def test_no_examples_are_no_problem(augmentation, shape):
    empty = torch.zeros(0, shape.width)
    assert augmentation.draw(empty, shape, 0.5, seeded(0))(empty).shape == empty.shape


def test_views_are_composed_in_order():
    x = samples(6, ROWS)
    augmentations = [TableAugmentation(mask=0.5, noise=0.0), InstanceNoise(), Diffusion()]
    rng = seeded(8)
    maps = [augmentation.draw(x, ROWS, 0.7, rng) for augmentation in augmentations]
    seen = compose(augmentations, x, ROWS, 0.7, seeded(8))(x)
    assert torch.equal(seen, maps[2](maps[1](maps[0](x))))
    assert not torch.allclose(seen, maps[0](maps[1](maps[2](x))))
    assert torch.equal(compose([], x, ROWS, 1.0, seeded(8))(x), x)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match=r"strength in \[0, 1\]"):
        compose([], samples(1, ROWS), ROWS, strength, seeded(0))


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_instance_noise_has_the_deviation_it_says(strength):
    apply = drawn(InstanceNoise(0.5), POINTS, strength)
    a, b = samples(4000, POINTS, 1), samples(4000, POINTS, 2)
    # The same noise on both sides of the pair.
    torch.testing.assert_close(apply(a) - apply(b), a - b)
    noise = apply(torch.zeros_like(a)).flatten().numpy()
    assert kstest(noise / (strength * 0.5), "norm").pvalue > 0.01


def test_what_diffusion_keeps_is_the_product_of_its_schedule():
    kept = Diffusion(3, 0.1, 0.3).kept()
    expected = torch.tensor([1.0, 0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7], dtype=torch.float64)
    torch.testing.assert_close(kept, expected)
    assert Diffusion().kept()[-1].item() == pytest.approx(0.36, abs=0.01)
    assert Diffusion(1, 0.2, 0.9).kept().tolist() == [1.0, 0.8]


@pytest.mark.parametrize(("strength", "longest"), [(0.0, 0), (0.29, 3), (1.0, 10)])
def test_diffusion_draws_steps_evenly_and_noise_to_match(strength, longest):
    augmentation = Diffusion(10, 0.05, 0.3, deviation=2.0)
    factor, offset = parts(drawn(augmentation, POINTS, strength), POINTS)
    step = (factor[:, :1] - augmentation.kept().sqrt()).abs().argmin(1)
    torch.testing.assert_close(factor, augmentation.kept().sqrt()[step][:, None].expand_as(factor))
    counts = torch.bincount(step, minlength=11)
    assert not counts[longest + 1 :].any()
    if longest:
        assert chisquare(counts[: longest + 1].numpy()).pvalue > 0.01
        left = 2.0 * (1 - augmentation.kept()[step]).sqrt()[:, None].expand_as(offset)
        assert kstest((offset[step > 0] / left[step > 0]).flatten().numpy(), "norm").pvalue > 0.01
    assert not offset[step == 0].any()


def test_diffusion_leaves_its_own_noise_as_it_was():
    # The chain's stationary law: any mixture of its steps maps N(0, deviation^2) to itself.
    x = 2.0 * samples(4000, POINTS, 9)
    seen = drawn(Diffusion(10, 0.05, 0.3, deviation=2.0), POINTS)(x)
    assert kstest(seen.flatten().numpy() / 2.0, "norm").pvalue > 0.01
    # Data of another variance move towards it, by the mean share kept.
    x = 5.0 * samples(20000, POINTS, 9)
    augmentation = Diffusion(10, 0.05, 0.3, deviation=2.0)
    kept = augmentation.kept().mean().item()
    seen = drawn(augmentation, POINTS, count=20000)(x)
    assert seen.var().item() == pytest.approx(25 * kept + 4 * (1 - kept), rel=0.03)


def test_masks_take_whole_blocks_and_gated_numbers_with_them():
    augmentation = TableAugmentation(mask=0.3, noise=0.0)
    factor, offset = parts(drawn(augmentation, ROWS, 0.6, 20000), ROWS, 20000)
    assert not offset.any() and set(factor.unique().tolist()) == {0.0, 1.0}
    groups = [factor[:, [0, 1, 2, 3]], factor[:, [4]], factor[:, [5, 6]]]
    for group in groups:
        assert torch.equal(group, group[:, :1].expand_as(group))
        assert 1 - group.mean().item() == pytest.approx(0.6 * 0.3, abs=0.01)
    # Within one row blocks are masked independently, given that the row is one to be masked.
    both = (groups[0][:, 0] * groups[1][:, 0]).mean().item()
    assert both == pytest.approx(0.4 + 0.6 * 0.7**2, abs=0.01)


def test_without_blocks_single_numbers_are_masked():
    factor, _ = parts(drawn(TableAugmentation(0.5, 0.0), POINTS), POINTS)
    assert len(factor.unique(dim=0)) == 2**POINTS.width
    packed, _ = parts(drawn(TableAugmentation(0.5, 0.0), ROWS.packed(2)), ROWS.packed(2))
    assert len(packed.unique(dim=0)) == 2**6


def test_noise_and_scale_reach_their_share_of_rows():
    augmentation = TableAugmentation(mask=0.0, noise=0.2, scale=0.5)
    factor, offset = parts(drawn(augmentation, ROWS, 0.7), ROWS)
    noised = offset.any(1)
    assert noised.double().mean().item() == pytest.approx(0.7, abs=0.03)
    assert kstest(offset[noised].flatten().numpy() / 0.2, "norm").pvalue > 0.01
    numbers, choices = factor[:, [0, 4]], factor[:, [1, 2, 3, 5, 6]]
    # To the rounding of (1 + noise) - noise.
    torch.testing.assert_close(choices, torch.ones_like(choices))
    torch.testing.assert_close(numbers[:, 0], numbers[:, 1])
    scaled = (numbers[:, 0] - 1).abs() > 1e-9
    assert scaled.double().mean().item() == pytest.approx(0.7, abs=0.03)
    assert kstest(numbers[scaled, 0].log().numpy() / 0.5, "norm").pvalue > 0.01
    # Each transformation falls on rows of its own choice.
    assert (scaled & noised).double().mean().item() == pytest.approx(0.49, abs=0.03)


def test_each_transformation_chooses_its_rows_for_itself():
    augmentation = TableAugmentation(mask=1.0, noise=0.1, scale=0.5)
    factor, offset = parts(drawn(augmentation, POINTS, 0.6), POINTS)
    masked, noised = factor[:, 0].abs() < 1e-9, offset.any(1)
    scaled = ((factor[:, 0] - 1).abs() > 1e-9)[~masked]
    for share in (masked, scaled, noised[masked], noised[~masked]):
        assert share.double().mean().item() == pytest.approx(0.6, abs=0.04)


def test_masked_moments_tell_the_moments_of_the_rows():
    rng = seeded(10)
    x = torch.randn(40000, 2, generator=rng, dtype=torch.float64)
    x = 1.0 + torch.stack([x[:, 0], 0.8 * x[:, 0] + 0.6 * x[:, 1]], 1)
    shape, strength, mask = Shape((), 2, 0), 0.8, 0.5
    seen = drawn(TableAugmentation(mask, 0.1), shape, strength, 40000)(x)
    alone, together = 1 - strength * mask, 1 - strength + strength * (1 - mask) ** 2
    torch.testing.assert_close(seen.mean(0) / alone, x.mean(0), rtol=0, atol=0.04)
    product = (seen[:, 0] * seen[:, 1]).mean() / together
    assert product.item() == pytest.approx((x[:, 0] * x[:, 1]).mean().item(), abs=0.06)


def image(shape, seed=11, count=3000):
    """One image `(C, h, w)` of distinct positive values, and `count` copies of it, flat."""
    one = 1 + torch.rand(shape.sample, generator=seeded(seed), dtype=torch.float64)
    return one, one.flatten().expand(count, -1)


def shifted(one, down, right):
    result = torch.zeros_like(one)
    high, wide = one.shape[1:]
    for row in range(high):
        for column in range(wide):
            if 0 <= row - down < high and 0 <= column - right < wide:
                result[:, row, column] = one[:, row - down, column - right]
    return result


def found(seen, candidates):
    """Which candidate each seen image is; fails where one is none of them."""
    wanted = torch.stack([c.flatten() for c in candidates])
    hits = (seen[:, None, :] == wanted[None]).all(2)
    assert hits.any(1).all()
    return torch.bincount(hits.double().argmax(1), minlength=len(candidates))


def test_shifts_move_pixels_evenly_and_pad_with_zeros():
    one, copies = image(IMAGES)
    seen = drawn(ImageAugmentation(**{**NOTHING, "shift": 0.25}), IMAGES, 1.0, 3000)(copies)
    # 0.25 of 5 rows and of 4 columns are 1 pixel.
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    counts = found(seen, [shifted(one, *move) for move in moves])
    assert chisquare(counts.numpy()).pvalue > 0.01


def test_flips_and_turns_are_even_over_their_group():
    one, copies = image(SQUARES)
    augmentation = ImageAugmentation(**{**NOTHING, "flip": True}, rotate=True)
    base = [one, one.flip(2)]
    turned = [torch.rot90(b, k, (1, 2)) for b in base for k in range(4)]
    counts = found(drawn(augmentation, SQUARES, 1.0, 3000)(copies), turned)
    assert chisquare(counts.numpy()).pvalue > 0.01
    counts = found(drawn(augmentation, SQUARES, 0.4, 3000)(copies), turned)
    flipped, quarter = np.array([0.8, 0.2]), np.array([0.7, 0.1, 0.1, 0.1])
    assert chisquare(counts.numpy(), 3000 * np.outer(flipped, quarter).ravel()).pvalue > 0.01


def test_flip_then_turn_then_shift():
    one, copies = image(SQUARES, count=400)
    augmentation = ImageAugmentation(**{**NOTHING, "flip": True, "shift": 0.34}, rotate=True)
    moves = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    candidates = [
        shifted(torch.rot90(b, k, (1, 2)), *move)
        for b in (one, one.flip(2))
        for k in range(4)
        for move in moves
    ]
    found(drawn(augmentation, SQUARES, 1.0, 400)(copies), candidates)


def test_colours_change_over_the_whole_image():
    augmentation = ImageAugmentation(**{**NOTHING, "brightness": 0.3, "contrast": 0.4})
    factor, offset = parts(drawn(augmentation, IMAGES, 0.6), IMAGES)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
    assert torch.equal(offset, offset[:, :1].expand_as(offset))
    factor, offset = factor[:, 0], offset[:, 0]
    stretched, lit = (factor - 1).abs() > 1e-9, offset != 0
    assert stretched.double().mean().item() == pytest.approx(0.6, abs=0.03)
    assert lit.double().mean().item() == pytest.approx(0.6, abs=0.03)
    assert kstest(factor[stretched].log().numpy() / 0.4, "norm").pvalue > 0.01
    assert kstest(offset[lit].numpy() / 0.3, "norm").pvalue > 0.01


def test_cutouts_are_windows_anywhere():
    augmentation = ImageAugmentation(**{**NOTHING, "cutout": 0.5, "brightness": 0.3})
    factor, offset = parts(drawn(augmentation, SQUARES, 0.5), SQUARES)
    hidden = factor.abs().reshape(-1, 6, 6) < 0.5
    # What is cut out is 0, whatever the brightness.
    assert not offset.reshape(-1, 6, 6)[hidden].any()
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), rows * columns)
    cut = rows > 0
    assert cut.double().mean().item() == pytest.approx(0.5, abs=0.03)
    # Sides of 3 pixels about a middle that may lie on the border: 2 of 6 places lose a row.
    assert set(rows[cut].tolist()) == {2, 3}
    assert (rows[cut] == 3).double().mean().item() == pytest.approx(4 / 6, abs=0.04)


def test_flips_hide_the_orientation_only_at_full_strength():
    one, copies = image(IMAGES, count=8000)
    other = one.flip(2)
    augmentation = ImageAugmentation(**{**NOTHING, "flip": True})
    mean = drawn(augmentation, IMAGES, 0.7, 8000)(copies).mean(0).reshape(one.shape)
    # mean = (1 - s / 2) one + s / 2 other, solved together with its mirror image for `one`.
    solved = (mean * (1 - 0.35) - mean.flip(2) * 0.35) / (1 - 0.7)
    torch.testing.assert_close(solved, one, rtol=0, atol=0.06)
    # Negative control: at 1 the image and its mirror image look alike.
    hidden = drawn(augmentation, IMAGES, 1.0, 8000)
    gap = hidden(copies).mean(0) - hidden(other.flatten().expand(8000, -1)).mean(0)
    assert gap.abs().max() < 0.05 < (one - other).abs().max() / 4


@pytest.mark.parametrize("shape", [ROWS, POINTS, Shape((), 2, 0, sample=(2,))], ids=repr)
def test_images_are_expected_where_images_are_augmented(shape):
    with pytest.raises(SettingsError, match=r"expected images.*channels, height, width") as error:
        ImageAugmentation().draw(samples(2, shape), shape, 0.0, seeded(0))
    assert str(shape.width) in str(error.value) and "table_augmentation" in str(error.value)


def test_axes_that_do_not_make_the_width_are_refused():
    with pytest.raises(SettingsError, match="expected images"):
        ImageAugmentation().draw(
            samples(2, IMAGES), Shape((), 9, 0, sample=(1, 2, 4)), 0.0, seeded(0)
        )
    assert not [*ImageAugmentation().check(IMAGES)]


def test_only_squares_are_rotated():
    with pytest.raises(SettingsError, match=r"square images, got 5 x 4.*rotate = false"):
        ImageAugmentation(rotate=True).draw(samples(2, IMAGES), IMAGES, 0.0, seeded(0))


@pytest.mark.parametrize("augmentation", [augmentation for augmentation, _ in CASES], ids=repr)
def test_an_augmentation_survives_json(augmentation):
    adapter = TypeAdapter(AugmentationSpec)
    assert adapter.validate_json(adapter.dump_json(augmentation)) == augmentation
    assert adapter.validate_python({"kind": augmentation.kind}) == type(augmentation)()


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "blur"},
        {"kind": "instance_noise", "deviation": -1.0},
        {"kind": "instance_noise", "deviation": float("inf")},
        {"kind": "diffusion", "steps": 0},
        {"kind": "diffusion", "last": 1.5},
        {"kind": "table_augmentation", "mask": 1.5},
        {"kind": "image_augmentation", "shift": -0.1},
    ],
    ids=repr,
)
def test_a_configuration_out_of_range_is_refused(value):
    with pytest.raises(ValidationError):
        TypeAdapter(AugmentationSpec).validate_python(value)
