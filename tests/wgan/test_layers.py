"""Activations and normalisations: what they compute, and that they can be differentiated twice."""

import itertools

import pytest
import torch
from torch import nn

from everymode.wgan.errors import SettingsError
from everymode.wgan.layers import activation, check_image, groups, normalisation

ACTIVATIONS = ("leaky_relu", "relu", "tanh")
NORMS = [
    *itertools.product(("none", "layer", "group", "batch"), [False]),
    *itertools.product(("none", "layer", "instance", "group", "batch"), [True]),
]
SIZE = 8
every_norm = pytest.mark.parametrize(("kind", "spatial"), NORMS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def values(count, spatial, seed=0):
    shape = (count, SIZE, 3, 2) if spatial else (count, SIZE)
    return 3 * torch.randn(shape, generator=seeded(seed), dtype=torch.float64) + 1


def norm_of(kind, spatial):
    """The norm, with a scale and a shift other than the first."""
    layer = normalisation(kind, SIZE, spatial).double()
    rng = seeded(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return layer


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("leaky_relu", [-0.6, 0.0, 2.0]), ("relu", [0.0, 0.0, 2.0]), ("tanh", None)],
)
def test_activations_are_what_they_are_called(kind, expected):
    points = torch.tensor([-2.0, 0.0, 2.0])
    wanted = points.tanh() if expected is None else torch.tensor(expected)
    torch.testing.assert_close(activation(kind, 0.3)(points), wanted)


@pytest.mark.parametrize(("kind", "spatial"), [n for n in NORMS if n[0] != "none"])
def test_a_norm_standardises_what_it_is_named_after(kind, spatial):
    def parts(of):
        return {
            "layer": of.flatten(1),
            "group": of.reshape(6 * groups(SIZE), -1),
            "instance": of.reshape(6 * SIZE, -1),
            "batch": of.transpose(0, 1).flatten(1),
        }[kind]

    points = values(6, spatial)
    before, after = parts(points), parts(normalisation(kind, SIZE, spatial).double()(points))
    mean, variance = before.mean(1, keepdim=True), before.var(1, keepdim=True, correction=0)
    torch.testing.assert_close(after, (before - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize("spatial", [False, True])
def test_batch_norm_equals_that_of_torch_without_running_statistics(spatial):
    layer = norm_of("batch", spatial)
    kind = nn.BatchNorm2d if spatial else nn.BatchNorm1d
    oracle = kind(SIZE, track_running_stats=False).double().eval()
    oracle.load_state_dict(layer.state_dict())
    points, others = values(7, spatial).requires_grad_(True), values(7, spatial, 2)
    for network in (layer, oracle):
        (first,) = torch.autograd.grad((network(points) * others).sum(), points, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), [points, network.weight])
        if network is layer:
            ours = (layer(points), first, *second)
    torch.testing.assert_close(ours, (oracle(points), first, *second))


def test_instance_norm_equals_that_of_torch():
    layer = norm_of("instance", True)
    oracle = nn.InstanceNorm2d(SIZE, affine=True).double()
    oracle.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(values(5, True)), oracle(values(5, True)))


@every_norm
def test_norms_have_correct_first_and_second_derivatives(kind, spatial):
    layer, points = norm_of(kind, spatial), values(2, spatial).requires_grad_(True)
    assert torch.autograd.gradcheck(layer, points)
    assert torch.autograd.gradgradcheck(layer, points)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_have_correct_first_and_second_derivatives(kind):
    points = values(2, False).requires_grad_(True)
    assert torch.autograd.gradcheck(activation(kind, 0.2), points)
    assert torch.autograd.gradgradcheck(activation(kind, 0.2), points)


@every_norm
@pytest.mark.parametrize("count", [0, 1, 5])
def test_norms_keep_no_state_and_have_one_mode(kind, spatial, count):
    layer = norm_of(kind, spatial)
    assert not list(layer.buffers())
    out = layer.train()(values(count, spatial))
    assert out.shape == values(count, spatial).shape and out.isfinite().all()
    assert torch.equal(layer.eval()(values(count, spatial)), out)


@every_norm
def test_batch_norm_alone_looks_at_other_rows(kind, spatial):
    layer, points = norm_of(kind, spatial), values(5, spatial)
    changed = points.clone()
    changed[1:] += torch.randn(changed[1:].shape, generator=seeded(3), dtype=torch.float64)
    same = torch.allclose(layer(changed)[0], layer(points)[0], rtol=1e-12, atol=1e-12)
    assert same == (kind != "batch")


@pytest.mark.parametrize("channels", range(1, 70))
def test_groups_divide_and_are_neither_many_nor_tiny(channels):
    count = groups(channels)
    assert channels % count == 0 and 1 <= count <= 8
    assert count == 1 or channels // count >= 4


def test_what_there_is_not_is_refused():
    with pytest.raises(SettingsError, match=r'^norm = "instance": .* write norm = "layer"$'):
        normalisation("instance", SIZE, False)
    with pytest.raises(SettingsError, match=r'^norm = "weight": unknown; write one of "none", '):
        normalisation("weight", SIZE, True)
    with pytest.raises(SettingsError, match=r'^activation = "gelu": .*"relu", "tanh"$'):
        activation("gelu", 0.2)


@pytest.mark.parametrize(
    ("sample", "width", "channels", "message"),
    [
        ((), 64, (8,), 'axes \\(channels, height, width\\), got rows .* write kind = "mlp"'),
        ((8, 8), 64, (8,), r"got \(8, 8\)"),
        ((1, 8, 8), 63, (8,), "expected 63 values"),
        ((1, 3, 9), 27, (8,), "4 x 4 or more, got 3 x 9"),
        ((1, 8, 8), 64, (8,) * 4, "channels = .*: expected 1 to 3 stages"),
        ((1, 15, 64), 960, (8,) * 4, "expected 1 to 3 stages"),
        ((1, 8, 8), 64, (), "expected 1 to 3 stages"),
        ((1, 8, 8), 64, (8, 0), r"channels = \[8, 0\]: .* each 1 or more"),
    ],
)
def test_images_that_convolutions_cannot_take_are_refused(sample, width, channels, message):
    with pytest.raises(SettingsError, match=message):
        check_image(sample, width, channels)
