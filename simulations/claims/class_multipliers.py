"""Class multipliers: where one penalty leaves the slopes of the classes, and what makes them equal.

Class c is a pair of point masses at distance W_c; the critic is m_c f(x, c) with multipliers that
are learnt. Averaged over rows, the objective gives class c the weight of its share p_c, and so does
the penalty, so the loss is the sum over c of

    -p_c W_c L + lambda v_c q_c (L - 1)^2

with L the slope of class c, v_c its class weight and q_c its share in the penalty: p_c, or 1 / K
where every condition counts the same. Each term is least at L = 1 + p_c W_c / (2 lambda v_c q_c).
One penalty for all (v_c = 1, q_c = p_c) leaves the slopes of distant classes larger, whatever the
shares and multipliers; class weights in proportion to W_c make them equal; so does `per_condition`
exactly if p_c W_c is the same for all, as here, where rare classes lie far away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from everymode.simulations.claims.claim import Check, Claim, below, near
from everymode.simulations.claims.fitting import SMALL, Fitted, fit_critic
from everymode.simulations.claims.page import BLUE, GREEN, GREY, ORANGE, RED
from everymode.simulations.toys import plain
from everymode.wgan.critics import MLPCriticSpec, MultipliersSpec
from everymode.wgan.lipschitz import Penalised
from everymode.wgan.optimizers import Adam
from everymode.wgan.penalties import GradientPenalty
from everymode.wgan.players import Batch
from everymode.wgan.shape import Shape

DISTANCES = (1.0, 2.0, 4.0)
SHARES = (4 / 7, 2 / 7, 1 / 7)
START = (0.5, 1.0, 2.0)
"""First multipliers, unequal on purpose."""
WEIGHT = 2.0
"""Small, so that the slopes are far from 1 where theory says so."""
TIGHT = 50.0

PENALTIES = {
    "one penalty": GradientPenalty(WEIGHT),
    "every class alike": GradientPenalty(WEIGHT, per_condition=True),
    "class weights": GradientPenalty(WEIGHT, class_weights=DISTANCES),
    "tight class weights": GradientPenalty(TIGHT, class_weights=DISTANCES),
}


@dataclass(frozen=True)
class Pairs:
    """Point masses of several classes, or what each is moved to.

    It is an `everymode.wgan.training.Source`.

    Attributes:
        distances: W_c of each class.
        shares: p_c of each class.
    """

    distances: tuple[float, ...] = DISTANCES
    shares: tuple[float, ...] = SHARES

    def ends(self) -> Tensor:
        """The real points, in as many directions, `(K, 2)`."""
        angles = torch.arange(len(self.distances)) * (2 * math.pi / len(self.distances))
        directions = torch.stack([angles.cos(), angles.sin()], 1)
        return torch.tensor(self.distances)[:, None] * directions

    def __call__(self, count: int, rng: torch.Generator) -> Batch:
        """`count` real points with their classes."""
        kind = torch.multinomial(torch.tensor(self.shares), count, True, generator=rng)
        return plain(self.ends()[kind], torch.eye(len(self.shares))[kind])


def origin(count: int, rng: torch.Generator) -> Batch:
    """The fake point of every class."""
    return plain(torch.zeros((count, 2)))


def expected(penalty: GradientPenalty, pairs: Pairs) -> list[float]:
    """The slope of each class that the penalised objective is best with."""
    classes = len(pairs.shares)
    factors = penalty.class_weights or (1.0,) * classes
    counted = (1 / classes,) * classes if penalty.per_condition else pairs.shares
    rows = zip(pairs.distances, pairs.shares, factors, counted, strict=True)
    return [1 + p * w / (2 * penalty.weight * v * q) for w, p, v, q in rows]


def fit(penalty: GradientPenalty, pairs: Pairs, seed: int, steps: int) -> Fitted:
    """The critic with multipliers between the pairs."""
    recipe = replace(
        SMALL,
        critic=MultipliersSpec(MLPCriticSpec((64, 64)), START),
        critic_optimizer=Adam(2e-3, 0.5, 0.9),
        lipschitz=Penalised((penalty,)),
    )
    shape = Shape((), 2, len(pairs.shares))
    return fit_critic(recipe, shape, pairs, origin, steps=steps, seed=seed)


def class_slopes(fitted: Fitted, pairs: Pairs) -> list[float]:
    """The rise of the score from the fake to the real point of each class over their distance."""
    ends, kinds = pairs.ends(), torch.eye(len(pairs.shares))
    rise = fitted.score(ends, kinds) - fitted.score(torch.zeros_like(ends), kinds)
    found: list[float] = (rise / ends.norm(dim=1)).tolist()
    return found


def measure(seeds: Sequence[int], figure: Figure, steps: int = 1200) -> list[Check]:
    """Slopes of three classes under four penalties."""
    pairs = Pairs()
    checks, bars = [], figure.subplots()
    unequal: dict[str, list[float]] = {}
    colours = (BLUE, ORANGE, GREEN, RED)
    for index, (name, penalty) in enumerate(PENALTIES.items()):
        found = [class_slopes(fit(penalty, pairs, seed, steps), pairs) for seed in seeds]
        wanted = expected(penalty, pairs)
        unequal[name] = [max(slopes) / min(slopes) for slopes in found]
        for kind, slope in enumerate(wanted):
            values = [slopes[kind] for slopes in found]
            what = f"{name}: slope of the class at distance {pairs.distances[kind]:g}"
            checks.append(near(what, values, slope, 0.02))
            place = kind + 0.2 * (index - 1.5)
            height = sum(values) / len(values)
            bars.bar(place, height, 0.18, color=colours[index], label=name if not kind else None)
            drawn = "theory" if not kind and not index else None
            bars.plot([place - 0.09, place + 0.09], [slope] * 2, color="black", label=drawn)
    ratio = "largest over smallest slope"
    checks.append(near(f"one penalty: {ratio}", unequal.pop("one penalty"), 1.6, 0.02))
    checks += [below(f"{name}: {ratio}", values, 1.02) for name, values in unequal.items()]
    bars.axhline(1, color=GREY, linewidth=1, linestyle=":")
    bars.set_xticks(
        range(len(SHARES)),
        [
            f"distance {d:g}, share {p:.2f}"
            for d, p in zip(pairs.distances, pairs.shares, strict=True)
        ],
    )
    bars.set(
        ylabel="slope of the critic",
        ylim=(0, 2.9),
        title="One penalty leaves the slopes of the classes unequal; penalties by class do not",
    )
    bars.legend(ncols=3, loc="upper left")
    return checks


CLAIM = Claim(
    23,
    "class_multipliers",
    "One critic scaled by class multipliers: one global penalty leaves the slopes of the classes "
    "unequal, a penalty by class equalises them.",
    "minimum of the penalised dual, class by class: 1 + p W / (2 lambda v q); Gulrajani et al., "
    "2017, equation 3",
    measure,
    seconds=38,
)
