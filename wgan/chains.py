"""Fully connected critics taken apart, so that gradients are sums of terms of rank one.

The derivation, and the names of signals, are in `everymode.wgan.ghost_norms`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from everymode.wgan.committee import Committee
from everymode.wgan.critics import MLPCritic, Readout


class NotRankOne(Exception):
    """The critic, or how its loss uses it, is not of the form that has ghost norms."""


class Term(NamedTuple):
    """What scores or slopes add to the gradient of one layer: r s^T for each row.

    Attributes:
        layer: The layer.
        left: r, `(n, outputs)`.
        right: s, `(n, inputs)`.
        bias: Whether the layer's bias gets r.
    """

    layer: nn.Linear
    left: Tensor
    right: Tensor
    bias: bool


class Trace(NamedTuple):
    """A pass forward: inputs a_0 to a_{L-1}, sums z_1 to z_{L-1}, u, and the conditions."""

    inputs: list[Tensor]
    sums: list[Tensor]
    directions: Tensor
    condition: Tensor


@dataclass(frozen=True)
class Chain:
    """A fully connected critic, as a part of a mean of such.

    Attributes:
        layers: The hidden layers, each with its activation's slope below 0.
        readout: What makes scores of the last features.
        concat: Whether the first layer sees the condition.
        columns: Which values of a sample it sees; None: all.
        share: What its score counts in the mean.
    """

    layers: tuple[tuple[nn.Linear, float], ...]
    readout: Readout
    concat: bool
    columns: Tensor | None = None
    share: float = 1.0

    def forward(self, sample: Tensor, condition: Tensor) -> tuple[Tensor, Trace]:
        """Samples `(n, D)`, conditions `(n, C)` -> scores `(n,)`, and what led to them."""
        seen = sample if self.columns is None else sample.index_select(1, self.columns)
        inputs, sums = [torch.cat([seen, condition], 1) if self.concat else seen], []
        for layer, slope in self.layers:
            sums.append(layer(inputs[-1]))
            inputs.append(leaky_relu(sums[-1], slope))
        directions = self.readout.linear.weight
        scores = self.readout.linear(inputs[-1]).squeeze(1)
        if self.readout.projection is not None:
            projected = self.readout.projection(condition)
            scores = scores + (projected * inputs[-1]).sum(1)
            directions = directions + projected
        return scores, Trace(inputs, sums, directions, condition)

    def backward(self, trace: Trace, seed: Tensor) -> list[Tensor]:
        """d_1 to d_{L-1} for `seed` `(n, 1)` times the score."""
        signal = seed * trace.directions
        signals: list[Tensor] = []
        for place in reversed(range(len(self.layers))):
            if signals:
                signal = signals[-1] @ self.layers[place + 1][0].weight
            signals.append(bend(signal, trace.sums[place], self.layers[place][1]))
        return signals[::-1]

    def slopes(self, trace: Trace, signals: list[Tensor]) -> Tensor:
        """The score's slope with respect to the part of a sample that it sees, `(n, d)`."""
        count, width = len(trace.condition), trace.inputs[0].shape[1]
        width -= trace.condition.shape[1] if self.concat else 0
        if not self.layers:
            return trace.directions.expand(count, -1)[:, :width]
        return signals[0] @ self.layers[0][0].weight[:, :width]

    def terms_of_scores(self, trace: Trace, factors: Tensor) -> Iterator[Term]:
        """What the scores add, each times its factor, `(n,)`."""
        seed = self.share * factors[:, None]
        signals = self.backward(trace, seed)
        for (layer, _), left, right in zip(self.layers, signals, trace.inputs, strict=False):
            yield Term(layer, left, right, True)
        yield Term(self.readout.linear, seed, trace.inputs[-1], True)
        if self.readout.projection is not None:
            left = seed * trace.inputs[-1]
            yield Term(self.readout.projection, left, trace.condition, False)

    def terms_of_slopes(self, trace: Trace, signals: list[Tensor], along: Tensor) -> Iterator[Term]:
        """What the slopes add, where the loss changes by h = `along` `(n, D)` with them."""
        seen = along if self.columns is None else along.index_select(1, self.columns)
        tangent = self.share * seen
        if self.concat:
            tangent = pad(tangent, (0, trace.condition.shape[1]))
        for place, (layer, slope) in enumerate(self.layers):
            yield Term(layer, signals[place], tangent, False)
            tangent = bend(tangent @ layer.weight.T, trace.sums[place], slope)
        yield Term(self.readout.linear, tangent.new_ones(len(tangent), 1), tangent, False)
        if self.readout.projection is not None:
            yield Term(self.readout.projection, tangent, trace.condition, False)


def find_chains(critic: nn.Module) -> tuple[Chain, ...]:
    """The critics whose mean a critic is.

    Raises:
        NotRankOne: It is not a mean of fully connected critics of that form.
    """
    if isinstance(critic, Committee):
        return tuple(
            replace(chain, columns=critic.get_buffer(f"subset_{index}"), share=1 / count)
            for count in [len(critic.critics)]
            for index, member in enumerate(critic.critics)
            for chain in [_find_chain(member)]
        )
    return (_find_chain(critic),)


def _find_chain(critic: nn.Module) -> Chain:
    misfit = NotRankOne(
        "the critic is not made of linear layers with leaky_relu or relu and no normalisation"
    )
    if not isinstance(critic, MLPCritic) or not isinstance(critic.features, nn.Sequential):
        raise misfit
    layers: list[tuple[nn.Linear, float]] = []
    waiting: nn.Linear | None = None
    for module in critic.features:
        # Exactly these classes: a parametrized layer is of a subclass of its own.
        kind = type(module)
        if isinstance(module, nn.Linear) and kind is nn.Linear and waiting is None:
            waiting = module
        elif kind in (nn.LeakyReLU, nn.ReLU) and waiting is not None:
            layers.append((waiting, getattr(module, "negative_slope", 0.0)))
            waiting = None
        elif kind is not nn.Identity:
            raise misfit
    linear, projection = critic.readout.linear, critic.readout.projection
    if waiting is not None or {type(linear), type(projection)} - {nn.Linear, type(None)}:
        raise misfit
    return Chain(tuple(layers), critic.readout, critic.concat)


def bend(values: Tensor, sums: Tensor, slope: float) -> Tensor:
    """D values, with D the activation's slopes at `sums`."""
    bent: Tensor = torch.ops.aten.leaky_relu_backward(values, sums, slope, False)
    return bent
