"""What a site says to an announcement: all that its policy forbids of the run, before any training.

Each sentence names two keys: the policy's, and the one of the coordinator's configuration.
"""

import math

from everymode.clients.gate.log import count_releases
from everymode.clients.gate.policy import Policy
from everymode.clients.gate.spending import allowed_rho, over_budget, read_spent
from everymode.clients.protocol.announcement import Announcement
from everymode.clients.site import Site
from everymode.wgan.words import brief

CONFIGURED = {
    "cluster": "data.clusters",
    "moments": "model.matching_by",
    "profile": "strategy",
    "feel": "groups.weights",
    "measure": "train.exact_batch",
    "leaves": "model.trees, model.critic_trees",
}
"""The key of the coordinator's configuration that makes a run ask a question."""

NO_MASKS = "this site answers with masked sums only; ask with secure.summation = 'masked'"

NO_NOISE = "this site answers with noise only; ask with [privacy] epsilon"

Problem = tuple[str, str]
"""A key of the policy, and what it forbids."""


def not_answered(name: str) -> str:
    """The sentence for a question that the policy does not list."""
    if name in CONFIGURED:
        return f"this site does not answer '{name}'; configure the run without it " + (
            f"({CONFIGURED[name]})"
        )
    return f"this site does not answer '{brief(name)}', which every run asks"


def announced_problems(
    policy: Policy, announced: Announcement, run: str, site: Site
) -> list[Problem]:
    """What of a run the policy forbids; see `everymode.clients.gate.permission`.

    Raises:
        StateError: The site's log cannot be read.
    """
    problems: list[Problem] = []
    if policy.questions is not None:
        others = [name for name in announced.tasks if name not in policy.questions]
        problems += [("questions", not_answered(name)) for name in dict.fromkeys(others)]
    if policy.sensitive is not None and (
        others := [name for name in announced.sensitive if name not in policy.sensitive]
    ):
        listed = ", ".join(f"'{brief(name)}'" for name in others[:5])
        problems.append(
            (
                "sensitive",
                f"columns {listed} are not allowed; leave them out of data.sensitive",
            )
        )
    if 0 < announced.minimum < site.floor:
        key = "min_rows" if policy.min_rows == site.floor else "floor"
        problems.append(
            (
                key,
                f"steps of {announced.minimum} rows (train.site_minimum) are fewer than the "
                f"{site.floor} of this site's floor; write at least that many",
            )
        )
    if policy.masking and not announced.masked:
        problems.append(("masking", NO_MASKS))
    if (policy.noise or policy.epsilon is not None) and not announced.rho:
        problems.append(("noise" if policy.noise else "epsilon", NO_NOISE))
    if policy.epsilon is not None and announced.rho:
        # What the run has spent already, if it goes on, is not spent again.
        before = [s for s in read_spent(site.workspace) if s.scope not in (run, *announced.plans)]
        spent = math.fsum(each.rho for each in before)
        if spent + announced.rho > allowed_rho(policy):
            problems.append(over_budget(policy, spent, announced.rho, announced.masked))
    if announced.releases and (policy.releases or policy.releases_per_run):
        problems += _too_many(policy, announced.releases, *count_releases(site, run))
    return problems


def _too_many(policy: Policy, asked: int, of_run: int, in_all: int) -> list[Problem]:
    return [
        (
            key,
            f"the run asks for up to {asked:,} answers (train.rounds), and "
            f"{max(most - count, 0):,} of {most:,} may still leave this site {where}",
        )
        for key, most, count, where in (
            ("releases_per_run", policy.releases_per_run, of_run, "in this run"),
            ("releases", policy.releases, in_all, "in all"),
        )
        if most and count + asked > most
    ]
