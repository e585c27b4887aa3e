"""Modules over one flat vector."""

import pytest
import torch
from torch import nn

from everymode.wgan.flat import FlatModule


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
def test_flattening_changes_no_value(dtype):
    flat, plain = FlatModule(built(dtype)), built(dtype)
    for (name, own), (other, value) in zip(
        flat.module.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert name == other and torch.equal(own, value) and own.dtype == dtype
    assert flat.vector.dtype == dtype
    assert len(flat.vector) == sum(p.numel() for p in plain.parameters())
    data = inputs(dtype=dtype)
    torch.testing.assert_close(flat.module(data), plain(data))


def test_parameters_are_views_in_the_modules_order():
    flat = FlatModule(built())
    numbers = torch.arange(float(len(flat.vector)))
    flat.load(numbers)
    joined = torch.cat([p.detach().reshape(-1) for p in flat.module.parameters()])
    assert torch.equal(joined, numbers)
    flat.vector.mul_(2)
    assert flat.module.scale.item() == 0.0 and flat.module.turned[0, 1].item() == 4.0
    with torch.no_grad():
        flat.module.unused.fill_(-7)
    assert (flat.vector == -7).sum() == 2
    # What is loaded is copied.
    numbers.zero_()
    assert flat.vector.any()


def test_the_gradient_equals_autograds_per_parameter():
    flat, plain = FlatModule(built()), built()
    for seed in range(3):
        found = flat.compute_gradient(flat.module(inputs(seed)))
        used = torch.autograd.grad(plain(inputs(seed)), list(plain.parameters()), allow_unused=True)
        expected = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).reshape(-1)
                for p, g in zip(plain.parameters(), used, strict=True)
            ]
        )
        # Of the second call on, nothing of the last one may be left.
        torch.testing.assert_close(found, expected)
        assert found is flat.gradient


def test_views_outlive_a_gradient_of_the_gradient():
    flat, plain = FlatModule(nn.Linear(3, 1)), nn.Linear(3, 1)
    plain.load_state_dict(flat.module.state_dict())
    points = inputs().requires_grad_(True)

    def cost(module):
        (slope,) = torch.autograd.grad(module(points).square().sum(), points, create_graph=True)
        return slope.square().sum()

    for _ in range(2):
        found = flat.compute_gradient(cost(flat.module)).clone()
        torch.testing.assert_close(
            found,
            torch.cat(
                [g.reshape(-1) for g in torch.autograd.grad(cost(plain), list(plain.parameters()))]
            ),
        )
    start = flat.vector.data_ptr()
    assert flat.module.weight.data_ptr() == start
    assert flat.module.weight.grad.data_ptr() == flat.gradient.data_ptr()


def test_a_state_dict_loads_into_the_vector():
    flat, other = FlatModule(built()), built()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    flat.module.load_state_dict(other.state_dict())
    joined = torch.cat([p.detach().reshape(-1) for p in other.parameters()])
    assert torch.equal(flat.vector, joined)
    assert torch.equal(flat.module.offset, other.offset)


def test_a_vector_of_another_length_is_refused():
    flat = FlatModule(built())
    before = flat.vector.clone()
    for length in (0, 1, len(before) - 1, len(before) + 1):
        with pytest.raises(ValueError, match="parameters"):
            flat.load(torch.zeros(length))
    assert torch.equal(flat.vector, before)


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
    flat = FlatModule(Kept())
    assert flat.buffers.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    flat.buffers.copy_(torch.arange(5.0))
    assert flat.module.u.tolist() == [[0.0, 1.0], [2.0, 3.0]] and flat.module.inner.v == 4.0
    with torch.no_grad():
        flat.module.inner.v.fill_(9.0)
    assert flat.buffers[4] == 9.0
    # They remain buffers; integers and what is not saved are left where they were.
    names = {"u", "places", "inner.weight", "inner.bias", "inner.v"}
    assert set(flat.module.state_dict()) == names
    assert flat.module.places.tolist() == [1, 0] and flat.module.drawn.tolist() == [1.0] * 3
    assert len(flat.vector) == 2


def test_a_module_without_buffers_has_none():
    assert FlatModule(nn.Linear(2, 2)).buffers.shape == (0,)


def test_power_iterations_write_into_the_vector():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    flat = FlatModule(layer)
    before = flat.buffers.clone()
    flat.load(torch.randn(len(flat.vector), generator=torch.Generator().manual_seed(3)))
    layer.train()
    layer(torch.zeros(1, 4))
    assert len(flat.buffers) == 7 and not torch.equal(flat.buffers, before)
    norm = layer.parametrizations.weight[0]
    assert torch.equal(flat.buffers, torch.cat([norm._u, norm._v]))


def test_a_call_is_the_module_at_another_vector_and_leaves_its_own_alone():
    flat, other = FlatModule(built()), FlatModule(built())
    vector = torch.randn(len(flat.vector), generator=torch.Generator().manual_seed(4))
    before = flat.vector.clone()
    other.load(vector)
    assert torch.equal(flat.call(vector, inputs()), other.module(inputs()))
    # Shared and unused parameters too; the gradient is that of the vector, not the module's.
    slope = torch.func.grad(lambda v: flat.call(v, inputs()))(vector)
    torch.testing.assert_close(slope, other.compute_gradient(other.module(inputs())))
    assert torch.equal(flat.vector, before) and not flat.gradient.any()
    # PyTorch's `functional_call` as it comes leaves a shared module with other parameters.
    assert all(isinstance(p, nn.Parameter) for p in flat.module.parameters())
    loaded = other.gradient.clone()
    flat.load(vector)
    torch.testing.assert_close(flat.compute_gradient(flat.module(inputs())), loaded)


class Tied(nn.Module):
    """One parameter in two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.second(self.first(inputs).tanh()).sum()


def test_a_call_replaces_a_parameter_wherever_it_is_used():
    flat = FlatModule(Tied())
    slope = torch.func.grad(lambda v: flat.call(v, inputs()))(flat.vector)
    torch.testing.assert_close(slope, flat.compute_gradient(flat.module(inputs())))


def test_calls_may_be_mapped_over_examples():
    flat = FlatModule(built())
    examples = torch.stack([inputs(seed) for seed in range(3)])
    slopes = torch.func.vmap(torch.func.grad(flat.call), in_dims=(None, 0))(flat.vector, examples)
    for example, slope in zip(examples, slopes, strict=True):
        torch.testing.assert_close(slope, flat.compute_gradient(flat.module(example)))
