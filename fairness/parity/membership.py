"""Reads off made rows, with a gradient, which group and which label each of them is of."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from everymode.fairness.groups.conditions import MISSING, ConditionSpace, assign_bins
from everymode.wgan.data.codec import TableCodec
from everymode.wgan.data.ranks import resolution, to_scores
from everymode.wgan.data.schema import Column, Schema

FADE = 0.1
"""How softly a bin ends for the gradient, in the codec's scores: a fifth of their deviation."""

CONTINUOUS = 1e-3
"""Least share of the state "continuous" that a number is divided by."""


@dataclass(frozen=True)
class Membership:
    """Reads how much each row is of each class, from made columns or from the condition.

    Attributes:
        index: Where in a row beside its condition and a one each class stands, `(F, N)`; a row is
            of a class as much as all F entries, multiplied, say.
    """

    index: Tensor

    def __call__(self, joined: Tensor) -> Tensor:
        """Rows beside conditions and a one `(B, D + C + 1)` -> memberships `(B, N)`."""
        return joined[:, self.index].prod(1)

    def to(self, device: torch.device | str) -> "Membership":
        """The same on another device."""
        return Membership(self.index.to(device))


@dataclass(frozen=True)
class BinMembership:
    """Reads in which bin each made number lies.

    A row is wholly in the bin of its number, so that rates are those of a table. The gradient is
    that of bins which fade into one another (`FADE`): a straight-through estimator. Atoms and
    missing values are of a bin as much as the row is of that state.

    Source: Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic
    Neurons", 2013 (straight-through).

    Attributes:
        value: The output that is the number; None: there are only atoms.
        states: The outputs that say what stands there: a number, an atom, nothing. Empty: always
            the same.
        cuts: Where one bin ends and the next begins, in the codec's scores, `(N' - 1,)`.
        fixed: Bins of the states that have one, `(S, N)`; 0 for a number.
    """

    value: int | None
    states: slice
    cuts: Tensor
    fixed: Tensor

    def __call__(self, joined: Tensor) -> Tensor:
        """Rows beside whatever else `(B, >= D)` -> memberships `(B, N)`."""
        states = joined[:, self.states]
        if self.value is None:
            return states @ self.fixed if states.shape[1] else self.fixed.expand(len(joined), -1)
        if not states.shape[1]:
            return self._bins(joined[:, self.value])
        # The generator's head has multiplied the number with its state's share.
        share = states[:, 0]
        bins = self._bins(joined[:, self.value] / share.clamp_min(CONTINUOUS))
        return share[:, None] * bins + states @ self.fixed

    def _bins(self, scores: Tensor) -> Tensor:
        width = self.fixed.shape[1]
        hard = one_hot(torch.bucketize(scores.detach().contiguous(), self.cuts), width).to(
            scores.dtype
        )
        above = torch.sigmoid((scores[:, None] - self.cuts) / FADE)
        one, none = scores.new_ones(len(scores), 1), scores.new_zeros(len(scores), 1)
        soft = torch.cat([one, above], 1) - torch.cat([above, none], 1)
        soft = torch.nn.functional.pad(soft, (0, width - soft.shape[1]))
        return soft + (hard - soft).detach()

    def to(self, device: torch.device | str) -> "BinMembership":
        """The same on another device."""
        return replace(self, cuts=self.cuts.to(device), fixed=self.fixed.to(device))


def build_memberships(
    conditions: ConditionSpace, schema: Schema
) -> tuple[Membership, Membership | BinMembership]:
    """Who reads a row's group and its label."""
    codec = conditions.table_codec(schema)
    group, label, _ = conditions.blocks
    target = conditions.target
    if group:
        groups = [list(range(codec.width, codec.width + group))]
    else:
        groups = [
            [_place(codec, name, g[i], conditions) for g in conditions.groups]
            for i, name in enumerate(conditions.sensitive)
        ]
    read = Membership(torch.tensor(groups))
    if not label and target is not None and schema[target].numeric:
        return read, _bins_of(codec, schema[target], conditions)
    if label or target is None:
        first = codec.width + group
        labels = [
            first + i if label else codec.width + conditions.width
            for i in range(len(conditions.labels))
        ]
    else:
        labels = [_place(codec, target, name, conditions) for name in conditions.labels]
    return read, Membership(torch.tensor([labels]))


def _place(codec: TableCodec, name: str, value: str, conditions: ConditionSpace) -> int:
    column, span = codec.schema[name], codec.span(name)
    start, stop = int(span.start), int(span.stop)
    if stop == start:
        return codec.width + conditions.width
    if value == MISSING and column.missing:
        return stop - 1
    return start + column.categories.index(value)


def _bins_of(codec: TableCodec, column: Column, conditions: ConditionSpace) -> BinMembership:
    """Who reads the bins of a number that the generator makes."""
    span, dense = codec.span(column.name), bool(column.edges)
    value = int(span.start) if dense else None
    states = slice(int(span.start) + dense, int(span.stop))
    standing = [*column.atoms, *([np.nan] if column.missing else [])]
    where = assign_bins(np.array(standing, dtype=np.float64), conditions.label_edges)
    fixed = np.zeros((dense + len(standing), len(conditions.labels)), dtype=np.float32)
    # Missing values may be too few to be a label.
    known = where < len(conditions.labels)
    fixed[dense + known.nonzero()[0], where[known]] = 1.0
    cuts = _cuts(column, np.array(conditions.label_edges)) if dense else np.empty(0)
    return BinMembership(
        value, states, torch.tensor(cuts, dtype=torch.float32), torch.from_numpy(fixed)
    )


def _cuts(column: Column, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The scores from which numbers lie at or above each edge once they are on their grid."""
    step = resolution(column)
    if step:
        edges = column.low + step * (np.ceil((edges - column.low) / step - 1e-9) - 0.5)
    return to_scores(edges, column)
