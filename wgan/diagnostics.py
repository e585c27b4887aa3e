"""What a training shows at each evaluation, and what that says in words.

Every number comes from sums over sites: means of scores, and a histogram of slopes on fixed edges.
Verdicts are rules of thumb over a noisy history: they point to the key to try first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from wgan.stopping import calibrated

SLOPE_EDGES: tuple[float, ...] = tuple(10 ** (k / 20) for k in range(-60, 61))
"""Edges of the histogram of slopes, in units of the target slope: 20 bins a decade, each 12 % wide;
beyond both ends lies one more bin."""

Verdict = Literal["good", "watch", "bad", "unknown"]
Word = Literal["decreasing", "rising", "flat", "oscillating", "exploding", "unknown"]
Array = npt.NDArray[np.float64]


def slope_histogram(norms: Tensor, target: float = 1.0) -> Tensor:
    """Counts of slopes `(B,)` by bin, `(len(SLOPE_EDGES) + 1,)`; additive over batches and sites.

    The first bin holds what lies below the edges, the last what lies above or is not finite.
    """
    ratios = (norms.detach().double().cpu() / target).nan_to_num(nan=math.inf, posinf=math.inf)
    edges = torch.tensor(SLOPE_EDGES, dtype=torch.float64)
    bins = torch.bucketize(ratios, edges, right=True)
    return torch.bincount(bins, minlength=len(edges) + 1)


def slope_quantiles(
    counts: Sequence[float] | npt.NDArray[Any] | Tensor,
    q: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
) -> tuple[float, ...]:
    """Quantiles of the slopes behind a histogram, to within its bin width of 12 %.

    >>> slope_quantiles(slope_histogram(torch.full((10,), 1.05)), q=(0.5,))[0]  # doctest: +ELLIPSIS
    1.05...

    What lies beyond the edges is given as the edge.

    Raises:
        ValueError: The counts are of another length, or all 0.
    """
    heights = np.asarray(counts, dtype=np.float64)
    if heights.shape != (len(SLOPE_EDGES) + 1,) or not heights.sum() > 0:
        raise ValueError(f"expected {len(SLOPE_EDGES) + 1} counts, one above 0 at least")
    cumulative = heights.cumsum()
    found = []
    for share in q:
        rank = share * cumulative[-1]
        # The first bin that reaches the rank and is not empty.
        index = int(np.searchsorted(cumulative, max(rank, np.nextafter(0, 1))))
        inside = 1 - (cumulative[index] - rank) / heights[index]
        low = SLOPE_EDGES[max(index - 1, 0)]
        high = SLOPE_EDGES[min(index, len(SLOPE_EDGES) - 1)]
        found.append(float(low * (high / low) ** inside))
    return tuple(found)


@dataclass(frozen=True)
class Observation:
    """One evaluation of a training.

    Attributes:
        step: When, in whatever the training counts.
        estimate: Mean of C(real) - C(fake) as the critic's loss sees it.
        penalty: Mean of the weighted penalties.
        generator_loss: Mean of the generator's loss.
        slopes: 5, 25, 50, 75 and 95 % quantiles of the critic's slopes on interpolates, in units of
            the target slope; None where not measured.
        train_score: Mean of C over rows trained on.
        held_score: Mean of C over rows held out; None where there are none.
        fake_score: Mean of C over fake rows.
        strength: Strength of the views, in [0, 1].
        quality: A distance of samples to real rows (sliced W1, say); None where not measured.
    """

    step: int
    estimate: float
    penalty: float
    generator_loss: float
    slopes: tuple[float, ...] | None
    train_score: float
    held_score: float | None
    fake_score: float
    strength: float = 0.0
    quality: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite becomes None."""
        return {
            name: [_plain(v) for v in value] if isinstance(value, tuple) else _plain(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Observation":
        """What `to_dict` gave; None stands for not a number where a number is due."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        for name in ("estimate", "penalty", "generator_loss", "train_score", "fake_score"):
            known[name] = math.nan if known[name] is None else float(known[name])
        if known["slopes"] is not None:
            known["slopes"] = tuple(math.nan if v is None else float(v) for v in known["slopes"])
        return cls(**known)

    @property
    def finite(self) -> bool:
        """Whether all that was measured is finite."""
        numbers = [v for v in asdict(self).values() if isinstance(v, float | int)]
        return all(math.isfinite(v) for v in [*numbers, *(self.slopes or ())])


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def overfitting_gap(observation: Observation) -> float | None:
    """(train - held) / (train - fake): 0 without overfitting, 1 where held-out rows look fake.

    None where there are no held-out rows or the critic does not put real above fake.

    Source: Karras et al., "Training Generative Adversarial Networks with Limited Data", 2020,
    equation 1.
    """
    return _gap([observation])


def _gap(observations: Sequence[Observation]) -> float | None:
    """The same from several evaluations: a ratio of sums, which the noisy ones cannot blow up."""
    rows = [
        (o.train_score - o.held_score, o.train_score - o.fake_score)
        for o in observations
        if o.held_score is not None
    ]
    above, below = (sum(row[i] for row in rows) for i in (0, 1))
    ok = rows and math.isfinite(above) and math.isfinite(below) and below > 0
    return above / below if ok else None


@dataclass(frozen=True)
class Trend:
    """Where a series goes.

    Attributes:
        word: decreasing, rising, flat, oscillating, exploding; unknown where values are too few.
        smooth: Whether the noise from value to value is below a tenth of the largest value.
        change: Robust change over the window, as a share of the largest value.
    """

    word: Word
    smooth: bool
    change: float = 0.0


def trend(values: Sequence[float], window: int = 30) -> Trend:
    """The trend of the last `window` values, whatever their unit.

    - *exploding*: not finite, or far above all of the window's first half, and growing still;
    - *oscillating*: what a monotone curve leaves of it swings by more than a fifth of the largest
      value and by half the change, and one period holds more of it than noise would (Fisher's g);
    - *decreasing*, *rising*: the Mann-Kendall test is significant (1 %), and the Theil-Sen line
      changes by more than 5 % of the largest value;
    - *flat* otherwise.

    Source: Fisher, "Tests of significance in harmonic analysis", 1929; Mann, "Nonparametric tests
    against trend", 1945; Sen, "Estimates of the regression coefficient based on Kendall's tau",
    1968.

    >>> trend([1.0 - k / 10 for k in range(11)]).word
    'decreasing'
    """
    series = np.asarray(values, dtype=np.float64)[-window:]
    if not np.isfinite(series).all():
        return Trend("exploding", False)
    count, scale = len(series), float(np.abs(series).max(initial=0))
    if count < 6:
        return Trend("unknown", False)
    if np.ptp(series) == 0:
        return Trend("flat", True)
    series = series / scale
    steps = np.diff(series)
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2)
    smooth = noise < 0.1
    # By hand from all pairs: both statistics share them, and SciPy's take a hundred times longer.
    first, second = np.triu_indices(count, 1)
    rises = series[second] - series[first]
    change = float(np.median(rises / (second - first))) * (count - 1)
    score = float(np.sign(rises).sum()) / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if _explodes(series):
        return Trend("exploding", smooth, change)
    if _oscillates(series, change):
        return Trend("oscillating", smooth, change)
    if abs(change) > 0.05 and abs(score) > 2.576:
        return Trend("rising" if change > 0 else "decreasing", smooth, change)
    return Trend("flat", smooth, change)


def _explodes(series: Array) -> bool:
    sizes = np.abs(series)
    half = len(sizes) // 2
    early, late = float(sizes[:half].max()), float(np.median(sizes[-3:]))
    return late > 5 * early and float(sizes[-1]) > float(np.median(sizes[half:]))


def _oscillates(series: Array, change: float) -> bool:
    if len(series) < 12:
        return False
    # A bent but monotone curve is no swing, so the best monotone curve is taken out, not a line.
    fits = [isotonic_regression(series, increasing=up).x for up in (False, True)]
    rest = min((series - fit for fit in fits), key=lambda r: float(np.square(r).sum()))
    swing = 2 * math.sqrt(2) * float(rest.std())
    if swing < max(0.2, abs(change) / 2):
        return False
    # From two periods in the window on: one is a rise and a fall.
    power = np.abs(np.fft.rfft(rest - rest.mean()))[2:] ** 2
    peak = float(power.max() / power.sum())
    return bool(len(power) * (1 - peak) ** (len(power) - 1) < 0.01)


@dataclass(frozen=True)
class Finding:
    """One thing a training shows.

    Attributes:
        aspect: What was looked at.
        verdict: good, watch, bad, or unknown where it cannot be told (yet).
        what: What was seen.
        advice: What to do, by settings key; empty where nothing is to be done.
    """

    aspect: str
    verdict: Verdict
    what: str
    advice: str = ""


def diagnose(
    history: Sequence[Observation], target: float = 1.0, bounded: bool = True
) -> tuple[Finding, ...]:
    """What a history of evaluations, oldest first, shows: one finding an aspect.

    Args:
        history: The evaluations.
        target: The slope asked for in the units of `Observation.slopes`: 1 for those of
            `slope_quantiles`.
        bounded: Whether anything holds the critic's slope (a gradient penalty, say); otherwise the
            estimate is no distance and slopes are not judged.
    """
    if not history:
        return (Finding("estimate", "unknown", "no evaluation yet"),)
    if not history[-1].finite:
        return (
            Finding(
                "estimate",
                "bad",
                f"not finite at step {history[-1].step}: training has diverged",
                "go back to a checkpoint; lower model.critic_rate and model.generator_rate, "
                "raise model.gradient_penalty",
            ),
        )
    usable = [observation for observation in history if observation.finite]
    return (
        _estimate(usable, target, bounded),
        _slopes(usable, target, bounded),
        _overfitting(usable),
        _loss("generator loss", [o.generator_loss for o in usable]),
        _loss("penalty", [o.penalty for o in usable]),
    )


def _estimate(history: Sequence[Observation], target: float, bounded: bool) -> Finding:
    def say(verdict: Verdict, what: str, advice: str = "") -> Finding:
        return Finding("estimate", verdict, what, advice)

    raw = [o.estimate for o in history]
    steep = [o.slopes[-1] / target if o.slopes else None for o in history]
    # Divided by the slope, a critic that is still growing, or too steep, does not pass for a
    # distance that changes.
    found = [
        calibrated(value, slope) if slope is not None else None
        for value, slope in zip(raw, steep, strict=True)
    ]
    values = np.array([v for v in found if v is not None] if bounded and all(steep) else raw)
    if len(values) < 6:
        return say("unknown", f"{len(values)} evaluations: too few to tell")
    now, last = trend(raw), steep[-1]
    # Early on any estimate multiplies; a critic of a slope near its target can hardly explode.
    held = bounded and last is not None and last < 3
    if now.word == "exploding" and len(raw) >= 10 and not held:
        return say(
            "bad",
            f"explodes: {raw[-1]:.3g} now, {raw[len(raw) // 2]:.3g} half way before",
            "raise model.gradient_penalty; lower model.critic_rate, then model.generator_rate",
        )
    smoothed = np.array([np.median(values[max(0, i - 4) : i + 1]) for i in range(len(values))])
    at = int(smoothed.argmax())
    peak, level = float(smoothed[at]), float(smoothed[-1])
    if peak <= 0:
        return say(
            "bad",
            "never above 0: the critic does not tell real from fake",
            "raise train.critic_steps or model.critic_rate",
        )
    share, going = level / peak, trend(values.tolist())
    at_peak = f"{share:.0%} of its peak"
    if share < -0.1:
        return say(
            "bad",
            f"below 0 ({level:.3g}): the generator outruns the critic",
            "raise train.critic_steps; lower model.generator_rate or train.generator_steps",
        )
    if share < 0.1:
        return _near_zero(history, at_peak)
    if going.word == "oscillating":
        return say(
            "watch",
            f"oscillates around {level:.3g}: the players chase each other",
            "lower model.generator_rate, or raise train.critic_steps; let both rates decay",
        )
    if going.word in ("rising", "exploding"):
        if float(smoothed[: at + 1].min()) < 0.5 * peak and _fell(smoothed):
            return say(
                "watch",
                f"rises again, to {at_peak}, after it had fallen",
                "lower model.critic_rate or train.critic_steps, or raise train.generator_steps",
            )
        return say("unknown", "still rises: the critic is learning", "wait for its peak")
    if going.word == "decreasing":
        return say("good", f"falls, {'smoothly' if going.smooth else 'noisily'}: {at_peak}")
    if share >= 0.5 and len(values) < 15:
        return say("unknown", f"flat at {at_peak} so far: too early to tell")
    if share >= 0.5:
        return say(
            "bad",
            f"stuck high: flat at {at_peak}",
            "the generator learns too slowly: raise model.generator_rate or "
            "train.generator_steps; if samples are good, the critic sees noise: raise train.batch",
        )
    return say(
        "good",
        f"has settled at {at_peak}",
        "if samples are not good enough: raise train.critic_steps or train.rounds",
    )


def _fell(smoothed: Array) -> bool:
    """Whether the curve had been at half of an earlier peak before it stood where it stands."""
    highest = np.maximum.accumulate(smoothed)
    drop = smoothed < 0.5 * highest
    return bool(drop[3:].any())


def _near_zero(history: Sequence[Observation], at_peak: str) -> Finding:
    quality = [o.quality for o in history if o.quality is not None]
    what = f"near zero: {at_peak}"
    if len(quality) < 2:
        return Finding(
            "estimate",
            "good",
            f"{what}; the quality of samples was not measured",
            "look at samples: a critic without power shows the same",
        )
    now, first = float(np.median(quality[-3:])), max(quality)
    best = min(float(np.median(quality[i : i + 3])) for i in range(max(1, len(quality) - 2)))
    if now < 0.5 * first and now <= 2 * best:
        return Finding("estimate", "good", f"{what}, and samples came closer to the real rows")
    return Finding(
        "estimate",
        "bad",
        f"{what} with bad samples (at {now:.3g}; worst {first:.3g}, best {best:.3g}): the critic "
        "has no power",
        "raise train.critic_steps or model.critic_rate, enlarge the critic, lower "
        "model.gradient_penalty",
    )


def _slopes(history: Sequence[Observation], target: float, bounded: bool) -> Finding:
    def say(verdict: Verdict, what: str, advice: str = "") -> Finding:
        return Finding("slopes", verdict, what, advice)

    known = [o.slopes for o in history if o.slopes is not None]
    if not known:
        return say("unknown", "not measured")
    low, _, middle, _, high = np.median(np.array(known[-3:]), axis=0) / target
    seen = f"median {middle:.2g}, 95 % {high:.2g} of the target"
    if not bounded:
        return say("unknown", f"nothing bounds them ({seen}): the estimate is no distance")
    if middle > 1.5 or high > 3:
        return say(
            "bad" if middle > 2 or high > 6 else "watch",
            f"too steep: {seen}",
            "raise model.gradient_penalty; if that does not help, lower model.critic_rate",
        )
    if middle < 0.5:
        return say(
            "bad" if middle < 0.2 else "watch",
            f"too flat: {seen}: the critic is starved",
            "raise train.critic_steps or model.critic_rate; lower model.gradient_penalty",
        )
    if low < 0.05:
        return say(
            "watch",
            f"dead on a twentieth of the interpolates (5 % {low:.2g}, {seen})",
            "there the generator learns nothing: raise train.critic_steps or enlarge the critic",
        )
    return say("good", f"near the target: {seen}")


def _overfitting(history: Sequence[Observation]) -> Finding:
    if all(o.held_score is None for o in history):
        return Finding("overfitting", "unknown", "no rows were held out")
    gap = _gap(history[-5:])
    apart = [o.train_score - o.fake_score for o in history]
    # Next to nothing between real and fake, the gap is noise over noise.
    if gap is None or float(np.mean(apart[-5:])) < 0.1 * max(apart):
        return Finding("overfitting", "unknown", "the critic hardly puts real above fake")
    verdict: Verdict = "bad" if gap > 0.6 else "watch" if gap > 0.3 else "good"
    if verdict == "good":
        return Finding("overfitting", "good", f"gap {gap:.2f}: held-out rows score as trained ones")
    strength = history[-1].strength
    views = (
        "use views with adaptive strength"
        if strength <= 0
        else f"let the views' strength ({strength:.2g}) rise"
        if strength < 0.8
        else "views are at their strongest"
    )
    return Finding(
        "overfitting",
        verdict,
        f"gap {gap:.2f}: the critic knows its training rows",
        f"{views}; more rows; a smaller critic; fewer train.rounds",
    )


def _loss(aspect: str, values: Sequence[float]) -> Finding:
    if len(values) < 10:
        return Finding(aspect, "unknown", f"{len(values)} evaluations: too few to tell")
    now = trend(values)
    if now.word == "exploding":
        rates = "lower model.generator_rate and model.critic_rate"
        advice = (
            f"{rates}; raise model.gradient_penalty"
            if aspect != "penalty"
            else ("lower model.critic_rate; if it goes on, raise model.gradient_penalty")
        )
        return Finding(aspect, "bad", f"explodes, to {values[-1]:.3g}", advice)
    return Finding(aspect, "good", f"{now.word}, at {values[-1]:.3g}")


def summary(findings: Sequence[Finding]) -> str:
    """The findings on one line, the worst first; good and unknown ones by name alone.

    >>> summary([Finding("slopes", "good", "near"), Finding("estimate", "bad", "stuck high")])
    'bad: estimate (stuck high); good: slopes'
    """
    parts = []
    for verdict in ("bad", "watch", "good", "unknown"):
        chosen = [f for f in findings if f.verdict == verdict]
        loud = verdict in ("bad", "watch")
        named = [f"{f.aspect} ({f.what})" if loud else f.aspect for f in chosen]
        parts += [f"{verdict}: {', '.join(named)}"] if named else []
    return "; ".join(parts)


def table_rows(findings: Sequence[Finding]) -> tuple[tuple[str, str, str, str], ...]:
    """One row a finding: aspect, verdict, what was seen, advice."""
    return tuple((f.aspect, f.verdict, f.what, f.advice) for f in findings)
