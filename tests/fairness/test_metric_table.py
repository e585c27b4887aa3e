"""The table of metrics: what reads it, and names that programs rely on."""

import json
from typing import Any

import pytest

from fairness.audit.findings import Audit
from fairness.audit.pooled import audit
from fairness.audit.thresholds import Thresholds
from fairness.report.report import write_report
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
    "missing_categories",
    "range_lost",
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
    "unseen_categories",
    "invented_groups",
    "copied",
    "copied_held_out",
    "closer_to_training",
    "closer_to_held_out",
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
    assert {check["name"] for check in value["checks"]} == {"rows", *KEYS}


def test_thresholds_keep_their_names_and_defaults() -> None:
    assert list(Thresholds.model_fields) == KEYS
    values = [0.7, 0.3, 0.7, 0.6, 0.8, 0.1, 0.1, 0.1, 0.9, 0, 0.0, 0.0, 0.01, 0.01, 0.55, 0.55]
    assert [*Thresholds().model_dump().values()] == [*values, 0.95, 0.05, 0.05, 0.1]
