"""Sites of a simulation: one table that is partitioned, or a folder with a table for each site.

Real sites bring their own tables; this is for `everymode simulate` and for `flwr run` in Flower's
simulation, where server and nodes share a disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from everymode.clients.datasets.arrays import ArrayDataset
from everymode.clients.datasets.choice import open_dataset
from everymode.clients.datasets.tables import check_columns
from everymode.clients.gate.simulation import mark
from everymode.clients.protocol import limits
from everymode.clients.protocol.schema_messages import DescribeColumns
from everymode.clients.protocol.simulation_paths import SimulationPaths
from everymode.clients.site import Site, sites_in
from everymode.server.config.files import resolve
from everymode.server.config.settings import Settings
from everymode.server.config.tables import build_table_spec
from everymode.server.partition import Split, assign, deal_sites, minimum_note, write_sites
from everymode.server.privacy.secrets import give_secrets
from everymode.server.schema.agreement import check_names
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import ARRAYS
from everymode.wgan.data.frame import is_delimited, notes, read_headers, read_table
from everymode.wgan.errors import DataError, named, suggest


@dataclass(frozen=True)
class SimulatedSites:
    """Simulated sites on this machine's disk.

    Attributes:
        sites: The sites.
        columns: The headers that every table must have, in order.
        loads: Expected work of each site, relative; the basis on which nodes get sites.
        simulation_paths: The paths under which nodes find them.
        samples: What one sample is, where sites hold arrays; None: tables.
        form: How the sites' CSV and TSV files are declared to be written. Files that one table was
            dealt out to are recognised, however that one is written.
        notes: What the user should know: how files are written where their names do not say it,
            and a minimum of rows that cannot be kept.
    """

    sites: tuple[Site, ...]
    columns: tuple[str, ...]
    loads: tuple[float, ...]
    simulation_paths: SimulationPaths = field(compare=False)
    samples: SampleLayout | None = None
    form: FileForm = RECOGNISED
    notes: tuple[str, ...] = field(default=(), compare=False)

    def frame(self, missing: Sequence[str]) -> pd.DataFrame:
        """All rows of all sites, for figures that only a simulation can have."""
        frames = [site.frame(missing, self.form) for site in self.sites]
        return pd.concat(frames, ignore_index=True)


def create_simulated_sites(settings: Settings, folder: Path) -> SimulatedSites:
    """Partitions the table `data.path` under `folder`; or takes the tables of a folder as sites.

    Under [privacy] each site gets the secret that it draws noise from; the run directory that
    `folder` lies in keeps the run's.

    Raises:
        DataError: The tables cannot be used; every site's problems at once.
    """
    made = _create(settings, folder)
    if settings.privacy.on:
        give_secrets(made.sites, folder.parent, settings.privacy.seed)
    return made


def _create(settings: Settings, folder: Path) -> SimulatedSites:
    data = settings.data
    source = resolve(data.path)
    pooled = settings.strategy == "pooled"
    # A folder's tables are whole: no column of theirs says whose a row is.
    named = settings.split.column if settings.split.by == "column" and not source.is_dir() else ()
    if source.name.lower().endswith(ARRAYS):
        raise DataError(
            f"{source}: one file of arrays is not dealt out to sites; name a folder with one .npz "
            "file for each site"
        )
    if source.is_dir():
        sites = sites_in(source, folder / "work", settings.site.floor, simulated=True)
        if any(site.table.name.lower().endswith(ARRAYS) for site in sites):
            return _array_sites(sites, settings, source, folder)
        frames = [_read(site, settings) for site in sites]
        columns = table_columns(frames[0], settings, named)
        problems: list[str] = []
        for site, frame in zip(sites, frames, strict=True):
            try:
                check_columns(frame, columns, data.drop, site)
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        if not pooled:
            simulation_paths = mark(folder, source, folder / "work", settings.site.floor)
            return SimulatedSites(
                sites,
                columns,
                tuple(float(len(frame)) for frame in frames),
                simulation_paths,
                form=data.form,
                notes=tuple(notes(source, data.form)),
            )
        frame = pd.concat(frames, ignore_index=True)
    else:
        # By the headers alone: to read cells of thousands of columns takes a while.
        check_count(len(set(read_headers(source, data.form)) - set(data.drop)), data.path)
        frame = read_table(source, data.missing, data.form)
        columns = table_columns(frame, settings, named)
    tables = folder / "tables"
    split = read_split(settings)
    owners = assign(keys(frame, settings), split, settings.seed)
    few = minimum_note(owners, split)
    said = (*notes(source, data.form), *([f"split.minimum: {few}"] if few else []))
    frame = frame.drop(columns=list(named))
    if not tables.is_dir():
        if source.is_dir() or named:
            # Without the column that says whose a row is, lines are not those of the file.
            typed = not source.is_dir() and not is_delimited(source)
            write_sites(frame, owners, tables, ".parquet" if typed else ".csv", disposable=True)
        else:
            deal_sites(source, owners, tables, disposable=True, form=data.form)
    sites = sites_in(tables, folder / "work", settings.site.floor, simulated=True)
    loads = [float((owners == k).sum()) for k in range(len(sites))]
    simulation_paths = mark(folder, tables, folder / "work", settings.site.floor)
    return SimulatedSites(sites, columns, tuple(loads), simulation_paths, notes=said)


def _array_sites(
    sites: tuple[Site, ...], settings: Settings, source: Path, folder: Path
) -> SimulatedSites:
    """Sites with `.npz` files; the first one's samples say what all sites' must be.

    Raises:
        DataError: Files cannot be read or do not fit together; every site's problems at once.
    """
    data, problems = settings.data, list[str]()
    if settings.strategy == "pooled":
        problems.append("strategy = 'pooled': arrays are not pooled; name another strategy")
    target = (data.target,) if data.target else ()
    columns = tuple(dict.fromkeys((*data.sensitive, *target)))
    samples: SampleLayout | None = None
    loads = []
    for site in sites:
        try:
            dataset = open_dataset(site)
            if isinstance(dataset, ArrayDataset):
                samples = samples or dataset.layout
                loads.append(float(len(dataset.frame(data.missing))))
            dataset.check(DescribeColumns(columns, samples=samples))
        except DataError as error:
            problems += named(error.problems, f"site '{site.name}'")
    if problems:
        raise DataError(problems)
    simulation_paths = mark(folder, source, folder / "work", settings.site.floor)
    return SimulatedSites(sites, columns, tuple(loads), simulation_paths, samples)


def read_split(settings: Settings) -> Split:
    """The split that a configuration asks for; one site where the strategy pools."""
    split, data = settings.split, settings.data
    if settings.strategy == "pooled":
        return Split("iid", 1, minimum=1)
    target = (data.target,) if data.target and split.by == "dirichlet" else ()
    named = split.by == "column"
    columns = split.column or (() if named else (*data.sensitive, *target))
    isolated = split.isolate_below if data.sensitive else 0.0
    return Split(
        by=split.by,
        sites=split.sites,
        alpha=split.alpha,
        columns=tuple(dict.fromkeys(columns)),
        minimum=split.minimum,
        group_columns=data.sensitive if isolated else (),
        isolate_below=isolated,
        largest=split.largest,
    )


def keys(frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The table as text with missing values as "", for dealing it out."""
    wanted = dict.fromkeys((*read_split(settings).columns, *settings.data.sensitive))
    known = [name for name in wanted if name in frame.columns]
    if not wanted:
        return pd.DataFrame(index=frame.index)
    if len(known) < len(wanted):
        # Whoever deals them out names the columns there are.
        known = list(frame.columns)
    text = frame[known].astype("str")
    return text.mask(frame[known].isna(), "")


def _read(site: Site, settings: Settings) -> pd.DataFrame:
    return site.frame(settings.data.missing, settings.data.form)


def check_count(columns: int, path: str) -> None:
    """Raises `DataError` where a table has more columns than sums are made of."""
    if columns > limits.COLUMNS:
        raise DataError(
            f"{path}: has {columns:,} columns, and at most {limits.COLUMNS:,} can be modelled "
            "together; leave columns out with data.drop, or in the file itself"
        )


def table_columns(
    frame: pd.DataFrame, settings: Settings, sites: tuple[str, ...]
) -> tuple[str, ...]:
    """The columns of a table that are modelled.

    Args:
        frame: The table.
        settings: The configuration.
        sites: Columns that say whose a row is.

    Raises:
        DataError: The configuration names columns that are not there, or none is left.
    """
    known = [str(name) for name in frame.columns]
    check_count(len(known) - len(set(settings.data.drop) & set(known)), settings.data.path)
    for name in sites:
        if name not in known:
            hint = suggest(name, known)
            raise DataError(f"split.column: the table has no column '{name}'; {hint}")
    apart = {*settings.data.drop, *sites}
    columns = tuple(str(name) for name in frame.columns if name not in apart)
    check_names(columns, build_table_spec(settings.data))
    if not columns:
        raise DataError(
            f"{settings.data.path}: no column is left to model: data.drop and split.column name "
            f"all that there {'is' if len(known) == 1 else 'are'} ({', '.join(known[:5])})"
        )
    return columns
