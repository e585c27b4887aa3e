"""The headline of an audit, and sentences that explain its verdict."""

from collections.abc import Iterable, Sequence

import everymode.fairness.audit.metrics as table
from everymode.fairness.audit.findings import Audit, Check, CheckVerdict

NAMED = 5
"""Groups a sentence names before it counts."""


def headline(audit: Audit) -> str:
    """The verdict, what it leaves out, and how many checks it rests on.

    Checks of what the generator is conditioned on count neither way.
    """
    counts = _by_verdict(audit.checks)
    total = len(audit.checks) - counts["given"]
    verdict = audit.verdict.upper()
    if audit.fit_for_release:
        verdict += ", fit for release"
    elif left_out := _left_out(audit):
        verdict += f" ({left_out})"
    if not total:
        return f"{verdict}: no check was made"
    if audit.verdict == "fail":
        return f"{verdict}: {counts['fail']} of {total} checks"
    return f"{verdict}: {counts['pass']} of {total} checks passed, none failed"


def _left_out(audit: Audit) -> str:
    """What a release needs and the audit does not say, in a few words: copies, above all."""
    found = ["coverage"] if "coverage" in audit.unjudged else []
    if audit.copies == "not judged":
        return f"{' and '.join([*found, 'copies'])}: not judged"
    return "copies: undecided" if audit.copies == "insufficient" else ""


def sentences(audit: Audit) -> list[str]:
    """What the verdict means, in plain words, the gravest first."""
    failed: dict[str, list[str]] = {}
    absent = {group.name for group in audit.groups if group.state == "absent"}
    for check in audit.checks:
        if check.verdict == "fail":
            gone = check.name == "coverage_group_min" and check.subject in absent
            failed.setdefault("absent" if gone else check.name, []).append(check.subject)
    order = ["absent", *table.by_name(), *failed]
    texts = [
        f"{_begins(name)} {_some(failed[name])}." for name in dict.fromkeys(order) if name in failed
    ]
    if audit.verdict == "pass":
        texts.append("Every figure that could be judged is on the good side of its limit.")
    texts += _needed(audit)
    small = [group.name for group in audit.groups if group.state == "insufficient"]
    if small:
        texts.append(f"Too few rows to say anything of {_some(small)}: neither passed nor failed.")
    unsure = sum(check.verdict == "insufficient" for check in audit.checks)
    if unsure:
        noun = "check" if unsure == 1 else "checks"
        texts.append(f"{unsure} {noun} could not be decided with the rows there are.")
    given = sum(check.verdict == "given" for check in audit.checks)
    if given:
        texts.append(
            f"{given} further {'check is' if given == 1 else 'checks are'} of what the generator "
            "was told: given, not judged."
        )
    return [*texts, *(f"{note[:1].upper()}{note[1:]}." for note in audit.notes)]


def _needed(audit: Audit) -> list[str]:
    """What was not judged without which the table is not fit for release."""
    texts = []
    strata = [name for name in audit.unjudged if name not in ("coverage", "copies")]
    if strata:
        texts.append(f"Not decided, and needed for a pass: {_some(strata)}.")
    if audit.copies == "not judged":
        texts.append(
            f"Copies were not judged, so it is not fit for release: {why_no_copies(audit)}."
        )
    if audit.copies == "insufficient":
        texts.append(
            "Whether it copies real rows is undecided, so it is not fit for release: more rows, "
            "held-out ones above all, would tell."
        )
    return texts


def why_no_copies(audit: Audit) -> str:
    """Why copies were not judged, and what to do about it."""
    if "coverage" in audit.unjudged:
        return "sums over sites cannot tell; whoever may see rows runs everymode audit"
    if audit.settings.get("rows_holdout") is None:
        return "name held-out rows, real rows that were not trained on"
    if any(group.closer_to_training.value is not None for group in audit.groups):
        return "a threshold of theirs is off"
    return "the held-out rows, or those of another table, are too few or were trained on"


def _begins(name: str) -> str:
    if name == "absent":
        return "The synthetic table has no row of"
    metric = table.by_name().get(name)
    return metric.failure if metric and metric.failure else f"It fails '{name}' on"


def _some(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = len(names) - NAMED
    return "; ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _by_verdict(checks: Sequence[Check]) -> dict[CheckVerdict, int]:
    known: tuple[CheckVerdict, ...] = ("pass", "fail", "insufficient", "given")
    return {verdict: sum(check.verdict == verdict for check in checks) for verdict in known}
