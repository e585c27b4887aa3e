"""Claim 11: the critic's gradient at a fake sample points where the sample is to go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cosine_similarity

from everymode.simulations.claims.claim import Check, Claim, above, noted
from everymode.simulations.claims.fitting import SMALL, Whole, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, ORANGE
from everymode.simulations.toys import swiss_roll
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.shape import Shape
from everymode.wgan.theory.transport import assignment

RECIPE = replace(SMALL, lipschitz=Penalised((GradientPenalty(),)))
COUNT = 256
TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])


@dataclass(frozen=True)
class Moved:
    """Fake rows, real ones, and where each fake one is to go.

    Attributes:
        fake: `(n, D)`.
        real: `(n, D)`.
        target: `(n, D)`.
    """

    fake: Tensor
    real: Tensor
    target: Tensor


def shifted(rows: Tensor, rng: torch.Generator, distance: float = 2.0) -> Moved:
    """Rows and their copy moved in a random direction: every plan that moves all alike is best."""
    direction = torch.randn(rows.shape[1], generator=rng)
    real = rows + distance * direction / direction.norm()
    return Moved(rows, real, real)


def turned(rows: Tensor, rng: torch.Generator, distance: float = 2.0) -> Moved:
    """Points of the plane and their copy turned by a right angle and moved; an optimal plan."""
    real = shifted(rows @ TURN, rng, distance).real
    plan = assignment(rows.numpy(), real.numpy()).plan
    return Moved(rows, real, real[torch.from_numpy(plan)])


def agreement(moved: Moved, seed: int, steps: int = 1000) -> tuple[Tensor, Tensor]:
    """A trained critic's gradient at the fake rows `(n, D)`, and its cosines with the plan."""
    shape = Shape((), moved.fake.shape[1], 0)
    real, fake = Whole(moved.real), Whole(moved.fake)
    fitted = fit_critic(RECIPE, shape, real, fake, steps=steps, batch=len(moved.fake), seed=seed)
    pull = fitted.pull(moved.fake)
    return pull, cosine_similarity(pull, moved.target - moved.fake)


def cases(rng: torch.Generator) -> dict[str, Moved]:
    """What is measured: rolls in the plane, and a normal law in more dimensions."""
    roll, wide = swiss_roll(COUNT, rng), torch.randn((COUNT, 10), generator=rng)
    return {
        "shifted": shifted(roll, rng),
        "shifted, 10-D": shifted(wide, rng),
        "turned": turned(roll, rng),
        "turned, close": turned(roll, rng, 1.0),
    }


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Mean cosines between gradient and way to go."""
    means: dict[str, list[float]] = {}
    first, second, third = figure.subplots(1, 3, width_ratios=(1, 1, 0.8))
    panels = {"shifted": first, "turned, close": second}
    for seed in seeds:
        for name, moved in cases(torch.Generator().manual_seed(3000 + seed)).items():
            pull, cosines = agreement(moved, seed)
            means.setdefault(name, []).append(float(cosines.mean()))
            if seed != seeds[0]:
                continue
            third.ecdf(np.degrees(np.arccos(cosines.clamp(-1, 1).numpy())), label=name)
            if name in panels:
                _draw(panels[name], moved, pull, f"{name}: cosine {cosines.mean():.3f}")
    third.set(title="angle to the plan", xlabel="degrees", ylabel="share of fakes")
    third.set_xlim(0, 45)
    third.legend(loc="lower right")
    return [
        above("shifted roll: mean cosine", means["shifted"], 0.99),
        above("shifted normal law in 10-D", means["shifted, 10-D"], 0.99),
        above("turned roll 2 away, by an exact plan", means["turned"], 0.9),
        # No figure was set for clouds that overlap, where many ways are short.
        noted("turned roll 1 away", means["turned, close"]),
    ]


def _draw(axes: Axes, moved: Moved, pull: Tensor, title: str) -> None:
    some = slice(0, COUNT, 4)
    axes.plot(*moved.real.T, ".", ms=3, color=BLUE, label="real")
    axes.plot(*moved.fake.T, ".", ms=3, color=ORANGE, label="fake")
    for vectors, color, label in (
        (moved.target - moved.fake, "#bbbbbb", "plan"),
        (pull, GREEN, "gradient"),
    ):
        unit = 0.6 * vectors[some] / vectors[some].norm(dim=1, keepdim=True)
        axes.quiver(
            *moved.fake[some].T,
            *unit.T,
            angles="xy",
            scale_units="xy",
            scale=1,
            color=color,
            width=0.006,
            label=label,
        )
    axes.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    axes.legend(fontsize=7, loc="best", borderpad=0.1)


CLAIM = Claim(
    11,
    "transport_direction",
    "Where real is shifted fake, the critic's gradient at the fake samples points along the "
    "transport: cosine at least .99.",
    "Gulrajani et al., 2017, proposition 1",
    measure,
    seconds=25,
)
