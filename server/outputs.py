"""The run directory: what is in it, written whole, and read back.

    config.toml  schema.json  metrics.jsonl  checkpoints/  generator.safetensors
    synthetic.csv  summary.json  curves.png  groups.png  log.txt

`sites/` holds, while a simulation runs, what the simulated sites keep on their own disks.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from clients.orders import Prepare
from server.configuration import commented
from server.progress import Progress
from server.rounds import Metrics
from server.settings import Settings
from wgan.errors import SettingsError, StateError
from wgan.recipe import Recipe
from wgan.state import read_json, read_tensors, write_bytes, write_json, write_tensors
from wgan.words import file_name_problem, json_text

_CHECKPOINT = re.compile(r"round-(\d+)\.safetensors")


@dataclass(frozen=True)
class RunFolder:
    """A run directory.

    Attributes:
        path: Where it is.
    """

    path: Path

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
        return self.path / "sites"

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

    def create(self, settings: Settings) -> tuple[Path, ...]:
        """Makes the folder and writes the configuration.

        Returns:
            The folders that did not exist before, innermost first; what `discard` takes.

        Raises:
            StateError: It holds something already, or cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise StateError(f"--out {self.path}: is a file; name another folder")
        if self.path.exists() and any(self.path.iterdir()):
            hint = f", or continue that run with: {self.resume}"
            raise StateError(
                f"--out {self.path}: exists and is not empty; name another folder"
                f"{hint if self.config.exists() else ''}"
            )
        made = tuple(p for p in (self.path, *self.path.parents) if not p.exists())
        write_bytes(self.config, commented(settings).encode())
        return made

    def discard(self, made: Sequence[Path]) -> None:
        """Undoes `create`, for a run that failed before its first round."""
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()

    def write_plan(self, order: Prepare, rows: int) -> None:
        """Writes `schema.json`: schema, conditions, masses and recipe; all read from sums."""
        value = {
            "version": 1,
            "rows": rows,
            "schema": order.schema,
            "conditions": order.conditions,
            "mass": list(order.mass),
            "recipe": json.loads(order.recipe),
            "seed": order.seed,
            "matching": order.matching,
            "marginals": order.marginals,
            "missing": list(order.missing),
            "held_out": order.held_out,
            "bins": order.bins,
        }
        write_json(self.path / "schema.json", value)

    @property
    def resume(self) -> str:
        """The command that goes on with this run."""
        return f"everymode simulate --resume {shlex.quote(str(self.path))}"

    @property
    def planned(self) -> bool:
        """Whether the sites had agreed on a schema, or anything after that had happened."""
        return (self.path / "schema.json").exists() or bool(self.checkpoints())

    def read_plan(self) -> tuple[Prepare, int]:
        """Reads `schema.json`; returns the order that made it and the number of real rows.

        Raises:
            StateError: It is missing or not as `write_plan` left it.
        """
        path = self.path / "schema.json"
        value = read_json(path)
        try:
            order = Prepare(
                schema=value["schema"],
                conditions=value["conditions"],
                mass=tuple(value["mass"]),
                # In the spelling that the plan's fingerprint was taken of.
                recipe=Recipe.from_json(json.dumps(value["recipe"])).to_json(),
                seed=value["seed"],
                # Older runs say whether, not what.
                matching={True: "moments", False: "none"}.get(value["matching"], value["matching"]),
                marginals=value.get("marginals", False),
                missing=tuple(value["missing"]),
                held_out=value["held_out"],
                bins=value.get("bins", 0),
            )
            return order, int(value["rows"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{path}: not a plan of this version ({error})") from None

    def append(self, metrics: Metrics) -> None:
        """Adds a round's line to `metrics.jsonl`."""
        line = json_text(metrics)
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise StateError(
                f"cannot write {self.metrics}: {error.strerror}; free space, then continue with: "
                f"{self.resume}"
            ) from error

    def read_metrics(self, upto: int | None = None) -> list[Metrics]:
        """The lines of `metrics.jsonl`, up to round `upto`; a line cut short ends them."""
        if not self.metrics.exists():
            return []
        rows: list[Metrics] = []
        # Bytes: the cut may go through a character, and a name may hold what text counts as a line.
        for line in self.metrics.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
            except ValueError:
                break
            if upto is not None and row["round"] > upto:
                break
            rows.append(row)
        return rows

    def rewrite_metrics(self, rows: Sequence[Metrics]) -> None:
        """Replaces `metrics.jsonl`: rounds after the checkpoint will be done again."""
        text = "".join(json_text(row) + "\n" for row in rows)
        write_bytes(self.metrics, text.encode())

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        folder = self.path / "checkpoints"
        found = [p for p in folder.glob("round-*.safetensors") if _CHECKPOINT.fullmatch(p.name)]
        return sorted(found, key=lambda p: int(p.stem.removeprefix("round-")))

    def save(self, tensors: Mapping[str, Tensor], progress: Progress, plan: str, keep: int) -> None:
        """Writes a checkpoint, then removes the oldest beyond `keep`.

        Raises:
            StateError: The disk refused; earlier checkpoints are as they were.
        """
        path = self.path / "checkpoints" / f"round-{progress.round:06d}.safetensors"
        meta = {"plan": plan, "progress": json.dumps(asdict(progress))}
        try:
            # The JSON is for people; the header of the tensors' file carries the same, so that
            # state and progress can never be of different rounds.
            write_tensors(path, tensors, meta)
            write_json(path.with_suffix(".json"), {"plan": plan, **asdict(progress)})
        except StateError as error:
            last = self.checkpoints()
            kept = f"the last whole checkpoint is {last[-1].name}" if last else "none exists yet"
            raise StateError(f"{error}; {kept}. Then continue with: {self.resume}") from error
        for old in self.checkpoints()[:-keep]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)

    def load(
        self, plan: str, tell: Callable[[str], None] = lambda text: None
    ) -> tuple[dict[str, Tensor], Progress] | None:
        """The newest whole checkpoint; None where there is none at all.

        Args:
            plan: The plan's fingerprint, which the checkpoint must carry.
            tell: Hears of a damaged checkpoint that is passed over for the one before it.

        Raises:
            StateError: It was made under another plan, or every checkpoint is damaged.
        """
        problems: list[str] = []
        for path in reversed(self.checkpoints()):
            try:
                tensors, meta = read_tensors(path)
                progress = Progress(**json.loads(meta["progress"]))
            except StateError as error:
                problems += error.problems
            except (KeyError, TypeError, ValueError):
                problems.append(f"cannot read {path}: its header lacks the progress of the run")
            else:
                if meta.get("plan") != plan:
                    raise StateError(
                        f"{path}: was made under plan {meta.get('plan', 'unknown')}, but schema "
                        f"and configuration here give {plan}; resume with the run directory as it "
                        "was left, or start anew with --out"
                    )
                for problem in problems:
                    tell(f"{problem}; going on from {path.name}")
                return tensors, progress
        if problems:
            raise StateError([f"{problem}; start anew with --out" for problem in problems])
        return None

    def clear_sites(self) -> None:
        """Removes the simulated sites' disks: private rows do not outlive the run."""
        shutil.rmtree(self.sites, ignore_errors=True)


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
