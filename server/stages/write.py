"""Stage 7, *write*: the audit's report, `summary.json` and the plots."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from everymode.fairness.audit.headline import headline
from everymode.fairness.report.report import write_report
from everymode.server.evaluation.versions import versions
from everymode.server.outputs import plots
from everymode.server.outputs.records import SUMMARY_VERSION, SummaryRecord
from everymode.server.stages.context import RunContext
from everymode.server.stages.encode import Encoded
from everymode.server.stages.evaluate import Evaluation
from everymode.server.stages.postprocess import Postprocessed
from everymode.server.stages.sample import SyntheticTable
from everymode.server.stages.train import TrainingResult
from everymode.wgan.files import write_json

OPTIONAL = ("trees", "forbidden", "critic_trees")
"""Postprocessing that has a part of the summary only where a run has it."""


def write(
    run: RunContext,
    encoded: Encoded,
    training: TrainingResult,
    postprocessed: Postprocessed,
    table: SyntheticTable,
    evaluation: Evaluation,
    started: float,
) -> dict[str, Any]:
    """Writes the report, `summary.json` and the plots, and returns the summary.

    Args:
        run: What all stages share.
        encoded: The sums that sites sent once.
        training: The training.
        postprocessed: The generator, and what postprocessing did.
        table: The synthetic table.
        evaluation: Its figures.
        started: When the session began, by `time.perf_counter`.

    Raises:
        Interrupted: The user asked to stop.
        StateError: The run directory cannot be written.
    """
    run.begin("write", "report, summary and plots")
    values: dict[str, Any] = {
        "version": SUMMARY_VERSION,
        **_counts(run, encoded, training, table),
        **_training(run, encoded, training, started),
        **_figures(postprocessed.reports, evaluation),
    }
    if left_out := encoded.left_out:
        values["rows_left_out_by_sites"] = left_out
    if evaluation.parity is not None:
        values["parity"] = evaluation.parity
    if changed := run.folder.changed:
        values["changed"] = list(changed)
    if evaluation.not_judged:
        values["not_judged"] = list(evaluation.not_judged)
    audit = evaluation.audit
    values["audit"] = {
        "verdict": audit.verdict,
        "headline": headline(audit),
        "copies": audit.copies,
        "fit_for_release": audit.fit_for_release,
    }
    summary = SummaryRecord.of(values).to_json()
    write_report(audit, run.folder.path)
    write_json(run.folder.summary, summary)
    plots.curves(training.history, run.folder.path / "curves.png")
    plots.groups(summary, run.folder.path / "groups.png")
    return summary


def _counts(
    run: RunContext, encoded: Encoded, training: TrainingResult, table: SyntheticTable
) -> dict[str, Any]:
    safe = run.settings.output.spreadsheet_safe
    return {
        "rows": encoded.agreed.rows,
        "rows_modelled": encoded.rows_modelled,
        "rows_synthetic": len(table.synthetic.rows),
        "apostrophes": table.apostrophes.to_json() if safe else None,
        "sites": int(encoded.sums["sites"][0]),
        "groups": list(encoded.agreed.plan.conditions.names),
        "rounds": training.progress.round,
    }


def _training(
    run: RunContext, encoded: Encoded, training: TrainingResult, started: float
) -> dict[str, Any]:
    settings, now = run.settings, run.exchange.traffic
    return {
        "seed": settings.seed,
        "strategy": settings.strategy,
        "objective": settings.model.objective,
        "stopped_at_plateau": training.stopped_at_plateau,
        "diagnosis": [asdict(finding) for finding in training.findings],
        "device": run.device,
        "wall_seconds": round(time.perf_counter() - started, 2),
        "training_seconds": round(training.progress.seconds, 2),
        "bytes_up": training.earlier.up + now.up,
        "bytes_down": training.earlier.down + now.down,
        "schema": encoded.agreed.plan.schema.fingerprint,
        "plan": encoded.agreed.name,
        "parameters": training.parameters,
    }


def _figures(reports: Mapping[str, Mapping[str, Any]], evaluation: Evaluation) -> dict[str, Any]:
    distances, coverage = evaluation.distances, evaluation.coverage
    projection = None
    if "projection" in reports:
        projection = {
            **reports["projection"],
            **reports.get("dependencies", {"columns_that_follow": {}}),
        }
    return {
        "tv_mean": distances["tv_mean"],
        "ks_mean": distances["ks_mean"],
        "tv": distances["tv"],
        "ks": distances["ks"],
        "missing": distances["missing"],
        "calibration": reports.get("calibration"),
        "projection": projection,
        **{
            name: reports[name]
            for name in ("trees", "critic_trees", "forbidden")
            if name in reports
        },
        "coverage_reference": evaluation.coverage_reference,
        "coverage_group_min": coverage and coverage["coverage_group_min"],
        "coverage_difference": coverage and coverage["coverage_difference"],
        "utility": evaluation.utility,
        "per_group": evaluation.per_group,
        "versions": versions(),
    }
