"""Two players near their equilibrium: when training turns, and when it goes straight.

The Dirac-GAN of Mescheder et al.: the data sit at 0, the generator at B theta, the critic is linear
with slope psi. Everything is measured on the losses of `wgan`, whose penalty is weight |slope|^2:
the papers' lambda / 2 |psi|^2 has lambda = 2 weight. The papers' critic is high on fakes, so psi
has the other sign here, which changes no eigenvalue.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, above, near
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE, RED
from everymode.wgan.objectives import JensenShannon, Objective, Wasserstein
from everymode.wgan.penalties import CriticStep, GradientPenalty
from everymode.wgan.points import Fake, PointsSpec, Real
from everymode.wgan.theory.dirac import critical_penalty, dirac_eigenvalues, quadratic_eigenvalues
from everymode.wgan.theory.stability import (
    classify,
    convergence_rate,
    sign_changes,
    spectrum,
    trajectory,
)

ONE = torch.ones(1, 1, dtype=torch.float64)
START = torch.tensor([0.1, 0.0], dtype=torch.float64)
LAMBDAS = (0.5, 1.0, 1.5, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Game:
    """Both players' velocities under the product's losses, simultaneous and continuous in time.

    Attributes:
        coupling: B, `(D, a)`: the generator's point is B theta.
        penalty: lambda of the papers, twice the penalty's weight.
        target: The slope asked for: 0, or 1 as in WGAN-GP.
        points: Where the slope is taken.
        objective: What the two play for.
    """

    coupling: Tensor
    penalty: float = 0.0
    target: float = 0.0
    points: PointsSpec = field(default_factory=Real)
    objective: Objective = field(default_factory=Wasserstein)

    def __call__(self, point: Tensor) -> Tensor:
        """(theta, psi), `(a + D,)` -> their velocity, `(a + D,)`, without a graph."""
        return self._velocity(point.detach().requires_grad_(True), graph=False)

    def jacobian(self, point: Tensor) -> Tensor:
        """Derivative of the field by automatic differentiation, `(a + D, a + D)`."""
        at = point.detach().requires_grad_(True)
        rows = [
            torch.autograd.grad(entry, at, retain_graph=True)[0]
            for entry in self._velocity(at, graph=True)
        ]
        return torch.stack(rows)

    def eigenvalues(self) -> Tensor:
        """Of the linearisation beside the origin, in the order of `spectrum`.

        Just beside it: the length of a gradient that is 0 has no second derivative.
        """
        size = sum(self.coupling.shape)
        return spectrum(self.jacobian(torch.full((size,), 1e-4, dtype=torch.float64)))

    def _velocity(self, at: Tensor, graph: bool) -> Tensor:
        split = self.coupling.shape[1]
        theta, psi = at[:split], at[split:]

        def critic(rows: Tensor, condition: Tensor) -> Tensor:
            return rows @ psi

        fake = (self.coupling @ theta)[None]
        real, empty = torch.zeros_like(fake), fake.detach()[:, :0]
        scores = critic(fake, empty)
        loss = self.objective.critic(critic(real, empty), scores)
        if self.penalty:
            term = GradientPenalty(self.penalty / 2, self.target, points=self.points)
            step = CriticStep(critic, real, fake.detach(), empty)
            loss = loss + term.weight * term(step, torch.Generator())
        generator = self.objective.generator(scores)
        (of_generator,) = torch.autograd.grad(
            generator.sum(), at, retain_graph=True, create_graph=graph
        )
        (of_critic,) = torch.autograd.grad(loss.sum(), at, create_graph=graph)
        return -torch.cat([of_generator[:split], of_critic[split:]])


def bisect(turns: Callable[[float], bool], low: float, high: float, steps: int) -> float:
    """The value between `low`, where something turns, and `high`, from which it does not.

    >>> bisect(lambda value: value < 2, 0.0, 8.0, 20) - 2 < 1e-4
    True
    """
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if turns(middle) else (low, middle)
    return (low + high) / 2


def overshoots(game: Game, speed: float) -> bool:
    """Whether the generator, let go beside the data, passes them on its way.

    From a flat critic no stable node does: theta is then e^(a t) / a - e^(b t) / b up to a factor,
    whose zero lies at a time before 0. `speed` is the coupling's singular value times f'(0).
    """
    path = trajectory(game, START, 0.2 / speed, 125)
    return bool(sign_changes(path)[0])


def critical(game: Game, about: float) -> float:
    """The lambda between .1 and 4 times `about` where a stable spiral becomes a stable node."""

    def turns(value: float) -> bool:
        return classify(replace(game, penalty=value).eigenvalues()) == "stable spiral"

    return bisect(turns, 0.1 * about, 4 * about, 20)


def critical_by_paths(game: Game, speed: float, steps: int = 7) -> float:
    """The lambda from which the generator no longer overshoots, between 1 and 3 times `speed`."""

    def turns(value: float) -> bool:
        return overshoots(replace(game, penalty=value), speed)

    return bisect(turns, speed, 3 * speed, steps)


def rate(game: Game) -> tuple[float, Tensor]:
    """Measured rate of |x|, and the path.

    A spiral is looked at every half turn, when it is as elliptic as at the start; a node over 20
    of its slowest times.
    """
    slowest = game.eigenvalues()[0]
    turning, real = abs(float(slowest.imag)), abs(float(slowest.real))
    time, looks = (6 * math.pi / turning, 6) if turning > 1e-6 else (20 / real, 200)
    between = math.ceil(time / looks / 0.15)
    path = trajectory(game, START, time / looks / between, looks * between)
    return convergence_rate(path[::between], time / looks), path


def coupling(seed: int) -> Tensor:
    """A random game of three parameters a side."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(3, 3, generator=rng, dtype=torch.float64)


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Formula, automatic differentiation and simulated paths beside one another."""
    checks: list[Check] = []
    for name, objective, size, slope in (
        ("Wasserstein, sigma 1", Wasserstein(), 1.0, 1.0),
        ("Wasserstein, sigma 2", Wasserstein(), 2.0, 1.0),
        ("Jensen-Shannon, f'(0) = 1/2", JensenShannon(), 1.0, 0.5),
    ):
        game = Game(size * ONE, objective=objective)
        limit = critical_penalty(size * slope)
        found = [critical(game, limit), critical(replace(game, points=Fake()), limit)]
        checks.append(near(f"critical lambda, {name}: eigenvalues (R1, R2)", found, limit, 0.01))
        by_paths = critical_by_paths(game, size * slope)
        checks.append(near(f"critical lambda, {name}: paths", [by_paths], limit, 0.02))
    errors, ratios = [], []
    for seed in seeds:
        game = Game(coupling(seed))
        limit = critical_penalty(float(torch.linalg.svdvals(game.coupling)[0]))
        for penalty in (0.25 * limit, 0.75 * limit, 1.5 * limit):
            values = replace(game, penalty=penalty).eigenvalues()
            errors.append(mismatch(values, quadratic_eigenvalues(game.coupling, penalty)))
        ratios.append(critical(game, limit) / limit)
    checks += [
        near("critical lambda / (2 sigma_max), random 3 x 3 couplings", ratios, 1.0, 0.01),
        Check(
            "eigenvalues of these games, largest error",
            "below 1e-6",
            f"{max(errors):.1e}",
            max(errors) < 1e-6,
        ),
    ]
    return checks + rates(figure) + one_centred(figure)


def mismatch(found: Tensor, expected: Tensor) -> float:
    """Largest distance of an eigenvalue to the nearest of the other set, `(n,)` each."""
    gaps = (found[:, None] - expected).abs()
    return float(torch.maximum(gaps.min(0).values, gaps.min(1).values).max())


def rates(figure: Figure) -> list[Check]:
    """No penalty: a circle; with one: decay at the rate of the slowest eigenvalue."""
    loci, plane = figure.subplots(1, 3)[:2]
    free = Game(ONE)
    turns = trajectory(free, START, 2 * math.pi / 60, 600)
    drift = float(turns[-1].norm() / START.norm())
    values = free.eigenvalues()
    expected = torch.tensor([1j, -1j], dtype=torch.complex128)
    kind = classify(values)
    measured, paths = zip(*(rate(Game(ONE, value)) for value in LAMBDAS), strict=True)
    shares = [
        found / float(dirac_eigenvalues(1.0, value)[0].real)
        for found, value in zip(measured, LAMBDAS, strict=True)
    ]
    _draw_loci(loci)
    plane.plot(turns[:, 0], turns[:, 1], color=GREY, label="0: centre")
    for value, colour, word in ((0.5, BLUE, "spiral"), (4.0, ORANGE, "node")):
        path = paths[LAMBDAS.index(value)]
        plane.plot(path[:, 0], path[:, 1], color=colour, label=f"{value:g}: {word}")
    plane.plot(*START, "o", color="black", markersize=4)
    plane.set(xlabel="generator theta", ylabel="critic psi", title="paths, by lambda")
    plane.set(xlim=(-0.13, 0.13), ylim=(-0.13, 0.17), aspect="equal")
    plane.legend(loc="upper center", ncols=3, fontsize=7.5, columnspacing=0.8, handlelength=1.2)
    return [
        Check(
            "no penalty: eigenvalues off +-i",
            "below 1e-9, a centre",
            f"{mismatch(values, expected):.1e}, {kind}",
            mismatch(values, expected) < 1e-9 and kind == "centre",
        ),
        near("no penalty: distance after ten turns / first", [drift], 1.0, 0.01),
        near("rate of paths / real part, lambda .5 to 6", shares, 1.0, 0.02),
    ]


def _draw_loci(axes: Axes) -> None:
    line = torch.linspace(0, 6, 241)
    values = torch.stack([dirac_eigenvalues(1.0, float(value)) for value in line])
    axes.plot(line, values.real, color=BLUE, label=["real part", "_"])
    axes.plot(line, values.imag, color=RED, linestyle="--", label=["imaginary part", "_"])
    for value in (0.0, *LAMBDAS):
        found = Game(ONE, value).eigenvalues()
        axes.plot([value] * 2, found.real, "o", color=BLUE, markersize=4)
        axes.plot([value] * 2, found.imag, "s", color=RED, markersize=4, markerfacecolor="none")
    axes.axvline(2, color=GREY, linewidth=1)
    axes.text(2.15, 0.45, "2 sigma", color=GREY)
    axes.set(xlabel="lambda", ylabel="eigenvalues", title="formula (lines), autodiff (marks)")
    axes.legend(loc="lower left", fontsize=7.5, frameon=True, framealpha=1, edgecolor="none")


def one_centred(figure: Figure, steps: int = 600) -> list[Check]:
    """WGAN-GP's target of 1 beside the target 0, with the same weights."""
    axes = figure.axes[2]
    late = []
    for weight, colour in ((0.25, ORANGE), (0.5, RED), (1.5, GREEN)):
        path = trajectory(Game(ONE, 2 * weight, 1.0), START, 0.05, steps)
        away = path.norm(dim=1)
        late.append(float(away[len(away) // 2 :].min()))
        axes.plot(
            0.05 * torch.arange(len(away)), away, color=colour, label=f"1, lambda {2 * weight:g}"
        )
    path = trajectory(Game(ONE, 2.0), START, 0.05, steps)
    end = float(path[-1].norm())
    axes.plot(0.05 * torch.arange(len(path)), path.norm(dim=1), color=BLUE, label="0, lambda 2")
    axes.set(xlabel="time", ylabel="distance to the equilibrium", yscale="log", ylim=(1e-6, 300))
    axes.set_title("slope pulled to 1 or to 0")
    axes.legend(loc="upper left", ncols=2, fontsize=7.5, columnspacing=0.8)
    return [
        above("slope pulled to 1: least later distance to the data, lambda .5 to 3", late, 0.1),
        Check("slope pulled to 0: distance at the end", "below 1e-6", f"{end:.0e}", end < 1e-6),
    ]


CLAIM = Claim(
    22,
    "training_dynamics",
    "Near the equilibrium training turns below the critical penalty lambda = 2 sigma and goes "
    "straight above it; without a penalty it circles, and with slopes pulled to 1 it does not "
    "converge.",
    "Mescheder, Geiger, Nowozin, Which Training Methods for GANs do actually Converge?, 2018, "
    "sections 2 to 4; Mescheder, Nowozin, Geiger, The Numerics of GANs, 2017",
    measure,
    seconds=17,
)
