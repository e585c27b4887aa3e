"""Draws or completes rows of a run and writes them, for `everymode sample`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from everymode.server.config.files import load
from everymode.server.config.sections import OutputSettings
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal, say
from everymode.server.synthesis.completion import complete
from everymode.server.synthesis.conditions import read_conditions
from everymode.server.synthesis.drawing import Search, time_span
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.wgan.data.formats import MISSING, WRITTEN
from everymode.wgan.data.frame import read_table
from everymode.wgan.data.pieces import write_pieces
from everymode.wgan.data.spreadsheets import Marked
from everymode.wgan.data.write import write_table
from everymode.wgan.errors import SettingsError


@dataclass(frozen=True)
class Mixture:
    """How groups, and labels within groups, are mixed.

    Attributes:
        groups: As in the data, or uniform.
        level: Share of the gap in the target that stays; None: as the run was configured.
        features: Sensitive features that the level applies to; none: all.
    """

    groups: Literal["data", "uniform"] = "data"
    level: float | None = None
    features: tuple[str, ...] = ()

    def apply(self, synthesizer: Synthesizer) -> Synthesizer:
        """The generators at the level that is asked for.

        Raises:
            SettingsError: Features without a level, or a level that the run cannot have.
        """
        if self.level is not None:
            return synthesizer.at_level(self.level, self.features)
        if self.features:
            raise SettingsError("--parity-feature: name the level too, with --parity-level 0, say")
        return synthesizer


def sample_rows(
    run: Path,
    rows: int,
    output: Path,
    where: list[str],
    mixture: Mixture,
    patience: float,
    seed: int,
    spreadsheet_safe: bool | None,
) -> None:
    """Draws rows and writes them; see `everymode.simulations.commands.sample`.

    Raises:
        EveryModeError: The run, the conditions or the file cannot be used as they are.
    """
    _check_name(output)
    synthesizer = mixture.apply(load_generator(RunFolder(run)))
    wanted = read_conditions(synthesizer.plan.schema, where)
    safe = _safe(run, spreadsheet_safe)
    with searching(patience) as search:
        pieces = synthesizer.draw_pieces(rows, seed, mixture.groups, wanted, search)
        count, marked = write_pieces(pieces, synthesizer.plan.schema, output, safe)
    _report(count, marked, output)


def complete_rows(
    run: Path,
    file: Path,
    output: Path,
    mixture: Mixture,
    patience: float,
    seed: int,
    spreadsheet_safe: bool | None,
) -> None:
    """Completes partial rows and writes them; see `everymode.simulations.commands.sample`.

    Raises:
        EveryModeError: The run or the files cannot be used as they are.
    """
    _check_name(output)
    synthesizer = mixture.apply(load_generator(RunFolder(run)))
    config = RunFolder(run).config
    missing = load(config).data.missing if config.exists() else MISSING
    given = read_table(file, missing)
    with searching(patience) as search:
        completed = complete(synthesizer, given, seed, mixture.groups, search, str(file))
    for text in completed.sentences():
        say(f"note: {text}")
    safe = _safe(run, spreadsheet_safe)
    marked = write_table(completed.rows, synthesizer.plan.schema, output, safe, completed.cells)
    _report(len(completed.rows), marked, output)


@contextlib.contextmanager
def searching(patience: float, shown: bool = True) -> Iterator[Search]:
    """A search that shows on standard error how far it is: a bar, on a terminal."""
    bar = Progress(
        TextColumn("drawing rows"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        console=Terminal(stderr=True, quiet=not shown),
        transient=True,
    )
    task = bar.add_task("rows", total=None, left="")

    def progress(found: int, wanted: int, left: float | None) -> None:
        time = "" if left is None else f"about {time_span(left)} left"
        bar.update(task, completed=found, total=wanted, left=time)

    with bar if bar.console.is_terminal else contextlib.nullcontext():
        yield Search(patience, progress)


def _check_name(output: Path) -> None:
    if not output.name.lower().endswith(WRITTEN):
        raise SettingsError(f"-o {output}: expected a name that ends in {', '.join(WRITTEN)}")


def _safe(run: Path, spreadsheet_safe: bool | None) -> bool:
    """Whether formulas get an apostrophe: as asked for, else as the run was configured."""
    if spreadsheet_safe is not None:
        return spreadsheet_safe
    config = RunFolder(run).config
    return (load(config).output if config.exists() else OutputSettings()).spreadsheet_safe


def _report(rows: int, marked: Marked, output: Path) -> None:
    if marked:
        say(f"note: {marked.sentence(output.name)}; --no-spreadsheet-safe: none")
    say(f"wrote {rows:,} rows to {output}")
