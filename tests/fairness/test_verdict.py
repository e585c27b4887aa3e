"""A pass takes decided checks at every level; a release takes a decided check on copies besides."""

from dataclasses import replace

import pytest

from everymode.fairness.audit.findings import Audit, Check
from everymode.fairness.audit.verdict import of_copies, with_verdict
from everymode.fairness.metrics.results import Estimate, GroupFinding

ROWS = {
    (): {"all rows": 1000},
    ("sex",): {"f": 400, "m": 600},
    # Values of the same names as another feature's.
    ("smokes",): {"f": 950, "m": 50},
}

COPY_CHECKS = ("copied", "copied_held_out", "closer_to_training", "closer_to_held_out")


def group(name, features, rows):
    values = dict.fromkeys(features, name)
    return GroupFinding(name, values, rows, rows, rows / 1000, rows / 1000, "measured")


def check(name, subject, features, verdict="pass"):
    known = Estimate() if verdict == "insufficient" else Estimate(0.5, 0.5, 0.5)
    return Check(name, subject, verdict, known, 0.5, "words", features)


def judged(**verdicts):
    """An audit with all checks passed, but those named as `name__subject__feature`."""
    groups = [group(n, f, rows) for f, level in ROWS.items() for n, rows in level.items()]
    checks = []
    for own in groups:
        names = ["coverage_group_min", *(["share_ratio"] if own.features else COPY_CHECKS)]
        for name in names:
            key = "__".join((name, own.name.replace(" ", "_"), *own.features))
            checks.append(check(name, own.name, own.features, verdicts.pop(key, "pass")))
    assert not verdicts
    audit = Audit(
        verdict="insufficient",
        real="r",
        synthetic="s",
        sensitive_features=("sex", "smokes"),
        rows_real=1000,
        rows_synthetic=1000,
        groups=tuple(groups),
        columns={},
        utility=None,
        checks=(),
        coverage_group_min=None,
        coverage_difference=None,
    )
    return audit, checks


def test_all_decided_is_fit_for_release():
    found = with_verdict(*judged())
    assert (found.verdict, found.copies, found.unjudged) == ("pass", "pass", ())
    assert found.fit_for_release and found.to_json()["fit_for_release"]


@pytest.mark.parametrize(
    ("key", "lacking"),
    [
        ("coverage_group_min__all_rows", "coverage of all rows"),
        ("coverage_group_min__f__sex", "coverage by sex"),
        ("share_ratio__m__sex", "sizes of groups by sex"),
        ("share_ratio__f__smokes", "sizes of groups by smokes"),
    ],
)
def test_a_level_that_is_not_decided_is_no_pass(key, lacking):
    found = with_verdict(*judged(**{key: "insufficient"}))
    assert found.verdict == "insufficient" and found.unjudged == (lacking,)
    assert not found.fit_for_release


def test_a_small_group_may_stay_open():
    open_ = {f"{name}__m__smokes": "insufficient" for name in ("coverage_group_min", "share_ratio")}
    assert with_verdict(*judged(**open_)).fit_for_release


def test_what_was_given_leaves_nothing_open():
    found = with_verdict(*judged(share_ratio__f__sex="given", share_ratio__m__sex="given"))
    assert found.verdict == "pass"


def test_a_failure_is_one_whatever_is_open():
    found = with_verdict(
        *judged(coverage_group_min__all_rows="insufficient", copied__all_rows="fail")
    )
    assert found.verdict == "fail" and found.copies == "fail"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({}, "pass"),
        ({"closer_to_held_out": "insufficient"}, "insufficient"),
        ({"closer_to_training": "insufficient"}, "not judged"),
        ({"copied": None}, "not judged"),
        ({"closer_to_training": None}, "not judged"),
        ({"closer_to_training": None, "copied": "fail"}, "fail"),
        ({"copied_held_out": None, "closer_to_held_out": None}, "pass"),
    ],
)
def test_copies_are_judged_where_equal_and_near_rows_are(verdicts, expected):
    names = {name: verdicts.get(name, "pass") for name in COPY_CHECKS}
    checks = [check(name, "all rows", (), v) for name, v in names.items() if v]
    assert of_copies(checks) == expected
    audit, others = judged()
    others = [c for c in others if c.name not in COPY_CHECKS]
    found = with_verdict(audit, [*others, *checks])
    assert found.fit_for_release == (expected == "pass")
    assert ("copies" in found.unjudged) == (expected in ("not judged", "insufficient"))


def test_an_interval_that_leaves_copies_open_is_undecided():
    audit, checks = judged()
    wide = Estimate(0.54, 0.4, 0.6)
    checks = [
        replace(c, verdict="insufficient", value=wide) if c.name == "closer_to_training" else c
        for c in checks
    ]
    assert with_verdict(audit, checks).copies == "insufficient"


def test_sums_never_make_a_table_fit_for_release():
    audit, checks = judged()
    recalled = [
        check("recall_group_min", c.subject, c.features)
        for c in checks
        if c.name == "coverage_group_min" and c.features
    ]
    checks = [c for c in checks if c.name == "share_ratio"]
    found = with_verdict(audit, [*checks, *recalled], sums=True)
    assert (found.verdict, found.copies) == ("pass", "not judged")
    assert found.unjudged == ("coverage", "copies") and not found.fit_for_release
    assert with_verdict(audit, checks, sums=True).verdict == "insufficient"
