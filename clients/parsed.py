"""A site's table, parsed once: in memory for the next question, on the site's disk for the others.

Every question before training, encoding and the audit read the same rows. Parsing a text file takes
most of their time, so that its first reader leaves the parsed columns in the site's workspace, for
its user only. The file's name follows from all that they depend on: a table that was changed is
parsed anew. Parquet files are columns already; they are read each time.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import pandas as pd

from everymode.clients.site import Site
from everymode.wgan.data.cell_counts import CellCounts
from everymode.wgan.data.coded import forget_texts
from everymode.wgan.data.delimited import coded_frame, load_table, missing_marks, save_table
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import MISSING
from everymode.wgan.data.frame import is_delimited, read_delimited, read_table
from everymode.wgan.data.values import count_cells
from everymode.wgan.errors import StateError
from everymode.wgan.files import write_whole

FOLDER = "parsed"

Stamp = tuple[int, ...]
"""What changes with a file, however it is written: times, size, and which file it is."""


def parsed(site: Site, missing: Sequence[str], form: FileForm = RECOGNISED) -> pd.DataFrame:
    """The site's rows; not to be written to.

    What `everymode.wgan.data.values` makes of them is what it makes of
    `everymode.wgan.data.frame.read_table`'s.

    Args:
        site: Whose.
        missing: What stands for a missing value; empty: `everymode.wgan.data.frame.MISSING`.
        form: How CSV and TSV are declared to be written.

    Raises:
        DataError: The table cannot be read.
    """
    spellings = tuple(missing) or MISSING
    stamp = _stamp(site)
    if stamp is None:
        # Whoever reads it says what is wrong.
        return read_table(site.table, spellings, form)
    return _rows(site, spellings, form, stamp).frame


def marks(
    site: Site, missing: Sequence[str], form: FileForm = RECOGNISED
) -> Mapping[str, Mapping[str, int]]:
    """Of each column of a text file, how many cells spell "no value" in which way.

    Of other files nothing: they have a value for it.
    """
    stamp = _stamp(site)
    return {} if stamp is None else _rows(site, tuple(missing) or MISSING, form, stamp).marks


def counted(
    site: Site, name: str, missing: Sequence[str], form: FileForm = RECOGNISED, declared: str = ""
) -> CellCounts:
    """How the cells of a column of the site's rows are written, counted once.

    Args:
        site: Whose.
        name: The column.
        missing: What stands for a missing value, as for `parsed`.
        form: How CSV and TSV are declared to be written.
        declared: How the column's dates or numbers are declared to be written; empty: not.
    """
    stamp = _stamp(site)
    if stamp is None:
        return count_cells(parsed(site, missing, form)[name], declared)
    return _counted(site, tuple(missing) or MISSING, form, stamp, name, declared)


def forget() -> None:
    """Lets go of the table in memory: rounds train on encoded rows."""
    _rows.cache_clear()
    _counted.cache_clear()
    forget_texts()


@lru_cache(maxsize=1024)
def _counted(
    site: Site,
    missing: tuple[str, ...],
    form: FileForm,
    stamp: Stamp,
    name: str,
    declared: str,
) -> CellCounts:
    return count_cells(_rows(site, missing, form, stamp).frame[name], declared)


@dataclass(frozen=True)
class _Parsed:
    """A parsed table, and how its text spells that there is no value."""

    frame: pd.DataFrame
    marks: Mapping[str, Mapping[str, int]]


@lru_cache(maxsize=1)
def _rows(site: Site, missing: tuple[str, ...], form: FileForm, stamp: Stamp) -> _Parsed:
    if not is_delimited(site.table):
        return _Parsed(read_table(site.table, missing), {})
    text = json.dumps([os.path.abspath(site.table), stamp, missing, asdict(form)])
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.arrow"
    path = site.workspace / FOLDER / name
    table = load_table(path)
    if table is None:
        table = read_delimited(site.table, missing, form)
        # Not under this name if somebody wrote to the file at the same time. A disk that takes no
        # copy costs time and nothing else.
        if _stamp(site) == stamp:
            with contextlib.suppress(StateError):
                write_whole(path, partial(save_table, table), site.durable, private=True)
                for other in path.parent.iterdir():
                    if other.name != name and other.suffix == path.suffix:
                        other.unlink(missing_ok=True)
    return _Parsed(coded_frame(table), missing_marks(table))


def _stamp(site: Site) -> Stamp | None:
    try:
        found = site.table.stat()
    except OSError:
        return None
    # Whoever puts the old time back on a changed file cannot put back when its entry was changed.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev
