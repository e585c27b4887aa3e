"""Claim 9: batch statistics break a penalty on one example's slope, layer norm does not."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, above, near
from everymode.simulations.claims.page import BLUE, GREEN, ORANGE
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.errors import SettingsError
from everymode.wgan.layers import VectorNorm
from everymode.wgan.penalties import CriticStep, GradientPenalty, Scores, lengths, slopes
from everymode.wgan.points import Real
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape

WIDTH, BATCH = 2, 64
NORMS: tuple[VectorNorm, ...] = ("none", "layer", "batch")
COLOURS = {"none": BLUE, "layer": GREEN, "batch": ORANGE}


@dataclass(frozen=True)
class Dependence:
    """How far scores and penalties of one example follow the others.

    Attributes:
        matrix: |d score_i / d x_j|, `(B, B)`.
        own: Each example's true slope, |d score_i / d x_i|, `(B,)`.
        seen: The slope that the penalty sees, |d (sum of scores) / d x_i|, `(B,)`.
        moved: Change of the penalty of the first half of the batch when the second half is
            replaced, as a share of its mean.
    """

    matrix: Tensor
    own: Tensor
    seen: Tensor
    moved: float

    @property
    def cross(self) -> float:
        """Share of the matrix that lies off its diagonal."""
        return 1.0 - float(self.own.sum() / self.matrix.sum())

    @property
    def error(self) -> float:
        """Median relative error of the slope that the penalty sees."""
        return float(((self.seen - self.own).abs() / self.own).median())


def critic(spec: MLPCriticSpec, seed: int) -> Scores:
    """A new critic of points in the plane."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return spec.build(Shape((), WIDTH, 0)).double()


def dependence(scores: Scores, rows: Tensor, others: Tensor) -> Dependence:
    """Measures a critic on a batch `(B, D)`; `others` `(B / 2, D)` replace its second half."""
    none = rows.new_zeros((len(rows), 0))
    jacobian = torch.autograd.functional.jacobian(  # type: ignore[no-untyped-call]
        lambda x: scores(x, none), rows
    )
    matrix = torch.linalg.vector_norm(jacobian, dim=2)
    kept = len(rows) - len(others)
    before = penalties(scores, rows)[:kept]
    after = penalties(scores, torch.cat([rows[:kept], others]))[:kept]
    seen = lengths(slopes(scores, rows, none, graph=False))
    moved = float((after - before).abs().mean() / before.mean())
    return Dependence(matrix, matrix.diagonal(), seen, moved)


def penalties(scores: Scores, rows: Tensor) -> Tensor:
    """The gradient penalty at the rows themselves, `(B,)`, so that nothing is drawn."""
    step = CriticStep(scores, rows, rows, rows.new_zeros((len(rows), 0)))
    return GradientPenalty(points=Real())(step, torch.Generator()).detach()


def refused() -> bool:
    """Whether a recipe of batch norm under a gradient penalty is refused, and of layer norm not."""
    Recipe(critic=MLPCriticSpec(norm="layer")).check()
    try:
        Recipe(critic=MLPCriticSpec(norm="batch")).check()
    except SettingsError:
        return True
    return False


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Jacobians of whole batches, with and without norms; a batch norm that hides every slope."""
    found: dict[VectorNorm, list[Dependence]] = {norm: [] for norm in NORMS}
    blind: list[tuple[Tensor, Tensor]] = []
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        rows = torch.randn((BATCH, WIDTH), generator=rng, dtype=torch.float64)
        others = 3 * torch.randn((BATCH // 2, WIDTH), generator=rng, dtype=torch.float64)
        for norm in NORMS:
            scores = critic(MLPCriticSpec(hidden=(64, 64), norm=norm), seed)
            found[norm].append(dependence(scores, rows, others))
        # With slope 1 the activation is the identity: scores are sums of normalised channels.
        flat = critic(MLPCriticSpec(hidden=(64,), slope=1.0, norm="batch"), seed)
        blind.append((penalties(flat, rows), dependence(flat, rows, others).own))
    _draw(figure, found)
    layer, batch = found["layer"], found["batch"]
    return [
        near("layer norm: a score's gradient due to other rows", [d.cross for d in layer], 0, 1e-9),
        above("batch norm: the same", [d.cross for d in batch], 0.1),
        near("layer norm: error of the penalised slope", [d.error for d in layer], 0, 1e-9),
        above("batch norm: the same", [d.error for d in batch], 0.1),
        near("layer norm: penalty moved by other rows", [d.moved for d in layer], 0, 1e-9),
        above("batch norm: the same", [d.moved for d in batch], 0.1),
        near(
            "linear critic with batch norm: penalty, as if the slope were 0",
            [float(p.mean()) for p, _ in blind],
            1.0,
            1e-9,
        ),
        above("its true slopes, mean", [float(own.mean()) for _, own in blind], 0.1),
        Check(
            "Recipe.check with batch norm; with layer norm",
            "refused; accepted",
            "refused; accepted" if refused() else "accepted; accepted",
            refused(),
        ),
    ]


def _draw(figure: Figure, found: dict[VectorNorm, list[Dependence]]) -> None:
    panels = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1, 1, 1.15]})
    shown: tuple[VectorNorm, VectorNorm] = ("layer", "batch")
    for axes, norm in zip(panels[:2], shown, strict=True):
        log = found[norm][0].matrix[:32, :32].clamp_min(1e-5).log10()
        picture = axes.imshow(log.numpy(), vmin=-4, vmax=-0.5, cmap="viridis")
        axes.set(xlabel="row j", ylabel="row i")
        share = np.mean([d.cross for d in found[norm]])
        axes.set_title(f"{norm} norm: {share:.0%} off the diagonal", fontsize=9)
        axes.grid(False)
    figure.colorbar(picture, ax=panels[1], shrink=0.7, label="log10 |d score i / d x j|")
    top = 0.0
    for norm in NORMS:
        panels[2].scatter(
            found[norm][0].own, found[norm][0].seen, s=12, color=COLOURS[norm], label=norm
        )
        top = max(top, float(found[norm][0].own.max()))
    panels[2].plot([0, top], [0, top], color="black", lw=0.8)
    panels[2].set(xlabel="slope at the example", ylabel="slope the penalty sees")
    panels[2].set_title("Only batch norm leaves the line", fontsize=9)
    panels[2].legend()


CLAIM = Claim(
    9,
    "batch_statistics",
    "A penalty on each example's slope is broken by batch statistics, through which a score "
    "depends on the other rows, and not by layer norm.",
    "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, section 4",
    measure,
    seconds=1,
)
