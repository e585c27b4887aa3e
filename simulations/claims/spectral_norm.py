"""Claim 13: spectral norms bound every layer, and so the critic, at less than a penalty's price."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from everymode.simulations.claims.claim import Check, Claim, below, spread
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREY, ORANGE
from everymode.simulations.toys import Fresh, grid
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.lipschitz import LAYERS, LipschitzSpec, Penalised, SpectralNorm
from everymode.wgan.penalties import lengths, slopes
from everymode.wgan.players import Players
from everymode.wgan.recipe import Recipe
from everymode.wgan.shape import Shape

SHAPE = Shape((), 2, 0)
REAL = Fresh(grid())
FAKE = Fresh(lambda count, rng: 3 * torch.randn((count, 2), generator=rng))
TOLERANCE = 0.05
"""What one power iteration a step may be behind the weights it follows."""


def with_constraint(lipschitz: LipschitzSpec, hidden: tuple[int, ...] = (64, 64, 64)) -> Recipe:
    """The small recipe under another constraint."""
    return replace(SMALL, critic=MLPCriticSpec(hidden=hidden), lipschitz=lipschitz)


def layer_norms(critic: nn.Module) -> list[float]:
    """The largest singular value of each layer's weight as it is used, by NumPy."""
    layers = (layer for layer in critic.modules() if isinstance(layer, LAYERS))
    return [float(np.linalg.norm(layer.weight.detach().numpy(), 2)) for layer in layers]


def settled_norms(players: Players, steps: int = 200) -> list[float]:
    """The same after further power iterations on weights that stand still."""
    for _ in range(steps):
        players.project_critic()
    return layer_norms(players.critic.module)


def secants(fitted: Fitted, seed: int, count: int = 20_000) -> Tensor:
    """|C(x) - C(y)| / |x - y| of pairs near and far, real, fake and beyond, `(3 count,)`."""
    rng = torch.Generator().manual_seed(seed)
    real, fake = REAL(count, rng).real, FAKE(count, rng).real
    close = 1e-2 * torch.randn((count, 2), generator=rng)
    far = 20 * torch.randn((count, 2), generator=rng)
    found = []
    for x, y in ((real, fake), (fake, fake + close), (real, far)):
        rise = fitted.score(x).double() - fitted.score(y).double()
        found.append(rise.abs() / lengths((x - y).double()))
    return torch.cat(found)


def gradients(fitted: Fitted, seed: int, count: int = 20_000) -> Tensor:
    """Slopes at points of a box around the data, `(count,)`."""
    rng = torch.Generator().manual_seed(seed)
    points = 12 * torch.rand((count, 2), generator=rng) - 6
    none = points.new_zeros((count, 0))
    return lengths(slopes(fitted.players.critic.module, points, none, graph=False))


def paired_steps(recipes: Sequence[Recipe], steps: int, batch: int, seed: int) -> Tensor:
    """Seconds of critic steps taken in turn, `(steps, recipes)`: noise hits all of them."""
    trained = [Players(recipe, SHAPE, seed=seed) for recipe in recipes]
    rng = torch.Generator().manual_seed(seed)
    seconds = torch.zeros(steps, len(recipes), dtype=torch.float64)
    for step in range(steps):
        real, fake = REAL(batch, rng), FAKE(batch, rng).real
        for index, players in enumerate(trained):
            started = time.perf_counter()
            gradient, _ = players.critic_gradient(real, fake, rng)
            players.step_critic(gradient)
            seconds[step, index] = time.perf_counter() - started
    return seconds


def measure(seeds: Sequence[int], figure: Figure, steps: int = 300) -> list[Check]:
    """A critic of four layers between a grid and a wide Gaussian, and the clock."""
    kinds: tuple[LipschitzSpec, ...] = (SpectralNorm(), Penalised())
    fits: dict[str, list[Fitted]] = {
        kind.kind: [
            fit_critic(with_constraint(kind), SHAPE, REAL, FAKE, steps=steps, batch=128, seed=seed)
            for seed in seeds
        ]
        for kind in kinds
    }
    normed = fits["spectral_norm"]
    norms = [layer_norms(fitted.players.critic.module) for fitted in normed]
    steepest = [
        max(float(secants(f, seed).max()), float(gradients(f, seed).max()))
        for f, seed in zip(normed, seeds, strict=True)
    ]
    wide = [with_constraint(kind, (256, 256)) for kind in kinds]
    clock = [paired_steps(wide, 50, 256, seed)[10:] for seed in seeds]
    ratios = [float((c[:, 0] / c[:, 1]).median()) for c in clock]
    _draw(figure, norms, fits, torch.cat(clock))
    # Last, as it moves the vectors of the power iterations on.
    rested = [settled_norms(fitted.players) for fitted in normed]
    return [
        _within("a layer's largest singular value (NumPy), after the last step", norms, TOLERANCE),
        _within("the same, once 200 power iterations have caught up", rested, 1e-3),
        below("largest slope over 60,000 pairs and 20,000 points", steepest, 1.001),
        Check(
            "seconds of a critic step over those with a penalty (paired, 256-256, batch 256)",
            "below 1",
            spread(ratios, 2),
            all(ratio < 1 for ratio in ratios),
        ),
    ]


def _within(what: str, norms: list[list[float]], tolerance: float) -> Check:
    found = list(chain(*norms))
    return Check(
        what,
        f"1 within {tolerance:.1%}",
        f"{min(found):.4f} to {max(found):.4f}",
        all(abs(norm - 1) <= tolerance for norm in found),
    )


def _draw(
    figure: Figure, norms: list[list[float]], fits: dict[str, list[Fitted]], clock: Tensor
) -> None:
    left, middle, right = figure.subplots(1, 3)
    layers = np.arange(1, len(norms[0]) + 1)
    for run in norms:
        left.plot(layers, run, "o", color=BLUE, alpha=0.6)
    left.axhline(1, color="black", lw=0.8)
    left.set(xlabel="layer", ylabel="largest singular value", ylim=(0, 1.3), xticks=layers)
    left.set_title("Every layer has norm 1")
    edges = np.linspace(0, 1.5, 61).tolist()
    for kind, label, colour in (
        ("spectral_norm", "spectral norms", BLUE),
        ("penalised", "penalty", ORANGE),
    ):
        values = torch.cat([gradients(fitted, 0) for fitted in fits[kind]])
        middle.hist(values.clamp_max(1.499), edges, color=colour, alpha=0.6, label=label)
    middle.axvline(1, color="black", lw=0.8)
    middle.set(xlabel="slope in a box around the data", ylabel="points")
    middle.set_title("Norms bound slopes, a penalty pulls")
    middle.legend()
    times = (clock * 1e3).numpy()
    right.boxplot(
        [times[:, 0], times[:, 1]], showfliers=False, medianprops={"color": BLUE}, widths=0.5
    )
    right.set_xticks([1, 2], ["spectral norms", "penalty"])
    right.set(ylabel="milliseconds a critic step", ylim=(0, None))
    right.set_title(f"Median ratio {np.median(times[:, 0] / times[:, 1]):.2f}")
    right.grid(False, axis="x")
    right.spines["left"].set_color(GREY)


CLAIM = Claim(
    13,
    "spectral_norm",
    "Spectral norms give each layer norm 1, and so the critic no slope above 1 anywhere, in less "
    "time a step than a gradient penalty.",
    "Miyato et al., Spectral Normalization for GANs, 2018, section 2.1 and algorithm 1",
    measure,
    seconds=7,
)
