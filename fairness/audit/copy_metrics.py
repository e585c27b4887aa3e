"""Entries of the table of metrics: copies, and rows nearer to one part of the real rows.

How many rows equal a real row by coincidence is estimated from rows that the generator did not see:
held-out rows equal rows trained on by chance alone, and the other way round. Copies of held-out
rows are looked for as well: whoever saw the test rows passes every test on them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import at_most, beyond, beyond_chance, exact
from everymode.fairness.audit.metric import Column, Judged, Limit, Metric, each_group
from everymode.fairness.metrics.results import Estimate, GroupFinding

if TYPE_CHECKING:
    from everymode.fairness.audit.group_sample import GroupSample

UNKNOWN = "not judged: name held-out rows, real rows that were not trained on"


def _undecided(group: GroupFinding, message: str) -> Judged | None:
    """All rows have an undecided check where nothing is known; a group has none."""
    return None if group.features else Judged(group.name, Estimate(), message)


def _copied(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    if group.copied is None:
        return _undecided(group, "too few rows to say")
    text = f"{group.copied:.1%} of its synthetic rows equal a real row"
    if group.copied_expected is not None:
        found = beyond_chance(group.copied, group.copied_expected, group.rows_holdout or 0)
        return Judged(group.name, found, f"{text}; {group.copied_expected:.1%} of held-out rows do")
    if group.copied <= limit:
        return Judged(group.name, exact(group.copied), text)
    # Rows that repeat within one table tell how often two rows of the distribution are equal.
    chance = group.repeated or 0.0
    text = (
        f"{text}; at most {chance:.1%} of the rows of either table equal another of their own; "
        "name held-out rows to tell how many equal one by chance"
    )
    return Judged(group.name, Estimate(group.copied, group.copied - chance, group.copied), text)


def _copied_held_out(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    if group.copied_held_out is None:
        return _undecided(group, UNKNOWN)
    chance = group.copied_held_out_expected or 0.0
    text = (
        f"{group.copied_held_out:.1%} of its synthetic rows equal a held-out row; "
        f"{chance:.1%} of the rows trained on do"
    )
    return Judged(group.name, beyond_chance(group.copied_held_out, chance, group.rows_real), text)


def _beyond_luck(group: GroupFinding) -> Estimate:
    """How surely rows lie next to rows trained on, less what the luck of the held-out rows gives.

    Where rows trained on lie next to each other more often than chance explains, this is no luck:
    rows repeat each other, or held-out rows are of another distribution. Nothing is taken off then.
    """
    found, fresh = group.closer_to_training, group.closer_to_training_fresh
    if fresh.low is None or fresh.high is None or not fresh.low <= 0.5 <= fresh.high:
        return found
    gap = beyond(found, fresh)
    if gap.value is None or gap.low is None or gap.high is None:
        return found
    value, low, high = (min(max(0.5 + part, 0.0), 1.0) for part in (gap.value, gap.low, gap.high))
    return Estimate(value, low, high)


def _judged(group: GroupFinding, limit: float, mirrored: bool) -> Estimate:
    """The figure that is judged: as it is, unless it fails; then it must fail without luck, too.

    So the luck of a small held-out sample fails no group, and what two samples leave undecided
    takes no pass from a figure that has rows enough by itself.
    """
    found = group.closer_to_training
    plain = _mirrored(found) if mirrored else found
    if at_most(plain, limit) != "fail":
        return plain
    corrected = _beyond_luck(group)
    return _mirrored(corrected) if mirrored else corrected


def _mirrored(found: Estimate) -> Estimate:
    if found.value is None or found.low is None or found.high is None:
        return Estimate()
    return Estimate(1 - found.value, 1 - found.high, 1 - found.low)


def _closer_to_training(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    closer, fresh = group.closer_to_training.value, group.closer_to_training_fresh.value
    if closer is None:
        return _undecided(group, UNKNOWN)
    text = (
        f"{closer:.0%} of its rows are nearer to rows trained on than to held-out ones, as if "
        "there were as many of each"
    )
    if fresh is not None:
        text += f"; {fresh:.0%} of the rows trained on are"
    return Judged(group.name, _judged(group, limit, False), text)


def _closer_to_held_out(group: GroupFinding, audit: Audit, limit: float) -> Judged | None:
    closer = group.closer_to_training.value
    if closer is None:
        return _undecided(group, UNKNOWN)
    text = (
        f"{1 - closer:.0%} of its rows are nearer to held-out rows than to rows trained on, as if "
        "there were as many of each"
    )
    return Judged(group.name, _judged(group, limit, True), text)


def _copies_of(sample: "GroupSample") -> Mapping[str, float | None]:
    if sample.copies is None:
        return {}
    return sample.copies.of_group(sample.real, sample.synthetic, sample.reference)


COPY_METRICS: tuple[Metric, ...] = (
    Metric(
        name="copied",
        topic="copies",
        direction="lower",
        heading="Copies of real rows",
        failure="It copies real rows of",
        limit=Limit(
            0.01, "most copies of real rows, beyond held-out rows' own", {"ge": 0, "le": 1}
        ),
        judge=each_group(_copied, measured=False),
        measure=_copies_of,
        column=Column("copied\n(expected)", aside=lambda group: (group.copied_expected,)),
        legend=(
            "Copied, nearer to training",
            "Share of synthetic rows that equal a real row, in brackets that of held-out rows; the "
            "same of held-out rows, in brackets that of rows trained on. Share nearer to one of "
            "all rows trained on than to any held-out one, as if there were as many of each: half "
            "where nothing was memorised, less where held-out rows were; in brackets that of rows "
            "trained on, each without itself: the luck of the held-out rows, without which it has "
            "to fail, too.",
        ),
    ),
    Metric(
        name="copied_held_out",
        topic="copies",
        direction="lower",
        heading="Copies of held-out rows",
        failure="It copies held-out rows of",
        limit=Limit(
            0.01, "most copies of held-out rows, beyond real rows' own", {"ge": 0, "le": 1}
        ),
        judge=each_group(_copied_held_out, measured=False),
        column=Column("held-out\ncopied", aside=lambda group: (group.copied_held_out_expected,)),
    ),
    Metric(
        name="closer_to_training",
        topic="copies",
        direction="lower",
        heading="Rows that were memorised",
        failure="It has memorised rows of",
        limit=Limit(
            0.55,
            "most rows nearer to real rows trained on than to held-out",
            {"ge": 0.5, "le": 1},
        ),
        judge=each_group(_closer_to_training, measured=False),
        measure=lambda sample: {
            "closer_to_training": sample.closer_to_training(),
            "closer_to_training_fresh": sample.closer_of_fresh(),
        },
        column=Column(
            "nearer to\ntraining\n(fresh)",
            aside=lambda group: (group.closer_to_training_fresh.value,),
        ),
    ),
    Metric(
        name="closer_to_held_out",
        topic="copies",
        direction="lower",
        heading="Held-out rows that were memorised",
        failure="It was made from the rows held out for its test, of",
        limit=Limit(
            0.55,
            "most rows nearer to held-out rows than to those trained on",
            {"ge": 0.5, "le": 1},
        ),
        judge=each_group(_closer_to_held_out, measured=False),
    ),
)
