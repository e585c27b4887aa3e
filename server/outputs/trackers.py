"""Run tracking: metrics of each round and final figures, for TensorBoard or MLflow to show.

`output.trackers` names who receives them. Both write below the run directory, talk to no server,
and get no more than `config.toml`, `metrics.jsonl` and `summary.json` hold. `metrics.jsonl` stays
the record of a run: what a tracker lacks when a run goes on is taken from there.
"""

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from everymode.server.config.settings import Settings, flat_values
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.progress import Interrupted, ProgressListener, StageName
from everymode.wgan.errors import SettingsError
from everymode.wgan.files import make_folder
from everymode.wgan.words import brief, line

T = TypeVar("T")

Outcome = Literal["finished", "stopped", "failed"]
"""How a session ended."""

EXPERIMENT = "everymode"
"""Name of the experiment in MLflow."""

PACKAGES = {"tensorboard": ("tensorboard", "TensorBoard"), "mlflow": ("mlflow", "MLflow")}
"""The module that each tracker needs, and the product's name."""

NO_METRICS = ("version", "round", "site_weights", "shortened_updates")
"""Keys of a line of `metrics.jsonl` that are no metrics of the round."""

LONGEST_ERROR = 200
"""Characters told of a tracker's failure: a database's goes on with all that was to be stored."""

_BATCH = 100
"""Parameters that MLflow takes at once."""

_LONGEST_NAME, _LONGEST_VALUE = 200, 500
"""Characters of a metric's or parameter's name, and of a parameter's value, in MLflow."""


class Tracker(Protocol):
    """Receives one run; every method may raise whatever a library raises."""

    def open(self, parameters: Mapping[str, str], done: int) -> int:
        """Begins, or goes on with what earlier sessions tracked.

        Args:
            parameters: Every key of the configuration and its value.
            done: Rounds that earlier sessions have finished.

        Returns:
            The last round that is tracked already; 0 for none.
        """
        ...

    def log_round(self, number: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of a round."""
        ...

    def log_final(self, rounds: int, figures: Mapping[str, float]) -> None:
        """Takes the figures of a finished run after so many rounds."""
        ...

    def close(self, outcome: Outcome) -> None:
        """Writes what is left."""
        ...


class TensorBoardTracker:
    """Event files in RUN/tensorboard, by `torch.utils.tensorboard`."""

    def __init__(self, run: Path) -> None:
        """Nothing is written yet."""
        self._folder = run / "tensorboard"
        self._writer: Any = None

    def open(self, parameters: Mapping[str, str], done: int) -> int:
        """See `Tracker`. Readers drop what an event file holds of rounds that are done again."""
        from torch.utils.tensorboard import SummaryWriter

        make_folder(self._folder)
        begun = any(self._folder.glob("events.out.tfevents.*"))
        purge = done + 1 if begun else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge)
        if begun:
            return done
        # Four blanks: Markdown shows the lines as they are.
        text = "\n".join(f"    {key} = {value}" for key, value in parameters.items())
        self._writer.add_text("settings", text, 0)
        return 0

    def log_round(self, number: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)
        # A killed run keeps what it had: rounds behind a checkpoint are not told again.
        self._writer.flush()

    def log_final(self, rounds: int, figures: Mapping[str, float]) -> None:
        """See `Tracker`. A step of its own, so that a run that goes on replaces them."""
        for name, value in figures.items():
            self._writer.add_scalar(f"final/{name}", value, rounds + 1)

    def close(self, outcome: Outcome) -> None:
        """See `Tracker`."""
        if self._writer is not None:
            self._writer.close()


class MLflowTracker:
    """A run of the experiment `everymode` in RUN/mlruns, by MLflow's client.

    The store is a file of SQLite: MLflow 3 refuses folders of files. Rounds that are done again
    after a crash are the same bit for bit, so what is stored of them stays.
    """

    def __init__(self, run: Path) -> None:
        """Nothing is written yet."""
        self._path = run.resolve()
        self._client: Any = None
        self._run = ""
        self._stored: frozenset[str] = frozenset()

    def open(self, parameters: Mapping[str, str], done: int) -> int:
        """See `Tracker`."""
        # MLflow would tell its makers what is called; it reads this as it is imported.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow.tracking import MlflowClient

        folder = self._path / "mlruns"
        make_folder(folder)
        store = f"sqlite:///{folder / 'mlflow.db'}"
        with _quiet("mlflow"):
            self._client = MlflowClient(tracking_uri=store, registry_uri=store)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = found.experiment_id if found else self._experiment(folder)
        if runs := self._client.search_runs([experiment]):
            return self._go_on(runs[-1])
        created = self._client.create_run(experiment, run_name=self._path.name)
        self._run = created.info.run_id
        self._log_parameters(parameters)
        return 0

    def log_round(self, number: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(n, v, now, number) for n, v in _mlflow_names(metrics).items()]
        self._client.log_batch(self._run, metrics=points)

    def log_final(self, rounds: int, figures: Mapping[str, float]) -> None:
        """See `Tracker`."""
        named = {f"final/{name}": value for name, value in figures.items()}
        new = {n: v for n, v in _mlflow_names(named).items() if n not in self._stored}
        if new:
            self.log_round(rounds, new)

    def close(self, outcome: Outcome) -> None:
        """See `Tracker`."""
        if self._client is None:
            return
        states = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        try:
            if self._run:
                self._client.set_terminated(self._run, states[outcome])
        finally:
            # SQLite's file stays open otherwise, as long as the process lives.
            self._client._tracking_client.store.engine.dispose()

    def _experiment(self, folder: Path) -> str:
        place = (folder / "artifacts").as_uri()
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=place))

    def _go_on(self, run: Any) -> int:
        """Takes up a stored run; returns its last round."""
        self._run, self._stored = run.info.run_id, frozenset(run.data.metrics)
        self._client.update_run(self._run, status="RUNNING")
        history = self._client.get_metric_history(self._run, "estimate")
        return max((point.step for point in history), default=0)

    def _log_parameters(self, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        shown = {k: line(v)[:_LONGEST_VALUE] for k, v in parameters.items()}
        entries = [Param(name, value) for name, value in _mlflow_names(shown).items()]
        for first in range(0, len(entries), _BATCH):
            self._client.log_batch(self._run, params=entries[first : first + _BATCH])


TRACKERS: Mapping[str, Callable[[Path], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MLflowTracker,
}
"""Trackers by the name that `output.trackers` gives them; each takes the run directory."""


def require_trackers(settings: Settings) -> None:
    """Refuses trackers whose package is not installed.

    Raises:
        SettingsError: Which are missing, and how they are installed.
    """
    problems = []
    for name in settings.output.trackers:
        module, product = PACKAGES[name]
        spec = importlib.util.find_spec(module)
        # A folder of that name in the working directory has no origin: it is no package.
        if spec is None or spec.origin is None:
            problems.append(
                f"output.trackers: '{name}' needs {product}; pip install 'everymode[{name}]'"
            )
    if problems:
        raise SettingsError(problems)


@contextlib.contextmanager
def tracked(
    settings: Settings, folder: RunFolder, listener: ProgressListener
) -> Iterator[ProgressListener]:
    """A listener that passes on all it hears, and has the configured trackers record it.

    Args:
        settings: The configuration.
        folder: The run directory.
        listener: Who listens to the run.

    Raises:
        SettingsError: The package of a tracker is not installed.
    """
    require_trackers(settings)
    names = tuple(dict.fromkeys(settings.output.trackers))
    if not names:
        yield listener
        return
    tracking = Tracking(settings, folder, listener, names)
    outcome: Outcome = "failed"
    try:
        yield tracking
        outcome = "finished"
    except (Interrupted, KeyboardInterrupt):
        outcome = "stopped"
        raise
    finally:
        tracking.close(outcome)


class Tracking:
    """A `ProgressListener` in front of another one, which feeds trackers.

    A tracker that fails is told of once and left out from then on: it costs no round.
    """

    def __init__(
        self,
        settings: Settings,
        folder: RunFolder,
        listener: ProgressListener,
        names: Sequence[str],
    ) -> None:
        """Opens nothing: trackers begin with the training."""
        self._settings = settings
        self._folder = folder
        self._listener = listener
        self._trackers = {name: TRACKERS[name](folder.path) for name in names}
        self._last: dict[str, int] = {}

    def on_stage_begin(self, stage: StageName, text: str) -> None:
        """Passes it on."""
        self._listener.on_stage_begin(stage, text)

    def on_note(self, text: str) -> None:
        """Passes it on."""
        self._listener.on_note(text)

    def on_train_begin(self, done: int, total: int, groups: Sequence[str]) -> None:
        """Opens the trackers and tells them of earlier rounds that they lack."""
        for name in list(self._trackers):
            with self._spared(name) as tracker:
                self._last[name] = tracker.open(_parameters(self._settings), done)
                for metrics in self._folder.read_metrics(done):
                    self._log(name, tracker, metrics)
        self._listener.on_train_begin(done, total, groups)

    def on_round_end(self, metrics: dict[str, Any]) -> None:
        """Has the round recorded."""
        for name in list(self._trackers):
            with self._spared(name) as tracker:
                self._log(name, tracker, metrics)
        self._listener.on_round_end(metrics)

    def on_progress(self, done: int, total: int) -> None:
        """Passes it on."""
        self._listener.on_progress(done, total)

    def on_run_end(self, summary: dict[str, Any], folder: RunFolder) -> None:
        """Has the final figures recorded."""
        figures = numbers({k: v for k, v in summary.items() if k != "version"})
        for name in list(self._trackers):
            with self._spared(name) as tracker:
                tracker.log_final(int(summary["rounds"]), figures)
        self._listener.on_run_end(summary, folder)

    def close(self, outcome: Outcome) -> None:
        """Closes the trackers."""
        for name in list(self._trackers):
            with self._spared(name) as tracker:
                tracker.close(outcome)

    def _log(self, name: str, tracker: Tracker, metrics: Mapping[str, Any]) -> None:
        """Tells a tracker of a round that it lacks."""
        number = int(metrics["round"])
        if number > self._last[name]:
            found = numbers({k: v for k, v in metrics.items() if k not in NO_METRICS})
            tracker.log_round(number, found)

    @contextlib.contextmanager
    def _spared(self, name: str) -> Iterator[Tracker]:
        """A tracker whose failure ends the tracking, not the run."""
        tracker = self._trackers[name]
        try:
            yield tracker
        except Exception as error:
            del self._trackers[name]
            with contextlib.suppress(Exception):
                tracker.close("failed")
            self._listener.on_note(
                f"output.trackers: '{name}' failed and is left out from here on; the run goes on: "
                f"{type(error).__name__}: {brief(str(error), LONGEST_ERROR)}"
            )


def numbers(values: Mapping[str, Any], path: str = "") -> dict[str, float]:
    """All finite numbers of nested tables, by the path of their keys.

    >>> numbers({"rate": 0.5, "by_group": {"f": 1, "m": None}, "name": "x", "done": True})
    {'rate': 0.5, 'by_group/f': 1.0}
    """
    found: dict[str, float] = {}
    for key, value in values.items():
        name = f"{path}{line(key)}"
        if isinstance(value, Mapping):
            found |= numbers(value, f"{name}/")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif math.isfinite(value):
            found[name] = float(value)
    return found


def _parameters(settings: Settings) -> dict[str, str]:
    values = flat_values(settings)
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}


def _mlflow_names(values: Mapping[str, T]) -> dict[str, T]:
    """The values by names that MLflow takes; names that become equal get a number."""
    found: dict[str, T] = {}
    for name, value in values.items():
        parts = (re.sub(r"[^\w.\- ]", "_", part).strip(" .") or "_" for part in name.split("/"))
        short = "/".join(parts)[:_LONGEST_NAME].rstrip("/ .")
        unique, number = short, 2
        while unique in found:
            unique, number = f"{short}_{number}", number + 1
        found[unique] = value
    return found


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps a library's messages below warnings off the display."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
