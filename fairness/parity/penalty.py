"""A penalty that draws a generator towards parity of the rows it makes.

For what `fairness.parity` cannot ask for: where the generator makes group or label itself, and for
equal opportunity.

Source: Hardt, Price, Srebro, "Equality of Opportunity in Supervised Learning", 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.matching.moments import MomentMatching
from everymode.fairness.parity.membership import BinMembership, Membership, build_memberships
from everymode.fairness.parity.mixture import feature_members, feature_sets
from everymode.wgan.data.schema import Schema
from everymode.wgan.penalties import GeneratorStep

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Shape = Literal["squared", "absolute"]

RIDGE = 1e-2
"""Added to the diagonal of the score's regression, times that diagonal's mean."""

FEWEST = 1.5
"""Rows that a group needs in a batch: between one, whose spread nobody knows, and two."""


@dataclass(frozen=True)
class ParityPenalty:
    """The gap between each group's mean and the overall mean, less `level` times the data's own.

    Means are of the label, each class alike (demographic parity), or, among rows of the label that
    is the advantage, of a linear score (equal opportunity). The score is the ridge regression of
    that label on the made columns besides target and sensitive features, solved on each batch and
    held fixed in the gradient: what a linear model trained on these rows would say. Its mean stands
    for the true positive rate, which has no gradient. Nothing is fitted to a real row.

    Groups are every value of each feature, and every joint value of all. Where the condition tells
    the group, its rows in a batch count for the group's share in the data, however often it was
    asked for. A squared gap is estimated without bias: less its sampling variance, which would
    otherwise draw small groups to one label. An absolute gap keeps that part. Groups with fewer
    than two rows in a batch take no part in it.

    Attributes:
        weight: What it is multiplied with.
        groups: Reads groups.
        labels: Reads labels.
        members: Which groups each value has, `(V, G)`.
        factors: What each value's gap counts, `(V,)`.
        shares: The groups' shares of the rows that means are over, `(G,)`; None: the batch's.
        gaps: The gaps asked for, `(V, L)`; for equal opportunity 0, see `data`.
        shape: What is made of a gap.
        label: The label that is the advantage, by position; None: demographic parity.
        inputs: The outputs of a row that the score reads, `(I,)`.
        data: For a gap of the data's in the score, `(V, I)`: the level times the gaps of inputs.
    """

    weight: float
    groups: Membership
    labels: Membership | BinMembership
    members: Tensor
    factors: Tensor
    shares: Tensor | None
    gaps: Tensor
    shape: Shape = "squared"
    label: int | None = None
    inputs: Tensor | None = None
    data: Tensor | None = None
    name: str = "parity"

    @staticmethod
    def of(
        conditions: ConditionSpace,
        schema: Schema,
        weight: float,
        level: float = 0.0,
        features: Sequence[str] = (),
        shape: Shape = "squared",
        label: str | None = None,
        matching: MomentMatching | None = None,
        device: torch.device | str = "cpu",
    ) -> "ParityPenalty":
        """Reads what server and sites agreed on.

        Args:
            conditions: Groups, labels and their counts.
            schema: The columns.
            weight: The penalty's weight.
            level: Share of the data's gaps that stays, from 0 to 1.
            features: The sensitive features it holds for; empty: all.
            shape: What is made of a gap.
            label: The advantage, for equal opportunity; None: demographic parity.
            matching: Summed second moments, from which the data's gap in a score is read.
            device: Where the generator lives.

        Raises:
            ValueError: A level above 0 asks for a gap of scores, and there are no moments of
                groups, or none of the label, since it is a bin of a number that is made.
        """
        groups, labels = build_memberships(conditions, schema)
        chosen = [conditions.sensitive.index(name) for name in features or conditions.sensitive]
        members, factors = feature_members(conditions.groups, feature_sets(chosen))
        table = conditions.plain.table.astype(np.float64)
        position = None if label is None else conditions.labels.index(label)
        rows = table.sum(1) if position is None else table[:, position]
        gaps = np.zeros((len(members), len(conditions.labels) if label is None else 1))
        inputs = data = None
        if position is None:
            totals = table.sum(1, keepdims=True)
            rates = np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
            gaps = level * _contrast(members, rows) @ rates
        else:
            inputs = _inputs(conditions, schema)
            if level > 0:
                if isinstance(labels, BinMembership):
                    raise ValueError(
                        "the data's gap in a score is read from moments of the label, and "
                        f"'{conditions.target}' is a number that the generator makes"
                    )
                place = int(labels.index[0, position])
                means, known = _means(conditions, matching, inputs, place)
                data = level * _contrast(members, rows * known) @ means
        told = conditions.blocks[0] > 0

        def put(value: npt.ArrayLike) -> Tensor:
            return torch.tensor(np.asarray(value), dtype=torch.float32, device=device)

        return ParityPenalty(
            weight,
            groups.to(device),
            labels.to(device),
            put(members),
            put(factors),
            put(rows / max(rows.sum(), 1.0)) if told else None,
            put(gaps),
            shape,
            position,
            None if inputs is None else torch.tensor(inputs, device=device),
            None if data is None else put(data),
        )

    def __call__(self, step: GeneratorStep) -> Tensor:
        """The penalty, at every row of `(B,)`: a gap is no sum over rows, so each carries it all.

        Its mean is the penalty whatever the rows weigh.
        """
        fake = step.fake
        joined = torch.cat([fake, step.condition, fake.new_ones(len(fake), 1)], 1)
        member, value = self.groups(joined), self.labels(joined)
        wanted = self.gaps
        if self.label is not None and self.inputs is not None:
            chosen = value[:, self.label]
            inputs = fake[:, self.inputs]
            slope = _ridge(inputs.detach(), chosen.detach(), self._even(member.detach()))
            member = member * chosen[:, None]
            value = (inputs @ slope)[:, None]
            if self.data is not None:
                wanted = (self.data @ slope)[:, None]
        count = member.sum(0)
        present = (count.detach() >= FEWEST).to(count.dtype)
        count = count.clamp_min(FEWEST)
        mean = (member.T @ value) / count[:, None]
        share = (count if self.shares is None else self.shares) * present
        own = self.members * share
        size = own.sum(1, keepdim=True)
        tiny = torch.finfo(size.dtype).tiny
        contrast = own / size.clamp_min(tiny) - share / share.sum().clamp_min(tiny)
        gap = contrast @ mean - wanted
        if self.shape == "absolute":
            terms = gap.abs()
        else:
            square = member.square()
            spread = square.T @ value.square() - 2 * mean * (square.T @ value)
            spread = spread + mean.square() * square.sum(0)[:, None]
            variance = spread / (count * (count - 1))[:, None]
            terms = gap.square() - contrast.square() @ variance
        # Of a class's share and of what the others lose to it, each counts half.
        half = 0.5 if self.label is None else 1.0
        factors = self.factors * (size[:, 0].detach() > 0)
        return (half * (factors @ terms).sum()).expand(len(fake))

    def _even(self, member: Tensor) -> Tensor:
        """What each row counts so that groups have their shares in the data, `(B,)`, in sum 1."""
        if self.shares is None:
            return member.new_full((len(member),), 1 / len(member))
        weights: Tensor = member @ (self.shares / member.sum(0).clamp_min(1.0))
        total = weights.sum()
        even = torch.full_like(weights, 1 / len(weights))
        return torch.where(total > 0, weights / total.clamp_min(1e-12), even)


def _ridge(inputs: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Slopes `(I,)` of the weighted regression of `(B,)` on `(B, I)`, with an intercept."""
    centred = inputs - weights @ inputs
    moment = centred.T @ (weights[:, None] * centred)
    # A constant column has no variance, and a batch of one row has none at all.
    floor = RIDGE * moment.diagonal().mean() + 1e-6
    moment = moment + floor * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    aim = centred.T @ (weights * (target - weights @ target))
    slope: Tensor = torch.linalg.solve(moment, aim)
    return slope


def _contrast(members: Bools, rows: Floats) -> Floats:
    """Coefficients of the groups' means in each value's gap to the overall mean, `(V, G)`."""
    own = members * rows
    size = own.sum(1, keepdims=True)
    parts = np.divide(own, size, out=np.zeros(own.shape), where=size > 0)
    found: Floats = (parts - rows / max(rows.sum(), 1.0)) * (size > 0)
    return found


def _inputs(conditions: ConditionSpace, schema: Schema) -> Ints:
    """The outputs of a row that a score may read: neither target nor sensitive features."""
    codec = conditions.table_codec(schema)
    held = np.ones(codec.width, dtype=np.bool_)
    for name in (*conditions.sensitive, conditions.target):
        if name is not None and name in codec.schema.names:
            held[codec.span(name)] = False
    return held.nonzero()[0]


def _means(
    conditions: ConditionSpace, matching: MomentMatching | None, inputs: Ints, place: int
) -> tuple[Floats, Bools]:
    """Means `(G, I)` of inputs over each group's rows of a label, and which are known, `(G,)`.

    A group's second moments hold E[x 1(label)] beside P(label). `place` is where the label stands.
    Where a group does not know an input's, it is taken for that of all rows.
    """
    count = conditions.blocks[0]
    if matching is None or not count:
        raise ValueError("the data's gap in a score is read from the moments of told groups")
    scale = matching.scale.double().cpu().numpy()
    moments = matching.moments.double().cpu().numpy() / scale[:, None] / scale
    told = matching.known.cpu().numpy() > 0
    share = moments[:, place, place]
    known = (share > 0) & matching.active.cpu().numpy() & told[:, place]
    means = moments[:, inputs, place] / np.where(known, share, 1.0)[:, None]
    means = np.where(told[:, inputs], means, means[-1])
    return np.where(known[:count, None], means[:count], 0.0), known[:count]
