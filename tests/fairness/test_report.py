"""The report: what a reader finds on the page, in the JSON and in the JUnit file."""

import json
import re
import shutil
import subprocess
import unicodedata
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from everymode.fairness.audit.findings import Audit, Check
from everymode.fairness.audit.headline import headline, sentences
from everymode.fairness.audit.thresholds import Thresholds
from everymode.fairness.metrics.results import Estimate, GroupFinding, Prediction, UtilityFinding
from everymode.fairness.report.report import page, read_report, write_report
from everymode.wgan.errors import StateError

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
)


def group(name, sensitive, cover, rows=500, state="measured"):
    known = state == "measured"
    return GroupFinding(
        name=name,
        sensitive=sensitive,
        rows_real=rows,
        rows_synthetic=0 if state == "absent" else rows,
        share_real=rows / 2000,
        share_synthetic=rows / 2100,
        state=state,
        standardised_coverage=Estimate(cover, cover and cover - 0.05, cover and cover + 0.05),
        **({"precision": 0.9, "tv": 0.02, "modes_real": 9, "modes_covered": 8} if known else {}),
    )


def example(**more):
    groups = (
        group("all rows", {}, 0.9, 2000),
        group("f", {"sex": "f"}, 0.95),
        group("m", {"sex": "m"}, 0.55),
        group("<script>alert(1)</script>", {"sex": "x"}, 0.0, state="absent"),
        group("tiny & odd", {"sex": "t"}, None, 7, "insufficient"),
    )
    checks = (
        Check("coverage_group_min", "m", "fail", Estimate(0.55, 0.5, 0.6), 0.7, "covered to .55"),
        Check("coverage_group_min", "f", "pass", Estimate(0.95, 0.9, 1.0), 0.7, "covered"),
        Check("modes", "odd \x00\x1b name <b>", "insufficient", Estimate(), 0.9, "too few \x07"),
    )
    figures = {"auc": Estimate(0.8, 0.75, 0.85)}
    gaps = {"sex": {"demographic_parity_difference": Estimate(0.1, 0.0, 0.2)}}
    utility = UtilityFinding(
        "income",
        "high",
        {"real": {"sex": {"f": 0.1, "m": 0.3}}, "synthetic": {"sex": {"f": 0.1}}},
        {"real": {"sex": Estimate(0.2, 0.1, 0.3)}, "synthetic": {}},
        (
            Prediction("synthetic", "logistic", figures, {"sex": {"f": figures, "m": {}}}, gaps),
            Prediction("real", "logistic", figures, {"sex": {"f": figures}}, gaps),
        ),
        ("sex: t",),
    )
    training = tuple(
        {"round": i, "estimate": 5 / i, "estimate_by_group": {"f": 4 / i, "m": None}}
        for i in range(1, 1000)
    )
    values = {
        "verdict": "fail",
        "real": "people.csv",
        "synthetic": "made.csv",
        "sensitive_features": ("sex",),
        "rows_real": 2000,
        "rows_synthetic": 2100,
        "groups": groups,
        "columns": {"age": {"ks": 0.1, "missing": float("nan")}, "job": {"tv": 0.2, "unseen": 0.0}},
        "utility": utility,
        "checks": checks,
        "coverage_group_min": 0.0,
        "coverage_difference": 0.95,
        "settings": {"thresholds": Thresholds().model_dump(), "seed": 0, "rows_holdout": None},
        "training": training,
        "federated": {
            "f": {
                "rows": 900,
                "recall": 0.8,
                "value": 0.9,
                "low": 0.8,
                "high": 1.0,
                "outside": 0.02,
                "cells": 0.1,
            }
        },
    }
    return Audit(**(values | more))


GIVEN = Check(
    "share_ratio", "f", "given", Estimate(1.0, 0.9, 1.1), 0.8, "as many; given, not judged"
)


def test_the_page_says_the_verdict_first_and_loads_nothing():
    text = page(example())
    places = [
        text.index(words)
        for words in ("FAIL (copies: not judged): 1 of 3", "What failed", "How to read it")
    ]
    assert places == sorted(places)
    assert "It forgets much of m." in text
    assert "Too few rows to say anything of tiny &amp; odd" in text
    for load in ("http:", "https:", "src=", "@import", "<link", "url("):
        assert load not in text, load


def test_names_are_harmless():
    text = page(example())
    assert "<script" not in text and "&lt;script&gt;" in text and "tiny &amp; odd" in text


def test_names_hide_nothing_on_the_page_and_stay_apart_in_every_file(tmp_path):
    names = ["f\x00", "f\x1b[2J", "f\u202e", "f\nf", "f\ud800", "f\uffff", "f</svg><b>", "f"]
    groups = tuple(group(name, {"sex": name}, 0.5) for name in names)
    checks = [
        Check("coverage_group_min", name, "fail", Estimate(0.5, 0.4, 0.6), 0.7, f"only {name}")
        for name in names
    ]
    training = [
        {"round": i, "estimate": 1.0, "estimate_by_group": dict.fromkeys(names, 1.0 / i)}
        for i in range(1, 4)
    ]
    federated = {"\x9b": {"other\u202e": 1}}
    audit = example(groups=groups, checks=checks, training=training, federated=federated)
    paths = write_report(audit, tmp_path)
    for path in paths:
        text = path.read_bytes().decode()
        # Line breaks are ours: one within a name is written out.
        assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf")], path
    page_text = paths[1].read_text()
    for shown in (r"f\x00", r"f\x1b[2J", r"f\u202e", r"f\nf", r"f\ud800", "f&lt;/svg&gt;&lt;b&gt;"):
        assert shown in page_text, shown
    assert "<b>;" not in page_text and "</svg><b>" not in page_text
    cases = ElementTree.parse(paths[2]).getroot().findall(".//testcase")
    assert len({case.get("name") for case in cases}) == len(names)


def test_groups_without_a_figure_are_shown_as_such():
    text = page(example())
    assert "too few rows to say (7 real, 7 synthetic rows)" in text.lower()
    assert "absent from the synthetic table" in text


def test_figures_that_no_group_has_are_no_columns_of_the_page():
    """Sums over sites give few of them."""
    heading = "C2ST,<br>trees"
    assert "modes</th>" in page(example()) and heading not in page(example())
    told_apart = replace(group("all rows", {}, 0.9), c2st_trees=Estimate(0.6, 0.55, 0.65))
    text = page(example(groups=(told_apart,)))
    assert heading in text and "0.550 to 0.650" in text


def test_curves_are_thinned():
    text = page(example())
    line = text[text.index('<polyline class="total"') :].partition("</polyline>")[0]
    assert 100 < line.count(",") <= 300


def test_junit_has_a_case_a_check(tmp_path):
    write_report(example(), tmp_path)
    root = ElementTree.parse(tmp_path / "audit.junit.xml").getroot()
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"coverage_group_min", "modes"}
    assert suites["coverage_group_min"].get("failures") == "1"
    assert len(root.findall(".//testcase")) == 3
    assert root.find(".//failure").text == "found 0.55, limit 0.7"
    assert root.find(".//skipped").get("message") == r"too few \x07"


def test_json_is_strict_and_whole(tmp_path):
    paths = write_report(example(), tmp_path / "new")
    assert [path.name for path in paths] == ["audit.json", "audit.html", "audit.junit.xml"]

    def refuse(text):
        raise AssertionError(text)

    value = json.loads((tmp_path / "new" / "audit.json").read_text(), parse_constant=refuse)
    assert value["version"] == 2 and value["columns"]["age"]["missing"] is None
    assert [check["verdict"] for check in value["checks"]] == ["fail", "pass", "insufficient"]


def test_a_written_report_is_read_and_another_file_is_not(tmp_path):
    path, *_ = write_report(example(), tmp_path)
    assert read_report(path)["verdict"] == "fail"
    for value, words in (({"a": 1}, "is no audit.json"), ({"version": 99, "checks": []}, "99")):
        path.write_text(json.dumps(value))
        with pytest.raises(StateError, match=words):
            read_report(path)


FIT = {"verdict": "pass", "copies": "pass", "checks": example().checks[1:]}


@pytest.mark.parametrize(
    ("more", "words", "told"),
    [
        (
            {"checks": (), "verdict": "insufficient"},
            "INSUFFICIENT (copies: not judged): no check was made",
            "Too few rows",
        ),
        (FIT, "PASS, fit for release: 1 of 2 checks passed, none failed", "good side"),
        (
            FIT | {"copies": "not judged", "unjudged": ("copies",)},
            "PASS (copies: not judged): 1 of 2 checks passed, none failed",
            "not fit for release: name held-out rows",
        ),
        (
            FIT | {"copies": "insufficient", "unjudged": ("copies",)},
            "PASS (copies: undecided): 1 of 2 checks",
            "Whether it copies real rows is undecided, so it is not fit for release",
        ),
        (
            FIT | {"copies": "not judged", "unjudged": ("coverage", "copies")},
            "PASS (coverage and copies: not judged): 1 of 2 checks",
            "sums over sites cannot tell",
        ),
        (
            {
                "verdict": "insufficient",
                "checks": example().checks[2:],
                "unjudged": ("coverage by sex", "copies"),
            },
            "INSUFFICIENT (copies: not judged): 0 of 1 checks passed, none failed",
            "Not decided, and needed for a pass: coverage by sex.",
        ),
    ],
)
def test_the_headline_fits_the_verdict(more, words, told):
    audit = example(**more)
    assert headline(audit).startswith(words) and told in " ".join(sentences(audit))
    assert ("fit for release:" in headline(audit)) == audit.fit_for_release


def test_only_what_is_fit_for_release_is_green():
    box = 'class="verdict {}"'.format
    assert box("fit") in page(example(**FIT))
    open_ = page(example(**FIT | {"copies": "not judged", "unjudged": ("copies",)}))
    assert box("fit") not in open_ and box("pass") in open_ and "not judged" in open_


def test_what_was_given_counts_neither_way(tmp_path):
    checks = (*example().checks[1:], GIVEN)
    audit = example(**FIT | {"checks": checks})
    assert "1 of 2 checks passed" in headline(audit)
    assert any("1 further check is of what the generator was told" in t for t in sentences(audit))
    text = page(audit)
    assert "What was given" in text and "1 given" in text
    passed = text[text.index('id="passed"') : text.index('id="given"')]
    assert GIVEN.message not in passed and GIVEN.message in text
    paths = write_report(audit, tmp_path)
    root = ElementTree.parse(paths[2]).getroot()
    (suite,) = (suite for suite in root if suite.get("name") == "share_ratio")
    assert suite.get("skipped") == "1"
    assert suite.find(".//skipped").get("message").endswith("given, not judged")
    written = json.loads(paths[0].read_text())["checks"]
    assert [check["verdict"] for check in written] == ["pass", "insufficient", "given"]


def test_notes_are_told():
    audit = example(notes=("made.csv: column 'a' is read as in real.csv: 1.0 as 1 (3 cells)",))
    assert "Made.csv: column" in " ".join(sentences(audit)) and "read as in" in page(audit)


def test_a_page_without_utility_training_or_sites_is_whole():
    text = page(example(utility=None, training=(), federated={}))
    assert 'id="training"' not in text and 'id="sites"' not in text and "</html>" in text
    assert "Not measured: why" in page(example(utility=UtilityFinding("y", reason="why")))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_page_fits_a_phone(tmp_path):
    write_report(example(), tmp_path)
    frame = (
        '<iframe id="f" src="audit.html" style="width:390px;height:800px;border:0"></iframe>'
        "<script>onload = () => {"
        "const d = document.getElementById('f').contentDocument.documentElement;"
        "document.title = d.scrollWidth + ' of ' + d.clientWidth; }</script>"
    )
    (tmp_path / "phone.html").write_text(frame)
    command = [BROWSER, *FLAGS, "--allow-file-access-from-files", f"--user-data-dir={tmp_path}/u"]
    done = subprocess.run(
        [*command, "--dump-dom", f"file://{tmp_path}/phone.html"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    wide, seen = re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups()
    assert wide == seen and 300 < int(seen) <= 390
    shot = tmp_path / "page.png"
    subprocess.run(
        [*command, f"--screenshot={shot}", f"file://{tmp_path}/audit.html"],
        capture_output=True,
        timeout=60,
    )
    assert shot.stat().st_size > 10_000
