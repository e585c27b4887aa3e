"""All attacks on a synthetic table: `everymode attack`.

    found = attack(schema, members, nonmembers, synthetic, sensitive_features=["sex"])
    found.verdict, found.membership[0].auc

What a curious server could read from sums is another attack, made in
`tests/benchmarks/reconstruction.py`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from everymode.fairness.attacks import roc
from everymode.fairness.attacks.attributes import infer_attributes
from everymode.fairness.attacks.checks import decide, evaluate_limits
from everymode.fairness.attacks.critic_score import CriticScore
from everymode.fairness.attacks.epsilon import CONFIDENCE, epsilon_by_rates, epsilon_one_run
from everymode.fairness.attacks.findings import (
    ALL,
    ISOLATED,
    Attacks,
    MembershipFinding,
    RateFinding,
    State,
)
from everymode.fairness.attacks.gower import coded
from everymode.fairness.attacks.limits import AttackEffort, AttackLimits
from everymode.fairness.attacks.linkability import halves, link
from everymode.fairness.attacks.membership import ATTACKS, ISOLATION, LEAST, Scores, score_all
from everymode.fairness.attacks.rates import Guesses, rate, risk
from everymode.fairness.attacks.rows import Floats, Places, Rows
from everymode.fairness.attacks.singling_out import COLUMNS, single_out
from everymode.fairness.groups.strata import group_codes, strata
from everymode.fairness.metrics.coverage import embed
from everymode.fairness.metrics.streams import stream
from everymode.wgan.data.schema import Schema
from everymode.wgan.errors import DataError
from everymode.wgan.versions import package_versions

PACKAGES = ("everymode", "numpy", "pandas", "scipy")

CRITIC = "critic's score"

SHOWN = 3
"""Rows of a group without which no curve is drawn and no figure given."""

Critic = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True)
class Group:
    """A group of rows, by their places in both tables."""

    name: str
    features: tuple[str, ...]
    members: Places
    nonmembers: Places


def attack(
    schema: Schema,
    members: pd.DataFrame,
    nonmembers: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    sensitive_features: Sequence[str] = (),
    secrets: Sequence[str] | None = None,
    critic: Critic | None = None,
    limits: AttackLimits | None = None,
    effort: AttackEffort | None = None,
    claimed_epsilon: float | None = None,
    delta: float = 1e-5,
    seed: int = 0,
    names: tuple[str, str, str] = ("rows trained on", "other rows", "synthetic rows"),
    notes: Sequence[str] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Attacks:
    """Makes all attacks.

    Args:
        schema: The columns.
        members: Rows that the generator was trained on.
        nonmembers: Rows of the same distribution that it was not trained on.
        synthetic: The rows that it made.
        sensitive_features: Columns whose values, and whose joint values, are the groups.
        secrets: Columns whose values are guessed; None: all.
        critic: Scores of the trained critic, for the white-box attack; None: it is not made.
        limits: From which figures on an attack succeeds.
        effort: How much is attacked.
        claimed_epsilon: What the attacks' lower bound of epsilon is compared with.
        delta: The delta of the claim.
        seed: Of all that is drawn.
        names: What messages call the three tables.
        notes: What was done to the tables before, for the record.
        progress: Called with what is done next.

    Raises:
        DataError: Too few rows are held out or made.
    """
    started = time.perf_counter()
    limits, effort = limits or AttackLimits(), effort or AttackEffort()
    few = [
        f"{name}: {len(frame):,} rows are too few for any attack; name a table of {least} at least"
        for name, frame, least in zip(
            names, (members, nonmembers, synthetic), (LEAST, LEAST, LEAST), strict=True
        )
        if len(frame) < least
    ]
    if few:
        raise DataError(few)
    said = list(notes)
    rows = {"members": len(members), "nonmembers": len(nonmembers), "synthetic": len(synthetic)}
    if len(synthetic) > effort.synthetic:
        drawn = stream(seed, "synthetic").choice(len(synthetic), effort.synthetic, replace=False)
        synthetic = synthetic.iloc[np.sort(drawn)]
        said.append(f"{effort.synthetic:,} of the synthetic rows are looked at, drawn at random")
    groups = list(find_groups(schema, members, nonmembers, sensitive_features))
    progress("points")
    points = [embed(frame, schema, synthetic) for frame in (members, nonmembers, synthetic)]
    builds = dict(ATTACKS)
    if critic is not None:
        white_box = CriticScore(critic)
        builds[CRITIC] = lambda synthetic, reference: white_box
    scores = score_all(
        Rows(points[0], members),
        Rows(points[1], nonmembers),
        points[2],
        group_codes((members, nonmembers), schema, sensitive_features)[0],
        effort.rows,
        stream(seed, "membership"),
        builds,
        progress,
    )
    # Bounds of several attacks hold together with the confidence that is stated.
    confidence = 1 - (1 - CONFIDENCE) / len(builds)
    membership = [
        one
        for name in builds
        for one in membership_findings(scores, name, groups, effort, delta, confidence, seed)
    ]
    ours, theirs, made = coded(schema, members, nonmembers, synthetic)
    targets = [
        np.sort(stream(seed, "targets", name).permutation(count)[: effort.targets])
        for name, count in list(rows.items())[:2]
    ]
    chosen = (ours.take(targets[0]), theirs.take(targets[1]))
    rates: list[RateFinding] = []
    progress("attributes")
    guessed = schema.names if secrets is None else tuple(secrets)
    rng = stream(seed, "attributes")
    if len(schema.names) > 1:
        for name, guesses in infer_attributes(made, *chosen, guessed, rng).items():
            rates += _by_group("attribute inference", name, guesses, targets, groups, effort)
        progress("links")
        linked = link(made, *chosen, halves(len(schema.names)), stream(seed, "links"))
        rates += _by_group("linkability", "two halves", linked, targets, groups, effort)
    for several in (False, True):
        subject = f"{min(COLUMNS, len(schema.names))} columns" if several else "one column"
        progress(f"single rows by {subject}")
        rng = stream(seed, "single rows", subject)
        guesses = single_out(made, ours, theirs, several, effort.predicates, rng)
        rates.append(_rate("singling out", subject, guesses, Group(ALL, (), *targets), effort))
    found = Attacks(
        verdict="insufficient",
        members=names[0],
        nonmembers=names[1],
        synthetic=names[2],
        rows=rows,  # type: ignore[arg-type]
        sensitive_features=tuple(sensitive_features),
        membership=tuple(membership),
        rates=tuple(rates),
        claimed_epsilon=claimed_epsilon,
        delta=delta,
        notes=tuple(said),
        settings={"limits": limits.model_dump(), "effort": asdict(effort), "seed": seed},
        versions=package_versions(PACKAGES),
    )
    checks = evaluate_limits(found, limits)
    seconds = round(time.perf_counter() - started, 2)
    return replace(found, checks=checks, verdict=decide(found, checks), seconds=seconds)


def find_groups(
    schema: Schema, members: pd.DataFrame, nonmembers: pd.DataFrame, features: Sequence[str]
) -> Iterator[Group]:
    """All rows, the values of each feature, and joint values; groups without rows are left out."""
    for stratum in strata(features):
        codes, known = group_codes((members, nonmembers), schema, stratum)
        for code, values in enumerate(known):
            own = [np.flatnonzero(part == code) for part in codes]
            yield Group(", ".join(values) or ALL, stratum, own[0], own[1])


def membership_findings(
    scores: Scores,
    name: str,
    groups: Sequence[Group],
    effort: AttackEffort,
    delta: float,
    confidence: float,
    seed: int,
) -> Iterator[MembershipFinding]:
    """One attack on all rows, on the tenth that are most isolated, and on every group."""
    for group in groups:
        both = scores.of(name, group.members, group.nonmembers, effort.rows)
        found = _membership(name, group.name, group.features, both, effort, seed)
        if group.features:
            yield found
            continue
        if found.auc.value is not None:
            epsilon, one_run = (
                bound(*both, delta, stream(seed, "epsilon", name), confidence)
                for bound in (epsilon_by_rates, epsilon_one_run)
            )
            found = replace(found, epsilon=epsilon, epsilon_one_run=one_run)
        yield found
        far = scores.of(ISOLATION, group.members, group.nonmembers, effort.rows)
        edge = np.quantile(np.concatenate(far), 0.9)
        few = (both[0][far[0] >= edge], both[1][far[1] >= edge])
        yield _membership(name, ISOLATED, (), few, effort, seed)


def _membership(
    name: str,
    group: str,
    features: tuple[str, ...],
    scores: tuple[Floats, Floats],
    effort: AttackEffort,
    seed: int,
) -> MembershipFinding:
    counts = (len(scores[0]), len(scores[1]))
    state: State = "measured" if min(counts) >= effort.minimum else "insufficient"
    found = MembershipFinding(name, group, features, *counts, state)
    if min(counts) < SHOWN:
        return found
    rates = roc.rates_at(*scores, stream(seed, "bootstrap", name, *features, group))
    return replace(
        found,
        auc=roc.area(*scores),
        tpr={f"{level:g}": one for level, one in zip(roc.RATES, rates, strict=True)},
        curve=roc.pictured(*scores),
    )


def _by_group(
    name: str,
    subject: str,
    guesses: Guesses,
    targets: Sequence[Places],
    groups: Sequence[Group],
    effort: AttackEffort,
) -> Iterator[RateFinding]:
    for group in groups:
        ours, theirs = (
            np.isin(places, own)
            for places, own in zip(targets, (group.members, group.nonmembers), strict=True)
        )
        part = Guesses(guesses.attack[ours], guesses.control[theirs], guesses.baseline[ours])
        yield _rate(name, subject, part, group, effort)


def _rate(
    name: str, subject: str, guesses: Guesses, group: Group, effort: AttackEffort
) -> RateFinding:
    counts = (len(guesses.attack), len(guesses.control))
    return RateFinding(
        name,
        subject,
        group.name,
        group.features,
        *counts,
        "measured" if min(counts) >= min(effort.minimum, effort.targets) else "insufficient",
        rate(guesses.attack),
        rate(guesses.baseline),
        rate(guesses.control),
        risk(guesses.attack, guesses.control),
    )
