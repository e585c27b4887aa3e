"""The audit end to end: good tables pass, spoiled ones are caught by the check of that name."""

import json

import numpy as np
import pandas as pd
import pytest

from everymode.fairness.audit.limits import SamplingLimits, at_least, at_most
from everymode.fairness.audit.metrics import copy_checks
from everymode.fairness.audit.pooled import audit
from everymode.fairness.audit.thresholds import Thresholds
from everymode.fairness.groups.strata import strata
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.report.report import page, write_report
from everymode.wgan.errors import DataError

EFFORT = SamplingLimits(rows=600, classified=0)
"""Without classifiers of real against synthetic rows, which would take most of the time."""


def people(count, seed):
    """Two features, three numbers and two categories that hang together; one small group."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], count, p=[0.4, 0.6])
    race = rng.choice(["a", "b"], count, p=[0.75, 0.25])
    level = rng.normal(size=count) + (race == "b")
    age = np.clip(40 + 12 * level + rng.normal(size=count), 18, 90).round(3)
    pay = (1000 * np.exp(0.5 * level + 0.2 * rng.normal(size=count))).round(2)
    hours = rng.normal(38, 6, count).round(2)
    job = np.array(["x", "y", "z"])[np.digitize(level + 0.3 * rng.normal(size=count), [-0.5, 0.8])]
    city = rng.choice(["n", "s"], count)
    income = np.where(
        level + 0.5 * (sex == "m") + 0.4 * rng.normal(size=count) > 0.8, "high", "low"
    )
    return pd.DataFrame(
        {
            "sex": sex,
            "race": race,
            "age": age,
            "pay": pay,
            "hours": hours,
            "job": job,
            "city": city,
            "income": income,
        }
    )


REAL, GOOD, HELD = people(3000, 0), people(3000, 1), people(3000, 2)


def audited(synthetic, **more):
    options = {"sensitive_features": ["sex", "race"], "holdout": HELD, "effort": EFFORT}
    return audit(REAL, synthetic, **(options | more))


def failed(found):
    return {(check.name, check.subject) for check in found.checks if check.verdict == "fail"}


def of_group(frame, sex, race):
    return ((frame["sex"] == sex) & (frame["race"] == race)).to_numpy()


def test_another_sample_of_the_same_law_passes():
    found = audited(GOOD, target="income")
    assert failed(found) == set()
    assert found.verdict == "pass" and found.copies == "pass" and found.fit_for_release
    assert found.coverage_group_min > 0.85
    assert [group.name for group in found.groups][:3] == ["all rows", "f", "m"]
    assert len(found.groups) == 1 + 2 + 2 + 4
    for group in found.groups:
        assert group.state == "measured"
        cover = group.standardised_coverage
        assert cover.low < cover.value < cover.high
        assert abs(group.mmd) < 0.02 and group.copied == 0
    assert found.utility.base_rates["real"]["sex"].keys() == {"f", "m"}
    json.dumps(found.to_json(), allow_nan=False)


def test_a_generator_that_collapsed_loses_modes_and_coverage():
    rng = np.random.default_rng(3)
    own = GOOD.copy()
    numbers = ["age", "pay", "hours"]
    hit = of_group(own, "f", "b")
    own.loc[hit, numbers] = own.loc[hit, numbers].median().to_numpy() * rng.normal(
        1, 0.002, (hit.sum(), 3)
    )
    found = audited(own)
    assert ("coverage_group_min", "f, b") in failed(found)
    assert ("modes", "f, b") in failed(found)
    assert ("coverage_group_min", "m, a") not in failed(found)


def test_a_group_made_like_the_majority_is_not_covered():
    own = GOOD.copy()
    like = GOOD[GOOD["race"] == "a"].sample(
        (own["race"] == "b").sum(), replace=True, random_state=0
    )
    columns = ["age", "pay", "hours", "job", "city", "income"]
    own.loc[own["race"] == "b", columns] = like[columns].to_numpy()
    own["age"], own["pay"] = own["age"].astype(float), own["pay"].astype(float)
    own["hours"] = own["hours"].astype(float)
    found = failed(audited(own))
    assert {"ks", "tv"} & {name for name, subject in found if subject == "b"}
    assert not [subject for _, subject in found if subject == "a"]


def test_a_dropped_group_is_absent_and_fails():
    found = audited(GOOD[~of_group(GOOD, "f", "b")])
    group = next(g for g in found.groups if g.name == "f, b")
    assert group.state == "absent" and group.standardised_coverage.value == 0
    assert {("coverage_group_min", "f, b"), ("share_ratio", "f, b")} <= failed(found)
    assert found.coverage_group_min == 0 and found.verdict == "fail"


def test_a_generator_that_memorises_is_caught_by_its_copies():
    names = {name for name, _ in failed(audited(REAL.sample(3000, replace=True, random_state=1)))}
    assert {"copied", "closer_to_training"} <= names


def test_copies_with_noise_are_caught_by_their_nearness():
    own = REAL.sample(3000, replace=True, random_state=1).reset_index(drop=True)
    rng = np.random.default_rng(0)
    for name in ("age", "pay", "hours"):
        own[name] = own[name] * rng.normal(1, 1e-3, len(own))
    names = {name for name, _ in failed(audited(own))}
    assert "closer_to_training" in names and "copied" not in names


def test_categories_permuted_within_a_group_are_caught_by_their_ties():
    own = GOOD.copy()
    hit = of_group(own, "m", "b")
    own.loc[hit, "job"] = np.random.default_rng(0).permutation(own.loc[hit, "job"].to_numpy())
    found = audited(own)
    assert ("pairwise", "m, b") in failed(found)
    group = next(g for g in found.groups if g.name == "m, b")
    assert group.pairwise_column == "job"
    assert not {name for name, subject in failed(found) if subject == "m, a"}


def test_a_small_group_is_insufficient_and_never_a_pass():
    real = pd.concat([REAL, REAL.head(12).assign(race="c")], ignore_index=True)
    own = pd.concat([GOOD, GOOD.head(12).assign(race="c")], ignore_index=True)
    found = audit(real, own, sensitive_features=["race"], effort=EFFORT)
    group = next(g for g in found.groups if g.name == "c")
    assert group.state == "insufficient" and group.standardised_coverage.value is None
    checks = [c for c in found.checks if c.subject == "c" and c.name == "coverage_group_min"]
    assert [check.verdict for check in checks] == ["insufficient"]
    assert "too few rows" in checks[0].message


@pytest.mark.parametrize(
    ("rows", "made", "verdict"),
    # Chance alone leaves out a group of n rows with (1/2)^n; less than .025 is not taken for it.
    [
        *((3, 0, "insufficient"), (5, 0, "insufficient"), (7, 0, "fail"), (50, 20, "fail")),
        *((20, 20, "insufficient"), (20, 15, "insufficient"), (900, 880, "pass"), (20, 60, "fail")),
    ],
)
def test_a_group_s_size_is_judged_by_how_sure_it_is(rows, made, verdict):
    def table(seed, count):
        frame = people(12000, seed)
        own = of_group(frame, "m", "b")
        return pd.concat([frame[~own].head(2000), frame[own].head(count)])

    found = audit(
        table(1, rows),
        table(2, made),
        sensitive_features=["sex", "race"],
        effort=SamplingLimits(rows=50, classified=0),
    )
    (check,) = (c for c in found.checks if (c.name, c.subject) == ("share_ratio", "m, b"))
    assert check.verdict == verdict


@pytest.mark.parametrize("seed", range(4))
def test_ties_in_small_groups_of_the_same_law_do_not_fail_by_chance(seed):
    tables = [people(12_000, 100 + 2 * seed + k).groupby(["sex", "race"]).head(60) for k in (0, 1)]
    found = audit(*tables, sensitive_features=["sex", "race"], effort=EFFORT)
    assert not {check.subject for check in found.checks if check.verdict == "fail"}


def test_columns_are_left_out_wherever_they_are():
    found = audited(GOOD.drop(columns="age"), drop=["age", "city"])
    assert set(found.columns) == {"sex", "race", "pay", "hours", "job", "income"}
    with pytest.raises(DataError, match=r"drop: no table has a column 'agee'; did you mean 'age'"):
        audited(GOOD, drop=["agee"])


def test_invented_groups_and_unseen_categories_fail_by_name():
    own = GOOD.copy()
    own.loc[own.index[:40], "race"] = "q"
    own.loc[own.index[40:80], "job"] = "w"
    found = failed(audited(own))
    assert ("invented_groups", "q") in found
    assert {("unseen_categories", "job"), ("unseen_categories", "race")} <= found


def test_without_held_out_rows_copies_are_not_judged():
    found = audited(GOOD, holdout=None)
    of_copies = {c.name: c for c in found.checks if c.name in copy_checks() and not c.features}
    # That no row equals a real one can be seen without them; what is near cannot.
    assert of_copies.pop("copied").verdict == "pass"
    assert {check.verdict for check in of_copies.values()} == {"insufficient"}
    assert found.verdict == "pass" and found.copies == "not judged"
    assert not found.fit_for_release and found.unjudged == ("copies",)


def test_the_same_seed_gives_the_same_figures():
    assert audited(GOOD, seed=3).groups == audited(GOOD, seed=3).groups


def test_missing_values_and_other_column_orders_are_no_error():
    own, real = GOOD.copy(), REAL.copy()
    for frame in (own, real):
        frame.loc[frame.index[::7], "age"] = np.nan
        frame.loc[frame.index[::5], "race"] = None
    found = audit(real, own[own.columns[::-1]], sensitive_features=["race"], effort=EFFORT)
    assert "(missing)" in [group.name for group in found.groups]
    assert found.verdict == "pass"


def test_a_threshold_that_is_off_makes_no_check():
    limits = Thresholds.model_validate(dict.fromkeys(Thresholds.model_fields))
    found = audited(GOOD, thresholds=limits)
    assert {check.name for check in found.checks} == {"rows"}
    assert found.verdict == "insufficient" and not found.fit_for_release


def test_strata_of_one_feature_have_no_intersection():
    assert strata(["a"]) == ((), ("a",))


@pytest.mark.parametrize(
    ("estimate", "least", "most"),
    [
        (Estimate(0.5, 0.4, 0.6), "insufficient", "insufficient"),
        (Estimate(0.5, 0.5, 0.6), "pass", "insufficient"),
        (Estimate(0.5, 0.4, 0.5), "insufficient", "pass"),
        (Estimate(0.5, 0.6, 0.7), "pass", "fail"),
        (Estimate(), "insufficient", "insufficient"),
    ],
)
def test_a_verdict_needs_the_whole_interval(estimate, least, most):
    assert at_least(estimate, 0.5) == least and at_most(estimate, 0.5) == most


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.drop(columns="age"), {}, "the synthetic table: lacks the column 'age'"),
        (lambda t: t.assign(more=1), {}, "has a column 'more' that the real table lacks"),
        (lambda t: t.head(0), {}, "the synthetic table: holds no rows"),
        (lambda t: t.assign(age="old"), {}, "column 'age'"),
        (lambda t: t, {"sensitive_features": ["sx"]}, "did you mean 'sex'"),
        (lambda t: t, {"sensitive_features": ["pay"]}, "group their values first"),
        (lambda t: t, {"target": "incom"}, "did you mean 'income'"),
        (lambda t: t, {"effort": SamplingLimits(minimum=5000)}, "every group has fewer than 5000"),
        (
            lambda t: t,
            {"sensitive_features": [], "effort": SamplingLimits(minimum=5000)},
            r"the real table has fewer than 5000 rows \(\d+\): nothing can be said",
        ),
    ],
)
def test_bad_input_is_one_clear_error(change, options, words):
    with pytest.raises(DataError, match=words):
        audited(change(GOOD), **options)


def test_without_sensitive_features_all_rows_are_one_group(tmp_path):
    found = audited(GOOD, sensitive_features=[])
    assert [group.name for group in found.groups] == ["all rows"]
    assert found.coverage_group_min is None and found.groups[0].standardised_coverage.value > 0.8
    checks = {check.name: check for check in found.checks}
    assert checks["coverage_group_min"].subject == "all rows" and "share_ratio" not in checks
    assert found.verdict == "pass"
    # The control: what fails with groups fails without them.
    assert audited(REAL.assign(age=REAL["age"].median()), sensitive_features=[]).verdict == "fail"
    text = page(found)
    assert "all rows are one group" in text and "Coverage of all rows" in text
    by_group = page(audited(GOOD))
    for words in ("groups by", "Worst group", "Best less worst", "Worst first", "each group is"):
        assert words not in text
        assert words in by_group
    junit = write_report(found, tmp_path)[2].read_text()
    assert 'name="all rows"' in junit and "failures" in junit


def test_a_target_with_one_class_is_refused():
    with pytest.raises(DataError, match="fewer than two values"):
        audit(REAL.assign(income="low"), GOOD, sensitive_features=["sex"], target="income")


def test_all_problems_are_told_at_once():
    with pytest.raises(DataError) as caught:
        audited(GOOD.drop(columns=["age", "pay"]))
    assert len(caught.value.problems) == 2
