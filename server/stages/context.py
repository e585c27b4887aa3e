"""What every stage of a run shares: configuration, run directory, way to the sites, listener."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import pandas as pd
import torch

from everymode.clients.protocol.plan import fingerprint
from everymode.server.config.announced import announce
from everymode.server.config.private_runs import build_budget
from everymode.server.config.settings import Settings, settings_digest
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.privacy.accounted import Accounted
from everymode.server.privacy.budget import Budget
from everymode.server.progress import (
    AFTER_TRAINING,
    Interrupted,
    ProgressListener,
    Silent,
    StageName,
)
from everymode.server.transport.exchange import Exchange
from everymode.server.transport.run_identity import Named
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What every stage of a run needs besides the results of the stages before it.

    Attributes:
        settings: The configuration.
        folder: The run directory, where results go.
        exchange: Carries requests to the sites; every request says of which run it is.
        columns: Headers of the sites' tables, in order; of arrays, their labels.
        samples: What one sample of the sites' arrays is; None where they hold tables.
        form: How the sites' CSV and TSV files are declared to be written.
        listener: Receives the progress.
        real_rows: Returns all real rows, where one machine has them; None in a deployment.
        resume: Whether to go on from the newest checkpoint.
        stop: Returns whether the user asked to stop.
    """

    settings: Settings
    folder: RunFolder
    exchange: Exchange
    columns: tuple[str, ...]
    samples: SampleLayout | None = None
    form: FileForm = RECOGNISED
    listener: ProgressListener = field(default_factory=Silent)
    real_rows: Callable[[], pd.DataFrame] | None = None
    resume: bool = False
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        """Names the run in every request, and weighs each where there is a budget.

        The first one says what the run will ask.
        """
        done = self.folder.last_round if self.resume else 0
        plans = (fingerprint(self.folder.read_plan()[0]),) if self._goes_on else ()
        arrays = self.samples is not None
        announced = announce(self.settings, arrays, done, self.budget, plans)
        named: Exchange = Named(self.exchange, settings_digest(self.settings)[:16], announced)
        if (budget := self.budget) is not None:
            named = Accounted(named, budget)
        object.__setattr__(self, "exchange", named)

    @property
    def _goes_on(self) -> bool:
        return self.resume and self.folder.plan.exists()

    @property
    def budget(self) -> Budget | None:
        """What the run may spend of privacy; None: no noise is added.

        Raises:
            SettingsError: More sites are to add noise than there are.
        """
        try:
            return build_budget(self.settings, len(self.exchange.names))
        except ValueError as error:
            raise SettingsError(str(error)) from None

    def heard_by(self, listener: ProgressListener) -> Self:
        """The same run with another listener."""
        # Not `dataclasses.replace`, which would name the run in every request a second time.
        other = copy.copy(self)
        object.__setattr__(other, "listener", listener)
        return other

    @property
    def device(self) -> str:
        """`cpu` or `cuda`; see `choose_device`."""
        return choose_device(self.settings)

    def begin(self, stage: StageName, text: str) -> None:
        """Reports that a stage begins.

        Raises:
            Interrupted: The user asked to stop, after the training.
        """
        if stage in AFTER_TRAINING:
            self._check_stop(f"before: {text}")
        self.listener.on_stage_begin(stage, text)

    def progress(self, done: int, total: int) -> None:
        """Reports a step of a stage after the training.

        Raises:
            Interrupted: The user asked to stop.
        """
        self._check_stop(f"in step {done} of at most {total} of its end")
        self.listener.on_progress(done, total)

    def _check_stop(self, place: str) -> None:
        if self.stop():
            raise Interrupted(
                f"stopped after the last round, {place}; continue with: {self.folder.resume}"
            )


def choose_device(settings: Settings) -> str:
    """`cpu` or `cuda`, from the configuration and what the machine has.

    Raises:
        SettingsError: The configuration asks for a GPU and there is none.
    """
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device = 'cuda': PyTorch sees no GPU here; install a CUDA build of torch, or set "
            "device = 'auto' or 'cpu'"
        )
    return settings.device
