"""The gradient rule of differentially private training: clipped examples, a noised sum.

What it gives, and what it leaves to others:

- **One step.** The sum of clipped gradients changes by at most `clip` in Euclidean norm when one
  example is added or removed, and by `2 clip` when one is replaced. An example is one real row with
  its condition, the fake row made for that condition, and the point between them; so a row that is
  in a batch once moves one example. The step is a Gaussian mechanism of noise multiplier `noise`
  (Abadi et al., "Deep Learning with Differential Privacy", 2016, algorithm 1).
- **Many steps.** An accountant composes them, by how batches are drawn (`sampling`). "poisson":
  a row enters a step with a probability that the other rows do not change, so that the subsampled
  Gaussian mechanism applies, with the largest of these probabilities. "fixed": sites draw with
  replacement. A row may then be in a step several times, up to the batch's size, and an accountant
  may assume neither the bound `clip` for a row nor amplification by subsampling.
- **No epsilon is claimed.** The noise is drawn in floating point from the generator that it is
  given, a Mersenne Twister whose seed others may know. Noise on integers from a source that the
  site keeps secret, and the budget, belong to the ledger of what leaves a site.
- **The critic alone.** Reports of losses and scores are not noised.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.func import grad, vmap

from everymode.wgan.chains import NotRankOne
from everymode.wgan.critics import CommitteeSpec, CriticSpec, MLPCriticSpec
from everymode.wgan.errors import SettingsError
from everymode.wgan.ghost_norms import clip_factors, ghost_sum
from everymode.wgan.gradients import CriticLosses, CriticReport, GradientRule, Sampling
from everymode.wgan.penalties import CriticPenalty

Norms = Literal["auto", "ghost", "vmap"]

CHUNK = 1 << 26
"""Entries of single gradients that are held at a time: 256 MiB of float32."""


@dataclass(frozen=True)
class ClippedNoised(GradientRule):
    """(sum_i min(1, clip / |w_i g_i|) w_i g_i + clip noise e) / B, with e standard normal.

    g_i is the gradient of the whole loss of an example, penalties included, w_i its weight, and B
    the number of examples, or the expected one where it is random. Weights count as they are, not
    by their ratios: a total to divide by would depend on the other rows.

    Source: Abadi et al., 2016, algorithm 1.

    Attributes:
        clip: The largest norm of what one example adds.
        noise: Deviation of the noise in units of `clip`, the *noise multiplier*.
        sampling: How sites draw a step's rows: "fixed", with replacement, or "poisson", each row
            independently of the others. From Python, batches are drawn by whoever passes them.
        norms: How norms are found: "ghost" without the single gradients
            (`everymode.wgan.ghost_norms`), "vmap" with them, "auto" by "ghost" where it can. They
            agree to rounding.
    """

    clip: float = 1.0
    noise: float = 1.0
    sampling: Sampling = "poisson"
    norms: Norms = "auto"
    kind: Literal["clipped_noised"] = "clipped_noised"

    per_example: ClassVar[bool] = True

    def check(
        self, critic: CriticSpec, penalties: Sequence[CriticPenalty], pack: int
    ) -> Iterator[str]:
        """As in `GradientRule`; also what would let one row move the gradient of another."""
        yield from super().check(critic, penalties, pack)
        if not 0 < self.clip < math.inf:
            yield f"clip = {self.clip}: a bound on gradients; write a number above 0, say 1.0"
        if not 0 <= self.noise < math.inf:
            yield (
                f"noise = {self.noise}: the deviation of the noise in units of clip; write 0 or "
                "more, say 1.0"
            )
        for penalty in penalties:
            if penalty.couples:
                yield (
                    f"{penalty.name} under the gradient rule '{self.kind}': what it draws for an "
                    "example depends on other rows of the batch, so that clipping an example does "
                    "not bound what a row changes; write points between single pairs ('mixed', "
                    "'real' or 'fake'), conditions weighted as they are, and no condition penalty"
                )
        if pack > 1 and self.sampling == "poisson":
            yield (
                f"pack = {pack} under the gradient rule '{self.kind}' with sampling = 'poisson': "
                "one row more would shift the others from pack to pack; write pack = 1"
            )
        if self.norms == "ghost" and not _linear(critic):
            yield (
                "norms = 'ghost': expected a fully connected critic, or a committee of such, with "
                "leaky_relu or relu and without normalisation; write norms = 'auto'"
            )

    def __call__(self, losses: CriticLosses, rng: torch.Generator) -> tuple[Tensor, CriticReport]:
        """As in `GradientRule`; draws the noise, P numbers, whatever the batch.

        Raises:
            SettingsError: `norms` is "ghost", and the critic or its loss is not of that form.
        """
        total, report = self._sum(losses)
        noise = torch.randn(total.shape, generator=rng, device=total.device, dtype=total.dtype)
        total.add_(noise, alpha=self.noise * self.clip)
        count = len(losses.weights) if losses.expected is None else losses.expected
        return total.div_(count), report

    def _sum(self, losses: CriticLosses) -> tuple[Tensor, CriticReport]:
        if self.norms == "vmap":
            return vmapped_sum(losses, self.clip)
        try:
            return ghost_sum(losses, self.clip)
        except NotRankOne as error:
            if self.norms == "ghost":
                raise SettingsError(f"norms = 'ghost': {error}; write norms = 'auto'") from None
        return vmapped_sum(losses, self.clip)


def vmapped_sum(losses: CriticLosses, clip: float) -> tuple[Tensor, CriticReport]:
    """The reference: each example's gradient by itself, cut, then summed, for any critic.

    Args:
        losses: The losses.
        clip: The largest norm of an example's weighted gradient.

    Returns:
        The sum `(P,)`, valid until the next call, and what the losses showed.
    """
    critic, weights = losses.critic, losses.weights
    parameters = {n: p.detach() for n, p in critic.parameters(critic.vector).items()}
    total = losses.critic.gradient.zero_()
    if not len(weights):
        _, report = losses.at(parameters, losses.examples)
        return total, report
    chunk = max(CHUNK // len(critic.vector), 1)

    def cut(at: Tensor, weight: Tensor) -> Tensor:
        """Weighted gradients `(b, P)` of some examples -> the sum of the cut ones."""
        own = at * weight[:, None]
        factors = clip_factors(torch.linalg.vector_norm(own, dim=1, dtype=torch.float64), clip)
        if not bool((factors > 0).all()):
            own = torch.where(factors[:, None] > 0, own, 0.0)  # 0 times infinity is not 0.
        return factors.to(own.dtype) @ own

    each = vmap(grad(losses.of_one, has_aux=True), in_dims=(None, 0))
    reports = []
    for start in range(0, len(weights), chunk):
        part = slice(start, start + chunk)
        gradients, report = each(parameters, losses.examples.part(part))
        total += cut(critic.vectors(gradients), weights[part])
        reports.append(report)
    return total, CriticReport(*(torch.cat(values) for values in zip(*reports, strict=True)))


def _linear(critic: CriticSpec) -> bool:
    """Whether a critic is of the form that `everymode.wgan.ghost_norms` knows."""
    member = critic.member if isinstance(critic, CommitteeSpec) else critic
    return (
        isinstance(member, MLPCriticSpec)
        and not member.normalised
        and member.activations <= {"leaky_relu", "relu"}
    )
