"""The files of an audit: JSON for programs, a page for people, JUnit XML for a CI."""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import escape

import everymode.fairness.audit.metrics as table
import everymode.fairness.report.svg as drawing
from everymode.fairness.audit.findings import VERSION, Audit, Check
from everymode.fairness.audit.headline import headline, sentences, why_no_copies
from everymode.fairness.audit.metric import Column, Metric
from everymode.fairness.metrics.results import Estimate, GroupFinding
from everymode.fairness.report.page import PAGE
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json, write_bytes, write_json
from everymode.wgan.words import json_text, visible

METRICS = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1": "F1",
    "calibration_error": "calibration error",
    "selection_rate": "selection rate",
}

FAIRNESS = tuple(
    f"{notion}_{form}"
    for form in ("difference", "ratio")
    for notion in ("demographic_parity", "equalized_odds", "equal_opportunity")
)

Line = list[tuple[float, float]]

POINTS = 300
"""Points of a training curve at most."""


def write_report(audit: Audit, folder: Path) -> tuple[Path, ...]:
    """Writes `audit.json`, `audit.html` and `audit.junit.xml`, each whole or not at all.

    Raises:
        StateError: The folder cannot be written to.
    """
    paths = tuple(folder / name for name in ("audit.json", "audit.html", "audit.junit.xml"))
    # Rendered before anything is written: no file is left beside older ones by an error here.
    text, cases = page(audit).encode("utf-8", "replace"), junit(audit)
    write_json(paths[0], strict(audit.to_json()))
    write_bytes(paths[1], text)
    write_bytes(paths[2], cases)
    return paths


def read_report(path: Path) -> dict[str, Any]:
    """Reads an `audit.json`.

    Raises:
        StateError: It is missing, no audit's, or of a version this EveryMode does not know.
    """
    value = read_json(path)
    version = value.get("version") if isinstance(value, dict) else None
    if version is None or "checks" not in value:
        raise StateError(f"{path} is no audit.json: it has no 'version' or no 'checks'")
    if version != VERSION:
        raise StateError(
            f"{path} has version {version}, expected {VERSION}; make it anew with everymode audit"
        )
    return dict(value)


@cache
def compiled(text: str) -> Template:
    """A page's template; every value on the page is made harmless."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value on the page passes here: names are on one line and hide nothing.
        finalize=shown,
    )
    environment.filters |= {"number": number, "span": span}
    return environment.from_string(text)


def page(audit: Audit) -> str:
    """The page: one file that loads nothing."""
    by_verdict: dict[str, list[Check]] = {"fail": [], "insufficient": [], "pass": [], "given": []}
    for check in audit.checks:
        by_verdict[check.verdict].append(check)
    predictions = audit.utility.predictions if audit.utility else ()
    sums = audit.settings.get("by") is not None
    figure: drawing.Figure = "standardised_recall" if sums else "standardised_coverage"
    name = "recall_group_min" if sums else "coverage_group_min"
    limit = (audit.settings.get("thresholds") or {}).get(name)
    grouped = bool(audit.sensitive_features)
    worst = min(
        (
            value
            for group in audit.groups
            if (group.features or not grouped)
            and (value := getattr(group, figure).value) is not None
        ),
        default=None,
    )
    estimates = _estimates(audit.training)
    return compiled(PAGE).render(
        audit=audit,
        headline=headline(audit),
        sentences=sentences(audit),
        by_verdict=by_verdict,
        by_topic={verdict: _by_topic(checks) for verdict, checks in by_verdict.items()},
        strata=_strata(audit.groups),
        table_of_metrics=_columns(audit.groups),
        cell=cell,
        legend=[metric.legend for metric in table.METRICS if metric.legend is not None],
        grouped=grouped,
        limit=limit,
        figure_of=figure,
        sums=sums,
        worst=worst,
        pictured=[
            (features, own)
            for features, own in _strata(audit.groups)
            if not sums or any(getattr(group, figure).value is not None for group in own)
        ],
        draw=drawing,
        estimates=estimates,
        others=_others(audit.training),
        columns=sorted(audit.columns.items(), key=lambda item: -_distance(item[1])),
        metrics={
            m: words for m, words in METRICS.items() if any(m in p.overall for p in predictions)
        },
        fairness_metrics=FAIRNESS,
        by_learner={
            learner: {p.trained_on: p for p in predictions if p.learner == learner}
            for learner in dict.fromkeys(p.learner for p in predictions)
        },
        sums_by_group=all(isinstance(v, Mapping) and "rows" in v for v in audit.federated.values()),
        federated=escape(json_text(strict(audit.federated), indent=1)),
        settings=flat(audit.settings),
        why_no_copies=why_no_copies(audit),
    )


def junit(audit: Audit) -> bytes:
    """JUnit XML: a suite a kind of check, a case a check; neither passed nor failed: skipped."""
    suites: dict[str, list[Check]] = {}
    for check in audit.checks:
        suites.setdefault(check.name, []).append(check)
    root = ElementTree.Element("testsuites", {"name": "audit", **_counts(audit.checks)})
    for name, checks in suites.items():
        known = {"name": visible(name), **_counts(checks)}
        suite = ElementTree.SubElement(root, "testsuite", known)
        for check in checks:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                {"classname": visible(f"audit.{name}"), "name": visible(check.subject)},
            )
            message = {"message": visible(check.message)}
            if check.verdict == "fail":
                failure = ElementTree.SubElement(case, "failure", message)
                found = check.value.value
                shown = "unknown" if found is None else f"{found:.4g}"
                failure.text = f"found {shown}, limit {check.limit:g}"
            elif check.verdict != "pass":
                ElementTree.SubElement(case, "skipped", message)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def number(value: float | None, digits: int = 3) -> str:
    """A figure for people.

    >>> number(0.12345), number(-1e-9), number(15.0), number(None), number(float("nan"))
    ('0.123', '0.000', '15', '-', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) >= 2 and value == round(value):
        return f"{value:,.0f}"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")  # noqa: RUF001


def span(found: Estimate | Mapping[str, Any] | None, digits: int = 2) -> str:
    """The interval of a figure; empty where it has none or is exact."""
    ends = found if isinstance(found, Mapping) else vars(found or Estimate())
    low, high = ends.get("low"), ends.get("high")
    if low is None or high is None or low == high:
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def cell(metric: Metric, group: GroupFinding) -> tuple[str, tuple[str, ...]]:
    """A group's figure in the page's table, and what stands below it in small print."""
    column = metric.column
    if column is None:
        return "-", ()
    found = group.figure(metric.figure or metric.name)
    text = number(found.value, column.digits) if column.text is None else column.text(group)
    small = [span(found, column.digits - 1)]
    if column.aside is not None:
        parts = [part if isinstance(part, str) else number(part) for part in _said(column, group)]
        small.append(f"({', '.join(parts)})")
    return text, tuple(filter(None, small))


def _columns(groups: Sequence[GroupFinding]) -> list[Metric]:
    """The metrics of the page's table: those that any group has a figure of."""
    every = [metric for metric in table.METRICS if metric.column is not None]
    measured = [group for group in groups if group.state == "measured"]
    return [m for m in every if any(cell(m, g)[0] != "-" for g in measured)] or every


def _said(column: Column, group: GroupFinding) -> list[float | str | None]:
    """The figures in brackets; a name that is not known is left out."""
    first, *rest = column.aside(group) if column.aside is not None else (None,)
    return [first, *(part for part in rest if part is not None)]


def _by_topic(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    topics: dict[str, list[Check]] = {}
    for check in checks:
        topics.setdefault(check.name, []).append(check)
    known = table.by_name()
    order = [name for name in dict.fromkeys([*known, *topics]) if name in topics]
    headings = {name: metric.heading for name, metric in known.items()}
    return [(headings.get(name) or name, topics[name]) for name in order]


def _strata(groups: Sequence[GroupFinding]) -> list[tuple[str, list[GroupFinding]]]:
    strata: dict[str, list[GroupFinding]] = {}
    for group in groups:
        strata.setdefault(" and ".join(group.features), []).append(group)
    return list(strata.items())


def _estimates(training: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    """The overall line, then the groups', the one that ends worst first."""
    return {"all groups": _line(training, "estimate"), **_by_group(training, "estimate_by_group")}


def _others(training: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Line]]:
    """Further pictures by what they show; a line each, or one a group."""
    found = {
        "critic's penalty": {
            "all groups": _line(training, "penalty"),
            **_by_group(training, "penalty_by_group"),
        },
        "critic's slope, over the target": _by_group(training, "slope_by_group"),
        "generator loss": {"generator loss": _line(training, "generator_loss")},
    }
    # One point is no curve.
    return {
        words: lines
        for words, lines in found.items()
        if any(len(line) > 1 for line in lines.values())
    }


def _by_group(training: Sequence[Mapping[str, Any]], key: str) -> dict[str, Line]:
    """A line a group, the one that ends highest first."""
    groups: dict[str, Line] = {}
    for row in _thinned([row for row in training if row.get(key)]):
        for name, value in row[key].items():
            if value is not None:
                groups.setdefault(name, []).append((float(row["round"]), float(value)))
    return dict(sorted(groups.items(), key=lambda item: -item[1][-1][1]))


def _line(training: Sequence[Mapping[str, Any]], key: str) -> Line:
    return [
        (float(row["round"]), float(row[key]))
        for row in _thinned(training)
        if row.get(key) is not None
    ]


def _thinned(training: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most `POINTS` rounds, evenly apart, the first and the last among them."""
    count = min(POINTS, len(training))
    return [training[i] for i in np.linspace(0, len(training) - 1, count).round().astype(int)]


def _distance(figures: Mapping[str, float | None]) -> float:
    known = [figures.get("tv"), figures.get("ks")]
    return max((v for v in known if v is not None and math.isfinite(v)), default=-1.0)


def flat(value: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Nested values as rows of a table, with dotted keys."""
    rows: list[tuple[str, Any]] = []
    for key, item in value.items():
        nested = isinstance(item, Mapping)
        rows += flat(item, f"{before}{key}.") if nested else [(f"{before}{key}", item)]
    return rows


def _counts(checks: Sequence[Check]) -> dict[str, str]:
    return {
        "tests": str(len(checks)),
        "failures": str(sum(check.verdict == "fail" for check in checks)),
        "skipped": str(sum(check.verdict in ("insufficient", "given") for check in checks)),
    }


def shown(value: Any) -> Any:
    """A value as the page shows it."""
    # Markup is a kind of text, made harmless where it was made.
    return visible(value) if type(value) is str else value


def strict(value: Any) -> Any:
    """JSON without what JSON or UTF-8 cannot hold: numbers that are not finite, half characters."""
    if isinstance(value, Mapping):
        return {strict(str(key)): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value if value is None or isinstance(value, int) else str(value)
