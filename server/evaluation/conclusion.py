"""The end of a run: synthetic table, audit, figures and pictures of a finished training."""

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from clients.protocol.sums import SiteSums
from fairness.audit.federated import audit_of_sums
from fairness.audit.headline import headline
from fairness.matching.moments import LevelMoments
from fairness.parity.mixture import parity_gaps
from fairness.postprocessing.calibration import CategoryMarginals
from fairness.report.report import write_report
from server.config.settings import Settings, settings_digest
from server.evaluation.figures import (
    by_group,
    compute_coverage,
    compute_utility,
    counted,
    request_marginals,
    request_recall,
)
from server.outputs import plots
from server.outputs.run_directory import RunFolder
from server.synthesis.calibration import calibrated
from server.synthesis.generator_file import save_generator
from server.synthesis.projection import projected
from server.synthesis.synthesizer import Synthesizer
from server.training.generator_step import build_mixture
from server.training.rounds import Metrics, Rounds
from server.transport.exchange import Exchange
from wgan.data.write import write_table
from wgan.state import write_json
from wgan.versions import package_versions

PACKAGES = ("everymode", "flwr", "ray", "torch", "numpy", "pandas", "scikit-learn")


@dataclass(frozen=True)
class TrainingResult:
    """A finished training and what was learned on the way to it.

    Attributes:
        rounds: The rounds, all behind.
        name: The plan's fingerprint.
        rows: Rows of all sites.
        ready: What the sites summed up before the first round.
        shares: Shares of categories that the generator is held to; None: it is not.
        moments: Second moments that its rows are held to; None: they are not.
        history: Metrics of every round.
    """

    rounds: Rounds
    name: str
    rows: int
    ready: SiteSums
    shares: CategoryMarginals | None
    moments: LevelMoments | None
    history: list[Metrics]


def conclude(
    settings: Settings,
    run: RunFolder,
    exchange: Exchange,
    trained: TrainingResult,
    holdout: pd.DataFrame | None,
    rows: Callable[[], pd.DataFrame] | None,
    phase: Callable[[str], None],
    step: Callable[[int, int], None],
    started: float,
) -> dict[str, Any]:
    """Writes what a run leaves behind, and returns its summary.

    Args:
        settings: The configuration.
        run: Where results go.
        exchange: The way to the sites.
        trained: The training.
        holdout: Real rows that no site trained on, where there are any.
        rows: Gives all real rows, where one machine has them.
        phase: Hears which part of the work begins.
        step: Hears how much of a long part is done, of at most how much.
        started: When the run was started, by `time.perf_counter`.
    """
    rounds, ready = trained.rounds, trained.ready
    plan = rounds.plan
    phase("synthetic table")
    synthesizer = Synthesizer.of_state(plan, rounds.tensors(), rounds.profiles)
    synthesizer = replace(synthesizer, parity=build_mixture(settings))
    calibration = None
    if trained.shares is not None:
        synthesizer, calibration = calibrated(synthesizer, trained.shares)
    projection = None
    if trained.moments is not None:
        phase("projection onto the sites' second moments")
        synthesizer, projection = projected(synthesizer, trained.moments, step)
    save_generator(synthesizer, run, trained.name, settings_digest(settings))
    synthetic = synthesizer.sample_matching_data(
        settings.output.rows or trained.rows, settings.seed
    )
    safe = settings.output.spreadsheet_safe
    marked = write_table(synthetic, plan.schema, run.synthetic, safe)
    if marked:
        phase(f"note: {marked.sentence(run.synthetic.name)}; output.spreadsheet_safe = false: none")
    phase("figures: marginals, coverage, utility")
    counts = counted(plan, trained.name, synthetic, exchange, settings.data.missing)
    measured = request_marginals(counts)
    recall = request_recall(plan, trained.name, synthetic, exchange)
    # Rows that the generator never saw are the fairer reference, where there are any.
    real = rows() if rows else None
    reference = holdout if holdout is not None else real
    coverage = None
    if reference is not None:
        coverage = compute_coverage(
            plan, reference, synthetic, settings.seed, "the reference table", real
        )
    utility = None
    if holdout is not None:
        utility = compute_utility(plan, synthetic, holdout, real, settings.seed)
    done = rounds.progress
    summary: dict[str, Any] = {
        "version": 1,
        "rows": trained.rows,
        "rows_modelled": int(ready["rows"][0]),
        "rows_synthetic": len(synthetic),
        "apostrophes": marked.to_json() if safe else None,
        "sites": int(ready["sites"][0]),
        "groups": list(plan.conditions.names),
        "rounds": done.round,
        "seed": settings.seed,
        "strategy": settings.strategy,
        "objective": settings.model.objective,
        "stopped_at_plateau": rounds.stopped,
        "diagnosis": [asdict(finding) for finding in rounds.findings],
        "device": rounds.device,
        "wall_seconds": round(time.perf_counter() - started, 2),
        "training_seconds": round(done.seconds, 2),
        "bytes_up": rounds.carried.up,
        "bytes_down": rounds.carried.down,
        "schema": plan.schema.fingerprint,
        "plan": trained.name,
        "parameters": {
            "generator": len(rounds.players.generator.vector),
            "critic": len(rounds.players.critic.vector),
        },
        "tv_mean": measured["tv_mean"],
        "ks_mean": measured["ks_mean"],
        "tv": measured["tv"],
        "ks": measured["ks"],
        "missing": measured["missing"],
        "calibration": calibration,
        "projection": projection,
        "coverage_reference": _reference(holdout, real),
        "coverage_group_min": coverage and coverage["coverage_group_min"],
        "coverage_difference": coverage and coverage["coverage_difference"],
        "utility": utility,
        "per_group": by_group(
            plan, measured, coverage, ready["group_sites"].astype(np.int64), recall
        ),
        "versions": versions(),
    }
    if left_out := int(ready["left_out"][0]):
        summary["rows_left_out_by_sites"] = left_out
    if settings.fairness.parity != "none":
        summary["parity"] = _parity(settings, synthesizer, synthetic)
    audit = audit_of_sums(
        plan.conditions,
        counts.marginals,
        counts.real,
        counts.made,
        recall,
        names=("the sites' rows", run.synthetic.name),
        thresholds=settings.audit,
        training=trained.history,
        versions=summary["versions"],
    )
    summary["audit"] = {
        "verdict": audit.verdict,
        "headline": headline(audit),
        "copies": audit.copies,
        "fit_for_release": audit.fit_for_release,
    }
    write_report(audit, run.path)
    write_json(run.summary, summary)
    plots.curves(trained.history, run.path / "curves.png")
    plots.groups(summary, run.path / "groups.png")
    return summary


def _parity(
    settings: Settings, synthesizer: Synthesizer, synthetic: pd.DataFrame
) -> dict[str, Any]:
    """What parity was asked for, and label gaps by feature: real, in the rows, of cells asked."""
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


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **package_versions(PACKAGES)}


def _reference(holdout: pd.DataFrame | None, real: pd.DataFrame | None) -> str | None:
    if holdout is not None:
        return "held-out rows"
    return None if real is None else "training rows"
