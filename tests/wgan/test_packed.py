"""Modules over one flat vector."""

import pytest
import torch
from torch import nn

from wgan.packed import Packed


class Odd(nn.Module):
    """A scalar, a transposed, a shared and an unused parameter, and a buffer."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
        self.inner = nn.Linear(2, 2)
        self.again = self.inner
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("offset", torch.tensor([1.0, 2.0]))

    def forward(self, inputs):
        hidden = self.inner(inputs @ self.turned + self.offset).tanh()
        return self.scale * self.again(hidden).sum()


def built(dtype=torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Odd().to(dtype)


def inputs(seed=0, dtype=torch.float32):
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packing_changes_no_value(dtype):
    packed, plain = Packed(built(dtype)), built(dtype)
    for (name, own), (other, value) in zip(
        packed.module.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert name == other and torch.equal(own, value) and own.dtype == dtype
    assert packed.vector.dtype == dtype
    assert len(packed.vector) == sum(p.numel() for p in plain.parameters())
    data = inputs(dtype=dtype)
    torch.testing.assert_close(packed.module(data), plain(data))


def test_parameters_are_views_in_the_modules_order():
    packed = Packed(built())
    numbers = torch.arange(float(len(packed.vector)))
    packed.load(numbers)
    flat = torch.cat([p.detach().reshape(-1) for p in packed.module.parameters()])
    assert torch.equal(flat, numbers)
    packed.vector.mul_(2)
    assert packed.module.scale.item() == 0.0 and packed.module.turned[0, 1].item() == 4.0
    with torch.no_grad():
        packed.module.unused.fill_(-7)
    assert (packed.vector == -7).sum() == 2
    # What is loaded is copied.
    numbers.zero_()
    assert packed.vector.any()


def test_the_gradient_equals_autograds_per_parameter():
    packed, plain = Packed(built()), built()
    for seed in range(3):
        found = packed.gradient_of(packed.module(inputs(seed)))
        used = torch.autograd.grad(plain(inputs(seed)), list(plain.parameters()), allow_unused=True)
        expected = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).reshape(-1)
                for p, g in zip(plain.parameters(), used, strict=True)
            ]
        )
        # Of the second call on, nothing of the last one may be left.
        torch.testing.assert_close(found, expected)
        assert found is packed.gradient


def test_views_outlive_a_gradient_of_the_gradient():
    packed, plain = Packed(nn.Linear(3, 1)), nn.Linear(3, 1)
    plain.load_state_dict(packed.module.state_dict())
    points = inputs().requires_grad_(True)

    def cost(module):
        (slope,) = torch.autograd.grad(module(points).square().sum(), points, create_graph=True)
        return slope.square().sum()

    for _ in range(2):
        found = packed.gradient_of(cost(packed.module)).clone()
        torch.testing.assert_close(
            found,
            torch.cat(
                [g.reshape(-1) for g in torch.autograd.grad(cost(plain), list(plain.parameters()))]
            ),
        )
    start = packed.vector.data_ptr()
    assert packed.module.weight.data_ptr() == start
    assert packed.module.weight.grad.data_ptr() == packed.gradient.data_ptr()


def test_a_state_dict_loads_into_the_vector():
    packed, other = Packed(built()), built()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    packed.module.load_state_dict(other.state_dict())
    flat = torch.cat([p.detach().reshape(-1) for p in other.parameters()])
    assert torch.equal(packed.vector, flat)
    assert torch.equal(packed.module.offset, other.offset)


def test_a_vector_of_another_length_is_refused():
    packed = Packed(built())
    before = packed.vector.clone()
    for length in (0, 1, len(before) - 1, len(before) + 1):
        with pytest.raises(ValueError, match="parameters"):
            packed.load(torch.zeros(length))
    assert torch.equal(packed.vector, before)


class Kept(nn.Module):
    """Buffers that are state, at two depths, and some that are not."""

    def __init__(self):
        super().__init__()
        self.register_buffer("u", torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.register_buffer("places", torch.tensor([1, 0]))
        self.register_buffer("drawn", torch.ones(3), persistent=False)
        self.inner = nn.Linear(1, 1)
        self.inner.register_buffer("v", torch.tensor(5.0))


def test_buffers_are_views_of_one_vector_too():
    packed = Packed(Kept())
    assert packed.buffers.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    packed.buffers.copy_(torch.arange(5.0))
    assert packed.module.u.tolist() == [[0.0, 1.0], [2.0, 3.0]] and packed.module.inner.v == 4.0
    with torch.no_grad():
        packed.module.inner.v.fill_(9.0)
    assert packed.buffers[4] == 9.0
    # They remain buffers; integers and what is not saved are left where they were.
    names = {"u", "places", "inner.weight", "inner.bias", "inner.v"}
    assert set(packed.module.state_dict()) == names
    assert packed.module.places.tolist() == [1, 0] and packed.module.drawn.tolist() == [1.0] * 3
    assert len(packed.vector) == 2


def test_a_module_without_buffers_has_none():
    assert Packed(nn.Linear(2, 2)).buffers.shape == (0,)


def test_power_iterations_write_into_the_vector():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    packed = Packed(layer)
    before = packed.buffers.clone()
    packed.load(torch.randn(len(packed.vector), generator=torch.Generator().manual_seed(3)))
    layer.train()
    layer(torch.zeros(1, 4))
    assert len(packed.buffers) == 7 and not torch.equal(packed.buffers, before)
    norm = layer.parametrizations.weight[0]
    assert torch.equal(packed.buffers, torch.cat([norm._u, norm._v]))
