"""The files of `everymode attack`: JSON for programs, a page for people."""

from pathlib import Path

import everymode.fairness.report.svg as drawing
from everymode.fairness.attacks.findings import (
    ALL,
    ISOLATED,
    AttackCheck,
    Attacks,
    MembershipFinding,
    RateFinding,
    Verdict,
)
from everymode.fairness.report.attack_page import ATTACK_PAGE
from everymode.fairness.report.report import compiled, flat, strict
from everymode.fairness.report.roc_svg import roc_picture
from everymode.wgan.files import write_bytes, write_json

LEGEND = (
    (
        "Nearest row",
        "Rows nearer to a synthetic row are taken for rows trained on. Chen et al., 2020, "
        "GAN-Leaks.",
    ),
    (
        "Density ratio",
        "Rows around which synthetic rows are denser than other real rows are. van Breugel et al., "
        "2023, Membership Inference Attacks against Synthetic Data through Overfitting Detection.",
    ),
    (
        "Critic's score",
        "Rows that the trained critic scores higher; for whoever has the run directory. Hayes et "
        "al., 2019, LOGAN.",
    ),
    (
        "AUC, found at",
        "Area under the ROC curve: how often a row trained on scores higher than another; DeLong's "
        "interval. Share of rows trained on that are found while .01 or .001 of the others are "
        "taken for such. Carlini et al., 2022, Membership Inference Attacks From First Principles.",
    ),
    (
        "Epsilon",
        "Lower bound of epsilon by the attack's rates (Clopper-Pearson; Jagielski et al., 2020), "
        "and one that assumes no independence of rows (Steinke et al., 2023, Privacy Auditing with "
        "One (1) Training Run). Both hold with 95 % confidence over all membership attacks.",
    ),
    (
        "Attribute inference, linkability, singling out",
        "Giomi et al., 2023, A Unified Framework for Quantifying Privacy Risk in Synthetic Data: "
        "the value of the synthetic row nearest by all other columns; the same synthetic row "
        "nearest by either half of the columns; predicates that exactly one real row fulfils.",
    ),
)


def write_attacks(found: Attacks, folder: Path) -> tuple[Path, ...]:
    """Writes `attack.json` and `attack.html`, each whole or not at all.

    Raises:
        StateError: The folder cannot be written to.
    """
    paths = (folder / "attack.json", folder / "attack.html")
    text = attack_page(found).encode("utf-8", "replace")
    write_json(paths[0], strict(found.to_json()))
    write_bytes(paths[1], text)
    return paths


def headline(found: Attacks) -> str:
    """The verdict in a line."""
    count = sum(check.verdict == "fail" for check in found.checks)
    if found.verdict == "fail":
        return f"FAIL: {count} of {len(found.checks)} checks show an attack that succeeds"
    if found.verdict == "pass":
        return "PASS: no attack succeeds beyond its limit"
    return "INSUFFICIENT: too few rows to judge membership by"


def sentences(found: Attacks) -> list[str]:
    """What the verdict means, in plain words."""
    texts = []
    judged = [m for m in found.membership if m.auc.value is not None and m.state == "measured"]
    if judged:
        worst = max(judged, key=lambda m: m.auc.value or 0.0)
        texts.append(
            f"The best membership attack of all rows and groups judged is the {worst.attack}, on "
            f"{worst.group}: {worst.auc.value:.3f}, where one half is chance."
        )
    small = {m.group for m in found.membership if m.state == "insufficient" and m.features}
    if small:
        texts.append(f"{len(small)} of the groups have too few rows to judge: no pass.")
    return [*texts, *(f"{note[:1].upper()}{note[1:]}." for note in found.notes)]


def attack_page(found: Attacks) -> str:
    """The page: one file that loads nothing."""
    by_verdict: dict[Verdict, list[AttackCheck]] = {"fail": [], "insufficient": [], "pass": []}
    for check in found.checks:
        by_verdict[check.verdict].append(check)
    curves: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {}
    best: dict[str, MembershipFinding] = {}
    for one in found.membership:
        judged = one.state == "measured" or (one.group == ISOLATED and not one.features)
        if one.curve and judged:
            curves.setdefault(one.attack, {})[one.group] = one.curve
        if one.group == ALL and not one.features:
            best[one.attack] = one
    by_features: dict[str, list[RateFinding]] = {}
    for rate in found.rates:
        by_features.setdefault(" and ".join(rate.features), []).append(rate)
    return compiled(ATTACK_PAGE).render(
        found=found,
        headline=headline(found),
        sentences=sentences(found),
        by_verdict=by_verdict,
        curves=curves,
        best=best,
        by_features=by_features,
        levels=list(dict.fromkeys(level for one in found.membership for level in one.tpr)),
        legend=LEGEND,
        settings=flat(found.settings),
        picture=roc_picture,
        draw=drawing,
    )
