"""Entries of the table of metrics: membership attacks, on every group.

They have limits: an attack that finds the rows trained on is a fault whatever the table. A check
fails where the interval's lower end is above its limit. Distances to the closest row, and shares of
rows nearer to rows trained on, are no attacks (`everymode.fairness.audit.copy_metrics`).
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import LEVEL, MIN_ATTACKED
from everymode.fairness.audit.metric import Column, Judged, Limit, Metric, each_group
from everymode.fairness.metrics.results import Estimate, GroupFinding

if TYPE_CHECKING:
    from everymode.fairness.audit.group_sample import GroupSample


ATTACKED = {"nearest row": "nearest", "density ratio": "density"}
"""Attacks of `everymode.fairness.attacks.membership`, and the ends of their metrics' names."""


def _measured(attack: str, name: str) -> Callable[["GroupSample"], Mapping[str, Estimate]]:
    def measure(sample: "GroupSample") -> Mapping[str, Estimate]:
        if sample.membership is None:
            return {}
        found, rate = sample.membership.figures(
            attack, sample.real, sample.reference, sample.rng(f"membership {attack}")
        )
        return {name: found, f"{name}_found": rate}

    return measure


def _judged(attack: str, name: str) -> Callable[[GroupFinding, Audit, float], Judged | None]:
    def judged(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
        found, rate = group.figure(name), group.figure(f"{name}_found")
        if found.value is None:
            return None
        text = (
            f"by the {attack}, a row trained on scores higher than a held-out one in "
            f"{found.value:.1%} of pairs"
        )
        if rate.value is not None:
            text += f"; {rate.value:.1%} of them are found at a rate of false alarms of {LEVEL:g}"
        return Judged(group.name, found, text)

    return judged


def _metric(attack: str, short: str, legend: tuple[str, str] | None) -> Metric:
    name = f"membership_{short}"
    return Metric(
        name=name,
        topic="attacks",
        direction="lower",
        heading=f"Membership attack, {attack}",
        failure=f"A membership attack ({attack}) finds rows of",
        limit=Limit(
            0.55,
            f"most area under the ROC curve of a membership attack ({attack}); .5 is chance",
            {"ge": 0.5, "le": 1},
        ),
        judge=each_group(_judged(attack, name)),
        measure=_measured(attack, name),
        column=Column(
            f"membership,\n{attack}\n(found)",
            aside=lambda group: (group.figure(f"{name}_found").value,),
        ),
        legend=legend,
    )


_LEGEND = (
    "Membership",
    "Area under the ROC curve of attacks that tell rows trained on from held-out rows: by the "
    "nearest synthetic row (Chen et al., 2020), and by the density of synthetic rows over that of "
    "other held-out rows (van Breugel et al., 2023). One half is chance; in brackets the share of "
    f"rows trained on that are found while {LEVEL:g} of the held-out ones are taken for such. "
    f"Groups with fewer than {MIN_ATTACKED} rows of either kind have none. More attacks: "
    "everymode attack.",
)

MEMBERSHIP_METRICS: tuple[Metric, ...] = tuple(
    _metric(attack, ATTACKED[attack], None if place else _LEGEND)
    for place, attack in enumerate(ATTACKED)
)
