"""The only loop: gradients of the two players and the steps along them.

The loop alone averages: objectives and penalties give one value per example, which is weighted with
the row's weight here. A weighted mean over one site times that site's total weight, summed over
sites, is therefore the weighted mean over all rows, and so is its gradient (`fairness.weights`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan.critics import MLPCritic
from wgan.errors import StateError
from wgan.generators import SkipGenerator
from wgan.optimizers import Statistics
from wgan.packed import Packed
from wgan.penalties import CriticStep, GeneratorPenalty, GeneratorStep
from wgan.recipe import Recipe, Shape


@dataclass(frozen=True)
class Batch:
    """Real rows with what belongs to them.

    Attributes:
        real: Encoded rows, `(B, D)`.
        condition: Their conditions, `(B, C)`.
        weights: Their weights, `(B,)`; only ratios matter.
    """

    real: Tensor
    condition: Tensor
    weights: Tensor


@dataclass(frozen=True)
class CriticReport:
    """What one critic gradient showed, one value per example, detached.

    Attributes:
        estimate: C(real) - C(fake), `(B,)`; its weighted mean estimates W1.
        penalty: Sum of the weighted penalties, `(B,)`.
    """

    estimate: Tensor
    penalty: Tensor


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """sum(w v) / sum(w) over a batch, `()`.

    >>> weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0])).item()
    2.0
    """
    return (values * weights).sum() / weights.sum()


class Players:
    """Generator and critic with their optimizers' statistics, on one device.

    Attributes:
        recipe: The parts.
        generator: The generator over one flat vector.
        critic: The critic over one flat vector.
        generator_statistics: Adam's moments of the generator.
        critic_statistics: Adam's moments of the critic.
        average: Exponential average of the generator's vector, `(P,)`.
    """

    def __init__(
        self, recipe: Recipe, shape: Shape, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        """Builds both networks; their first weights depend on `seed` alone."""
        self.recipe = recipe
        self.device = torch.device(device)
        # PyTorch's initialisers draw from the CPU's global generator: lent for the moment, then put
        # back. `torch.manual_seed` would seed those of the GPUs too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            generator = recipe.generator.build(shape.blocks, shape.width, shape.condition)
            critic = recipe.critic.build(shape.width, shape.condition)
        self.generator: Packed[SkipGenerator] = Packed(generator, device)
        self.critic: Packed[MLPCritic] = Packed(critic, device)
        self.generator_statistics = Statistics.zeros(self.generator.vector)
        self.critic_statistics = Statistics.zeros(self.critic.vector)
        self.average = self.generator.vector.clone()

    def fake(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Fake rows for the conditions `(B, C)`, without a graph, `(B, D)`."""
        with torch.no_grad():
            rows: Tensor = self.generator.module(condition, rng)
        return rows

    def critic_gradient(
        self, batch: Batch, fake: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, CriticReport]:
        """The critic's gradient `(P,)` on real rows paired with fake ones of the same condition."""
        critic = self.critic.module
        # One pass over real and fake together is cheaper than two.
        scores = critic(
            torch.cat([batch.real, fake]), torch.cat([batch.condition, batch.condition])
        )
        real_scores, fake_scores = scores.chunk(2)
        step = CriticStep(critic, batch.real, fake, batch.condition, rng)
        loss = self.recipe.objective.critic(real_scores, fake_scores)
        penalty = torch.zeros_like(loss)
        for term in self.recipe.penalties:
            penalty = penalty + term.weight * term(step)
        gradient = self.critic.gradient_of(weighted_mean(loss + penalty, batch.weights))
        report = CriticReport((real_scores - fake_scores).detach(), penalty.detach())
        return gradient, report

    def generator_gradient(
        self,
        condition: Tensor,
        weights: Tensor,
        rng: torch.Generator,
        penalties: Sequence[GeneratorPenalty] = (),
    ) -> tuple[Tensor, Tensor]:
        """The generator's gradient `(P,)` against the critic as it is.

        Also returns its losses without the penalties, `(B,)`.
        """
        critic = self.critic.module
        critic.requires_grad_(False)
        try:
            rows = self.generator.module(condition, rng)
            loss = self.recipe.objective.generator(critic(rows, condition))
            total = loss
            for term in penalties:
                total = total + term.weight * term(GeneratorStep(rows, condition))
            gradient = self.generator.gradient_of(weighted_mean(total, weights))
        finally:
            critic.requires_grad_(True)
        return gradient, loss.detach()

    def step_critic(self, gradient: Tensor, factor: float = 1.0, frozen: bool = False) -> None:
        """Moves the critic; with `frozen` the statistics stay as they are."""
        adam = self.recipe.critic_adam
        if frozen:
            adam.apply_frozen(self.critic.vector, gradient, self.critic_statistics, factor)
            return
        adam.observe(self.critic_statistics, gradient)
        adam.apply(self.critic.vector, self.critic_statistics, factor)

    def step_generator(self, gradient: Tensor, factor: float = 1.0, frozen: bool = False) -> None:
        """Moves the generator; with `frozen` the statistics stay as they are."""
        adam = self.recipe.generator_adam
        if frozen:
            adam.apply_frozen(self.generator.vector, gradient, self.generator_statistics, factor)
            return
        adam.observe(self.generator_statistics, gradient)
        adam.apply(self.generator.vector, self.generator_statistics, factor)

    def follow(self, steps: int = 1) -> None:
        """Takes the generator into its exponential average, as after `steps` equal steps.

        Early on the average forgets faster, (1 + t) / (10 + t), so that the first weights do not
        linger.
        """
        seen = self.generator_statistics.steps
        decay = min(self.recipe.averaging, (1 + seen) / (10 + seen))
        self.average.lerp_(self.generator.vector, 1 - decay**steps)

    def tensors(self) -> dict[str, Tensor]:
        """The state by name (copies, on the CPU)."""
        return {
            name: tensor.detach().to("cpu", copy=True) for name, tensor in self._tensors().items()
        }

    def load(self, tensors: dict[str, Tensor], critic_steps: int, generator_steps: int) -> None:
        """Takes in what `tensors` gave; steps are those the statistics have seen.

        Raises:
            StateError: A tensor is missing or of another shape; nothing was taken in.
        """
        own = self._tensors()
        problems = [
            f"the state does not fit the networks: tensor '{name}' "
            + (f"has shape {tuple(tensors[name].shape)}" if name in tensors else "is missing")
            + f", expected {tuple(tensor.shape)}; resume with the settings it was made with"
            for name, tensor in own.items()
            if name not in tensors or tensors[name].shape != tensor.shape
        ]
        if problems:
            raise StateError(problems)
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        self.critic_statistics.steps = critic_steps
        self.generator_statistics.steps = generator_steps

    def _tensors(self) -> dict[str, Tensor]:
        return {
            "generator": self.generator.vector,
            "generator_first": self.generator_statistics.first,
            "generator_second": self.generator_statistics.second,
            "critic": self.critic.vector,
            "critic_first": self.critic_statistics.first,
            "critic_second": self.critic_statistics.second,
            "average": self.average,
        }
