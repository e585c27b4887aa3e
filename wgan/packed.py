"""A module whose parameters are views of one flat vector.

What is exchanged, averaged, optimised and saved is one vector `(P,)`; autograd writes into one flat
gradient. A step then costs a handful of vector operations instead of a loop over tensors.
"""

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Packed(Generic[M]):
    """Owns a module and the flat vectors under it.

    Attributes:
        module: The module; its parameters are views of `vector`.
        vector: All parameters, `(P,)`, in the module's order.
        gradient: Where `backward` accumulates, `(P,)`.
        buffers: What the module keeps besides parameters (the vectors of power iterations), `(Q,)`.

    >>> layer = Packed(nn.Linear(2, 1, bias=False))
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

    def gradient_of(self, loss: Tensor) -> Tensor:
        """The gradient of a scalar, `(P,)`; the next call overwrites it."""
        self.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        return self.gradient
