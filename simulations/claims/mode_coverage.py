"""How many modes the original GAN and WGAN-GP cover: parallel lines, a ring, a grid.

Both sides have the same networks, rates, batches and numbers of steps. The original GAN has its
non-saturating loss and a critic without constraint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, spread
from everymode.simulations.claims.fitting import SMALL, fit_gan, samples
from everymode.simulations.claims.page import BLUE, GREY, RED
from everymode.simulations.toys import Draw, Fresh, ModeReport, Modes, grid, parallel_lines, ring
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import MLPGeneratorSpec
from everymode.wgan.lipschitz import Penalised, Unconstrained
from everymode.wgan.objectives import JensenShannon, Wasserstein
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.schedules import Linear
from everymode.wgan.shape import Shape
from everymode.wgan.training import Schedule

LINES, GAP, NEAR = 4, 2.0, 0.1
"""The lines are 2 apart and of length 1; a tenth of the gap is near."""
COUNT = 2500
RING = ring()
GRID = grid(spacing=0.5, deviation=0.0125)
"""The published grid in units four times as large, as the codec would scale it."""

PLAIN = replace(
    SMALL,
    generator=MLPGeneratorSpec(hidden=(128, 128, 128), noise=2),
    critic=MLPCriticSpec(hidden=(128, 128, 128)),
)
JS = replace(PLAIN, objective=JensenShannon(), lipschitz=Unconstrained())
GP = replace(
    PLAIN,
    objective=Wasserstein(),
    lipschitz=Penalised((GradientPenalty(weight=0.1, one_sided=True),)),
)


def draw_lines(count: int, rng: torch.Generator) -> Tensor:
    """Points on the lines, `(count, 2)`."""
    return parallel_lines(count, rng, LINES, GAP)


def line_report(rows: Tensor) -> ModeReport:
    """Coverage of the lines by `(n, 2)`: one is covered by a tenth of what lies near any line.

    Its due is a quarter. The published count, one sample, would let a blur cover all of them.
    """
    place = rows[:, 0] / GAP + (LINES - 1) / 2
    line = place.round().clamp(0, LINES - 1)
    good = ((place - line).abs() <= NEAR) & (rows[:, 1].abs() <= 0.5 + NEAR)
    counts = torch.bincount(line[good].long(), minlength=LINES).double()
    share = counts / counts.sum().clamp_min(1)
    divergence = torch.special.xlogy(share, share * LINES).sum()
    return ModeReport(int((share >= 0.1).sum()), float(good.double().mean()), float(divergence))


@dataclass(frozen=True)
class Task:
    """A distribution and how long it is trained on.

    Attributes:
        name: For the table and the picture.
        draw: Its samples.
        modes: How many it has.
        schedule: Of both sides.
    """

    name: str
    draw: Draw
    modes: int
    schedule: Schedule

    def report(self, rows: Tensor) -> ModeReport:
        """How the rows cover it."""
        return self.draw.report(rows) if isinstance(self.draw, Modes) else line_report(rows)


TASKS = (
    Task("4 lines", draw_lines, LINES, Schedule(1000, 3, batch=128, rates=Linear())),
    Task("8 Gaussians", RING, 8, Schedule(1000, 3, batch=128, rates=Linear())),
    Task("25 Gaussians", GRID, 25, Schedule(2000, 3, batch=256, rates=Linear())),
)


@dataclass(frozen=True)
class Pair:
    """Both sides of one seed.

    Attributes:
        js: Samples of the original GAN, `(COUNT, 2)`.
        gp: Those of WGAN-GP.
    """

    js: Tensor
    gp: Tensor


def pair(task: Task, seed: int) -> Pair:
    """Trains both on one task."""
    rows = [
        samples(
            fit_gan(recipe, Shape((), 2, 0), Fresh(task.draw), task.schedule, seed=seed),
            COUNT,
            seed,
        )
        for recipe in (JS, GP)
    ]
    return Pair(*rows)


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """The lines with all seeds, the mixtures with the first three."""
    checks: list[Check] = []
    table = figure.subplots(2, 3)
    for column, task in enumerate(TASKS):
        chosen = seeds if column == 0 else seeds[:3]
        pairs = [pair(task, seed) for seed in chosen]
        checks += compare(task, pairs)
        for axes, rows, name, colour in (
            (table[0, column], pairs[0].js, "original GAN", RED),
            (table[1, column], pairs[0].gp, "WGAN-GP", BLUE),
        ):
            _scatter(axes, task, rows, name, colour)
    return checks


def compare(task: Task, pairs: Sequence[Pair]) -> list[Check]:
    """What the claim says of one task, and the figures beside it."""
    js = [task.report(p.js) for p in pairs]
    gp = [task.report(p.gp) for p in pairs]
    found = [r.modes for r in js]
    lines = task.modes == LINES
    counted = ", ".join(str(n) for n in found)
    return [
        Check(
            f"{task.name}: covered by the original GAN",
            "1 or 2 of 4" if lines else f"fewer than {task.modes}",
            f"{spread(found, 1)}: {counted}",
            all((1 <= n <= 2) if lines else n < task.modes for n in found),
        ),
        Check(
            f"{task.name}: covered by WGAN-GP",
            f"all {task.modes}",
            f"{spread([r.modes for r in gp], 1)}: {', '.join(str(r.modes) for r in gp)}",
            all(r.modes == task.modes for r in gp),
        ),
        Check(
            f"{task.name}: reverse KL of the modes' shares, WGAN-GP",
            f"below {spread([r.divergence for r in js], 2)} of the original GAN",
            spread([r.divergence for r in gp], 2),
            all(a.divergence < b.divergence for a, b in zip(gp, js, strict=True)),
        ),
        Check(
            f"{task.name}: samples near a mode, WGAN-GP (original GAN)",
            f"no claim; a blur has {blur(task):.2f}",
            f"{spread([r.quality for r in gp], 2)} ({spread([r.quality for r in js], 2)})",
            None,
        ),
    ]


def blur(task: Task, count: int = 20_000) -> float:
    """Share near a mode of what is spread evenly over the box that the real samples fill."""
    rng = torch.Generator().manual_seed(0)
    real = task.draw(count, rng)
    low, high = real.amin(0), real.amax(0)
    return task.report(low + (high - low) * torch.rand((count, 2), generator=rng)).quality


def _scatter(axes: Axes, task: Task, rows: Tensor, name: str, colour: str) -> None:
    real = task.draw(1000, torch.Generator().manual_seed(0))
    axes.scatter(real[:, 0].numpy(), real[:, 1].numpy(), s=2, color=GREY, label="real")
    made = rows[:1000].numpy()
    axes.scatter(made[:, 0], made[:, 1], s=2, color=colour, alpha=0.6, label=name)
    report = task.report(rows)
    axes.set_title(f"{name}: {report.modes} of {task.name}")
    reach = 1.3 * float(real.abs().max())
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set(xlabel="first column", ylabel="second column")
    axes.set_box_aspect(1)


CLAIM = Claim(
    10,
    "mode_coverage",
    "The original GAN collapses to one or two of four parallel lines, and loses modes of 8 and 25 "
    "Gaussians; WGAN-GP covers them all.",
    "Arjovsky, Chintala, Bottou 2017, section 4.3; Gulrajani et al. 2017, section 3; protocol: "
    "Srivastava et al. 2017 and Lin et al. 2018",
    measure,
    seeds=10,
    seconds=450,
    size=(9.0, 6.2),
)
