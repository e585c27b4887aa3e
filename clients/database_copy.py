"""A site's copy of its table in a database: read once a run, kept for its user only.

All questions of a run have to read the same rows in the same order, while the database goes on. So
the rows are copied to a Parquet file in the site's workspace, which is the site's table from then
on. The first question of a run reads the database anew; where nothing has changed, the copy and its
time stay as they are.
"""

import atexit
import hashlib
import re
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from everymode.wgan.data.database import read_database
from everymode.wgan.data.database_source import DatabaseSource, is_database, parse_source
from everymode.wgan.files import remove_tree, write_whole

FOLDER: Final = "database"


def locate_table(text: str, workspace: Path, renew: bool) -> Path:
    """The file with a site's rows: the one that is named, or a copy of a database's table.

    Args:
        text: A path, or a source as `everymode.wgan.data.database_source` describes.
        workspace: The site's folder.
        renew: Whether a copy that is there is read anew: at the first question of a run.

    Raises:
        DataError: The database cannot be read.
        StateError: The copy cannot be written.
    """
    if not is_database(text):
        return Path(text)
    source = parse_source(text)
    path = workspace / FOLDER / _file_name(source)
    if renew or not path.exists():
        copy_table(source, path)
    return path


def copy_table(source: DatabaseSource, path: Path) -> None:
    """Copies a database's table to a Parquet file; one with the same content stays as it is.

    Raises:
        DataError: The database cannot be read.
        StateError: The file cannot be written.
    """
    table = read_database(source)
    if not _holds(path, table):
        write_whole(path, partial(pq.write_table, table), private=True)


@lru_cache(maxsize=16)
def copy_for_process(text: str) -> Path:
    """A copy of a database's table that goes with this process, made once: for simulations.

    Raises:
        DataError: The database cannot be read.
    """
    source = parse_source(text)
    folder = Path(tempfile.mkdtemp(prefix="em-table-"))
    atexit.register(_removed, folder)
    path = folder / _file_name(source)
    copy_table(source, path)
    return path


def _removed(folder: Path) -> None:
    if folder.exists():
        remove_tree(folder)


def _file_name(source: DatabaseSource) -> str:
    """A name that tells a person which table it is."""
    label = re.sub(r"[^A-Za-z0-9_-]", "_", source.label)[:40]
    return f"{label}-{hashlib.sha256(source.text.encode()).hexdigest()[:8]}.parquet"


def _holds(path: Path, table: pa.Table) -> bool:
    if not path.exists():
        return False
    try:
        return bool(pq.read_table(path).equals(table))
    except (pa.ArrowException, OSError):
        return False
