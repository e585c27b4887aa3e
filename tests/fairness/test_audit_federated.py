"""The audit of sums: equal to the audit of rows in what counts can tell, silent on the rest."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.federated import audit_of_sums
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.headline import headline
from everymode.fairness.audit.metrics import rows_only
from everymode.fairness.audit.pooled import audit
from everymode.fairness.audit.thresholds import Thresholds
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.metrics.marginals import Marginals
from everymode.wgan.data.fit import fit_schema

GROUPS = (("f", "a"), ("f", "b"), ("m", "a"), ("m", "b"))


def people(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "sex": rng.choice(["f", "m"], count, p=[0.3, 0.7]),
            "race": rng.choice(["a", "b"], count, p=[0.9, 0.1]),
            "age": rng.normal(40, 10, count).round(),
            "job": rng.choice(["x", "y", "z"], count, p=[0.6, 0.35, 0.05]),
        }
    )
    return frame


REAL, MADE = people(2000, 0), people(1500, 1)


def index(frame: pd.DataFrame) -> np.ndarray:
    pairs = list(zip(frame["sex"], frame["race"], strict=True))
    return np.array([GROUPS.index(p) if p in GROUPS else len(GROUPS) for p in pairs])


def by_sums(
    made: pd.DataFrame, parts: int = 3, told: Any = "group_and_label", **more: Any
) -> Audit:
    """Counts of `parts` sites, added up."""
    schema = fit_schema(REAL)
    marginals = Marginals.of(schema, made)
    sites = [REAL.iloc[k::parts] for k in range(parts)]
    counts = [marginals.count(site, index(site), 4) for site in sites]
    real = {name: sum(c[name] for c in counts) for name in counts[0]}
    sizes = np.bincount(index(REAL), minlength=4)
    conditions = ConditionSpace(
        ("sex", "race"), None, GROUPS, ("all",), (), tuple((int(n),) for n in sizes), told
    )
    recall = [{"rows": int(n), "recall": 0.8, "value": 0.9, "low": 0.8, "high": 1.0} for n in sizes]
    made_counts = marginals.count(made, index(made), 5)
    names = ("the sites' rows", "synthetic.csv")
    return audit_of_sums(conditions, marginals, real, made_counts, recall, names=names, **more)


def test_what_counts_can_tell_is_what_rows_tell() -> None:
    sums, rows = by_sums(MADE), audit(REAL, MADE, sensitive_features=["sex", "race"])
    assert [g.name for g in sums.groups] == [g.name for g in rows.groups]
    for one, other in zip(sums.groups, rows.groups, strict=True):
        assert (one.rows_real, one.rows_synthetic) == (other.rows_real, other.rows_synthetic)
        assert one.state == other.state and one.sensitive == other.sensitive
        assert one.share_synthetic == pytest.approx(other.share_synthetic)
        if one.state == "measured":
            assert one.tv == pytest.approx(other.tv, abs=1e-9)
            assert one.ks == pytest.approx(other.ks, abs=1e-9)
            assert dict(one.missing_categories) == dict(other.missing_categories)
    for name, figures in sums.columns.items():
        for key, value in figures.items():
            assert value == pytest.approx(rows.columns[name][key], abs=1e-9)


def test_sites_do_not_matter() -> None:
    assert by_sums(MADE, 1) == by_sums(MADE, 7)


def test_what_takes_rows_is_not_judged() -> None:
    found = by_sums(MADE)
    assert not {check.name for check in found.checks} & set(rows_only())
    assert found.coverage_group_min is None and found.utility is None
    assert {c.subject for c in found.checks if c.name == "recall_group_min"} == {
        ", ".join(group) for group in GROUPS
    }
    assert found.verdict == "pass" and found.copies == "not judged"
    assert found.unjudged == ("coverage", "copies") and not found.fit_for_release
    assert headline(found).startswith("PASS (coverage and copies: not judged): ")


def test_sizes_of_groups_that_the_generator_is_told_are_given() -> None:
    verdicts = {c.verdict for c in by_sums(MADE).checks if c.name == "share_ratio"}
    assert verdicts == {"given"}
    # Where it makes the groups itself, they are found.
    made = by_sums(MADE, told="none")
    assert "given" not in {c.verdict for c in made.checks}
    # What was told and did not come out is a failure all the same.
    few = MADE[(MADE["sex"] == "m") | (np.arange(len(MADE)) % 3 == 0)]
    failed = {(c.name, c.subject) for c in by_sums(few).checks if c.verdict == "fail"}
    assert ("share_ratio", "f") in failed


def test_one_synthetic_row_fails() -> None:
    found = by_sums(MADE.head(1))
    assert found.verdict == "fail"
    assert ("rows", "fail") in {(c.name, c.verdict) for c in found.checks}


@pytest.mark.parametrize(
    ("spoiled", "check", "subject"),
    [
        (MADE[(MADE["sex"] == "m") | (MADE["race"] == "a")], "recall_group_min", "f, b"),
        (MADE.assign(job=MADE["job"].where(MADE["sex"] == "m", "x")), "tv", "f"),
        (MADE.assign(job=MADE["job"].replace("z", "x")), "missing_categories", "m, a"),
        (MADE.assign(age=MADE["age"] + 9 * (MADE["race"] == "b")), "ks", "b"),
    ],
)
def test_what_is_spoiled_is_found_by_name(spoiled: pd.DataFrame, check: str, subject: str) -> None:
    found = by_sums(spoiled)
    failed = {(c.name, c.subject) for c in found.checks if c.verdict == "fail"}
    assert (check, subject) in failed and found.verdict == "fail"


def test_thresholds_are_kept_and_groups_too_small_are_not_judged() -> None:
    few = pd.concat([REAL[REAL["race"] == "a"], REAL[REAL["race"] == "b"].head(20)])
    found = by_sums(few, thresholds=Thresholds(recall_group_min=0.95))
    small = [g.name for g in found.groups if g.state == "insufficient"]
    assert "f, b" in small and "b" in small
    verdicts = {c.verdict for c in found.checks if c.name == "recall_group_min"}
    assert verdicts == {"insufficient"}
