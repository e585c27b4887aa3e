"""Runs of baselines without training: agree, make the table, evaluate it as any other."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.clients.site import Site
from everymode.server.datasets.base import Synthetic
from everymode.server.datasets.choice import choose_modality
from everymode.server.datasets.tables import with_identifiers
from everymode.server.stages.agree import Agreed, agree
from everymode.server.stages.context import RunContext
from everymode.server.stages.encode import encode
from everymode.server.stages.evaluate import evaluate
from everymode.server.stages.postprocess import Postprocessed
from everymode.server.stages.sample import SyntheticTable
from everymode.server.stages.train import TrainingResult
from everymode.server.stages.write import write
from everymode.server.synthesis.synthesizer import Synthesizer, apportion
from everymode.server.training.state import TrainingState
from everymode.server.transport.exchange import Traffic
from everymode.simulations.compare.cart import cart_rows
from everymode.simulations.compare.entries import Baseline
from everymode.wgan.errors import DataError
from everymode.wgan.files import write_json


@dataclass(frozen=True, kw_only=True)
class UntrainedSession(RunContext):
    """A run without training: the stages before and after it are those of every run.

    The bytes in its summary are those of the rows that leave the sites, real ones if they are
    pooled, synthetic ones otherwise; what is sent to agree and to measure serves the comparison and
    is left out. Its `training_seconds` are those in which the table was made.

    Attributes:
        baseline: What makes the table.
        sites: Whose rows it is made of.
    """

    baseline: Baseline
    sites: tuple[Site, ...]

    def __call__(self) -> dict[str, Any]:
        """Runs to the end and returns the summary; see `everymode.server.session.Session`.

        Raises:
            EveryModeError: Anything the user can correct; `Interrupted` where the user asked to
                stop.
        """
        if self.samples is not None:
            raise DataError(
                f"strategy {self.baseline.name}: makes tables, and the sites hold arrays; leave it "
                "out of --strategies"
            )
        with self.folder.recorded(self.exchange.releases, self.resume):
            return self._stages()

    def _stages(self) -> dict[str, Any]:
        started = time.perf_counter()
        agreed = agree(self)
        encoded = encode(self, agreed)
        begun = time.perf_counter()
        frames = [site.frame(self.settings.data.missing) for site in self.sites]
        self.begin("sample", f"{self.baseline.title}: synthetic table")
        rows = self.settings.output.rows or agreed.rows
        made = site_tables(agreed.plan, frames, rows, self.settings.seed)
        seconds = time.perf_counter() - begun
        sent = sum(map(_nbytes, frames if self.baseline.sites == "pooled" else made))
        table = self._written(agreed, pd.concat(made, ignore_index=True))
        training = TrainingResult(
            vectors=(),
            counts=np.ones((agreed.plan.conditions.table.size, 1)),
            progress=TrainingState(seconds=seconds),
            history=(),
            findings=(),
            stopped_at_plateau=False,
            parameters={"generator": 0, "critic": 0},
            earlier=Traffic(),
        )
        nothing = Synthesizer(agreed.plan, (), training.counts)
        evaluation = evaluate(self, encoded, training, nothing, table)
        # The exchange's own count holds what agreeing and measuring took.
        self.exchange.traffic.down, self.exchange.traffic.up = 0, sent
        ready = Postprocessed(nothing, {})
        summary = write(self, encoded, training, ready, table, evaluation, started)
        summary["strategy"] = self.baseline.name
        write_json(self.folder.summary, summary)
        # A picture of no rounds.
        (self.folder.path / "curves.png").unlink(missing_ok=True)
        return summary

    def _written(self, agreed: Agreed, rows: pd.DataFrame) -> SyntheticTable:
        rng = np.random.default_rng(derive_seed(self.settings.seed, "identifiers"))
        synthetic = Synthetic(with_identifiers(rows, agreed.plan.schema, rng))
        modality = choose_modality(agreed.plan.schema)
        path, safe = self.folder.path / modality.file, self.settings.output.spreadsheet_safe
        return SyntheticTable(synthetic, path, modality.write(agreed.plan, synthetic, path, safe))


def site_tables(
    plan: Plan, frames: Sequence[pd.DataFrame], rows: int, seed: int
) -> list[pd.DataFrame]:
    """CART synthesis of each site's rows by themselves, in proportion to them.

    Args:
        plan: What server and sites agreed on.
        frames: The rows of each site.
        rows: How many rows are made in all.
        seed: Of the rows that are drawn.

    Raises:
        DataError: Where a value is not of its column's kind.
    """
    schema, conditions = plan.schema, plan.conditions
    target = conditions.target
    together = [*conditions.sensitive]
    if target is not None and not schema[target].numeric:
        together.append(target)
    shares = apportion(np.array([len(frame) for frame in frames]), rows)
    return [
        cart_rows(
            frame,
            schema,
            tuple(dict.fromkeys(together)),
            int(share),
            np.random.default_rng(derive_seed(seed, "cart", k)),
        )
        for k, (frame, share) in enumerate(zip(frames, shares, strict=True))
        if share
    ]


def _nbytes(frame: pd.DataFrame) -> int:
    return len(frame.to_csv(index=False).encode())
