"""The calibrated estimate stops falling when the generator stops getting better."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from matplotlib.figure import Figure

from everymode.simulations.claims.claim import Check, Claim, below
from everymode.simulations.claims.fitting import SMALL, fit_gan, samples
from everymode.simulations.claims.page import BLUE, GREY, RED
from everymode.simulations.toys import Fresh, plain, ring
from everymode.wgan.critics import MLPCriticSpec
from everymode.wgan.generators import MLPGeneratorSpec
from everymode.wgan.gradients import CriticReport
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.players import Players
from everymode.wgan.shape import Shape
from everymode.wgan.stopping import Plateau, PlateauState, calibrated
from everymode.wgan.theory.transport import assignment
from everymode.wgan.training import Schedule

RECIPE = replace(
    SMALL,
    generator=MLPGeneratorSpec(hidden=(64, 64), noise=4),
    critic=MLPCriticSpec(hidden=(128, 128)),
    lipschitz=Penalised((GradientPenalty(weight=1.0, one_sided=True),)),
    averaging=0.99,
)
REAL = ring(8, 1.0, 0.15)
EVERY = 20
HELD = 512
RULE = Plateau()


@dataclass
class Run:
    """One training, looked at every `EVERY` steps.

    Attributes:
        steps: Generator steps at the looks.
        estimates: Calibrated estimate of W1, the mean since the last look.
        exact: Exact W1 between held-out rows and as many samples of the averaged generator.
        stopped_at: Index of the look at which the rule fired first; None: never.
    """

    steps: list[int] = field(default_factory=list)
    estimates: list[float | None] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)
    stopped_at: int | None = None

    @property
    def excess(self) -> float:
        """W1 where the rule fired over the least of the run, less 1; infinite if it never fired."""
        return (
            np.inf if self.stopped_at is None else self.exact[self.stopped_at] / min(self.exact) - 1
        )

    @property
    def share(self) -> float:
        """Share of the run that was done when it fired."""
        return 1.0 if self.stopped_at is None else self.steps[self.stopped_at] / self.steps[-1]


def watched(seed: int, steps: int = 1200, held: int = HELD) -> Run:
    """Trains to the end and notes where the rule would have stopped."""
    run, state = Run(), PlateauState()
    recent: list[float] = []
    rng = torch.Generator().manual_seed(seed + 1000)
    rows = REAL(held, rng)
    empty = torch.zeros((held, 0))

    def watch(step: int, players: Players, report: CriticReport) -> None:
        nonlocal state
        recent.append(float(report.estimate.mean()))
        if step % EVERY:
            return
        slopes = players.slopes(plain(rows), players.fake(empty, rng), rng)
        estimate = calibrated(float(np.mean(recent)), float(slopes.quantile(0.95)))
        recent.clear()
        state = RULE.update(state, estimate)
        run.steps.append(step)
        run.estimates.append(estimate)
        # The same noise at every look: what changes is the generator.
        made = samples(players, held, seed, averaged=True)
        run.exact.append(assignment(made.numpy(), rows.numpy()).value)
        if run.stopped_at is None and RULE.has_plateaued(state):
            run.stopped_at = len(run.steps) - 1

    schedule = Schedule(steps=steps, n_critic=3, batch=128)
    fit_gan(RECIPE, Shape((), 2, 0), Fresh(REAL), schedule, seed=seed, watch=watch)
    return run


def floor(seed: int, held: int = HELD) -> float:
    """Exact W1 between held-out rows and as many further real ones: a perfect generator's."""
    rng = torch.Generator().manual_seed(seed + 1000)
    return assignment(REAL(held, rng).numpy(), REAL(held, rng).numpy()).value


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Trains well past the plateau and looks at the exact distance where the rule fires."""
    runs = [watched(seed) for seed in seeds]
    least = float(np.mean([floor(seed) for seed in seeds]))
    for axes, seed, run in zip(
        figure.subplots(1, len(runs), sharey=True, squeeze=False)[0], seeds, runs, strict=True
    ):
        axes.semilogy(run.steps, run.exact, color=BLUE, label="exact W1, held out")
        axes.semilogy(
            run.steps,
            [np.nan if e is None else e for e in run.estimates],
            color=GREY,
            lw=1,
            label="calibrated estimate",
        )
        axes.axhline(least, color="black", lw=1, ls=":", label="real against real")
        if run.stopped_at is not None:
            axes.axvline(run.steps[run.stopped_at], color=RED, ls="--", label="the rule fires")
        axes.set(xlabel="generator step", title=f"Seed {seed}: {run.excess:+.0%} on the best")
    figure.axes[0].set_ylabel("distance")
    figure.axes[-1].legend(fontsize=7, loc="upper right")
    return [
        below("run done when the rule fires", [run.share for run in runs], 1.0),
        below("exact W1 there, over the best of the run", [run.excess for run in runs], 0.15),
    ]


CLAIM = Claim(
    14,
    "plateau_stopping",
    "The plateau rule on the calibrated estimate stops a WGAN-GP before its time is up, with an "
    "exact held-out W1 within 15 % of the best that the whole run reaches.",
    "Arjovsky, Chintala, Bottou 2017, section 4.2: the estimate follows sample quality",
    measure,
    seconds=40,
)
