"""Which dataset a site has: its file's name says so, here and nowhere else."""

from clients.datasets.base import Dataset
from clients.datasets.tables import TableDataset
from clients.site import Site


def open_dataset(site: Site) -> Dataset:
    """The dataset in a site's file."""
    return TableDataset(site)
