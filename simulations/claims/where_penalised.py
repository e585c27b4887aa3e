"""Claim 5: a slope held between the distributions, and one held only at either of them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, above, near, smaller
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, ORANGE
from everymode.simulations.toys import Fresh
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty, lengths, slopes
from everymode.wgan.points import Fake, Interpolates, PointsSpec, Real, interpolates
from everymode.wgan.shape import Shape

SHAPE = Shape((), 2, 0)
APART, DEVIATION = 4.0, 0.3
"""Two equal round Gaussians; W1 is how far they are apart, as one is the other moved."""

LAMBDA = 100.0
"""Between points W apart the two-sided penalty's optimum is 1 + W / (2 lambda): 1.02 here."""

POINTS: dict[str, PointsSpec] = {"mixed": Interpolates(), "real": Real(), "fake": Fake()}
COLOURS = {"mixed": BLUE, "real": ORANGE, "fake": GREEN}


def blob(centre: float) -> Fresh:
    """A round Gaussian on the first axis."""

    def draw(count: int, rng: torch.Generator) -> Tensor:
        noise = DEVIATION * torch.randn((count, 2), generator=rng)
        return noise + torch.tensor([centre, 0.0])

    return Fresh(draw)


REAL, FAKE = blob(APART / 2), blob(-APART / 2)


def slope(fitted: Fitted, points: Tensor) -> Tensor:
    """The critic's slopes at points `(n, 2)`, `(n,)`."""
    none = points.new_zeros((len(points), 0))
    return lengths(slopes(fitted.players.critic.module, points, none, graph=False))


def median_slopes(fitted: Fitted, seed: int, count: int = 2048) -> dict[str, float]:
    """Median slope on fresh interpolates, real and fake rows."""
    rng = torch.Generator().manual_seed(seed + 1000)
    real, fake = REAL(count, rng).real, FAKE(count, rng).real
    places = {"mixed": interpolates(real, fake, rng), "real": real, "fake": fake}
    return {name: float(slope(fitted, points).median()) for name, points in places.items()}


def fit(where: str, seed: int, steps: int) -> Fitted:
    """A critic whose slope is penalised there."""
    penalty = GradientPenalty(weight=LAMBDA, points=POINTS[where])
    recipe = replace(SMALL, lipschitz=Penalised((penalty,)))
    return fit_critic(recipe, SHAPE, REAL, FAKE, steps=steps, batch=128, seed=seed)


def measure(seeds: Sequence[int], figure: Figure, steps: int = 600) -> list[Check]:
    """One critic per place of the penalty, all else equal."""
    fits = {where: [fit(where, seed, steps) for seed in seeds] for where in POINTS}
    found = {
        where: [median_slopes(fitted, seed) for fitted, seed in zip(runs, seeds, strict=True)]
        for where, runs in fits.items()
    }
    _draw(figure, fits, found)

    def column(where: str, place: str) -> list[float]:
        return [run[place] for run in found[where]]

    gaps = {
        where: [abs(value - 1) for value in column(where, "mixed")] for where in ("real", "fake")
    }
    within = [abs(value - 1) for value in column("mixed", "mixed")]
    return [
        near("penalty on interpolates: median slope there", column("mixed", "mixed"), 1, 0.1),
        near("the same: estimate of W1 = 4", [f.estimate() for f in fits["mixed"]], APART, 0.1),
        near("penalty on real rows: median slope there", column("real", "real"), 1, 0.1),
        above("the same: median slope on interpolates", column("real", "mixed"), 1.5),
        near("penalty on fake rows: median slope there", column("fake", "fake"), 1, 0.1),
        above("the same: median slope on interpolates", column("fake", "mixed"), 1.5),
        smaller(
            "penalty on interpolates: distance from slope 1, beside real rows'",
            within,
            gaps["real"],
            5,
        ),
        smaller("the same, beside fake rows'", within, gaps["fake"], 5),
    ]


def _draw(
    figure: Figure, fits: dict[str, list[Fitted]], found: dict[str, list[dict[str, float]]]
) -> None:
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.6, 1]})
    ticks = torch.linspace(-3.5, 3.5, 281)
    line = torch.stack([ticks, torch.zeros_like(ticks)], 1)
    for where, runs in fits.items():
        for index, fitted in enumerate(runs):
            label = f"penalty on {where} points" if not index else None
            left.plot(ticks, slope(fitted, line), color=COLOURS[where], alpha=0.8, label=label)
    for centre, name in ((-APART / 2, "fake"), (APART / 2, "real")):
        left.axvspan(centre - 2 * DEVIATION, centre + 2 * DEVIATION, color="0.9", zorder=0)
        left.text(centre, 0.02, name, ha="center", transform=left.get_xaxis_transform())
    left.axhline(1, color="black", lw=0.8)
    left.set(
        xlabel="position on the line through both centres",
        ylabel="slope",
        yscale="log",
        ylim=(0.2, 900),
    )
    left.set_title("Only points in between hold the slope in between")
    left.legend(loc="upper left", fontsize=8)
    for offset, (where, medians) in zip((-0.25, 0.0, 0.25), found.items(), strict=True):
        for index, place in enumerate(POINTS):
            values = [run[place] for run in medians]
            right.plot([index + offset] * len(values), values, "o", color=COLOURS[where])
    right.axhline(1, color="black", lw=0.8)
    right.set_xticks(range(3), ["interpolates", "real", "fake"])
    right.set(xlabel="where the slope is measured", ylabel="median slope", yscale="log")
    right.set_title("Colours as on the left: what was penalised")


CLAIM = Claim(
    5,
    "where_penalised",
    "A penalty on mixed points holds the critic's slope at 1 between the distributions; on real or "
    "fake points alone it does not.",
    "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, section 4",
    measure,
    seconds=9,
)
