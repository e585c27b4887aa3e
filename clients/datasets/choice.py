"""Which dataset a site has: its file's name says so, here and nowhere else."""

from everymode.clients import parsed
from everymode.clients.datasets import arrays
from everymode.clients.datasets.base import Dataset
from everymode.clients.datasets.tables import TableDataset
from everymode.clients.site import Site
from everymode.wgan.data.formats import ARRAYS


def open_dataset(site: Site) -> Dataset:
    """The dataset in a site's file."""
    if site.table.name.lower().endswith(ARRAYS):
        return arrays.ArrayDataset(site)
    return TableDataset(site)


def forget() -> None:
    """Lets go of what is held in memory of files: rounds train on encoded rows."""
    parsed.forget()
    arrays.forget()
