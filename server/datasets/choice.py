"""Which modality a run is of: what was announced or agreed says so, here and nowhere else."""

from everymode.server.datasets.arrays import ArrayModality
from everymode.server.datasets.base import Modality
from everymode.server.datasets.tables import TableModality
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.data.schema import Schema


def build_modality(samples: SampleLayout | None) -> Modality:
    """The modality of rows with such samples; without any it is a table."""
    return TableModality() if samples is None else ArrayModality(samples)


def choose_modality(schema: Schema) -> Modality:
    """The modality of the rows that a schema describes."""
    return build_modality(schema.samples.layout if schema.samples else None)
