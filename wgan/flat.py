"""A module whose parameters are views of one flat vector.

One vector `(P,)` is exchanged, averaged, optimised and saved, and autograd writes into one flat
gradient: a step costs a handful of vector operations instead of a loop over tensors. `call` is the
same module as a pure function of such a vector, for `torch.func`.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

M = TypeVar("M", bound=nn.Module)


class FlatModule(Generic[M]):
    """A module and the flat vectors that its parameters and buffers are views of.

    Attributes:
        module: The module; its parameters are views of `vector`.
        vector: All parameters, `(P,)`, in the module's order.
        gradient: Where `backward` accumulates, `(P,)`.
        buffers: State other than parameters (the vectors of power iterations), `(Q,)`.

    >>> layer = FlatModule(nn.Linear(2, 1, bias=False))
    >>> layer.load(torch.tensor([1.0, 2.0]))
    >>> layer.module(torch.tensor([[3.0, 4.0]])).item()
    11.0
    """

    def __init__(self, module: M, device: torch.device | str = "cpu") -> None:
        """Moves the module's parameters into one vector on `device`."""
        self.module = module.to(device)
        parameters = list(module.parameters())
        self.vector = torch.cat([p.detach().reshape(-1) for p in parameters])
        self.gradient = torch.zeros_like(self.vector)
        start = 0
        for parameter in parameters:
            stop = start + parameter.numel()
            parameter.data = self.vector[start:stop].view_as(parameter)
            parameter.grad = self.gradient[start:stop].view_as(parameter)
            start = stop
        self.buffers = self._pack_buffers(device)
        self._places = self._find_places()

    def _pack_buffers(self, device: torch.device | str) -> Tensor:
        kept = [
            (owner, name, buffer)
            for owner in self.module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
            if buffer.is_floating_point() and name not in owner._non_persistent_buffers_set
        ]
        vector = torch.cat([torch.zeros(0, device=device), *(b.reshape(-1) for _, _, b in kept)])
        start = 0
        for owner, name, buffer in kept:
            stop = start + buffer.numel()
            setattr(owner, name, vector[start:stop].view_as(buffer))
            start = stop
        return vector

    def parameters(self, vector: Tensor) -> dict[str, Tensor]:
        """The module's parameters by name, as views of any vector `(P,)`."""
        return {name: vector[place].view(shape) for name, (place, shape) in self._places.items()}

    def _find_places(self) -> dict[str, tuple[slice, torch.Size]]:
        """Where in the vector each parameter lies; one under two names is there twice."""
        places, start = {}, 0
        for parameter in self.module.parameters():
            places[id(parameter)] = slice(start, start := start + parameter.numel())
        # `functional_call` spoils a module that is reached by two names: each owner once.
        return {
            f"{owner}.{name}".lstrip("."): (places[id(parameter)], parameter.shape)
            for owner, module in self.module.named_modules()
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        }

    def vectors(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `parameters`, for B of them at once: `(B, ...)` by name -> `(B, P)`.

        Values under two names of one parameter are added, as its gradients must be.
        """
        count = len(next(iter(parts.values())))
        joined = self.vector.new_zeros(count, len(self.vector))
        for name, (place, _) in self._places.items():
            joined[:, place] += parts[name].flatten(1)
        return joined

    def call(self, at: Tensor | Mapping[str, Tensor], *inputs: Any) -> Any:
        """The module at other parameters instead of its own, as a pure function.

        It can be differentiated with respect to the parameters and the inputs, also under
        `torch.func`. Gradients by name cost less than those of a vector, of which each parameter
        is a slice.

        Args:
            at: All parameters as one vector `(P,)`, or by name as in `parameters`.
            inputs: What the module is called with.

        >>> layer = FlatModule(nn.Linear(2, 1, bias=False))
        >>> layer.call(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0]])).item()
        11.0
        """
        by_name = self.parameters(at) if isinstance(at, Tensor) else dict(at)
        return functional_call(self.module, by_name, inputs, tie_weights=False)

    def load(self, vector: Tensor) -> None:
        """Copies `vector` `(P,)` in.

        Raises:
            ValueError: It has another shape.
        """
        # `copy_` would spread a vector of length 1 over all parameters.
        if vector.shape != self.vector.shape:
            raise ValueError(
                f"a vector of shape {tuple(vector.shape)} for {len(self.vector)} parameters"
            )
        with torch.no_grad():
            self.vector.copy_(vector)

    def compute_gradient(self, loss: Tensor) -> Tensor:
        """The gradient of a scalar, `(P,)`; the next call overwrites it."""
        self.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        return self.gradient
