"""What an audit found, as plain values: what audits return and `everymode.fairness.report` shows.

Every figure that depends on a draw of rows comes as an `Estimate` with its 95 % interval. A figure
that cannot be had is None, and what it belongs to says why; it is never a pass.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from everymode.fairness.metrics.results import Estimate, GroupFinding, UtilityFinding

Verdict = Literal["pass", "fail", "insufficient"]

CheckVerdict = Literal["pass", "fail", "insufficient", "given"]
"""`given`: the table's maker was told the figure, so that the check could hardly fail; no pass."""

CopyVerdict = Literal["pass", "fail", "insufficient", "not judged"]

VERSION = 2
"""Of the layout of `audit.json`; grows when a reader of an older one would go wrong."""


@dataclass(frozen=True)
class Check:
    """One threshold held against one figure.

    Attributes:
        name: What is checked, as named in the thresholds: coverage_group_min, say.
        subject: What it is checked on: a group's name, a feature's, or "all rows".
        verdict: `insufficient` where there are too few rows to say, or none held out; `given`
            where the table's maker was told what is checked.
        value: The figure.
        limit: What it is held against.
        message: One sentence a reader without statistics understands.
        features: The features whose values make the group that is checked; empty for what is no
            group of theirs. Two features may have a value of the same name.
    """

    name: str
    subject: str
    verdict: CheckVerdict
    value: Estimate
    limit: float
    message: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """Everything an audit found.

    Attributes:
        verdict: `fail` if any check fails; `pass` if coverage and sizes of groups are decided at
            every level (`everymode.fairness.audit.verdict`); else `insufficient`.
        real: Where the real rows are from, for people.
        synthetic: Where the synthetic rows are from.
        sensitive_features: The features whose values make groups.
        rows_real: How many rows were audited against.
        rows_synthetic: How many rows were audited.
        groups: The whole table first, then the values of each feature, then the intersections.
        columns: By column: `tv` or `ks`, and `missing`, over all rows; `unseen`, the share of
            synthetic rows with a category that no real row has; `rare`, the share of real rows
            with a category that the synthetic table never has, beyond chance.
        constraints: By what is demanded of rows, in words: the shares of the `real` rows and of the
            `synthetic` ones that break it. Empty where a run declared none.
        utility: None where no target was named.
        checks: Every threshold held against every figure, failures first.
        coverage_group_min: The worst measured group's standardised coverage.
        coverage_difference: The best less the worst.
        copies: What the checks on copies of all rows come to; `not judged` where there are none:
            without held-out rows, say.
        unjudged: What was not judged that a release needs, in words.
        given: Columns that the table's maker was told, so that the sizes of their groups are no
            finding.
        vocabulary_given: Whether the table's maker could only make categories that it was told.
        notes: What was done to the tables before anything was measured: spellings made alike.
        settings: Thresholds, seed, k and limits that the audit ran with.
        training: The rounds' metrics of the run, for its curves; empty where there is no run.
        federated: What was summed over sites, where sites took part; empty otherwise.
        seconds: How long it took.
        versions: Of what the figures depend on.
    """

    verdict: Verdict
    real: str
    synthetic: str
    sensitive_features: tuple[str, ...]
    rows_real: int
    rows_synthetic: int
    groups: tuple[GroupFinding, ...]
    columns: Mapping[str, Mapping[str, float | None]]
    utility: UtilityFinding | None
    checks: tuple[Check, ...]
    coverage_group_min: float | None
    coverage_difference: float | None
    copies: CopyVerdict = "not judged"
    unjudged: tuple[str, ...] = ()
    constraints: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    vocabulary_given: bool = False
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: tuple[Mapping[str, Any], ...] = ()
    federated: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def fit_for_release(self) -> bool:
        """Whether no check failed and what a release needs was judged, copies above all."""
        return self.verdict == "pass" and self.copies == "pass" and not self.unjudged

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON: the fields of this class; of every group those of its finding.

        Figures of a group stand next to its other fields.
        """
        value = {"version": VERSION, **asdict(self), "fit_for_release": self.fit_for_release}
        for group in value["groups"]:
            group |= group.pop("figures")
        return value
