"""What a run would refuse, found on the user's own file before any work.

A table that is dealt out to simulated sites is refused by each of them, under the name of a file
that is gone when the user looks for it. Asked as one site, the table itself says the same once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from everymode.clients.parsed import parsed
from everymode.clients.site import Site, sites_in
from everymode.server.config.files import resolve
from everymode.server.config.settings import Settings
from everymode.server.config.tables import build_table_spec
from everymode.server.outputs.leftovers import Scratch
from everymode.server.partition import assign
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.simulated_sites import keys, read_split, table_columns
from everymode.server.transport.exchange import InProcess
from everymode.wgan.data.formats import ARRAYS
from everymode.wgan.errors import DataError


def try_agreement(settings: Settings, work: Path) -> Agreement:
    """Agrees with the tables that a configuration names, a single one taken as one site.

    Args:
        settings: The configuration.
        work: A folder for what the site makes of its table, which the caller removes.

    Raises:
        DataError: What a run would refuse, of the user's own files.
    """
    source = resolve(settings.data.path)
    by: tuple[str, ...] = ()
    if source.is_dir():
        sites: Sequence[Site] = sites_in(source, work)
        columns = table_columns(
            sites[0].frame(settings.data.missing, settings.data.form), settings, ()
        )
    else:
        sites = (trial_site(source, work),)
        frame = parsed(sites[0], settings.data.missing, settings.data.form)
        by = settings.split.column if settings.split.by == "column" else by
        columns = table_columns(frame, settings, by)
        assign(keys(frame, settings), read_split(settings), settings.seed)
    spec = build_table_spec(settings.data)
    spec = replace(spec, drop=(*spec.drop, *by))
    return agree(InProcess(sites), columns, spec, settings.seed)


def trial_site(table: Path, work: Path) -> Site:
    """A user's table as the one site of a trial."""
    return Site("table", table, work, simulated=True)


@contextmanager
def explained(settings: Settings) -> Iterator[None]:
    """Errors of simulated sites' tables as errors of the one table that they were dealt from."""
    try:
        yield
    except DataError as error:
        source = resolve(settings.data.path)
        if not source.is_file() or source.name.lower().endswith(ARRAYS):
            raise
        try:
            with Scratch() as work:
                try_agreement(settings, work)
        except DataError as own:
            count = read_split(settings).sites
            raise DataError([f"{problem}{_sites(count)}" for problem in own.problems]) from None
        raise error


def _sites(count: int) -> str:
    return f" (found at the {count} sites that the table is dealt out to)" if count > 1 else ""
