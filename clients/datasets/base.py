"""What a site's file must be able to do for a federated training: one class a modality.

A dataset answers the questions from which a schema is agreed on (`describe`, `vocabulary`,
`histograms`), encodes its rows once (`encode`), and counts them for the evaluation (`marginals`).
Everything but the encoded rows is an additive sum, which `everymode.clients.gate.release` lets out;
encoded rows stay on the site's disk. No task knows what the file is.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.gate import floor
from everymode.clients.gate.mechanism import Answer
from everymode.clients.protocol.messages import CountMarginals, EncodeData
from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.clients.protocol.schema_messages import (
    CollectVocabulary,
    CountHistograms,
    DescribeColumns,
    KMeansStep,
)
from everymode.clients.site import Site
from everymode.fairness.groups.conditions import ConditionSpace, category_labels
from everymode.wgan.data.schema import Schema


class Dataset(Protocol):
    """One site's rows.

    Each answer has the layout of its question, whatever the file holds, and adds up: the sum over
    sites is the answer of the pooled file, up to the sites' floors.
    """

    def check(self, order: DescribeColumns) -> None:
        """Raises `DataError` where the file does not hold what was announced; all at once."""
        ...

    def describe(self, order: DescribeColumns) -> Answer:
        """Counts of the columns' cells by how they are written.

        Raises:
            DataError: The file does not hold what was announced; all differences at once.
        """
        ...

    def vocabulary(self, order: CollectVocabulary) -> Answer:
        """Values of columns, as sketches and coarse histograms.

        Raises:
            DataError: Values do not parse, or are too long or too large; all columns at once.
        """
        ...

    def histograms(self, order: CountHistograms) -> Answer:
        """Exact counts over the agreed categories, atoms, fine bins and cells."""
        ...

    def encode(
        self, schema: Schema, conditions: ConditionSpace, order: KMeansStep | EncodeData
    ) -> "Encoded":
        """The rows as codes, with their pairs of group and label, and which are held out."""
        ...

    def marginals(self, order: CountMarginals, plan: Plan) -> dict[str, npt.NDArray[np.int64]]:
        """Counts of all rows in the bins of every column, by group, `(G, bins)` each."""
        ...


@dataclass(frozen=True)
class Encoded:
    """A site's rows whose group and label has rows over all sites.

    Attributes:
        pairs: Group and label g * L + l, `(n,)`.
        rows: Codes, `(n, D)`; they depend on the seed and the site's name, not on clusters.
        held_out: Which of them no critic is trained on, `(n,)`.
        left_out: How many rows the site's floor leaves out.
    """

    pairs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32]
    held_out: npt.NDArray[np.bool_]
    left_out: int

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """For the site's disk: those trained on apart from the others, for k-means reads them."""
        learnt = ~self.held_out
        return {
            "pairs": self.pairs[learnt],
            "rows": self.rows[learnt],
            "held": self.held_out,
            "held_pairs": self.pairs[self.held_out],
            "held_rows": self.rows[self.held_out],
        }

    @staticmethod
    def stored(site: Site, name: str) -> "Encoded":
        """What `arrays` left on the site's disk."""
        held = site.array(name, "held").astype(np.bool_)
        learnt, apart = site.array(name, "rows"), site.array(name, "held_rows")
        rows = np.empty((len(held), learnt.shape[1]), np.float32)
        pairs = np.empty(len(held), np.int64)
        rows[~held], rows[held] = learnt, apart
        pairs[~held], pairs[held] = site.array(name, "pairs"), site.array(name, "held_pairs")
        return Encoded(pairs, rows, held, int(str(site.plan(name)["left_out"])))


def held_out(count: int, share: float, seed: int, name: str) -> npt.NDArray[np.bool_]:
    """Which of a site's rows are held out, `(count,)`: of no sum that a generator learns from.

    One row at least is left to learn from. The same rows in every exchange of a run.
    """
    held = np.zeros(count, dtype=np.bool_)
    wanted = min(round(share * count), count - 1)
    if wanted > 0:
        rng = np.random.default_rng(derive_seed(seed, name, "held out"))
        held[rng.choice(count, wanted, replace=False)] = True
    return held


def enough(
    frame: pd.DataFrame, schema: Schema, conditions: ConditionSpace, site: Site
) -> npt.NDArray[np.bool_]:
    """Which rows `(n,)` lie in cells of group and label that the site's floor lets take part."""
    plain = conditions.plain
    pairs = plain.cell_index(frame, schema, str(site.table))
    return floor.large(pairs, plain.table.size, site.floor)


def small_rows(frame: pd.DataFrame, schema: Schema, conditions: ConditionSpace, site: Site) -> int:
    """How many rows a site's floor leaves out, whether or not others have such a cell."""
    if not site.floor:
        return 0
    where = str(site.table)
    keys = [category_labels(frame[name], schema[name], where) for name in conditions.sensitive]
    if conditions.target is not None and conditions.label_edges:
        keys.append(conditions.label_index(frame, schema, where).astype(object))
    elif conditions.target is not None:
        keys.append(category_labels(frame[conditions.target], schema[conditions.target], where))
    rows = Counter(zip(*keys, strict=True)) if keys else Counter({(): len(frame)})
    return sum(n for n in rows.values() if n < site.floor)
