"""The table of metrics: what reads it, and names that programs rely on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

import everymode.fairness.audit.metrics as metrics
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.group_sample import GroupSample
from everymode.fairness.audit.headline import sentences
from everymode.fairness.audit.metric import Column, Limit, Metric
from everymode.fairness.audit.pooled import audit
from everymode.fairness.audit.thresholds import Thresholds, build_thresholds
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.report.report import write_report
from everymode.simulations.audit import show
from tests.fairness.test_audit_pooled import EFFORT, GOOD, HELD, REAL

TOP = [
    "version",
    "verdict",
    "real",
    "synthetic",
    "sensitive_features",
    "rows_real",
    "rows_synthetic",
    "groups",
    "columns",
    "utility",
    "checks",
    "coverage_group_min",
    "coverage_difference",
    "copies",
    "unjudged",
    "constraints",
    "given",
    "vocabulary_given",
    "notes",
    "settings",
    "training",
    "federated",
    "seconds",
    "versions",
    "fit_for_release",
]
GROUP = [
    "name",
    "sensitive",
    "rows_real",
    "rows_synthetic",
    "share_real",
    "share_synthetic",
    "state",
    "rows_holdout",
    "compared",
    "standardised_coverage",
    "standardised_recall",
    "coverage",
    "density",
    "precision",
    "recall",
    "copied",
    "copied_expected",
    "copied_held_out",
    "copied_held_out_expected",
    "repeated",
    "closer_to_training",
    "closer_to_training_fresh",
    "mmd",
    "sliced_w1",
    "sliced_w1_null",
    "tv",
    "ks",
    "pairwise",
    "pairwise_null",
    "pairwise_column",
    "modes_real",
    "modes_covered",
    "modes_sure",
    "modes_lost",
    "missing_categories",
    "range_lost",
    "c2st_trees",
    "c2st_logistic",
    "tv_pairs",
    "tv_pairs_fresh",
    "tv_triples",
    "tv_triples_fresh",
    "alpha_precision",
    "beta_recall",
    "impossible",
    "impossible_held_out",
    "efficacy",
    "efficacy_real",
    "membership_nearest",
    "membership_nearest_found",
    "membership_density",
    "membership_density_found",
]
CHECK = ["name", "subject", "verdict", "value", "limit", "message", "features"]
KEYS = [
    "coverage_group_min",
    "coverage_difference",
    "recall_group_min",
    "precision",
    "share_ratio",
    "tv",
    "ks",
    "pairwise",
    "modes",
    "missing_categories",
    "rare_categories",
    "unseen_categories",
    "broken_constraints",
    "invented_groups",
    "copied",
    "copied_held_out",
    "closer_to_training",
    "closer_to_held_out",
    "membership_nearest",
    "membership_density",
    "auc_ratio",
    "base_rate_difference",
    "demographic_parity_difference",
    "equalized_odds_difference",
]
MADE = GOOD.assign(race=GOOD["race"].mask(GOOD.index < 40, "q"))


@pytest.fixture(scope="module")
def found() -> Audit:
    return audit(
        REAL,
        MADE,
        sensitive_features=["sex", "race"],
        target="income",
        holdout=HELD,
        effort=EFFORT,
    )


def test_fields_of_audit_json_keep_their_names(found: Audit, tmp_path: Any) -> None:
    value = json.loads(write_report(found, tmp_path)[0].read_text())
    assert list(value) == TOP
    assert all(list(group) == GROUP for group in value["groups"])
    assert all(list(check) == CHECK for check in value["checks"])
    assert list(value["settings"]["thresholds"]) == KEYS
    assert {check["name"] for check in value["checks"]} == {"rows", *KEYS} - {"broken_constraints"}


def test_thresholds_keep_their_names_and_defaults() -> None:
    assert list(Thresholds.model_fields) == KEYS
    values = [0.7, 0.3, 0.7, 0.6, 0.8, 0.1, 0.1, 0.1, 0.9, 0, 0.05, 0.0, 0.0, 0.0]
    values += [0.01, 0.01, 0.55, 0.55, 0.55, 0.55]
    assert [*Thresholds().model_dump().values()] == [*values, 0.95, 0.05, 0.05, 0.1]


def mean_age(sample: GroupSample) -> dict[str, Estimate]:
    """How far a group's mean age is off, with a normal interval: an estimator for a test."""
    real = sample.tables.reference["age"].iloc[sample.reference].to_numpy(float)
    synthetic = sample.tables.synthetic["age"].iloc[sample.synthetic].to_numpy(float)
    gap = abs(real.mean() - synthetic.mean())
    half = 2 * (real.var() / len(real) + synthetic.var() / len(synthetic)) ** 0.5
    return {"mean_age_gap": Estimate(gap, max(gap - half, 0.0), gap + half)}


NEW = Metric(
    name="mean_age_gap",
    topic="marginals",
    direction="lower",
    heading="Mean ages that moved",
    failure="It moves the mean age of",
    limit=Limit(5.0, "most that a group's mean age may move", {"ge": 0}),
    sentence="its mean age is off by {value} years",
    measure=mean_age,
    column=Column("mean age,\ngap", terminal="age gap"),
    legend=("Mean age", "Absolute difference of the mean ages."),
)


def test_one_entry_adds_a_metric_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: without the entry no output names it."""
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, NEW))
    thresholds = build_thresholds(metrics.METRICS)
    assert list(thresholds.model_fields) == [*KEYS, NEW.name]
    with pytest.raises(ValidationError):
        thresholds.model_validate({NEW.name: -1})
    older = GOOD.assign(age=GOOD["age"] + 20 * (GOOD["sex"] == "f"))
    options = {"sensitive_features": ["sex"], "effort": EFFORT}
    found = audit(REAL, older, thresholds=thresholds(), **options)
    verdicts = {c.subject: c.verdict for c in found.checks if c.name == NEW.name}
    assert verdicts == {"all rows": "fail", "f": "fail", "m": "pass"}
    assert "It moves the mean age of all rows; f." in sentences(found)
    show(found, Console(width=200))
    assert "age gap" in capsys.readouterr().out
    written = {path.name: path.read_text() for path in write_report(found, tmp_path)}
    value = json.loads(written["audit.json"])
    assert value["settings"]["thresholds"][NEW.name] == 5.0
    assert [*value["groups"][1]] == [*GROUP, NEW.name]
    assert set(value["groups"][1][NEW.name]) == {"value", "low", "high"}
    assert '<testsuite name="mean_age_gap" tests="3" failures="2"' in written["audit.junit.xml"]
    for text in (NEW.heading, "mean age,<br>gap", "Absolute difference of the mean ages."):
        assert text in written["audit.html"]
    assert "its mean age is off by 20" in written["audit.html"]
    # Sums over sites do not suffice for it.
    assert NEW.name in metrics.rows_only()
    monkeypatch.undo()
    control = audit(REAL, older, **options)
    files = [path.read_text() for path in write_report(control, tmp_path)]
    assert not [text for text in files if NEW.name in text or NEW.heading in text]


def test_every_entry_is_whole() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names)
    for metric in metrics.METRICS:
        if metric.limit is not None:
            assert metric.heading and metric.failure and metric.limit.description
            assert set(metric.limit.bounds) <= {"ge", "gt", "le"}
        assert metric.column is None or metric.measure or metric.count or metric.figure is None


def test_the_table_is_light() -> None:
    """Thresholds are part of the configuration: `everymode --help` must not load torch."""
    heavy = ["torch", "sklearn", "scipy", "fairlearn", "pandas"]
    code = "import sys, everymode.fairness.audit.thresholds; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.strip()
    assert "'everymode.fairness.audit.metrics'" in loaded
    assert not [name for name in heavy if f"'{name}'" in loaded]
