"""The two players: their gradients, the steps along them, and all the state there is.

Objectives and penalties give one value per example; only here, and in the gradient rule, are these
averaged, with the rows' weights. A weighted mean over one site times that site's total weight,
summed over sites, is therefore the weighted mean over all rows, and so is its gradient
(`everymode.fairness.weighting.group_weights`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from everymode.wgan.augmentations import compose
from everymode.wgan.errors import StateError
from everymode.wgan.flat import FlatModule
from everymode.wgan.gradients import CriticLosses, CriticReport, Examples, weighted_mean
from everymode.wgan.mixtures import ScoreFn
from everymode.wgan.optimizers import Optimizer, Statistics, UpdateBound
from everymode.wgan.penalties import (
    CriticStep,
    GeneratorPenalty,
    GeneratorStep,
    Scores,
    SlopeFn,
    lengths,
    slopes,
)
from everymode.wgan.points import interpolates
from everymode.wgan.recipe import Recipe, Shape


@dataclass(frozen=True)
class Batch:
    """Real rows with what belongs to them.

    Attributes:
        real: Encoded rows, `(B, D)`.
        condition: Their conditions, `(B, C)`.
        weights: Their weights, `(B,)`; only ratios matter, but for rules that bound what each
            example adds (`everymode.wgan.clipped_noised`).
        expected: How many rows there are on average, where their number is random (a Poisson
            sample); None: as many as there are.
    """

    real: Tensor
    condition: Tensor
    weights: Tensor
    expected: float | None = None


class Players:
    """Generator and critic with their optimizers' statistics, on one device.

    Attributes:
        recipe: The parts.
        shape: The layout of a sample.
        generator: The generator over one flat vector.
        critic: The critic over one flat vector.
        generator_statistics: The optimizer's moments of the generator.
        critic_statistics: The optimizer's moments of the critic.
        average: Exponential average of the generator's vector, `(P,)`.
        strength: Strength of the augmentations, 0 to 1.
    """

    def __init__(
        self, recipe: Recipe, shape: Shape, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        """Builds both networks; their first weights depend on `seed` alone.

        Raises:
            SettingsError: Parts that do not go together, or that need other data.
        """
        recipe.check(shape)
        self.recipe = recipe
        self.shape = shape
        self.device = torch.device(device)
        # PyTorch's initialisers draw from the CPU's global generator: lent for the moment, then put
        # back. `torch.manual_seed` would seed those of the GPUs too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            generator: nn.Module = recipe.generator.build(shape)
            critic: nn.Module = recipe.critic.build(shape.packed(recipe.pack))
            recipe.lipschitz.parametrize(critic)
        # No layer depends on the mode but the power iterations of a spectral norm, which are taken
        # once a step (`everymode.wgan.lipschitz`).
        critic.eval()
        self.generator: FlatModule[nn.Module] = FlatModule(generator, device)
        self.critic: FlatModule[nn.Module] = FlatModule(critic, device)
        self.generator_statistics = Statistics.zeros(self.generator.vector)
        self.critic_statistics = Statistics.zeros(self.critic.vector)
        self.average = self.generator.vector.clone()
        self.strength = recipe.strength.start

    def fake(self, condition: Tensor, rng: torch.Generator) -> Tensor:
        """Fake rows for the conditions `(B, C)`, without a graph, `(B, D)`."""
        with torch.no_grad():
            rows: Tensor = self.generator.module(condition, rng)
        return rows

    def critic_gradient(
        self, batch: Batch, fake: Tensor, rng: torch.Generator, number: int | None = None
    ) -> tuple[Tensor, CriticReport]:
        """The critic's gradient `(P,)` on real rows paired with fake ones of the same condition.

        Args:
            batch: Real rows; as many as a multiple of the recipe's `pack`.
            fake: Fake rows, `(B, D)`.
            rng: Source of the randomness of augmentations and penalties.
            number: Steps before this one, for penalties that are not taken at every step; None: as
                many as the statistics have seen.
        """
        pack = self.recipe.pack
        augment = compose(self.recipe.augmentations, batch.real, self.shape, self.strength, rng)
        real, seen = self._packed(augment(batch.real)), self._packed(augment(fake))
        condition = self._packed(batch.condition)
        weights = batch.weights.view(len(real), pack).mean(1)
        recipe, scale = self.recipe, self.shape.scale
        number = self.critic_statistics.steps if number is None else number
        due = [term for term in recipe.lipschitz.penalties if number % term.every == 0]
        step = CriticStep(self.critic.module, real, seen, condition, scale)
        drawn = tuple(term.draw(step, rng) for term in due)

        def loss(critic: Scores, slopes: SlopeFn, of: Examples) -> tuple[Tensor, CriticReport]:
            step = CriticStep(critic, of.real, of.fake, of.condition, scale, slopes)
            real_scores, fake_scores = self._scores(step)
            value = recipe.objective.critic(real_scores, fake_scores)
            penalty = torch.zeros_like(value)
            for term, its in zip(due, of.drawn, strict=True):
                penalty = penalty + term.every * term.weight * term.value(step, its)
            on_real, on_fake = real_scores.detach(), fake_scores.detach()
            estimate = recipe.objective.estimate(on_real, on_fake)
            return value + penalty, CriticReport(estimate, penalty.detach(), on_real, on_fake)

        expected = None if batch.expected is None else batch.expected / pack
        examples = Examples(real, seen, condition, drawn)
        losses = CriticLosses(self.critic, examples, weights, loss, expected)
        gradient, report = recipe.gradient_rule(losses, rng)
        return gradient, CriticReport(*(value.repeat_interleave(pack) for value in report))

    def generator_gradient(
        self,
        condition: Tensor,
        weights: Tensor,
        rng: torch.Generator,
        penalties: Sequence[GeneratorPenalty] = (),
        judge: ScoreFn | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The generator's gradient `(P,)` against the critic as it is, or against `judge`.

        Also returns its losses without the penalties, `(B,)`.
        """
        critic, pack = self.critic.module, self.recipe.pack
        judge = critic if judge is None else judge
        critic.requires_grad_(False)
        try:
            rows: Tensor = self.generator.module(condition, rng)
            augment = compose(self.recipe.augmentations, rows, self.shape, self.strength, rng)
            scores = judge(self._packed(augment(rows)), self._packed(condition))
            loss = self.recipe.objective.generator(scores).repeat_interleave(pack)
            total = loss
            for term in penalties:
                total = total + term.weight * term(GeneratorStep(rows, condition))
            gradient = self.generator.compute_gradient(weighted_mean(total, weights))
        finally:
            critic.requires_grad_(True)
        return gradient, loss.detach()

    def scores(self, rows: Tensor, condition: Tensor, rng: torch.Generator) -> Tensor:
        """What the critic says of rows `(B, D)` as it would see them in training, `(B,)`."""
        pack = self.recipe.pack
        augment = compose(self.recipe.augmentations, rows, self.shape, self.strength, rng)
        with torch.no_grad():
            scores: Tensor = self.critic.module(
                self._packed(augment(rows)), self._packed(condition)
            )
        return scores.repeat_interleave(pack)

    def slopes(self, batch: Batch, fake: Tensor, rng: torch.Generator) -> Tensor:
        """The critic's slope on interpolates, in score per unit of the data, `(B,)`."""
        augment = compose(self.recipe.augmentations, batch.real, self.shape, self.strength, rng)
        points = interpolates(self._packed(augment(batch.real)), self._packed(augment(fake)), rng)
        gradient = slopes(self.critic.module, points, self._packed(batch.condition), graph=False)
        return (lengths(gradient) * self.shape.scale).repeat_interleave(self.recipe.pack)

    def step_critic(
        self, gradient: Tensor, factor: float = 1.0, guard: UpdateBound | None = None
    ) -> None:
        """Moves the critic; with a `guard` the statistics stay frozen as they are."""
        rule = self.recipe.critic_optimizer
        _step(rule, self.critic.vector, self.critic_statistics, gradient, factor, guard)
        self.project_critic()

    def step_generator(
        self, gradient: Tensor, factor: float = 1.0, guard: UpdateBound | None = None
    ) -> None:
        """Moves the generator; with a `guard` the statistics stay frozen as they are."""
        rule = self.recipe.generator_optimizer
        _step(rule, self.generator.vector, self.generator_statistics, gradient, factor, guard)

    def project_critic(self) -> None:
        """Brings the critic back under its constraint, after its weights were moved."""
        self.recipe.lipschitz.project(self.critic.module)

    def update_ema(self, steps: int = 1) -> None:
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
        if "strength" in own:
            self.strength = float(own["strength"])
        self.critic_statistics.steps = critic_steps
        self.generator_statistics.steps = generator_steps

    def _tensors(self) -> dict[str, Tensor]:
        named = {
            "generator": self.generator.vector,
            "generator_first": self.generator_statistics.first,
            "generator_second": self.generator_statistics.second,
            "critic": self.critic.vector,
            "critic_first": self.critic_statistics.first,
            "critic_second": self.critic_statistics.second,
            "average": self.average,
        }
        if len(self.critic.buffers):
            named["critic_buffers"] = self.critic.buffers
        if self.recipe.augmentations:
            named["strength"] = torch.tensor([self.strength], dtype=torch.float64)
        return named

    def _packed(self, rows: Tensor) -> Tensor:
        """Samples `(B, D)` -> packs of samples side by side, `(B / pack, pack * D)`."""
        pack = self.recipe.pack
        return rows if pack == 1 else rows.reshape(len(rows) // pack, -1)

    def _scores(self, step: CriticStep) -> tuple[Tensor, Tensor]:
        critic, condition = step.critic, step.condition
        if self.recipe.critic.batch_statistics:
            # Real and fake rows have statistics of their own.
            return critic(step.real, condition), critic(step.fake, condition)
        # One pass over real and fake together is cheaper than two.
        scores = critic(torch.cat([step.real, step.fake]), torch.cat([condition, condition]))
        real_scores, fake_scores = scores.chunk(2)
        return real_scores, fake_scores


def _step(
    rule: Optimizer,
    vector: Tensor,
    statistics: Statistics,
    gradient: Tensor,
    factor: float,
    guard: UpdateBound | None,
) -> None:
    if guard is not None:
        rule.apply_frozen(vector, gradient, statistics, guard, factor)
        return
    rule.observe(statistics, gradient)
    rule.apply(vector, statistics, factor)
