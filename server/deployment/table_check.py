"""Whether a site's table can be read, and fits a run's configuration: by asking it as a run does.

The schema is agreed on with this one site, in this process. Nothing leaves the machine.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from everymode.clients.database_copy import locate_table
from everymode.clients.datasets.choice import open_dataset
from everymode.clients.parsed import parsed
from everymode.clients.site import Site
from everymode.server.config.files import load
from everymode.server.config.tables import build_table_spec
from everymode.server.deployment.kit import Role
from everymode.server.outputs.findings import Finding
from everymode.server.outputs.leftovers import Scratch
from everymode.server.schema.agreement import agree, check_names
from everymode.server.simulated_sites import table_columns
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.database_source import (
    anchored,
    is_database,
    parse_source,
    secret_files,
)
from everymode.wgan.data.formats import ARRAYS
from everymode.wgan.errors import DataError, EveryModeError


def table_findings(
    role: Role, values: Mapping[str, Any], data: str, config: str
) -> Iterator[Finding]:
    """The findings on a site's table.

    Args:
        role: The site's folder.
        values: What its `site.toml` says.
        data: The table, in place of the one in `values`; empty: that one.
        config: A run's configuration, which the table has to fit; empty: none.
    """
    named = data or str(values.get("data", ""))
    if not named:
        yield Finding("table", "none named in site.toml", 'write data = "PATH"')
        return
    floor = values.get("floor", 0)
    # What site.toml names is relative to its folder, --data to the working directory.
    folder = Path.cwd() if data else role.folder
    if is_database(named):
        named = anchored(named, folder.absolute())
        yield from _secrets(named)
    with Scratch() as work:
        try:
            table = locate_table(named, work, True) if is_database(named) else folder / named
            site = Site(str(role.site), table, work, floor=int(floor), durable=False)
            yield _readable(site, named)
        except (EveryModeError, ValueError, TypeError) as error:
            problems = error.problems if isinstance(error, EveryModeError) else (str(error),)
            yield Finding("table", "cannot be used", "; ".join(problems))
            return
        if config:
            yield _fits(site, config)


def _secrets(source: str) -> Iterator[Finding]:
    """The findings on the files that a database's secrets lie in."""
    for path in secret_files(source):
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding("secret", f"others may read {path}", f"chmod 600 {path}")


def _readable(site: Site, named: str) -> Finding:
    if str(site.table).endswith(ARRAYS):
        open_dataset(site)
        return Finding("table", f"{site.table}: an archive of samples")
    frame = parsed(site, ())
    rows = f"{len(frame):,} rows, {frame.shape[1]} columns"
    if is_database(named):
        return Finding("table", f"{parse_source(named)}: {rows}")
    found = f"{site.table}: {rows}"
    private = os.name == "nt" or not _open_to_all(site.table)
    advice = "" if private else f"every user of this machine may read it: chmod o-r {site.table}"
    return Finding("table", found, advice)


def _open_to_all(path: Path) -> bool:
    return path.exists() and bool(path.stat().st_mode & 0o004)


def _fits(site: Site, config: str) -> Finding:
    """Whether a run by this configuration would take the table."""
    what = "table and configuration"
    try:
        settings = load(config)
        frame = parsed(site, settings.data.missing, settings.data.form)
        spec = build_table_spec(settings.data)
        try:
            check_names([str(name) for name in frame.columns], spec)
            columns = table_columns(frame, settings, ())
        except DataError as error:
            return Finding(what, f"{config}: names other columns", "; ".join(error.problems))
        agreed = agree(InProcess((replace(site),)), columns, spec, settings.seed)
    except EveryModeError as error:
        return Finding(what, f"{config}: does not fit", "; ".join(error.problems))
    groups = len(agreed.conditions.groups)
    return Finding(what, f"{config}: fits; {len(columns)} columns, {groups} groups here")
