"""The run directory: what is in it, written whole, and read back.

    config.toml  schema.json  metrics.jsonl  checkpoints/  generator.safetensors
    synthetic.csv  summary.json  curves.png  groups.png  log.txt

`sites/` holds, while a simulation runs, what the simulated sites keep on their own disks.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from clients.orders import Prepare
from server.rounds import Metrics, Progress
from server.settings import Settings, commented
from wgan.errors import StateError
from wgan.state import read_json, read_tensors, write_bytes, write_json, write_tensors

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

    def create(self, settings: Settings) -> None:
        """Makes the folder and writes the configuration.

        Raises:
            StateError: It holds something already, or cannot be written.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise StateError(
                f"--out {self.path}: exists and is not empty; name another folder, or continue "
                f"that run with --resume {self.path}"
            )
        write_bytes(self.config, commented(settings).encode())

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
            "missing": list(order.missing),
        }
        write_json(self.path / "schema.json", value)

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
                recipe=json.dumps(value["recipe"]),
                seed=value["seed"],
                matching=value["matching"],
                missing=tuple(value["missing"]),
            )
            return order, int(value["rows"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{path}: not a plan of this version ({error})") from None

    def append(self, metrics: Metrics) -> None:
        """Adds a round's line to `metrics.jsonl`."""
        line = json.dumps(metrics, ensure_ascii=False, allow_nan=False)
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise StateError(f"cannot write {self.metrics}: {error.strerror}") from error

    def read_metrics(self, upto: int | None = None) -> list[Metrics]:
        """The lines of `metrics.jsonl`, up to round `upto`; a line cut short ends them."""
        if not self.metrics.exists():
            return []
        rows: list[Metrics] = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
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
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
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
            raise StateError(
                f"{error}; {kept}. Then continue with: everymode simulate --resume {self.path}"
            ) from error
        for old in self.checkpoints()[:-keep]:
            old.unlink(missing_ok=True)
            old.with_suffix(".json").unlink(missing_ok=True)

    def load(self, plan: str) -> tuple[dict[str, Tensor], Progress] | None:
        """The newest checkpoint; None where there is none.

        Raises:
            StateError: It was made under another schema, or is damaged.
        """
        found = self.checkpoints()
        if not found:
            return None
        tensors, meta = read_tensors(found[-1])
        if meta.get("plan") != plan:
            raise StateError(
                f"{found[-1]}: was made under schema {meta.get('plan', 'unknown')}, but the data "
                f"and configuration here give {plan}; resume with the data it was started with, or "
                "start anew with --out"
            )
        return tensors, Progress(**json.loads(meta["progress"]))

    def clear_sites(self) -> None:
        """Removes the simulated sites' disks: private rows do not outlive the run."""
        shutil.rmtree(self.sites, ignore_errors=True)


def default_folder(name: str) -> Path:
    """runs/NAME, runs/NAME-2, ...: the first that does not exist."""
    base = Path("runs") / name
    number = 2
    path = base
    while os.path.lexists(path):
        path = base.with_name(f"{base.name}-{number}")
        number += 1
    return path
