"""Claim 7: data s times as large are s times as far apart; target 1/s undoes it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from everymode.simulations.claims.claim import Check, Claim, below, near
from everymode.simulations.claims.fitting import SMALL, Whole, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE
from everymode.wgan.data.arrays import ArrayCodec
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.stopping import calibrated
from everymode.wgan.theory.transport import assignment

SCALES = (0.1, 0.5, 2.0, 10.0)
TIGHT = 100.0
DEFAULT = 10.0

Cloud = NDArray[np.float64]


def clouds(seed: int, count: int = 128) -> tuple[Cloud, Cloud]:
    """Two normal clouds in the plane, the means 2 apart, `(count, 2)` each."""
    rng = np.random.default_rng(2000 + seed)
    real, fake = rng.normal(size=(2, count, 2))
    return real, fake + np.array([2.0, 0.0])


def encoded_distances(pair: tuple[Cloud, Cloud]) -> list[float]:
    """Exact W1 between the clouds as each codec encodes them."""
    codecs = [ArrayCodec((2,), scale=scale) for scale in SCALES]
    return [assignment(codec.encode(pair[0]), codec.encode(pair[1])).value for codec in codecs]


def overshoot(distance: float, scale: float, weight: float) -> float:
    """Slope, in units of the target 1/s, of the best critic between point masses.

    Encoded they are s t apart, and s t g - weight (g - 1/s)^2 is highest at
    g = 1/s + s t / (2 weight).

    >>> overshoot(1.0, 10.0, 1000.0)
    1.05
    """
    return 1 + scale**2 * distance / (2 * weight)


def trained(
    pair: tuple[Cloud, Cloud], scale: float, weight: float, known: bool, seed: int, steps: int = 500
) -> tuple[float, float]:
    """A critic between clouds encoded with `scale`: its estimate, and the same calibrated.

    With `known` the shape tells the penalty of the scale, and the target is 1/s.
    """
    codec = ArrayCodec((2,), scale=scale)
    shape = codec.shape(0) if known else replace(codec.shape(0), scale=1.0)
    real, fake = (Whole(torch.from_numpy(codec.encode(cloud))) for cloud in pair)
    recipe = replace(SMALL, lipschitz=Penalised((GradientPenalty(weight, one_sided=True),)))
    fitted = fit_critic(recipe, shape, real, fake, steps=steps, seed=seed)
    rng = torch.Generator().manual_seed(seed + 2)
    slopes = fitted.players.slopes(real(1024, rng), fake(1024, rng).real, rng)
    estimate = fitted.estimate(len(pair[0]))
    return estimate, calibrated(estimate, float(slopes.quantile(0.95))) or 0.0


def measure(seeds: Sequence[int], figure: Figure) -> list[Check]:
    """Estimates over the scale, in units of W1 between the clouds before encoding."""
    pairs = [clouds(seed) for seed in seeds]
    exact = [assignment(*pair).value for pair in pairs]

    def over(weight: Callable[[float], float], known: bool) -> NDArray[np.float64]:
        """Estimates and calibrated ones, `(2, seeds, scales)`."""
        found = [
            [trained(pair, s, weight(s), known, seed) for s in SCALES]
            for pair, seed in zip(pairs, seeds, strict=True)
        ]
        return np.asarray(np.array(found).transpose(2, 0, 1) / np.array(exact)[:, None])

    # These weights make the best critic as much too steep as lambda = 100 makes it unscaled.
    unaware = over(lambda s: TIGHT * s, False)[0]
    aware = over(lambda s: TIGHT * s**2, True)[0]
    loose, corrected = over(lambda _: DEFAULT, True)
    _draw(figure, unaware, aware, loose, corrected, exact[0])
    encoded = [
        distance / (s * w)
        for pair, w in zip(pairs, exact, strict=True)
        for s, distance in zip(SCALES, encoded_distances(pair), strict=True)
    ]
    steep = loose / [[overshoot(w, s, DEFAULT) for s in SCALES] for w in exact]
    return [
        near("exact W1 of encoded clouds / (s W1)", encoded, 1.0, 1e-5),
        near("target 1: estimate / (s W1)", list((unaware / SCALES).ravel()), 1.0, 0.05),
        near("target 1/s, lambda 100 s^2: estimate / W1", list(aware.ravel()), 1.0, 0.05),
        near(
            "target 1/s, lambda 10: estimate / W1, over 1 + s^2 W1 / (2 lambda)",
            list(steep.ravel()),
            1.0,
            0.1,
        ),
        below(
            "the same over its slope (95 % quantile), a lower bound / W1",
            list(corrected.ravel()),
            1.02,
        ),
    ]


def _draw(
    figure: Figure,
    unaware: NDArray[np.float64],
    aware: NDArray[np.float64],
    loose: NDArray[np.float64],
    corrected: NDArray[np.float64],
    distance: float,
) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    fine = np.geomspace(0.08, 12, 50)
    left.loglog(fine, fine, color=GREY, ls=":", label="s")
    left.loglog(SCALES, unaware.mean(0), "o", color=ORANGE, label="target 1")
    left.loglog(SCALES, aware.mean(0), "s", color=BLUE, label="target 1/s")
    left.axhline(1, color=GREY, lw=0.8)
    left.set(title="target 1/s gives W1 in the data's units", ylabel="estimate / W1")
    steep = [overshoot(distance, s, DEFAULT) for s in fine]
    right.loglog(fine, steep, color=GREY, ls=":", label="1 + s^2 W1 / (2 lambda)")
    right.loglog(SCALES, loose.mean(0), "o", color=ORANGE, label="estimate")
    right.loglog(SCALES, corrected.mean(0), "s", color=GREEN, label="divided by the slope")
    right.axhline(1, color=GREY, lw=0.8)
    right.set(title="one lambda, 10, for every scale: the slope overshoots")
    for axes in (left, right):
        axes.set_xlabel("scale s of the data")
        axes.legend()


CLAIM = Claim(
    7,
    "data_scale",
    "Data scaled by s are s times as far apart; the target 1/s, which the penalty takes from the "
    "codec's scale, restores W1 in the data's units.",
    "Villani, 2003, chapter 7; Arjovsky, Chintala, Bottou, 2017, equation 2",
    measure,
    seconds=40,
)
