"""A federated simulation in this process, from Python: no TOML, no Flower, no Ray.

Sites, rounds and results are those of `everymode simulate`; only the transport differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.server.config.secure import build_masking
from everymode.server.config.settings import Settings
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.trackers import require_trackers
from everymode.server.progress import ProgressListener, Silent
from everymode.server.secure.choice import secured
from everymode.server.session import Session
from everymode.server.simulated_sites import SimulatedSites, create_simulated_sites
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.transport.exchange import InProcess
from everymode.server.trial import explained
from everymode.wgan.data.frame import read_table


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: Its directory, with all files.
        summary: Its figures, the content of `summary.json`.
    """

    folder: RunFolder
    summary: dict[str, Any]

    @property
    def table(self) -> pd.DataFrame:
        """The synthetic table; cells are text as in `synthetic.csv`."""
        return read_table(self.folder.synthetic)

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The synthetic samples and their labels, by name; of a run whose sites hold arrays."""
        with np.load(self.folder.path / "synthetic.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    @property
    def synthesizer(self) -> Synthesizer:
        """The trained generator, to draw more rows from."""
        return load_generator(self.folder)


def simulate(
    settings: Settings,
    out: Path | str,
    *,
    listener: ProgressListener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FinishedRun:
    """Deals `data.path` out to simulated sites and trains across them in this process.

    Args:
        settings: The configuration; `everymode.server.parse` and `everymode.server.load` build one.
        out: A new folder for the results.
        listener: Receives the progress; None: nobody does.
        stop: Returns whether to stop after the current round.

    Raises:
        EveryModeError: Anything that the caller can mend; `Interrupted` where `stop` said so.
    """
    require_trackers(settings)
    folder = RunFolder(Path(out))
    with folder.locked():
        folder.create(settings)
        with explained(settings):
            sites = create_simulated_sites(settings, folder.fresh_sites())
            listener = listener or Silent()
            for note in sites.notes:
                listener.on_note(note)
            summary = run_in_process(settings, folder, sites, listener=listener, stop=stop)
    return FinishedRun(folder, summary)


def run_in_process(
    settings: Settings,
    folder: RunFolder,
    sites: SimulatedSites,
    *,
    listener: ProgressListener,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Runs a session over simulated sites in this process and returns its summary.

    Args:
        settings: The configuration.
        folder: The run directory, which the caller holds.
        sites: The sites.
        listener: Receives the progress.
        resume: Whether to go on from the newest checkpoint.
        stop: Returns whether to stop after the current round.

    Raises:
        EveryModeError: As `everymode.server.session.Session`.
    """
    plain = InProcess(
        sites.sites,
        tell=listener.on_note,
        skip=settings.train.on_failure == "skip",
        largest_share=settings.federation.largest_share,
    )
    session = Session(
        settings=settings,
        folder=folder,
        exchange=secured(plain, build_masking(settings), listener.on_note),
        columns=sites.columns,
        samples=sites.samples,
        form=sites.form,
        listener=listener,
        real_rows=lambda: sites.frame(settings.data.missing),
        resume=resume,
        stop=stop,
    )
    return session()
