"""A head that tells the sensitive features from the rest of a made row, against the generator.

The generator pays for what the head knows beyond chance. Counted over rows as they come, that is
the mutual information of group and row, and I(g; x) <= H(g): a generator that makes the groups
itself lowers it most cheaply by dropping the minority, at no change to anybody's rows. Reweighted,
every group counts the same, both where the head learns and where the generator pays: how many rows
a group has then no longer matters, and a group without rows costs what a group known for certain
costs. Reweighting takes the gain away; it is matching (`everymode.fairness.matching.moments`) that
brings rows back.

Sources: Zhang, Lemoine, Mitchell, "Mitigating Unwanted Biases with Adversarial Learning", 2018;
Xu et al., "FairGAN", 2018 (an adversary on the generator's rows); reweighting: ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.parity.membership import Membership, build_memberships
from everymode.wgan.data.schema import Schema
from everymode.wgan.penalties import GeneratorStep

ABSENT = 0.5
"""Soft rows in a batch below which a group counts as dropped."""

BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class GroupAdversarySpec:
    """How a `GroupAdversary` is built.

    Attributes:
        weight: What the penalty is multiplied with.
        hidden: Sizes of the head's hidden layers; none: logistic regression.
        rate: Adam's step size.
        steps: Steps of the head before each step of the generator.
        reweighted: Whether every group counts the same; False shows what goes wrong.
    """

    weight: float = 1.0
    hidden: tuple[int, ...] = (64,)
    rate: float = 3e-3
    steps: int = 1
    reweighted: bool = True

    def build(
        self,
        conditions: ConditionSpace,
        schema: Schema,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> "GroupAdversary":
        """A head over the made columns that are no sensitive features.

        Raises:
            ValueError: There are fewer than two groups, or no column to tell them from.
        """
        codec = conditions.table_codec(schema)
        held = np.ones(codec.width, dtype=np.bool_)
        for name in conditions.sensitive:
            if name in codec.schema.names:
                held[codec.span(name)] = False
        if len(conditions.groups) < 2 or not held.any():
            raise ValueError("a bias head needs two groups or more, and a column to tell them from")
        groups, _ = build_memberships(conditions, schema)
        inputs = torch.tensor(held.nonzero()[0], device=device)
        sizes = (len(inputs), *self.hidden, len(conditions.groups))
        return GroupAdversary(self, groups.to(device), inputs, sizes, seed)


class GroupAdversary:
    """A penalty on the generator that learns; all it knows is in `tensors`.

    Attributes:
        spec: How it was built.
        name: For whoever reports it.
    """

    name = "bias_head"

    def __init__(
        self,
        spec: GroupAdversarySpec,
        groups: Membership,
        inputs: Tensor,
        sizes: Sequence[int],
        seed: int,
    ) -> None:
        """Draws the first weights.

        Args:
            spec: What to build.
            groups: Reads groups, of which there are `sizes[-1]`.
            inputs: The outputs of a row that the head reads, `(I,)`.
            sizes: Widths of all layers, from I to the groups.
            seed: Of the weights.
        """
        self.spec = spec
        self._groups = groups
        self._inputs = inputs
        rng = torch.Generator().manual_seed(seed)
        self._state: dict[str, Tensor] = {"steps": torch.zeros(1, dtype=torch.float64)}
        for layer, (before, after) in enumerate(pairwise(sizes)):
            spread = (2 / before) ** 0.5
            weight = spread * torch.randn((before, after), generator=rng)
            for name, value in ((f"{layer}.weight", weight), (f"{layer}.bias", torch.zeros(after))):
                self._state[name] = value.to(inputs.device)
                self._state[f"{name}.first"] = torch.zeros_like(self._state[name])
                self._state[f"{name}.second"] = torch.zeros_like(self._state[name])
        self._names = [f"{i}.{part}" for i in range(len(sizes) - 1) for part in ("weight", "bias")]

    @property
    def weight(self) -> float:
        """What the penalty is multiplied with."""
        return self.spec.weight

    def tensors(self) -> dict[str, Tensor]:
        """Weights, Adam's moments and steps, by name, as copies."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Goes on from `tensors`.

        Raises:
            KeyError: One is missing.
        """
        for name, tensor in self._state.items():
            tensor.copy_(tensors[name])

    def __call__(self, step: GeneratorStep) -> Tensor:
        """Learns from the rows, then says what they give away, in nats, `(B,)`.

        Of a row of group g: log p(g | row) - log q_g, where q is what is known without a look: each
        group alike where reweighted, else the groups' shares of the batch.
        """
        fake = step.fake
        joined = torch.cat([fake, step.condition, fake.new_ones(len(fake), 1)], 1)
        member, rows = self._groups(joined), fake[:, self._inputs]
        for _ in range(self.spec.steps):
            self._learn(rows.detach(), member.detach())
        count = member.sum(0)
        known = {name: self._state[name] for name in self._names}
        says = self._log_probabilities(rows, known)
        if not self.spec.reweighted:
            share = (count / count.sum().clamp_min(ABSENT)).clamp_min(torch.finfo(count.dtype).tiny)
            return (member * (says - share.log())).sum(1)
        number = len(count)
        chance = -float(np.log(number))
        dropped = float((count.detach() < ABSENT).sum())
        values: Tensor = (member * self._factors(count) * (says - chance)).sum(1)
        return len(fake) * values - dropped / number * chance

    def _factors(self, count: Tensor) -> Tensor:
        """What a row of each group counts, `(G,)`: groups alike, those that are dropped nothing."""
        present = (count.detach() >= ABSENT).to(count.dtype)
        return present / (len(count) * count.clamp_min(ABSENT))

    def _learn(self, rows: Tensor, member: Tensor) -> None:
        state = self._state
        count = member.sum(0)
        even = torch.full_like(count, 1 / len(rows))
        factors = self._factors(count) if self.spec.reweighted else even
        with torch.enable_grad():
            known = {name: state[name].clone().requires_grad_(True) for name in self._names}
            loss = -(member * factors * self._log_probabilities(rows, known)).sum()
            gradients = torch.autograd.grad(loss, list(known.values()))
        state["steps"] += 1
        steps = float(state["steps"])
        for name, gradient in zip(self._names, gradients, strict=True):
            first, second = state[f"{name}.first"], state[f"{name}.second"]
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            size = (second / (1 - BETAS[1] ** steps)).sqrt() + 1e-8
            state[name] -= self.spec.rate * first / (1 - BETAS[0] ** steps) / size

    def _log_probabilities(self, rows: Tensor, known: Mapping[str, Tensor]) -> Tensor:
        """What the head says, log p(g | row), `(B, G)`."""
        last = len(self._names) // 2 - 1
        for layer in range(last + 1):
            rows = rows @ known[f"{layer}.weight"] + known[f"{layer}.bias"]
            if layer < last:
                rows = torch.nn.functional.leaky_relu(rows, 0.2)
        return torch.log_softmax(rows, 1)
