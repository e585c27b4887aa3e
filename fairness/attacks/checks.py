"""Limits held against what attacks found, and the verdict."""

from collections.abc import Iterator

from everymode.fairness.attacks.findings import (
    ALL,
    AttackCheck,
    Attacks,
    MembershipFinding,
    Verdict,
)
from everymode.fairness.attacks.limits import AttackLimits
from everymode.fairness.metrics.results import Estimate

ORDER: dict[Verdict, int] = {"fail": 0, "insufficient": 1, "pass": 2}

LOW = "0.01"
"""The rate of false alarms at which the rate of members found is judged."""


def evaluate_limits(found: Attacks, limits: AttackLimits) -> tuple[AttackCheck, ...]:
    """Every limit held against every figure; successful attacks come first.

    Attacks that succeed or fail on single targets are judged on all rows alone: of many columns and
    groups some would be above any limit by chance.
    """
    checks: list[AttackCheck] = []
    for one in found.membership:
        checks += _of_membership(one, limits)
    if limits.risk is not None:
        for rate in found.rates:
            if rate.group == ALL and not rate.features:
                text = (
                    f"right on {_percent(rate.rate)} of the rows trained on and on "
                    f"{_percent(rate.control)} of others; {_percent(rate.baseline)} by a guess"
                )
                known = rate.risk if rate.state == "measured" else Estimate()
                subject = f"{rate.attack}, {rate.subject}"
                checks.append(_check("risk", subject, known, limits.risk, text))
    if found.claimed_epsilon is not None:
        bound = found.epsilon
        text = (
            f"the best attack shows that epsilon is at least {bound:.2f}; "
            f"{found.claimed_epsilon:g} is claimed"
        )
        value = Estimate(bound, bound, bound)
        checks.append(_check("epsilon", "the claimed epsilon", value, found.claimed_epsilon, text))
    return tuple(sorted(checks, key=lambda check: ORDER[check.verdict]))


def decide(found: Attacks, checks: tuple[AttackCheck, ...]) -> Verdict:
    """`fail` where an attack succeeds; `pass` where none does and all rows could be judged."""
    if any(check.verdict == "fail" for check in checks):
        return "fail"
    judged = [one for one in found.membership if one.group == ALL and not one.features]
    return "pass" if any(one.state == "measured" for one in judged) else "insufficient"


def _of_membership(one: MembershipFinding, limits: AttackLimits) -> Iterator[AttackCheck]:
    subject = f"{one.attack}, {one.group}"
    known = one.state == "measured"
    few = f"too few rows to say: {one.members:,} trained on, {one.nonmembers:,} not"
    if limits.membership_auc is not None:
        text = (
            f"a row trained on scores higher than another in {_percent(one.auc)} of pairs"
            if known
            else few
        )
        value = one.auc if known else Estimate()
        yield _check("membership_auc", subject, value, limits.membership_auc, text)
    if limits.membership_tpr is not None:
        rate = one.tpr.get(LOW, Estimate()) if known else Estimate()
        text = few
        if rate.value is not None:
            text = (
                f"{_percent(rate)} of the rows trained on are found while one in a hundred others "
                "is taken for one"
            )
        yield _check("membership_tpr", subject, rate, limits.membership_tpr, text)


def _check(name: str, subject: str, value: Estimate, limit: float, message: str) -> AttackCheck:
    verdict: Verdict = "insufficient"
    if value.low is not None and value.low > limit:
        verdict = "fail"
    elif value.high is not None and value.high <= limit:
        verdict = "pass"
    return AttackCheck(name, subject, verdict, value, limit, message)


def _percent(found: Estimate) -> str:
    return "an unknown share" if found.value is None else f"{found.value:.1%}"
