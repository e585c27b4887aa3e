"""What an audit leaves behind: a page for people, JSON for programs, JUnit XML for a CI."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fairness.drawing import coverage_picture, curve_picture, share_picture
from fairness.findings import Audit, Check, GroupFinding
from wgan.state import write_bytes

METRICS = ("auc", "accuracy", "f1", "calibration_error", "selection_rate")
FAIRNESS = (
    "demographic_parity_difference",
    "equalized_odds_difference",
    "equal_opportunity_difference",
    "demographic_parity_ratio",
    "equalized_odds_ratio",
    "equal_opportunity_ratio",
)

POINTS = 300
"""Points of a training curve at most."""

_CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_report(audit: Audit, folder: Path) -> tuple[Path, ...]:
    """Writes `audit.html`, `audit.json` and `audit.junit.xml`, each whole or not at all.

    Raises:
        StateError: The folder cannot be written to.
    """
    value = json.dumps(_strict(audit.to_json()), indent=1, ensure_ascii=False, allow_nan=False)
    contents = {
        "audit.html": page(audit).encode(),
        "audit.json": (value + "\n").encode(),
        "audit.junit.xml": junit(audit),
    }
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return tuple(folder / name for name in contents)


def page(audit: Audit) -> str:
    """The page: one file that loads nothing."""
    environment = Environment(
        loader=PackageLoader("fairness"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    limit = audit.settings.get("thresholds", {}).get("coverage_group_min")
    chosen = {
        verdict: [check for check in audit.checks if check.verdict == verdict]
        for verdict in ("fail", "insufficient", "pass")
    }
    predictions = audit.utility.predictions if audit.utility else ()
    real = {p.learner: p for p in predictions if p.trained_on == "real"}
    return environment.get_template("audit.html").render(
        audit=audit,
        sentence=sentence(audit),
        failed=chosen["fail"],
        unsure=chosen["insufficient"],
        passed=chosen["pass"],
        levels=_levels(audit.groups),
        coverage=lambda groups: coverage_picture(groups, limit),
        shares=share_picture,
        curves=_curves(audit.training),
        metrics=[m for m in METRICS if any(m in p.overall for p in predictions)],
        fairness_metrics=FAIRNESS,
        pairs=[
            (p, real[p.learner])
            for p in predictions
            if p.trained_on == "synthetic" and p.learner in real
        ],
        settings=json.dumps(
            {"settings": _strict(audit.settings), "versions": dict(audit.versions)}, indent=1
        ),
    )


def sentence(audit: Audit) -> str:
    """The verdict in plain words."""
    failed = [check for check in audit.checks if check.verdict == "fail"]
    unsure = sum(check.verdict == "insufficient" for check in audit.checks)
    total = len(audit.checks)
    if not total:
        return "No check was made."
    rest = f" {unsure} more could not be decided for want of rows." if unsure else ""
    if failed:
        forgotten = [c.subject for c in failed if c.name == "coverage_group_min"]
        told = ""
        if forgotten:
            names = ", ".join(forgotten[:5]) + (" and others" if len(forgotten) > 5 else "")
            told = f" The synthetic table does not cover: {names}."
        return f"{len(failed)} of {total} checks failed.{told}{rest}"
    if audit.verdict == "insufficient":
        return f"None of {total} checks could be decided: there are too few rows."
    return f"No check failed; {total - unsure} of {total} passed.{rest}"


def junit(audit: Audit) -> bytes:
    """JUnit XML: a suite a kind of check, a case a group; `insufficient` is skipped."""
    suites: dict[str, list[Check]] = {}
    for check in audit.checks:
        suites.setdefault(check.name, []).append(check)
    root = ElementTree.Element("testsuites", name="audit", tests=str(len(audit.checks)))
    for name, checks in suites.items():
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=name,
            tests=str(len(checks)),
            failures=str(sum(check.verdict == "fail" for check in checks)),
            skipped=str(sum(check.verdict == "insufficient" for check in checks)),
        )
        for check in checks:
            subject = _CONTROL.sub("", check.subject)
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"audit.{name}", name=subject
            )
            message = _CONTROL.sub("", check.message)
            if check.verdict == "fail":
                found = check.value.value
                shown = "unknown" if found is None else f"{found:.4g}"
                failure = ElementTree.SubElement(case, "failure", message=message)
                failure.text = f"found {shown}, limit {check.limit:g}"
            elif check.verdict == "insufficient":
                ElementTree.SubElement(case, "skipped", message=message)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _levels(groups: Sequence[GroupFinding]) -> list[tuple[str, list[GroupFinding]]]:
    levels: dict[str, list[GroupFinding]] = {}
    for group in groups:
        levels.setdefault(" and ".join(group.features), []).append(group)
    return list(levels.items()) or [("", [])]


def _curves(training: Sequence[Mapping[str, Any]]) -> str:
    step = max(1, -(-len(training) // POINTS))
    lines: dict[str, list[tuple[float, float]]] = {"all groups": []}
    for row in training[::step]:
        lines["all groups"].append((row["round"], row["estimate"]))
        for name, value in row.get("estimate_by_group", {}).items():
            if value is not None:
                lines.setdefault(name, []).append((row["round"], value))
    return curve_picture(lines, "The critic's estimate over rounds, by group") if training else ""


def _strict(value: Any) -> Any:
    """JSON without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
