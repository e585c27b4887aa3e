"""`everymode init`: looks at a table and writes a configuration for it."""

import os
from pathlib import Path

import pandas as pd
from rich.table import Table

from clients.site import sites_in
from clients.sketch import CAPACITY
from server.query import check_names
from server.settings import DataSettings, Settings, commented
from wgan.data.frame import canonical, describe, read_table
from wgan.errors import DataError, StateError
from wgan.state import write_bytes


def start_configuration(
    file: Path, sensitive: tuple[str, ...], target: str | None, output: Path, force: bool
) -> Table:
    """Writes a commented configuration and returns a table of what was seen.

    Columns without values and text or identifiers go to `data.drop`.

    Raises:
        DataError: The table cannot be read, or lacks a named column.
        StateError: `output` exists and `force` is not given.
    """
    if output.exists() and not force:
        raise StateError(f"-o {output}: exists; name another file or replace it with --force")
    if file.is_dir():
        frame = pd.concat([s.frame(()) for s in sites_in(file, file)], ignore_index=True)
    else:
        frame = read_table(file)
    check_names(list(frame.columns), DataSettings(path="", sensitive=sensitive, target=target))
    seen = Table(title=f"{file}: {len(frame):,} rows", title_justify="left")
    for heading in ("column", "kind", "missing", "distinct", "use"):
        seen.add_column(heading, justify="right" if heading in ("missing", "distinct") else "left")
    dropped = []
    for name in frame.columns:
        kind, distinct, use = _look(frame[name], str(file))
        if name in sensitive:
            use = "sensitive feature"
        elif name == target:
            use = "target"
        elif use.startswith("dropped"):
            dropped.append(name)
        missing = f"{frame[name].isna().mean():.1%}"
        seen.add_row(name, kind, missing, f"{distinct:,}", use)
    used = [n for n in (*sensitive, *([target] if target else [])) if frame[n].isna().all()]
    if used:
        raise DataError([f"column '{n}' has no values; name another one" for n in used])
    path = os.path.relpath(file.resolve(), output.resolve().parent)
    data = DataSettings(path=path, sensitive=sensitive, target=target, drop=tuple(dropped))
    head = (
        f"# Configuration for {file.name}, written by everymode init.\n"
        "# Relative paths are relative to this file. Run: everymode simulate "
        f"{output.name}\n\n"
    )
    write_bytes(output, (head + commented(Settings(data=data))).encode())
    return seen


def _look(series: pd.Series, where: str) -> tuple[str, int, str]:
    found = describe(series)
    if found.kind is None:
        return "none", 0, "dropped: no values"
    distinct = int(pd.Series(canonical(series, found.kind, str(series.name), where)).nunique())
    if found.kind == "category" and distinct > CAPACITY:
        return found.kind, distinct, "dropped: text or identifier"
    if found.kind == "category" and distinct > 0.9 * len(series) > 20:
        return found.kind, distinct, "dropped: identifier"
    return found.kind, distinct, "modelled"
