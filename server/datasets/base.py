"""What the server must be able to do with a modality: decode, encode and write synthetic rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.plan import Plan
from everymode.server.schema.agreement import Agreement
from everymode.server.schema.table_spec import TableSpec
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.spreadsheets import Marked

Codes = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Synthetic:
    """Synthetic rows.

    Attributes:
        rows: Their columns, typed, in the agreed order: of arrays the labels.
        samples: The array beside them, `(n, *sample)`; None for a table.
        moved: Rows that were moved to the nearest that fulfil all constraints.
        replaced: Rows that others took the place of, since none near them fulfils all constraints.
    """

    rows: pd.DataFrame
    samples: npt.NDArray[Any] | None = None
    moved: int = 0
    replaced: int = 0


class Modality(Protocol):
    """The server's half of a dataset; see `everymode.clients.datasets.base.Dataset` for the site's.

    Attributes:
        file: Name of the file with the synthetic rows in a run directory.
        not_judged: What the evaluation leaves out, in words; `summary.json` says so.
    """

    @property
    def file(self) -> str: ...  # noqa: D102

    @property
    def not_judged(self) -> tuple[str, ...]: ...  # noqa: D102

    def agree(
        self, exchange: Exchange, columns: Sequence[str], spec: TableSpec, seed: int
    ) -> Agreement:
        """Settles on schema and cells with the sites.

        See `everymode.server.schema.agreement.agree`.

        Raises:
            DataError: Files do not fit, or what was found cannot be modelled; all problems at once.
        """
        ...

    def decode(self, plan: Plan, codes: Codes, cells: Ints, rng: np.random.Generator) -> Synthetic:
        """Codes `(n, D)` generated for cells `(n,)`, as rows; `rng` draws what is left open."""
        ...

    def encode(
        self, plan: Plan, synthetic: Synthetic, index: Ints, rng: np.random.Generator
    ) -> Codes:
        """Codes `(len(index), D)` of some synthetic rows, as a site would encode them."""
        ...

    def write(self, plan: Plan, synthetic: Synthetic, path: Path, safe: bool) -> Marked:
        """Writes the file; returns the cells that were kept from being run by a spreadsheet.

        Args:
            plan: What server and sites agreed on.
            synthetic: The rows.
            path: Where.
            safe: Whether to put an apostrophe before such cells.

        Raises:
            StateError: The file cannot be written.
        """
        ...
