"""Which modality a run is of: the agreed schema says so, here and nowhere else."""

from server.datasets.base import Modality
from server.datasets.tables import TableModality
from wgan.data.schema import Schema


def choose_modality(schema: Schema) -> Modality:
    """The modality of the rows that a schema describes."""
    return TableModality()
