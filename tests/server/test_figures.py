"""Figures of a synthetic table: from sums over sites, and on rows that were held out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.server.config.files import load
from everymode.server.evaluation.figures import (
    by_group,
    check_holdout,
    check_values,
    compute_coverage,
    compute_utility,
    counted,
    request_marginals,
)
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.transport.exchange import InProcess
from everymode.simulations.cli import app
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError

pytestmark = pytest.mark.usefixtures("sites_without_gate")


@pytest.fixture(scope="module")
def ready(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Plan, its name, exchange over prepared sites, real rows, held-out rows."""
    from everymode.clients.protocol.messages import Request

    run, _ = finished
    settings = load(run.config)
    stage = create_simulated_sites(settings, tmp_path_factory.mktemp("stage"))
    exchange = InProcess(stage.sites)
    order, _ = run.read_plan()
    exchange(Request(order))
    real = stage.frame(settings.data.missing)
    holdout = read_table(run.path.parent / "holdout.csv")
    return Plan.of(order), fingerprint(order), exchange, real, holdout


def test_real_rows_have_no_distance_from_themselves(ready: Any) -> None:
    plan, name, exchange, real, _ = ready
    found = request_marginals(counted(plan, name, real, exchange, ("",)))
    assert found["tv_mean"] == pytest.approx(0.0, abs=1e-12)
    assert found["ks_mean"] == pytest.approx(0.0, abs=1e-12)
    groups = real.groupby(["group", "sex"]).size()
    assert found["rows_synthetic"] == [groups[group] for group in plan.conditions.groups]


def test_one_site_or_three_measure_the_same(ready: Any, finished: Any) -> None:
    plan, name, exchange, real, _ = ready
    synthetic = load_generator(finished[0]).sample_matching_data(400, 0)
    found = request_marginals(counted(plan, name, synthetic, exchange, ("",)))
    # Total variation of one column, computed by hand over all rows.
    real_share = real["member"].value_counts(normalize=True)
    made_share = synthetic["member"].map({True: "true", False: "false"})
    made_share = made_share.value_counts(normalize=True)
    by_hand = 0.5 * real_share.sub(made_share, fill_value=0.0).abs().sum()
    assert found["tv"]["member"] == pytest.approx(by_hand, abs=1e-9)


def test_a_collapsed_table_is_far_away(ready: Any, finished: Any) -> None:
    plan, name, exchange, real, holdout = ready
    collapsed = real.copy()
    for column in ("age", "weight kg", "gain", "joined", 'city, "old"'):
        collapsed[column] = real[column].dropna().iloc[0]
    bad = request_marginals(counted(plan, name, collapsed, exchange, ("",)))
    assert bad["ks_mean"] > 0.3
    assert bad["tv"]['city, "old"'] > 0.5
    good = compute_coverage(plan, holdout, real, 0, "x")["coverage_group_min"]
    # Small groups have no verdict of their own; the large ones see the collapse.
    found = compute_coverage(plan, holdout, collapsed, 0, "x")
    assert good is None or found["coverage_group_min"] < 0.5 * good


def test_coverage_leaves_out_rows_of_unknown_groups(ready: Any) -> None:
    plan, _, _, real, holdout = ready
    strange = holdout.assign(group="unheard of")
    both = pd.concat([holdout, strange], ignore_index=True)
    found, alone = (compute_coverage(plan, rows, real, 0, "x") for rows in (both, holdout))
    assert found["groups"] == alone["groups"]
    # No row of that group was there to train on: that none is made is no loss.
    assert found["coverage_group_min"] > 0


def test_rows_trained_on_decide_which_groups_there_are(ready: Any) -> None:
    plan, _, _, real, holdout = ready
    found = compute_coverage(plan, holdout, real, 0, "x", real)
    assert found == compute_coverage(plan, holdout, real, 0, "x")


def test_the_summary_and_the_audit_say_the_same(finished: Any, tmp_path: Path) -> None:
    """One definition, one seed rule: the figures of the two files are equal to the last digit."""
    run, summary = finished
    words = ["audit", "--run", str(run.path), "--out", str(tmp_path), "-q"]
    assert CliRunner().invoke(app, words).exit_code in (0, 1, 3)
    audit = json.loads((tmp_path / "audit.json").read_text())
    for name in ("coverage_group_min", "coverage_difference"):
        assert audit[name] == summary[name] is not None
    groups = {g["name"]: g for g in audit["groups"] if len(g["sensitive"]) == 2}
    for name, record in summary["per_group"].items():
        cover = groups[name]["standardised_coverage"]
        assert cover["value"] == record["coverage"] and cover["low"] == record["coverage_low"]
        assert groups[name]["state"] == record["coverage_verdict"]
    for prediction in audit["utility"]["predictions"]:
        if prediction["trained_on"] == "synthetic":
            value = summary["utility"]["synthetic"][prediction["learner"]]
            assert prediction["overall"]["auc"]["value"] == value


def test_utility_with_and_without_real_rows(ready: Any) -> None:
    plan, _, _, real, holdout = ready
    found = compute_utility(plan, real, holdout, real, 0)
    assert found is not None
    assert found["synthetic"] == found["real"]
    alone = compute_utility(plan, real, holdout, None, 0)
    assert alone == {"synthetic": found["synthetic"]}
    shuffled = real.assign(outcome=np.random.default_rng(0).permutation(real["outcome"]))
    worse = compute_utility(plan, shuffled, holdout, None, 0)
    assert worse is not None
    assert worse["synthetic"]["boosted_trees"] < found["real"]["boosted_trees"] - 0.2


def test_held_out_rows_must_have_the_columns_and_parse(ready: Any) -> None:
    plan, _, _, _, holdout = ready
    check_holdout(holdout.assign(more="1"), tuple(holdout.columns), "h.csv")
    with pytest.raises(DataError, match=r"h.csv \(data.holdout\): lacks the columns 'age'"):
        check_holdout(holdout.drop(columns="age"), tuple(holdout.columns), "h.csv")
    check_values(plan, holdout, "h.csv")
    bad = holdout.assign(age="young", joined="yesterday")
    with pytest.raises(DataError) as caught:
        check_values(plan, bad, "h.csv")
    assert len(caught.value.problems) == 2
    assert all("h.csv" in p and "young" not in p for p in caught.value.problems)


def test_records_of_groups(ready: Any) -> None:
    plan, name, exchange, real, holdout = ready
    measured = request_marginals(counted(plan, name, real, exchange, ("",)))
    coverage = compute_coverage(plan, holdout, real, 0, "x")
    sites = np.arange(len(plan.conditions.groups))
    records = by_group(plan, measured, coverage, sites)
    assert tuple(records) == plan.conditions.names
    assert sum(r["share_real"] for r in records.values()) == pytest.approx(1.0)
    assert sum(r["share_synthetic"] for r in records.values()) == pytest.approx(1.0)
    assert [r["sites"] for r in records.values()] == sites.tolist()
    assert records["a, f"]["sensitive"] == {"group": "a", "sex": "f"}
    without = by_group(plan, measured, None, sites)
    assert all(r["coverage_verdict"] == "not measured" for r in without.values())
    assert all(r["coverage"] is None for r in without.values())


def test_rows_of_no_known_group_count_in_the_whole_alone(ready: Any) -> None:
    plan, name, exchange, real, _ = ready
    half = real.copy()
    half.loc[::2, "group"] = "unheard of"
    found = request_marginals(counted(plan, name, half, exchange, ("",)))
    assert found["rows_of_no_group"] == len(half.loc[::2])
    assert sum(found["rows_synthetic"]) + found["rows_of_no_group"] == len(real)
    whole = request_marginals(counted(plan, name, real, exchange, ("",)))
    # Other columns are as they were; half of the groups are not what they should be.
    assert found["ks"] == whole["ks"]
    assert found["tv"]["group"] == pytest.approx(len(half.loc[::2]) / len(real))
    alone = request_marginals(counted(plan, name, real.loc[1::2], exchange, ("",)))
    assert found["tv_groups"] == alone["tv_groups"]
    records = by_group(plan, found, None, np.arange(len(plan.conditions.groups)))
    shares = sum(record["share_synthetic"] for record in records.values())
    assert shares == pytest.approx(1 - found["rows_of_no_group"] / len(real))


def test_a_group_that_is_never_made_has_no_distance_and_no_coverage(ready: Any) -> None:
    plan, name, exchange, real, holdout = ready
    for value in ("b", "unheard of"):
        other = real.assign(group=real["group"].where(real["group"] != "a", value))
        found = request_marginals(counted(plan, name, other, exchange, ("",)))
        coverage = compute_coverage(plan, holdout, other, 0, "x")
        records = by_group(plan, found, coverage, np.arange(len(plan.conditions.groups)))
        for sex in ("f", "m"):
            record = records[f"a, {sex}"]
            assert record["rows_synthetic"] == 0 and record["share_synthetic"] == 0.0
            assert record["tv"] is record["ks"] is None
            assert (record["coverage"], record["coverage_verdict"]) == (0.0, "absent")
        assert coverage["coverage_group_min"] == 0.0


def test_a_table_of_no_known_group_at_all(ready: Any) -> None:
    plan, name, exchange, real, holdout = ready
    strange = real.assign(group="unheard of")
    found = request_marginals(counted(plan, name, strange, exchange, ("",)))
    assert found["tv_groups"] == [None] * len(plan.conditions.groups)
    assert found["tv"]["group"] == pytest.approx(1.0)
    coverage = compute_coverage(plan, holdout, strange, 0, "x")
    assert coverage["coverage_group_min"] == 0.0
    records = by_group(plan, found, coverage, np.arange(len(plan.conditions.groups)))
    assert all(record["share_synthetic"] == 0.0 for record in records.values())
