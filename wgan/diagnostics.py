"""What a training shows at each evaluation, and what that says in words.

Every number comes from sums over sites: means of scores, and a histogram of slopes.
Verdicts are rules of thumb over a noisy history: they point to the key to try first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from everymode.wgan.stopping import calibrated
from everymode.wgan.trends import Array, trend

Verdict = Literal["good", "watch", "bad", "unknown"]


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
        strength: Strength of the augmentations, in [0, 1].
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
        return say("unknown", _few(len(values)))
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
        return Finding(aspect, "unknown", _few(len(values)))
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


def _few(count: int) -> str:
    return f"{count} evaluation{'' if count == 1 else 's'}: too few to tell"
