"""`everymode init`: looks at a table and writes a configuration for it."""

import os
import shlex
from pathlib import Path

import pandas as pd
from rich.table import Table

from everymode.clients.protocol.sketch import BYTES, CAPACITY
from everymode.clients.site import sites_in
from everymode.server.config.files import commented, parse
from everymode.server.config.sections import DataSettings, SplitSettings
from everymode.server.outputs.terminal import named, told
from everymode.server.schema.agreement import check_names
from everymode.server.schema.cells import LABEL_CLASSES, SENSITIVE_VALUES
from everymode.server.schema.table_spec import TableSpec
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.values import describe, parse_column
from everymode.wgan.errors import DataError, StateError
from everymode.wgan.files import write_bytes
from everymode.wgan.words import visible

ALL_DIFFER = 100
"""Whole numbers of which more than so many never repeat may be identifiers, rarely by chance."""


def start_configuration(
    file: Path, sensitive: tuple[str, ...], target: str | None, output: Path, force: bool
) -> Table:
    """Writes a commented configuration and returns a table of what was seen.

    Columns without values and text or identifiers go to `data.drop`.

    Raises:
        DataError: The table cannot be read, or lacks a named column.
        SettingsError: What was named makes no configuration that could be run.
        StateError: `output` exists and `force` is not given.
    """
    if output.exists() and not force:
        raise StateError(f"-o {output}: exists; name another file or replace it with --force")
    if file.is_dir():
        frame = pd.concat([s.frame(()) for s in sites_in(file, file)], ignore_index=True)
    else:
        frame = read_table(file)
    check_names(list(frame.columns), TableSpec(sensitive=sensitive, target=target))
    seen = Table(title=told(f"{file}: {len(frame):,} rows"), title_justify="left")
    for heading in ("column", "kind", "missing", "distinct", "use"):
        seen.add_column(heading, justify="right" if heading in ("missing", "distinct") else "left")
    dropped: list[str] = []
    looks: dict[str, tuple[str, int]] = {}
    for name in frame.columns:
        kind, distinct, use = _look(frame[name], str(file))
        if name in sensitive:
            use = "sensitive feature"
        elif name == target:
            use = "target"
        elif use.startswith("dropped"):
            dropped.append(name)
        missing = f"{frame[name].isna().mean():.1%}"
        seen.add_row(named(name), kind, missing, f"{distinct:,}", use)
        looks[name] = kind, distinct
    _check_use(looks, sensitive, target)
    path = os.path.relpath(file.resolve(), output.resolve().parent)
    data = DataSettings(path=path, sensitive=sensitive, target=target, drop=tuple(dropped))
    sites = min(SplitSettings().sites, max(1, len(frame) // SplitSettings().minimum))
    # Without groups and labels there is nothing that a Dirichlet distribution could spread.
    by = SplitSettings().by if sensitive or target else "iid"
    values = {"data": data.model_dump(exclude_unset=True), "split": {"by": by, "sites": sites}}
    settings = parse(values, str(file))
    head = (
        f"# Configuration for {visible(file.name)}, written by everymode init.\n"
        "# Relative paths are relative to this file. Run: everymode simulate "
        f"{visible(shlex.quote(output.name))}\n\n"
    )
    write_bytes(output, (head + commented(settings)).encode())
    return seen


def _look(series: pd.Series, where: str) -> tuple[str, int, str]:
    found = describe(series)
    if found.kind is None:
        return "none", 0, "dropped: no values"
    values = pd.Series(parse_column(series, found.kind, str(series.name), where)).dropna()
    distinct = int(values.nunique())
    if found.kind == "category" and distinct > CAPACITY:
        return found.kind, distinct, "dropped: text or identifier"
    if found.kind == "category" and max(len(v.encode()) for v in values.unique()) > BYTES:
        return found.kind, distinct, "dropped: long text"
    counts_up = found.kind == "integer" and values.max() - values.min() == distinct - 1
    if counts_up and distinct == len(series) > 20:
        return found.kind, distinct, "dropped: numbers the rows"
    if found.kind == "category" and distinct > 0.9 * len(series) > 20:
        return found.kind, distinct, "dropped: identifier"
    if found.kind == "integer" and distinct == len(values) > ALL_DIFFER:
        return found.kind, distinct, "modelled; an identifier? drop it"
    return found.kind, distinct, "modelled"


def _check_use(
    looks: dict[str, tuple[str, int]], sensitive: tuple[str, ...], target: str | None
) -> None:
    """Raises `DataError` where `simulate` would refuse what is asked for."""
    problems = []
    for name in sensitive:
        kind, distinct = looks[name]
        if kind in ("float", "datetime") or distinct > SENSITIVE_VALUES:
            problems.append(
                f"--sensitive {name}: holds {distinct:,} different values of kind {kind}, and each "
                "would be a group of its own; add a column of bands (age 18-29, 30-44, ...) to "
                "the table and name that one"
            )
    if target and looks[target][0] == "category" and looks[target][1] > LABEL_CLASSES:
        problems.append(
            f"--target {target}: has {looks[target][1]:,} classes, more than {LABEL_CLASSES}; "
            "name another column or none"
        )
    named = (*sensitive, *([target] if target else []))
    problems += [
        f"column '{n}' has no values; name another one" for n in named if looks[n][0] == "none"
    ]
    if problems:
        raise DataError(problems)
