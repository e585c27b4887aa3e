"""Thresholds held against copies: equal rows, and rows nearer to one part of the real rows.

What equals a row by coincidence is read off rows that the table's maker did not see: held-out rows
equal rows trained on by chance alone, and the other way round. Copies of held-out rows are looked
for as well: a maker who saw the test rows passes every test on them.
"""

from collections.abc import Iterator

from fairness.audit.findings import Check
from fairness.audit.limits import at_most, exact
from fairness.audit.thresholds import Thresholds
from fairness.metrics.coverage import wilson
from fairness.metrics.results import Estimate, GroupFinding

UNKNOWN = "not judged: name held-out rows, real rows that were not trained on"


def of_copies(group: GroupFinding, limits: Thresholds) -> Iterator[Check]:
    """The checks of one group; of all rows, there are undecided ones where nothing is known."""
    whole = not group.features

    def check(name: str, found: Estimate, limit: float, text: str) -> Check:
        return Check(name, group.name, at_most(found, limit), found, limit, text)

    if limits.copied is not None and (group.copied is not None or whole):
        yield check("copied", *_copied(group, limits.copied))
    if limits.copied_held_out is not None and (group.copied_held_out is not None or whole):
        found, text = Estimate(), UNKNOWN
        if group.copied_held_out is not None:
            usual = group.copied_held_out_expected or 0.0
            found = _beyond_chance(group.copied_held_out, usual, group.rows_real)
            text = (
                f"{group.copied_held_out:.1%} of its synthetic rows equal a held-out row; "
                f"{usual:.1%} of the rows trained on do"
            )
        yield check("copied_held_out", found, limits.copied_held_out, text)
    closer = group.closer_to_training
    if closer.value is None and not whole:
        return
    if limits.closer_to_training is not None:
        text = UNKNOWN
        if closer.value is not None:
            text = (
                f"{closer.value:.0%} of its rows are nearer to rows trained on than to held-out "
                "ones, as if there were as many of each"
            )
        yield check("closer_to_training", closer, limits.closer_to_training, text)
    if limits.closer_to_held_out is not None:
        found, text = Estimate(), UNKNOWN
        if closer.value is not None and closer.low is not None and closer.high is not None:
            found = Estimate(1 - closer.value, 1 - closer.high, 1 - closer.low)
            text = (
                f"{found.value:.0%} of its rows are nearer to held-out rows than to rows trained "
                "on, as if there were as many of each"
            )
        yield check("closer_to_held_out", found, limits.closer_to_held_out, text)


def _copied(group: GroupFinding, limit: float) -> tuple[Estimate, float, str]:
    if group.copied is None:
        return Estimate(), limit, "too few rows to say"
    text = f"{group.copied:.1%} of its synthetic rows equal a real row"
    if group.copied_expected is not None:
        found = _beyond_chance(group.copied, group.copied_expected, group.rows_holdout or 0)
        return found, limit, f"{text}; {group.copied_expected:.1%} of held-out rows do"
    if group.copied <= limit:
        return exact(group.copied), limit, text
    # Rows that repeat within one table tell how often two rows of the law are equal.
    usual = group.repeated or 0.0
    found = Estimate(group.copied, group.copied - usual, group.copied)
    text = (
        f"{text}; at most {usual:.1%} of the rows of either table equal another of their own; "
        "name held-out rows to tell how many equal one by chance"
    )
    return found, limit, text


def _beyond_chance(share: float, usual: float, rows: int) -> Estimate:
    """A share, which is no estimate, less one seen by chance in so many rows, which is."""
    low, high = wilson(usual, max(rows, 1))
    return Estimate(share - usual, share - high, share - low)
