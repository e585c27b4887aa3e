"""What attacks found, as plain values: what `everymode attack` writes to `attack.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from everymode.fairness.metrics.results import Estimate

Verdict = Literal["pass", "fail", "insufficient"]

State = Literal["measured", "insufficient"]

VERSION: Literal[1] = 1
"""Of the layout of `attack.json`; grows when a reader of an older one would go wrong."""

ALL = "all rows"

ISOLATED = "the tenth most isolated rows"

UNKNOWN = Estimate()
"""No figure."""


@dataclass(frozen=True)
class MembershipFinding:
    """A membership attack on one group of rows.

    Attributes:
        attack: Its name: `nearest row`, `density ratio`, `critic's score`.
        group: The group's name; `all rows`; or the tenth of all rows that are farthest from others.
        features: The features whose values make the group; empty for what is no group of theirs.
        members: Rows trained on that were scored.
        nonmembers: Rows not trained on that were scored.
        state: `insufficient` where either are too few to judge by; figures are shown all the same.
        auc: Area under the ROC curve; one half is chance.
        tpr: Rate of members found at a rate of false alarms, by that rate; all None where too few
            non-members are there to set it.
        epsilon: Lower bound of epsilon by the rates of the attack; None where it is not taken.
        epsilon_one_run: Lower bound that assumes no independence of rows.
        curve: Points (rate of false alarms, rate of members found), for a picture.
    """

    attack: str
    group: str
    features: tuple[str, ...]
    members: int
    nonmembers: int
    state: State
    auc: Estimate = UNKNOWN
    tpr: Mapping[str, Estimate] = field(default_factory=dict)
    epsilon: float | None = None
    epsilon_one_run: float | None = None
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class RateFinding:
    """An attack that succeeds or fails on each target; see `everymode.fairness.attacks.rates`.

    Attributes:
        attack: `attribute inference`, `linkability`, `singling out`.
        subject: The column that is guessed, or which columns the attacker uses.
        group: The group's name, or `all rows`.
        features: The features whose values make the group.
        targets: Guesses at rows trained on.
        controls: Guesses at rows not trained on.
        state: `insufficient` where either are too few to judge by.
        rate: Share of right guesses at rows trained on.
        baseline: The same without the attack.
        control: Share of right guesses at rows not trained on.
        risk: What the attack gains over the control, as a share of what it could gain.
    """

    attack: str
    subject: str
    group: str
    features: tuple[str, ...]
    targets: int
    controls: int
    state: State
    rate: Estimate = UNKNOWN
    baseline: Estimate = UNKNOWN
    control: Estimate = UNKNOWN
    risk: Estimate = UNKNOWN


@dataclass(frozen=True)
class AttackCheck:
    """One limit held against one figure.

    Attributes:
        name: The limit: `membership_auc`, `membership_tpr`, `risk` or `epsilon`.
        subject: The attack, and on what.
        verdict: `fail` where the attack succeeds.
        value: The figure.
        limit: What it is held against.
        message: One sentence a reader without statistics understands.
    """

    name: str
    subject: str
    verdict: Verdict
    value: Estimate
    limit: float
    message: str


@dataclass(frozen=True)
class Attacks:
    """Everything that attacks on a synthetic table found.

    Attributes:
        verdict: `fail` if any attack succeeds; `pass` if none does and membership of all rows was
            judged; else `insufficient`.
        members: Where the rows trained on are from, for people.
        nonmembers: Where the others are from.
        synthetic: Where the synthetic rows are from.
        rows: How many rows there are of each of the three.
        sensitive_features: The features whose values make groups.
        membership: Membership attacks, all rows first, then the most isolated, then groups.
        rates: Attacks on attributes, links and single rows.
        checks: Every limit held against every figure, successful attacks first.
        claimed_epsilon: The epsilon that was claimed; None: none was.
        delta: The delta of the claim.
        notes: What was left out, and why.
        settings: Limits, effort and seed.
        seconds: How long it took.
        versions: Of what the figures depend on.
    """

    verdict: Verdict
    members: str
    nonmembers: str
    synthetic: str
    rows: Mapping[Literal["members", "nonmembers", "synthetic"], int]
    sensitive_features: tuple[str, ...]
    membership: tuple[MembershipFinding, ...]
    rates: tuple[RateFinding, ...]
    checks: tuple[AttackCheck, ...] = ()
    claimed_epsilon: float | None = None
    delta: float = 0.0
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def epsilon(self) -> float:
        """The largest lower bound of epsilon that any attack on all rows gives."""
        return max((f.epsilon or 0.0 for f in self.membership), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON: the fields of this class and `version`."""
        return {"version": VERSION, **asdict(self)}
