"""Compares a synthetic table with a real one group by group, for `everymode audit`."""

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table

import everymode.fairness.audit.metrics as metrics
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.headline import headline, sentences
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.pooled import audit as audited
from everymode.fairness.audit.thresholds import Thresholds
from everymode.fairness.groups.conditions import ConditionSpace
from everymode.fairness.metrics.image_features import image_shape
from everymode.fairness.metrics.results import Estimate
from everymode.fairness.report.report import write_report
from everymode.server.config.files import load, resolve
from everymode.server.config.settings import Settings
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal, assembled, named, say, told
from everymode.simulations.limits import parse_limits
from everymode.simulations.options import joined_names
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.schema import Schema
from everymode.wgan.data.spreadsheets import guessed_marks, table_read_back
from everymode.wgan.errors import DataError, SettingsError, StateError, suggest
from everymode.wgan.files import read_json
from everymode.wgan.words import brief

STYLES = {"pass": "green", "fail": "bold red", "insufficient": "yellow", "given": "dim"}

UNDECIDED = 3
"""The exit code where nothing failed, and what a release needs was not decided."""

SHOWN = 12
"""Failed checks that the terminal lists; the page has them all."""


def audit_table(
    out: Path,
    *,
    real: Path | None,
    synthetic: Path | None,
    run: Path | None,
    sensitive: list[str] | None,
    target: str | None,
    holdout: Path | None,
    thresholds: Path | None,
    overrides: list[str],
    image: str | None,
    drop: list[str],
    minimum: int,
    rows: int,
    seed: int | None,
    quiet: bool,
) -> int:
    """Audits a table, writes the report and prints a summary.

    What the arguments mean: `everymode.simulations.commands.audit`.

    Returns:
        0 for a table that is fit for release, 1 if a check fails, 3 if none fails but something
        that a release needs was not decided.

    Raises:
        EveryModeError: Tables, thresholds or options that cannot be used as they are.
    """
    parse_limits(Thresholds, overrides)
    try:
        shape = None if image is None else image_shape(image)
    except ValueError as error:
        raise SettingsError(f"--image {error}") from None
    limits = read_limits(thresholds)
    if (synthetic is None) == (run is None):
        raise SettingsError("name the synthetic rows: either --synthetic FILE or --run RUN")
    if out.is_file():
        raise SettingsError(f"--out {out}: is a file; name a folder")
    settings: Settings | None = None
    schema: Schema | None = None
    training: list[dict[str, Any]] = []
    federated: dict[str, Any] = {}
    marks: tuple[list[str], list[str]] | None = None
    given: tuple[str, ...] = ()
    if run is not None:
        folder = RunFolder(run)
        if not (folder.config.exists() and folder.synthetic.exists()):
            raise SettingsError(
                f"--run {run}: no finished run there (config.toml and synthetic.csv); let it "
                f"finish with: {folder.resume}"
            )
        settings = load(folder.config, [])
        limits = {**settings.audit.model_dump(), **limits}
        order = folder.read_plan()[0]
        schema = Schema.from_json(order.schema)
        given = ConditionSpace.from_json(order.conditions).given
        training, synthetic = folder.read_metrics(), folder.synthetic
        federated, marks = _federated(folder), find_marks(folder)
        real, holdout = find_tables(settings, real, holdout)
        sensitive = sensitive or list(settings.data.sensitive)
        target = target or settings.data.target
    if real is None:
        raise SettingsError("name the real rows with --real FILE")
    assert synthetic is not None
    missing = settings.data.missing if settings else MISSING
    form = settings.data.form if settings else RECOGNISED
    console = Terminal(stderr=True, quiet=quiet)
    with console.status("reading tables") as status:
        frames = read_tables(real, synthetic, holdout, missing, form)
        columns, headers = guessed_marks(frames[1], frames[0]) if marks is None else marks
        if columns or headers:
            frames[1] = table_read_back(frames[1], columns, headers)
            names = ", ".join(f"'{brief(name)}'" for name in dict.fromkeys([*columns, *headers]))
            note = f"note: {synthetic}: read without the apostrophes that are for spreadsheets"
            console.print(told(f"{note}: {names}"), soft_wrap=True)
        frames = [modelled(frame, schema) for frame in frames]
        named_columns = {"--sensitive": sensitive or [], "--target": [target] if target else []}
        known = [name for frame in frames for name in frame.columns]
        if joined := joined_names({**named_columns, "--drop": drop}, known):
            raise SettingsError(joined.values())
        found = audited(
            frames[0],
            frames[1],
            holdout=frames[2] if holdout else None,
            sensitive_features=sensitive or [],
            target=target,
            thresholds=parse_limits(Thresholds, overrides, limits),
            effort=SamplingLimits(
                minimum=minimum, rows=rows, classified=4 * rows, counted=8 * rows
            ),
            schema=schema,
            image=shape,
            drop=drop,
            given=given,
            seed=(settings.seed if settings else 0) if seed is None else seed,
            names=(str(real), str(synthetic)),
            training=training,
            federated=federated,
            progress=lambda text: status.update(told(f"measuring {text}")),
        )
    written = write_report(found, out)
    if not quiet:
        show(found, Terminal())
        say("wrote " + ", ".join(map(str, written)))
    if found.fit_for_release:
        return 0
    return 1 if found.verdict == "fail" else UNDECIDED


def read_limits(path: Path | None) -> dict[str, Any]:
    """What the table [audit] of a TOML file says, as a run's own configuration has it.

    Raises:
        SettingsError: Everything that is wrong with it, at once.
    """
    if path is None:
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("audit")
    except FileNotFoundError:
        raise SettingsError(f"--thresholds {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"--thresholds {path}: cannot be read as TOML: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(
            f"--thresholds {path}: expected a table [audit]; write a line [audit], below it lines "
            'such as coverage_group_min = 0.8 and precision = "off"'
        )
    try:
        return Thresholds.model_validate(values).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise SettingsError([_wrong(f"{path}: audit", e) for e in error.errors()]) from None


def _wrong(where: str, error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        hint = suggest(key, Thresholds.model_fields, "see everymode audit --help for all", "")
        return f"{where}.{key}: unknown threshold; {hint}"
    return f"{where}.{key} = {error['input']!r}: {error['msg']}, or 'off'"


def show(found: Audit, console: Console) -> None:
    """The groups, what failed, and the verdict with what it leaves out, for a terminal."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("group", min_width=18, overflow="fold")
    shown = [
        (metric, metric.column)
        for metric in metrics.METRICS
        if metric.column is not None and metric.column.terminal is not None
    ]
    headings = ["rows"]
    for _, column in shown:
        headings += [column.terminal or "", *(["95 %"] if column.interval else [])]
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    for group in found.groups:
        values = [f"{group.rows_real:,}"]
        for metric, column in shown:
            figure = group.figure(metric.figure or metric.name)
            text = _number(figure.value) if column.text is None else column.text(group)
            values += [text, *([_interval(figure)] if column.interval else [])]
        if group.state != "measured":
            values = [values[0], group.state]
        table.add_row(named(group.name), *values)
    console.print(table)
    failed = [check for check in found.checks if check.verdict == "fail"]
    for check in failed[:SHOWN]:
        said = f" {brief(check.subject)}: {check.message}"
        console.print(assembled(("fail ", STYLES["fail"]), (check.name, "bold"), said))
    if len(failed) > SHOWN:
        console.print(f"and {len(failed) - SHOWN} more")
    counts = {
        verdict: sum(check.verdict == verdict for check in found.checks) for verdict in STYLES
    }
    style = "green" if found.fit_for_release else STYLES["insufficient"]
    style = STYLES["fail"] if found.verdict == "fail" else style
    listed = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    console.print(told(headline(found), style))
    for text in sentences(found):
        console.print(told(f"  {text}"))
    console.print(told(f"of {len(found.checks)} checks: {listed}"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(found: Estimate) -> str:
    known = found.low is not None and found.high is not None
    return f"{found.low:.2f}-{found.high:.2f}" if known else ""


def find_tables(
    settings: Settings, real: Path | None, holdout: Path | None, option: str = "--real"
) -> tuple[Path, Path | None]:
    """The tables a run was trained and tested on, unless others are named."""
    if real is None:
        if settings.deployment.sites:
            raise SettingsError(
                "the run's rows lie at real sites, which checked the table by sums (audit.json); "
                f"name a table of real rows with {option} FILE"
            )
        if settings.data.path.startswith("scenario:"):
            raise SettingsError(
                f"the run's table was made by a scenario: name one with {option} FILE"
            )
        real = resolve(settings.data.path)
    if holdout is None and settings.data.holdout is not None:
        holdout = resolve(settings.data.holdout)
    return real, holdout


def _federated(folder: RunFolder) -> dict[str, Any]:
    """Recall of every group as the sites' counts give it, where the run has it."""
    if not folder.summary.exists():
        return {}
    groups = folder.read_summary().get("per_group")
    if not isinstance(groups, dict) or not all(isinstance(r, dict) for r in groups.values()):
        raise StateError(
            f"{folder.summary}: 'per_group' is no object with a record a group; put the file back "
            f"as it was, or remove it and write it anew with: {folder.resume}"
        )
    return {
        name: record["recall_federated"]
        for name, record in groups.items()
        if record.get("recall_federated")
    }


def read_tables(
    real: Path,
    synthetic: Path,
    holdout: Path | None,
    missing: tuple[str, ...],
    form: FileForm,
) -> list[pd.DataFrame]:
    """The tables that are named, in that order; real ones are written as a run's settings say."""
    problems: list[str] = []
    frames: list[pd.DataFrame] = []
    for path in (real, synthetic, *([holdout] if holdout else [])):
        try:
            frames.append(_table(path, missing, RECOGNISED if path is synthetic else form))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return frames


def modelled(frame: pd.DataFrame, schema: Schema | None) -> pd.DataFrame:
    """What a run leaves in: data.drop is out, and the column that names a row's site."""
    return frame if schema is None else frame[[n for n in schema.names if n in frame.columns]]


def find_marks(folder: RunFolder) -> tuple[list[str], list[str]] | None:
    """Columns and headers of a run's table with apostrophes; None where the run does not say."""
    summary = folder.path / "summary.json"
    found = read_json(summary) if summary.exists() else {}
    if "apostrophes" not in found:
        return None
    marks = found["apostrophes"] or {"cells": {}, "headers": []}
    return list(marks["cells"]), list(marks["headers"])


def _table(path: Path, missing: tuple[str, ...], form: FileForm) -> pd.DataFrame:
    """A table, or all tables of a folder of sites."""
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: holds no tables")
    parts = [read_table(file, missing, form) for file in files]
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
