"""Typed, versioned records: `summary.json`, `audit.json`, `attack.json`, `privacy.json`, metrics.

JSON Schemas are generated from the types and shipped in `server/outputs/schemas`; write them anew
with `python -m everymode.server.outputs.records` after a change. A change that an older reader
would misunderstand raises the version.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from everymode.fairness.attacks.findings import VERSION as ATTACK_VERSION
from everymode.fairness.attacks.findings import Attacks
from everymode.fairness.audit.findings import VERSION as AUDIT_VERSION
from everymode.fairness.audit.findings import Audit, CopyVerdict, Verdict
from everymode.fairness.metrics.utility import Utility
from everymode.wgan.diagnostics import Finding
from everymode.wgan.files import write_bytes

METRICS_VERSION: Literal[1] = 1

SUMMARY_VERSION: Literal[1] = 1

PRIVACY_VERSION: Literal[1] = 1

SCHEMAS = Path(__file__).parent / "schemas"

Name = Literal["metrics", "summary", "audit", "attack", "privacy"]

NAMES: tuple[Name, ...] = ("metrics", "summary", "audit", "attack", "privacy")

GroupFigures = dict[str, float | None]
"""A figure of each group, by name; None where a group had no row to measure it on."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EvaluationRecord(_Record):
    """One evaluation of the critic; see `everymode.wgan.diagnostics.Observation`."""

    step: int
    estimate: float | None
    penalty: float | None
    generator_loss: float | None
    slopes: list[float | None] | None
    train_score: float | None
    held_score: float | None
    fake_score: float | None
    strength: float
    quality: float | None


class MetricsRecord(_Record):
    """The metrics of one round, a line of `metrics.jsonl`.

    Attributes:
        version: Of the layout of this record.
        round: The round, counted from 1.
        seconds: Time that it took.
        sites: Sites whose updates were counted.
        estimate: The critic's estimate of the distance, over groups by their weight.
        estimate_by_group: The same by group.
        worst_group: The group with the largest estimate.
        penalty: Weighted penalty of the critic.
        penalty_by_group: The same by group.
        generator_loss: Loss of the generator.
        critic_rows: Real rows that the critic saw.
        rate: Factor of the learning rates.
        bytes_up: Bytes from nodes to the server.
        bytes_down: Bytes from the server to nodes.
        mass_by_group: Weights of groups, where they move.
        site_weights: Weights of sites, where a rule moves them.
        shortened_updates: The factor of each site whose update was longer than allowed.
        evaluation: What the critic showed, in rounds that evaluate it.
        slope_by_group: Mean slope of the critic by group, in the same rounds.
    """

    version: Literal[1] = METRICS_VERSION
    round: int = Field(ge=1)
    seconds: float = Field(ge=0)
    sites: int = Field(ge=0)
    estimate: float
    estimate_by_group: GroupFigures
    worst_group: str
    penalty: float
    penalty_by_group: GroupFigures
    generator_loss: float
    critic_rows: int
    rate: float
    bytes_up: int
    bytes_down: int
    mass_by_group: dict[str, float] | None = None
    site_weights: dict[str, float] | None = None
    shortened_updates: dict[str, float] | None = None
    evaluation: EvaluationRecord | None = None
    slope_by_group: GroupFigures | None = None


class ApostrophesRecord(_Record):
    """Cells and headers of `synthetic.csv` that begin with an apostrophe, so that none is run."""

    cells: dict[str, int]
    headers: list[str]


class ParametersRecord(_Record):
    """Number of parameters of each player."""

    generator: int
    critic: int


class CalibrationRecord(_Record):
    """Largest total variation of a column in a stratum, before and after the calibration."""

    largest_distance_before: float
    largest_distance_after: float


class ProjectionRecord(_Record):
    """What the projection does.

    Attributes:
        moments_off_before: Second moments beyond their tolerance as trained.
        moments_off_after: The same after the projection.
        kept: Share of the generator's rows that are kept.
        columns_that_follow: Columns that are filled in, each with the one that it depends on.
    """

    moments_off_before: int
    moments_off_after: int
    kept: float
    columns_that_follow: dict[str, str]


class TreesRecord(_Record):
    """What rows are drawn from, where trees were grown and their leaves counted.

    Attributes:
        exchanges: How often.
        leaf: Rows of the data that a leaf was expected to hold at least, in each exchange: those
            asked for, or more where the counts would have been too many.
        leaves: Leaves of all trees, in each exchange.
        counts: Numbers that sites were asked for, in each exchange.
    """

    exchanges: int
    leaf: list[int]
    leaves: list[int]
    counts: list[int]


class ForbiddenRecord(_Record):
    """Pairs of values that are not made, since the data never hold them.

    Attributes:
        columns: Pairs of columns that sites counted.
        columns_left_out: Pairs of columns that were not asked for: they have too many values.
        columns_withheld: Pairs of columns of which nothing is forbidden, since sites withheld
            counts (a floor).
        counts: Counts that sites were asked for.
        pairs: Pairs of values, or of bins of numbers, that are forbidden.
        listed: The first of them: two columns and their values each.
    """

    columns: int
    columns_left_out: int
    columns_withheld: int
    counts: int
    pairs: int
    listed: list[dict[str, str]]


class CriticTreesRecord(_Record):
    """How rows are kept by counts in leaves of random trees.

    Attributes:
        asked: Trees in whose leaves sites counted their rows.
        trees: Those of them whose counts were farthest off, which decide.
        leaves: Leaves of these.
        leaves_off_before: Leaves whose share was off by more than 1.5 standard errors.
        leaves_off_after: Likewise with rows kept as they are.
        kept: Share of the rows that is kept.
    """

    asked: int
    trees: int
    leaves: int
    leaves_off_before: int
    leaves_off_after: int
    kept: float


class RecallRecord(_Record):
    """Recall of a group from counts of the sites; see `everymode.fairness.metrics.codebook`."""

    rows: int
    recall: float | None
    expected: float | None
    value: float | None
    low: float | None
    high: float | None
    outside: float | None
    cells: float | None


class GroupRecord(_Record):
    """What one group got.

    Attributes:
        sensitive: The value of each sensitive feature.
        sites: Sites that hold rows of it.
        rows_real: Its real rows.
        rows_synthetic: Its synthetic rows.
        share_real: Of all real rows.
        share_synthetic: Of all synthetic rows.
        tv: Mean total variation of categorical columns; None without rows.
        ks: Mean Kolmogorov-Smirnov distance of numeric columns; None without rows.
        coverage: Standardised coverage.
        coverage_low: Lower end of its 95 % interval.
        coverage_high: Upper end.
        coverage_verdict: Whether it could be measured.
        recall_federated: Recall from sums.
    """

    sensitive: dict[str, str]
    sites: int
    rows_real: int
    rows_synthetic: int
    share_real: float
    share_synthetic: float
    tv: float | None
    ks: float | None
    coverage: float | None
    coverage_low: float | None
    coverage_high: float | None
    coverage_verdict: Literal["measured", "absent", "insufficient", "not measured"]
    recall_federated: RecallRecord | None


class ParityRecord(BaseModel):
    """The keys of `[fairness]`, and gaps of the target between groups by feature."""

    model_config = ConfigDict(extra="allow", frozen=True)

    parity: str
    gaps_real: dict[str, float | None]
    gaps_made: dict[str, float | None]
    gaps_asked: dict[str, float | None] | None = None


class AuditExcerpt(_Record):
    """The verdict of `audit.json`."""

    verdict: Verdict
    headline: str
    copies: CopyVerdict
    fit_for_release: bool


class SummaryRecord(_Record):
    """The figures of a finished run, `summary.json`.

    Attributes:
        version: Of the layout of this record.
        rows: Real rows of all sites.
        rows_modelled: Those of groups that are modelled.
        rows_synthetic: Rows of `synthetic.csv`, or of `synthetic.npz`.
        apostrophes: Where text was kept from being run by a spreadsheet; None: nowhere looked for.
        sites: Sites that took part.
        groups: Names of the groups.
        rounds: Rounds trained.
        seed: The run's seed.
        strategy: Name of the federated strategy.
        objective: Name of the critic's objective.
        stopped_at_plateau: Whether the training ended before its last round.
        diagnosis: What the training showed, with advice.
        device: `cpu` or `cuda`.
        wall_seconds: Time of this session.
        training_seconds: Time of all rounds, over all sessions.
        bytes_up: Bytes from nodes to the server, over all sessions.
        bytes_down: Bytes from the server to nodes, likewise.
        schema_: Fingerprint of the schema, called `schema` in the file.
        plan: Fingerprint of all that was agreed.
        parameters: Sizes of the networks.
        tv_mean: Mean total variation of categorical columns.
        ks_mean: Mean Kolmogorov-Smirnov distance of numeric columns.
        tv: Total variation by column.
        ks: Kolmogorov-Smirnov distance by column.
        missing: Difference of the share of missing values by column.
        calibration: What the calibration did; None: there was none.
        projection: What the projection did; None: there was none.
        trees: Trees and their leaves; None: there are none.
        coverage_reference: Which rows coverage is measured on; None: it is not.
        coverage_group_min: The worst group's standardised coverage.
        coverage_difference: The best group's less the worst's.
        utility: Scores on held-out rows of models trained on either table.
        per_group: One record a group.
        versions: Of the packages that a result depends on.
        rows_left_out_by_sites: Rows below the floor of their site.
        parity: Gaps of the target, where parity was asked for.
        changed: What was read as something else, in sentences: rare values, strays.
        not_judged: What the figures leave out, where sites are real or hold arrays.
        audit: The verdict of `audit.json`.
    """

    version: Literal[1] = SUMMARY_VERSION
    rows: int
    rows_modelled: int
    rows_synthetic: int
    apostrophes: ApostrophesRecord | None
    sites: int
    groups: list[str]
    rounds: int
    seed: int
    strategy: str
    objective: str
    stopped_at_plateau: bool
    diagnosis: list[Finding]
    device: str
    wall_seconds: float
    training_seconds: float
    bytes_up: int
    bytes_down: int
    schema_: str = Field(alias="schema")
    plan: str
    parameters: ParametersRecord
    tv_mean: float | None
    ks_mean: float | None
    tv: dict[str, float | None]
    ks: dict[str, float | None]
    missing: dict[str, float | None]
    calibration: CalibrationRecord | None
    projection: ProjectionRecord | None
    coverage_reference: Literal["held-out rows", "training rows"] | None
    coverage_group_min: float | None
    coverage_difference: float | None
    utility: dict[Literal["synthetic", "real"], Utility] | None
    per_group: dict[str, GroupRecord]
    versions: dict[str, str]
    trees: TreesRecord | None = None
    critic_trees: CriticTreesRecord | None = None
    forbidden: ForbiddenRecord | None = None
    rows_left_out_by_sites: int | None = None
    parity: ParityRecord | None = None
    changed: list[str] | None = None
    not_judged: list[str] | None = None
    audit: AuditExcerpt

    @staticmethod
    def of(values: Mapping[str, Any]) -> "SummaryRecord":
        """Checks the values of a summary.

        Raises:
            ValueError: They are not those of a `summary.json`.
        """
        return SummaryRecord.model_validate(values)

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON, without entries that do not apply."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class GuaranteeRecord(_Record):
    """What holds of a private run.

    Attributes:
        level: What neighbouring tables differ in.
        delta: The probability with which epsilon may not hold.
        rho: zCDP that all releases have spent, over the union of the sites' rows.
        epsilon: The same at delta: against whoever sees totals over sites and what follows.
        site_rho: zCDP of what the server sees of a site, the largest over sites: of its own sums,
            or of totals alone where sums are masked.
        site_epsilon: The same at delta: against the server.
        adders: Sites that are counted on to add their share of the noise.
        known_seed: Whether the noise derives from a seed of the configuration: for tests only.
    """

    level: str
    delta: float
    rho: float
    epsilon: float
    site_rho: float
    site_epsilon: float
    adders: int
    known_seed: bool


class BudgetRecord(_Record):
    """What a run may spend; see `everymode.server.privacy.budget.Budget`."""

    epsilon: float
    delta: float
    rho: float
    shares: dict[str, float]
    adders: int
    sites: int


class ReleaseRecord(_Record):
    """One question with the answers of all sites.

    Attributes:
        task: Its name.
        question: What is asked, in words.
        to: Who receives the answers.
        count: How often it was answered: rounds, or questions.
        sites: Sites that answered.
        numbers: Numbers of one site's answer.
        rows: Rows that it rests on, over all sites, as far as the server knows.
        protection: What lies over the sums; `masked`: exact sums, of which the server learns the
            total over sites alone.
        mechanisms: Names of what sites state about it.
        sensitivity: By how much one row moves the sums, where noise is added.
        why: The derivation, in words.
        deviation: Standard deviation of the noise on each number, in its own units.
        rho: zCDP spent.
        epsilon: The same at delta, of this release alone.
        site_epsilon: The same of one site's own sums.
    """

    task: str
    question: str
    to: str
    count: int
    sites: int
    numbers: int
    rows: int | None
    protection: Literal["plain", "no rows", "noised", "masked", "other"]
    mechanisms: list[str]
    sensitivity: float | None
    why: str | None
    deviation: float | None
    rho: float | None
    epsilon: float | None
    site_epsilon: float | None


class ReleaseTotals(_Record):
    """All releases of a run together."""

    releases: int
    numbers: int
    plain: int
    masked: int
    noised: int
    per_site_arrays: int
    sites: int


class PrivacyRecord(_Record):
    """Every release of a run with what protects it, `privacy.json`.

    Attributes:
        version: Of the layout of this record.
        guarantee: What holds of all releases together; None: nothing does.
        budget: What the run may spend; None: no noise is added.
        simulated: Whether the sites are simulated.
        rows: Rows of all sites, as far as the server knows.
        releases: One record for each question, or for all rounds of training.
        totals: Of all of them.
        outside: What no noise covers, in sentences.
    """

    version: Literal[1] = PRIVACY_VERSION
    guarantee: GuaranteeRecord | None
    budget: BudgetRecord | None
    simulated: bool
    rows: int | None
    releases: list[ReleaseRecord]
    totals: ReleaseTotals
    outside: list[str]


def json_schema(name: Name) -> dict[str, Any]:
    """The JSON Schema of a record.

    Args:
        name: `metrics` (of one line), `summary`, `audit`, `attack` or `privacy`.

    >>> json_schema("metrics")["properties"]["version"]["const"]
    1
    """
    match name:
        case "metrics":
            schema = MetricsRecord.model_json_schema(mode="serialization")
        case "summary":
            schema = SummaryRecord.model_json_schema(mode="serialization", by_alias=True)
        case "privacy":
            schema = PrivacyRecord.model_json_schema(mode="serialization")
        case "audit":
            schema = TypeAdapter(Audit).json_schema(mode="serialization")
            added = {
                "version": {"const": AUDIT_VERSION, "type": "integer"},
                "fit_for_release": {"type": "boolean"},
            }
            schema["properties"] = {**schema["properties"], **added}
            schema["required"] = sorted(schema["properties"])
            schema["additionalProperties"] = False
        case "attack":
            schema = TypeAdapter(Attacks).json_schema(mode="serialization")
            version = {"const": ATTACK_VERSION, "type": "integer"}
            schema["properties"] = {**schema["properties"], "version": version}
            schema["required"] = sorted(schema["properties"])
            schema["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text(name: Name) -> str:
    """The content of the file of a JSON Schema."""
    return json.dumps(json_schema(name), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in NAMES:
        write_bytes(SCHEMAS / f"{each}.schema.json", schema_text(each).encode())
