"""Synthetic arrays (points, images) with their labels."""

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.datasets.arrays import SAMPLES
from everymode.clients.protocol.plan import Plan
from everymode.server.datasets.base import Codes, Ints, Synthetic
from everymode.server.schema.agreement import Agreement, agree
from everymode.server.schema.table_spec import DeclaredColumn, TableSpec
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.arrays import SampleLayout, Samples
from everymode.wgan.data.spreadsheets import Marked
from everymode.wgan.errors import DataError
from everymode.wgan.files import write_bytes

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class ArrayModality:
    """Samples with labels; see `everymode.server.datasets.base.Modality`.

    Attributes:
        samples: What one sample is, as announced to the sites.
    """

    samples: SampleLayout
    file: str = "synthetic.npz"
    not_judged: tuple[str, ...] = (
        "marginals of the samples' numbers: only those of labels are compared",
        "standardised coverage: it is defined on columns; recall from sums is measured",
        "utility on held-out rows: it trains on columns",
    )

    def agree(
        self, exchange: Exchange, columns: Sequence[str], spec: TableSpec, seed: int
    ) -> Agreement:
        """Agrees on the labels as on categories of a table, and on centre and scale of samples.

        Raises:
            DataError: There is no label, or the generator would not be conditioned on all of them;
                or as `everymode.server.schema.agreement.agree`.
        """
        if not columns:
            raise DataError(
                "arrays need a label; name an array of the files in data.sensitive or data.target"
            )
        told = {"group": spec.sensitive, "label": (spec.target,), "none": ()}
        given = told.get(spec.condition, tuple(columns))
        if lacking := [name for name in columns if name not in given]:
            raise DataError(
                f"data.condition = '{spec.condition}': of arrays nothing but samples is generated, "
                f"and {', '.join(lacking)} would be left out; write 'group_and_label'"
            )
        declared = {
            name: DeclaredColumn(
                "category", spec.columns[name].categories if name in spec.columns else ()
            )
            for name in columns
        }
        return agree(exchange, columns, replace(spec, columns=declared), seed, self.samples)

    def decode(self, plan: Plan, codes: Codes, cells: Ints, rng: np.random.Generator) -> Synthetic:
        """Samples `(n, *sample)` of the announced type; labels follow from the condition."""
        columns = plan.conditions.decode(cells, plan.schema)
        rows = pd.DataFrame({name: columns[name] for name in plan.schema.names})
        return Synthetic(rows, _samples(plan).decode(codes))

    def encode(
        self, plan: Plan, synthetic: Synthetic, index: Ints, rng: np.random.Generator
    ) -> Codes:
        """See `Modality.encode`."""
        assert synthetic.samples is not None
        return _samples(plan).codec.encode(synthetic.samples[index], "the synthetic samples")

    def write(self, plan: Plan, synthetic: Synthetic, path: Path, safe: bool) -> Marked:
        """Writes `samples` and one array a label, as sites have them; no Python objects.

        Labels that are whole numbers in all rows are int64, others text; a missing one is "".
        """
        assert synthetic.samples is not None
        arrays = {SAMPLES: synthetic.samples}
        for name in synthetic.rows.columns:
            arrays[str(name)] = _label(synthetic.rows[name].astype("str").fillna("").to_numpy(str))
        content = io.BytesIO()
        # Written by hand: numpy.savez takes no array called 'file'. Entries have a fixed time.
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)
        write_bytes(path, content.getvalue())
        return Marked()


def _samples(plan: Plan) -> Samples:
    if plan.schema.samples is None:
        raise ValueError("the plan is one of a table")
    return plan.schema.samples


def _label(texts: npt.NDArray[np.str_]) -> npt.NDArray[np.generic]:
    if len(texts) and all(_WHOLE.fullmatch(text) for text in np.unique(texts)):
        return texts.astype(np.int64)
    return texts
