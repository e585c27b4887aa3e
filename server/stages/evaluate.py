"""Stage 6, *evaluate*: compares the table with the sites' rows by sums, and with held-out rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from everymode.fairness.audit.federated import audit_of_sums
from everymode.fairness.audit.findings import Audit
from everymode.fairness.parity.mixture import parity_gaps
from everymode.server.config.settings import Settings
from everymode.server.datasets.choice import choose_modality
from everymode.server.evaluation.figures import (
    by_group,
    compute_coverage,
    compute_utility,
    counted,
    request_marginals,
    request_recall,
)
from everymode.server.evaluation.from_moments import NOT_JUDGED, counted_privately, no_recall
from everymode.server.evaluation.versions import versions
from everymode.server.stages.context import RunContext
from everymode.server.stages.encode import Encoded
from everymode.server.stages.sample import SyntheticTable
from everymode.server.stages.train import TrainingResult
from everymode.server.synthesis.synthesizer import Synthesizer

NO_ROWS = (
    "standardised coverage: it needs real rows, and they lie at the sites; recall from sums is "
    "measured",
    "utility on held-out rows: it needs real rows, and they lie at the sites",
)
"""What a coordinator without real rows leaves out."""


@dataclass(frozen=True)
class Evaluation:
    """The figures of a synthetic table.

    Attributes:
        distances: Distances of marginals from the sites' rows, of all rows and by group.
        coverage: Standardised coverage by group; None without a reference.
        coverage_reference: Which rows coverage is measured on.
        utility: What models trained on the table reach on held-out rows; None without them.
        per_group: One record a group.
        parity: Gaps of the target between groups; None where no parity was asked for.
        audit: The audit from sums alone.
        not_judged: What was left out, in words.
    """

    distances: Mapping[str, Any]
    coverage: Mapping[str, Any] | None
    coverage_reference: str | None
    utility: Mapping[str, Any] | None
    per_group: Mapping[str, Mapping[str, Any]]
    parity: Mapping[str, Any] | None
    audit: Audit
    not_judged: tuple[str, ...] = ()


def evaluate(
    run: RunContext,
    encoded: Encoded,
    training: TrainingResult,
    synthesizer: Synthesizer,
    table: SyntheticTable,
) -> Evaluation:
    """Asks sites for counts, and computes the figures.

    Coverage and utility need rows on this machine: held-out ones, which the generator never saw
    and which are the fairer reference, or a simulation's real ones.

    Raises:
        Interrupted: The user asked to stop.
    """
    settings, agreed, rows = run.settings, encoded.agreed, table.synthetic.rows
    plan, seed = agreed.plan, settings.seed
    run.begin("evaluate", "figures: marginals, coverage, utility")
    missing = settings.data.missing
    not_judged = choose_modality(plan.schema).not_judged
    if encoded.noisy is not None:
        counts = counted_privately(plan, encoded.noisy.counts, rows)
        recall = no_recall(plan)
    else:
        counts = counted(plan, agreed.name, rows, run.exchange, missing, run.form)
        recall = request_recall(plan, agreed.name, table.synthetic, run.exchange)
    distances = request_marginals(counts)
    real = run.real_rows() if run.real_rows and not not_judged else None
    if run.real_rows is None and agreed.holdout is None:
        not_judged = not_judged or NO_ROWS
    if encoded.noisy is not None:
        not_judged = (*not_judged, *NOT_JUDGED)
    reference = agreed.holdout if agreed.holdout is not None else real
    coverage = None
    if reference is not None:
        coverage = compute_coverage(plan, reference, rows, seed, "the reference table", real)
    utility = None
    if agreed.holdout is not None:
        utility = compute_utility(plan, rows, agreed.holdout, real, seed)
    sites = encoded.group_sites
    audit = audit_of_sums(
        plan.conditions,
        counts.marginals,
        counts.real,
        counts.made,
        recall,
        names=("the sites' rows", table.path.name),
        thresholds=settings.audit,
        training=training.history,
        versions=versions(),
    )
    parity = settings.fairness.parity != "none"
    return Evaluation(
        distances=distances,
        coverage=coverage,
        coverage_reference=_reference(agreed.holdout, real),
        utility=utility,
        per_group=by_group(plan, distances, coverage, sites, recall),
        parity=_parity(settings, synthesizer, rows) if parity else None,
        audit=audit,
        not_judged=not_judged,
    )


def _parity(
    settings: Settings, synthesizer: Synthesizer, synthetic: pd.DataFrame
) -> dict[str, Any]:
    """The parity asked for, and gaps of the target by feature.

    Of the real rows, of the synthetic ones, and of the cells that the generator was asked for.
    """
    schema, conditions = synthesizer.plan.schema, synthesizer.plan.conditions
    groups, names, table = conditions.groups, conditions.sensitive, conditions.plain.table
    group = conditions.group_index(synthetic, schema, "the synthetic rows")
    label = conditions.label_index(synthetic, schema, "the synthetic rows")
    made, known = np.zeros(table.shape), (group >= 0) & (label >= 0)
    np.add.at(made, (group[known], label[known]), 1)
    found = {
        **settings.fairness.model_dump(mode="json"),
        "gaps_real": parity_gaps(table, groups, names),
        "gaps_made": parity_gaps(made, groups, names),
    }
    if synthesizer.parity is not None:
        asked = synthesizer.parity.counts(conditions).reshape(*table.shape, -1).sum(2)
        found["gaps_asked"] = parity_gaps(asked, groups, names)
    return found


def _reference(holdout: pd.DataFrame | None, real: pd.DataFrame | None) -> str | None:
    if holdout is not None:
        return "held-out rows"
    return None if real is None else "training rows"
