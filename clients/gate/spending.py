"""What answers with noise have spent of a site's privacy, over all runs, and what it still allows.

`spent.jsonl` has a line for every question that was answered with noise. It is written before the
answer is computed and is never emptied: privacy that is spent does not come back, whatever becomes
of a run. The same question again gets the same answer and costs nothing. What is counted is what
the coordinator sees: of a masked answer the total over all sites, under the noise of all of them;
of another one this site's own sums, under its own share.
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from everymode.clients.gate.ledger import open_ledger
from everymode.clients.gate.mechanism import ReleaseContext
from everymode.clients.gate.noise import SumNoise
from everymode.clients.gate.policy import Policy
from everymode.clients.protocol.accounting import compute_epsilon, rho_for
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.portable import lock

NAME = "spent.jsonl"

VERSION = 1


@dataclass(frozen=True)
class Spent:
    """One line.

    Attributes:
        scope: The run or plan that the question belongs to.
        task: Its kind.
        question: Its digest.
        rho: What its answer spends, in zCDP.
        masked: Whether the answer is masked.
    """

    scope: str
    task: str
    question: str
    rho: float
    masked: bool

    def repeats(self, other: "Spent") -> bool:
        """Whether it is the same question, whose answer is the same but for masks."""
        mine, theirs = ((s.scope, s.task, s.question) for s in (self, other))
        return mine == theirs


def read_spent(workspace: Path) -> list[Spent]:
    """All that was spent, a question that was asked with masks and without at its larger rho.

    Raises:
        StateError: The ledger is there and cannot be read, or holds other lines than these.
    """
    path = workspace / NAME
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StateError(f"cannot read {path}: {error}; put it back as it was") from error
    found: dict[tuple[str, str, str], Spent] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            value = json.loads(line)
            if value.pop("version") != VERSION:
                raise ValueError("another version")
            spent = Spent(**value)
            if not 0 <= spent.rho < math.inf:
                raise ValueError("no rho")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise StateError(
                f"{path}, line {number}: not what a site writes; put the ledger back as it was: "
                "without it nobody knows what this site has spent"
            ) from None
        key = spent.scope, spent.task, spent.question
        if key not in found or found[key].rho < spent.rho:
            found[key] = spent
    return list(found.values())


def total_spent(workspace: Path) -> float:
    """The rho of all of it; see `read_spent`."""
    return math.fsum(spent.rho for spent in read_spent(workspace))


def allowed_rho(policy: Policy) -> float:
    """What the policy lets all runs spend together, in zCDP; infinite without a bound."""
    return math.inf if policy.epsilon is None else rho_for(policy.epsilon, policy.delta)


def spend(site: Site, context: ReleaseContext, noise: SumNoise | None, masked: bool) -> None:
    """Writes down what an answer will spend, unless the same was answered before.

    Raises:
        RefusedError: It is more than the policy's `epsilon` leaves.
        StateError: The ledger cannot be read or written.
    """
    policy = site.policy
    if noise is None or noise.noise is None or (site.simulated and policy.epsilon is None):
        return
    asked, bound = noise.noise, noise.sensitivity
    rho = bound.charged(asked) if masked else bound.charged_at_site(asked)
    own = Spent(context.scope, context.task, noise.question, rho, masked)
    handle = open_ledger(site.workspace / NAME)
    try:
        lock(handle)
        before = read_spent(site.workspace)
        known = [spent for spent in before if spent.repeats(own)]
        if any(spent.rho >= own.rho for spent in known):
            return
        others = math.fsum(spent.rho for spent in before if not spent.repeats(own))
        if others + own.rho > allowed_rho(policy):
            key, text = over_budget(policy, others, own.rho, masked)
            raise RefusedError(f"policy {key}: '{context.task}': {text}")
        line = json.dumps({"version": VERSION, **asdict(own)}) + "\n"
        if os.write(handle, line.encode()) != len(line):
            raise StateError(f"{site.workspace / NAME}: the disk is full; free space at the site")
        os.fsync(handle)
    finally:
        os.close(handle)


def over_budget(policy: Policy, before: float, more: float, masked: bool) -> tuple[str, str]:
    """The policy's key and the sentence for what would spend more than it allows."""
    given = compute_epsilon(before, policy.delta)
    wanted = compute_epsilon(before + more, policy.delta)
    smaller = (
        "a smaller privacy.epsilon"
        if masked
        else "secure.summation = 'masked', privacy.trusted_sites = 1 or a smaller privacy.epsilon"
    )
    return (
        "epsilon",
        f"all runs may spend an epsilon of {policy.epsilon:g} of this site together (at a delta of "
        f"{policy.delta:g}); {given:.3g} is spent, and this would make it {wanted:.3g}; ask with "
        f"{smaller}",
    )
