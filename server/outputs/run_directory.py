"""The run directory: what is in it, written whole, and read back.

    config.toml  schema.json  metrics.jsonl  checkpoints/  generator.safetensors
    releases.json  synthetic.csv  summary.json  curves.png  groups.png  log.txt

`sites/` holds, while a simulation runs, what the simulated sites keep on their own disks.
"""

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from everymode.clients.protocol.messages import EncodeData
from everymode.server.config.files import commented
from everymode.server.config.settings import Settings
from everymode.server.outputs.checkpoint_file import load_checkpoint, save_checkpoint
from everymode.server.outputs.leftovers import SITES, write_mark
from everymode.server.outputs.locks import LOCK, is_own, locked
from everymode.server.outputs.metrics_file import metrics_line, parse_metrics
from everymode.server.outputs.plan_file import check_settings, load_changed, load_plan, save_plan
from everymode.server.outputs.records import SUMMARY_VERSION
from everymode.server.outputs.releases_file import load_releases, save_releases
from everymode.server.replies.releases import Releases
from everymode.server.training.rounds import Metrics
from everymode.server.training.state import TrainingState
from everymode.wgan.errors import DamagedError, SettingsError, StateError
from everymode.wgan.files import (
    append,
    flush,
    is_temporary,
    make_folder,
    read_json,
    remove_tree,
    write_bytes,
)
from everymode.wgan.words import file_name_problem

_CHECKPOINT = re.compile(r"round-(\d+)\.safetensors")


@dataclass(frozen=True)
class RunFolder:
    """A run directory.

    Attributes:
        path: Where it is.
        deployed: Whether its sites are real: then `flwr run` goes on with it.
    """

    path: Path
    deployed: bool = False

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def log(self) -> Path:
        """What Flower and Ray said."""
        return self.path / "log.txt"

    @property
    def sites(self) -> Path:
        """Where simulated sites keep their tables and encoded rows."""
        return self.path / SITES

    @property
    def metrics(self) -> Path:
        """One JSON line a round."""
        return self.path / "metrics.jsonl"

    @property
    def generator(self) -> Path:
        """The averaged generator."""
        return self.path / "generator.safetensors"

    @property
    def synthetic(self) -> Path:
        """The synthetic table."""
        return self.path / "synthetic.csv"

    @property
    def plan(self) -> Path:
        """What server and sites agreed on."""
        return self.path / "schema.json"

    @property
    def summary(self) -> Path:
        """The figures of a finished run."""
        return self.path / "summary.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process, as everything that writes to it must.

        What a killed run left half-written is removed. On leaving, sites' disks go: private rows do
        not outlive the command. So does the directory if it was made here and is empty.

        Raises:
            InUseError: A living process holds it; nothing there is touched.
            StateError: It is a file, or cannot be made or locked.
        """
        if self.path.exists() and not self.path.is_dir():
            raise StateError(f"--out {self.path}: is a file; name another folder")
        with locked(self.path):
            self._sweep()
            try:
                yield
            except BaseException:
                # What went wrong first is what matters.
                with contextlib.suppress(StateError):
                    self.clear_sites()
                raise
            self.clear_sites()

    def create(self, settings: Settings) -> None:
        """Makes the folder and writes the configuration.

        Raises:
            StateError: It holds something already, or cannot be written.
        """
        # A lock, and what a killed run was just writing, are nothing that could be lost.
        if self.path.exists() and not all(is_own(entry.name) for entry in self.path.iterdir()):
            hint = f", or continue that run with: {self.resume}"
            raise StateError(
                f"--out {self.path}: exists and is not empty; name another folder"
                f"{hint if self.config.exists() else ''}"
            )
        write_bytes(self.config, commented(settings).encode())

    def discard(self) -> None:
        """Undoes `create`, for a run that failed before its first round; must be `locked`."""
        for entry in self.path.iterdir():
            if entry.name != LOCK:
                remove_tree(entry)

    def fresh_sites(self) -> Path:
        """An empty folder for the sites' disks, which nobody else may enter.

        What a killed run left there is removed first.
        """
        remove_tree(self.sites)
        make_folder(self.sites, private=True)
        write_mark(self.sites)
        return self.sites

    def _sweep(self) -> None:
        for folder in (self.path, self.path / "checkpoints"):
            for entry in folder.iterdir() if folder.is_dir() else ():
                if is_temporary(entry.name):
                    remove_tree(entry)

    def write_plan(
        self, order: EncodeData, rows: int, settings: Settings, changed: Sequence[str] = ()
    ) -> None:
        """Writes `schema.json`; see `everymode.server.outputs.plan_file`."""
        save_plan(self.plan, order, rows, settings, changed)

    @property
    def changed(self) -> tuple[str, ...]:
        """What was read as something else when server and sites agreed, in sentences."""
        return load_changed(self.plan) if self.plan.exists() else ()

    @property
    def resume(self) -> str:
        """The command that goes on with this run."""
        if self.deployed:
            override = shlex.quote(f'resume="{self.path.resolve()}"')
            return f"flwr run APP SUPERLINK --run-config {override}"
        return f"everymode simulate --resume {shlex.quote(str(self.path))}"

    @property
    def planned(self) -> bool:
        """Whether the sites had agreed on a schema, or anything after that had happened."""
        return self.plan.exists() or bool(self.checkpoints())

    def read_plan(self) -> tuple[EncodeData, int]:
        """Reads `schema.json`; returns the order that made it and the number of real rows.

        Raises:
            StateError: It is missing or not as `write_plan` left it.
        """
        order, rows, _ = load_plan(self.plan)
        return order, rows

    def check_settings(self, settings: Settings) -> None:
        """Refuses settings under which the plan would not have been made.

        Raises:
            StateError: `config.toml` was changed in a key that can change the result.
        """
        check_settings(self.plan, self.config, settings)

    @property
    def releases(self) -> Path:
        """What left the sites."""
        return self.path / "releases.json"

    def write_releases(self, releases: Releases) -> None:
        """Writes `releases.json`; see `everymode.server.outputs.releases_file`.

        Raises:
            StateError: The disk refused.
        """
        try:
            save_releases(self.releases, releases)
        except (OSError, StateError) as error:
            raise StateError(f"{error}; then continue with: {self.resume}") from error

    @contextlib.contextmanager
    def recorded(self, releases: Releases, resume: bool) -> Iterator[None]:
        """Has `releases.json` hold what was released, however the block ends.

        Args:
            releases: The record of this session.
            resume: Whether to go on from the file.

        Raises:
            StateError: The file is missing or damaged, or cannot be written.
        """
        if resume and (self.planned or self.releases.exists()):
            load_releases(self.releases, releases)
        try:
            yield
        except BaseException:
            # What went wrong first is what matters.
            with contextlib.suppress(StateError):
                self.write_releases(releases)
            raise
        self.write_releases(releases)

    def append(self, metrics: Metrics) -> None:
        """Adds a round's line to `metrics.jsonl`; see `MetricsRecord`."""
        line = metrics_line(metrics)
        try:
            append(self.metrics, line.encode())
        except OSError as error:
            raise StateError(
                f"cannot write {self.metrics}: {error.strerror}; free space, then continue with: "
                f"{self.resume}"
            ) from error

    def read_metrics(self, upto: int | None = None) -> list[Metrics]:
        """The lines of `metrics.jsonl`, up to round `upto`; a line cut short ends them.

        Raises:
            StateError: A line is no round's metrics, or rounds are out of order.
        """
        try:
            content = self.metrics.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"cannot read {self.metrics}: {error.strerror}") from error
        return parse_metrics(content, self.metrics, upto)

    def read_history(self, rounds: int) -> list[Metrics]:
        """The metrics of the rounds behind a checkpoint, all of them.

        Raises:
            StateError: Some are missing or damaged: what follows from them would change.
        """
        found = self.read_metrics(rounds)
        if len(found) < rounds:
            raise StateError(
                f"{self.metrics}: ends with round {len(found)}, but the checkpoint is of round "
                f"{rounds}; put the file back as it was, or start a new run"
            )
        return found

    def rewrite_metrics(self, rows: Sequence[Metrics]) -> None:
        """Replaces `metrics.jsonl`: rounds after the checkpoint will be done again."""
        text = "".join(map(metrics_line, rows))
        write_bytes(self.metrics, text.encode())

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        folder = self.path / "checkpoints"
        found = [p for p in folder.glob("round-*.safetensors") if _CHECKPOINT.fullmatch(p.name)]
        return sorted(found, key=lambda p: int(p.stem.removeprefix("round-")))

    @property
    def last_round(self) -> int:
        """The round of the newest checkpoint, whole or not; 0 where there is none."""
        found = self.checkpoints()
        return int(found[-1].stem.removeprefix("round-")) if found else 0

    def save(
        self,
        tensors: Mapping[str, Tensor],
        progress: TrainingState,
        plan: str,
        settings: str,
        keep: int,
    ) -> None:
        """Writes a checkpoint, then removes the oldest beyond `keep`.

        Args:
            tensors: The state.
            progress: Where the training stands.
            plan: The plan's fingerprint.
            settings: The digest of the settings that decide a result.
            keep: Checkpoints kept.

        Raises:
            StateError: The disk refused; earlier checkpoints are as they were.
        """
        path = self.path / "checkpoints" / f"round-{progress.round:06d}.safetensors"
        try:
            if self.metrics.exists():
                # The rounds behind a checkpoint must not be lost where it is not.
                flush(self.metrics)
            save_checkpoint(path, tensors, progress, plan, settings)
        except (OSError, StateError) as error:
            last = self.checkpoints()
            kept = f"the last whole checkpoint is {last[-1].name}" if last else "none exists yet"
            raise StateError(f"{error}; {kept}. Then continue with: {self.resume}") from error
        for old in self.checkpoints()[:-keep]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)

    def load(
        self, plan: str, settings: str, tell: Callable[[str], None] = lambda text: None
    ) -> tuple[dict[str, Tensor], TrainingState] | None:
        """The newest whole checkpoint; None where there is none at all.

        Args:
            plan: The plan's fingerprint, which the checkpoint must carry.
            settings: The digest of the settings, likewise.
            tell: Hears of a damaged checkpoint that is passed over for the one before it.

        Raises:
            StateError: It was made under another plan or other settings, or every checkpoint is
                damaged.
        """
        problems: list[str] = []
        for path in reversed(self.checkpoints()):
            try:
                found = load_checkpoint(path, plan, settings)
            except DamagedError as error:
                problems += error.problems
            else:
                for problem in problems:
                    tell(f"{problem}; going on from {path.name}")
                return found
        if problems:
            raise StateError([f"{problem}; start anew with --out" for problem in problems])
        return None

    def clear_sites(self) -> None:
        """Removes the simulated sites' disks."""
        remove_tree(self.sites)

    def read_summary(self) -> dict[str, Any]:
        """The figures of a finished run.

        Raises:
            StateError: There are none, or they are not as a run writes them.
        """
        value = read_json(self.summary)
        if not isinstance(value, dict) or value.get("version") != SUMMARY_VERSION:
            raise StateError(
                f"{self.summary}: is no summary of version {SUMMARY_VERSION}, as this EveryMode "
                "writes it; put it back as it was, or remove it and write it anew with: "
                f"{self.resume}"
            )
        return value


def default_folder(name: str) -> Path:
    """runs/NAME, runs/NAME-2, ...: the first that does not exist.

    Raises:
        SettingsError: NAME can be no folder's, or would be a hidden one's.
    """
    if problem := file_name_problem(name):
        raise SettingsError(
            f"no run can be named after the configuration '{name}': the name {problem}; name the "
            "run's folder with --out, or the configuration otherwise"
        )
    base = Path("runs") / name
    number = 2
    path = base
    while os.path.lexists(path):
        path = base.with_name(f"{base.name}-{number}")
        number += 1
    return path
