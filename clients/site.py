"""A site: a table that stays where it is, and a folder of its own for what it makes of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.gate.mechanism import NO_MECHANISM, Mechanism
from everymode.clients.gate.policy import DEFAULT, Policy
from everymode.clients.protocol.refusal import checked_identity
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.formats import ARRAYS, KINDS, MISSING, find_suffix
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import DataError, StateError
from everymode.wgan.files import read_json, write_json, write_whole
from everymode.wgan.words import brief, file_name_problem


@dataclass(frozen=True)
class Site:
    """One data holder.

    Attributes:
        name: Its name; seeds derive from it, so it must stay the same.
        table: The file with its rows.
        workspace: Its own folder, for encoded rows and the agreed plan.
        durable: Whether what is kept there outlives a crash of the machine; a simulation's sites
            encode their rows anew.
        floor: Rows of a level that it must hold for them to take part; see
            `everymode.clients.gate.floor`.
        simulated: Whether a simulation made it: its workspace is then emptied with every command,
            and what it was asked before a plan is not known to it once a run is resumed.
        mechanism: What every answer goes through before it leaves; see
            `everymode.clients.gate.release`.
        policy: What it answers; see `everymode.clients.gate.permission`.
        signing_key: File of the key that signs its keys of secure summation; None: in a simulation
            it makes one, a deployed site takes no part in that.
        peers: Folder with the public keys of other sites; None likewise.
    """

    name: str
    table: Path
    workspace: Path
    durable: bool = True
    floor: int = 0
    simulated: bool = False
    mechanism: Mechanism = NO_MECHANISM
    policy: Policy = DEFAULT
    signing_key: Path | None = None
    peers: Path | None = None

    def __post_init__(self) -> None:
        """Refuses a name that is more than a name: a folder of the site's is called so.

        Raises:
            DataError: It would be a path, hidden, or no name of a file.
        """
        if problem := _name_problem(self.name):
            raise DataError(problem)

    def folder(self, plan: str) -> Path:
        """Where what belongs to a plan lies; raises `RefusedError` where its name is no name."""
        return self.workspace / checked_identity(plan, "the plan's name")

    def frame(self, missing: Sequence[str], form: FileForm = RECOGNISED) -> pd.DataFrame:
        """The rows; cells listed in `missing` have no value, `form` is that of CSV and TSV."""
        return read_table(self.table, tuple(missing) or MISSING, form)

    def store(self, plan: str, arrays: dict[str, npt.NDArray[np.generic]], value: object) -> None:
        """Keeps encoded rows and the plan they belong to on the site's disk, for its user only."""
        folder = self.folder(plan)
        for name, array in arrays.items():
            write_whole(
                folder / f"{name}.npy",
                partial(np.save, arr=array, allow_pickle=False),
                self.durable,
                private=True,
            )
        write_json(folder / "plan.json", value, self.durable, private=True)

    def plan(self, plan: str) -> dict[str, object]:
        """What `store` kept beside the rows.

        Raises:
            StateError: The site was never prepared for this plan.
        """
        path = self.folder(plan) / "plan.json"
        if not path.exists():
            raise StateError(
                f"site '{self.name}' has not been prepared for schema {plan}: the server must send "
                "a 'prepare' order first"
            )
        value: dict[str, object] = read_json(path)
        return value

    def stamp(self, plan: str) -> int:
        """When `store` last wrote for this plan, in nanoseconds; 0 where it never did."""
        path = self.folder(plan) / "plan.json"
        return path.stat().st_mtime_ns if path.exists() else 0

    def array(self, plan: str, name: str) -> npt.NDArray[np.generic]:
        """An array that `store` kept, memory-mapped: processes that open it share its pages."""
        # Copy-on-write, because PyTorch warns about tensors over read-only memory.
        path = self.folder(plan) / f"{name}.npy"
        array: npt.NDArray[np.generic] = np.load(path, mmap_mode="c", allow_pickle=False)
        return array


def _name_problem(name: str) -> str | None:
    if problem := file_name_problem(name):
        return (
            f"a site cannot be called '{brief(name)}': the name {problem}; name it in letters and "
            "digits (in a simulation, the file of its table)"
        )
    return None


def sites_in(
    folder: Path, workspace: Path, floor: int = 0, simulated: bool = True
) -> tuple[Site, ...]:
    """One site of a simulation per table in a folder, by name; `floor` is that of each.

    Raises:
        DataError: There is no such folder, no table in it, or two tables of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder of site tables")
    found: dict[str, Path] = {}
    problems = []
    for entry in sorted(os.listdir(folder)):
        suffix = ARRAYS if entry.endswith(ARRAYS) else find_suffix(entry)
        # A spreadsheet program that has a workbook open keeps a file ~$book.xlsx beside it.
        if not suffix or entry.startswith((".", "~$")):
            continue
        name = entry.removesuffix(suffix)
        if problem := _name_problem(name):
            problems.append(f"{folder}: {problem}")
        if name in found:
            problems.append(f"{folder}: {found[name].name} and {entry} are both site '{name}'")
        found[name] = folder / entry
    if not found:
        problems.append(
            f"{folder} holds no table: expected one file per site, {KINDS}, or {ARRAYS}"
        )
    if problems:
        raise DataError(problems)
    return tuple(
        Site(name, path, workspace / name, not simulated, floor, simulated)
        for name, path in sorted(found.items())
    )
