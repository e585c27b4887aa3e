"""The command line. Flower and Ray are imported only by the command that starts them."""

import contextlib
import os
import shlex
import sys
import threading
from pathlib import Path
from typing import Annotated, Literal

import click
import typer
from rich import box
from rich.table import Table
from typer.core import TyperCommand

from server.config.files import keys, load, presets, resolve
from server.config.sections import OutputSettings
from server.config.settings import Settings, decisive, differing, harmless_keys
from server.evaluation.versions import versions
from server.outputs.locks import InUseError
from server.outputs.run_directory import RunFolder, default_folder
from server.outputs.terminal import Terminal, named, say, say_traceback, told
from server.partition import Split, assign, site_table, write_sites
from server.session import Interrupted
from server.simulated_sites import create_simulated_sites
from server.synthesis.generator_file import load_generator
from simulations.audit import HELP as AUDIT
from simulations.audit import WithThresholds, audit
from simulations.claims.command import HELP as CLAIMS
from simulations.claims.command import claims
from simulations.clean import HELP as CLEAN
from simulations.clean import clean, offer
from simulations.compare.command import HELP as COMPARE
from simulations.compare.command import compare
from simulations.inline import run_inline
from simulations.scenarios import place, scenario_of
from simulations.starter import start_configuration
from wgan.data.frame import SUFFIXES, read_table
from wgan.data.spreadsheets import safe_table
from wgan.data.write import write_table
from wgan.errors import DataError, EveryModeError, SettingsError, suggest

SHOWN = 8
"""Values that `split` has a column for; the rest are added up."""

app = typer.Typer(
    name="everymode",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Train one synthetic-data generator across sites that cannot pool their data, so that it "
    "covers every mode of every group.",
)

SIMULATE = f"""Train across simulated sites on this machine and write a run directory.

CONFIG is a TOML file or a preset: {", ".join(presets())}. Without it, `adult` runs: the built-in
table over ten unlike sites, about three minutes on two cores.

The run directory holds `config.toml` (every key, explained), `synthetic.csv`, `summary.json`,
`curves.png`, `groups.png`, `generator.safetensors`, `metrics.jsonl`, `schema.json`, `checkpoints/`
and `log.txt`. Ctrl-C stops after the round at hand; `--resume DIR` goes on bit for bit.
"""


class _WithKeys(TyperCommand):
    """A command whose help ends with a table of all keys of a configuration."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help(ctx, formatter)
        Terminal().print(_key_table())


def _key_table() -> Table:
    table = Table(title="Keys of CONFIG and --set", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("key", no_wrap=True, style="cyan")
    table.add_column("default", max_width=16)
    table.add_column("meaning")
    section = ""
    for key, default, meaning in keys():
        first = key.rpartition(".")[0]
        if first != section:
            table.add_section()
            section = first
        table.add_row(key, told(default), told(meaning))
    return table


@app.command(help=SIMULATE, cls=_WithKeys)
def simulate(
    config: Annotated[
        str, typer.Argument(metavar="[CONFIG.toml]", help="A configuration file or a preset.")
    ] = "adult",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run directory; by default runs/NAME.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this directory.")
    ] = None,
    backend: Annotated[
        Literal["ray", "inline"],
        typer.Option(help="ray: Flower's simulation, an actor a core; inline: in this process."),
    ] = "ray",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """See SIMULATE."""
    with contextlib.ExitStack() as stack:
        if resume is None:
            settings = load(config, set_ or [])
            _check_tables(settings)
            folder = _held(config, out, stack)
            folder.create(settings)
        else:
            if out is not None or config != "adult":
                raise SettingsError(
                    "--resume goes on with a run as it was: leave out CONFIG and --out"
                )
            folder = RunFolder(resume)
            if not folder.config.exists():
                raise SettingsError(
                    f"--resume {resume}: no config.toml there, so it is no run directory"
                )
            stack.enter_context(folder.locked())
            settings = _resumed(folder, set_ or [])
        if not quiet:
            offer(folder.path)
        _simulate(settings, folder, resume is not None, backend, quiet)


def _simulate(
    settings: Settings, folder: RunFolder, resume: bool, backend: str, quiet: bool
) -> None:
    """Runs to the end in a directory that is held."""
    try:
        sites = folder.fresh_sites()
        stage = create_simulated_sites(place(settings, sites), sites)
        if backend == "inline":
            run_inline(settings, folder, stage, resume, quiet)
        else:
            from simulations.flower import run_flower

            run_flower(settings, folder, stage, resume, quiet)
    except (EveryModeError, KeyboardInterrupt) as error:
        # What Flower and Ray said is worth keeping where the tables are not to blame.
        logged = isinstance(error, EveryModeError) and folder.log.exists()
        keep = logged and not isinstance(error, (DataError, SettingsError))
        if not resume and not folder.metrics.exists() and not keep:
            folder.discard()
        raise


def _held(config: str, out: Path | None, stack: contextlib.ExitStack) -> RunFolder:
    """The directory of a new run, held by this process."""
    while True:
        folder = RunFolder(out or default_folder(Path(config).stem))
        try:
            stack.enter_context(folder.locked())
            return folder
        except InUseError:
            # Another run that was started just now took the name first; there are others.
            if out is not None:
                raise


def _resumed(folder: RunFolder, overrides: list[str]) -> Settings:
    """The configuration of a run that goes on, with changes that leave its result as it is."""
    before, settings = load(folder.config), load(folder.config, overrides)
    if changed := differing(decisive(before), decisive(settings)):
        raise SettingsError(
            f"{' '.join(f'--set {o}' for o in overrides)}: would change the result of the run that "
            f"is resumed: {'; '.join(changed)}. Only {', '.join(harmless_keys())} may change. "
            "Start a new run instead"
        )
    return settings


def _check_tables(settings: Settings) -> None:
    """Finds missing files before a run directory is made."""
    problems: list[str] = []
    for key, value in (("data.path", settings.data.path), ("data.holdout", settings.data.holdout)):
        if value is None or (key == "data.path" and scenario_of(settings)):
            continue
        try:
            path = resolve(value)
        except SettingsError as error:
            problems += error.problems
            continue
        if not path.exists():
            problems.append(f"{key}: {path}: no such file or folder")
    if problems:
        raise SettingsError(problems)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="How many rows.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .csv or .parquet file.")],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only such rows; may be repeated."),
    ] = None,
    groups: Annotated[
        Literal["data", "uniform"],
        typer.Option(help="data: groups as in the data; uniform: all groups alike."),
    ] = "data",
    parity_level: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of the gap in the target between groups that stays; 0: no gap. "
            "[default: as the run was configured]",
        ),
    ] = None,
    parity_feature: Annotated[
        list[str] | None,
        typer.Option(help="A sensitive feature that --parity-level is for; repeatable; none: all."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the rows.")] = 0,
    spreadsheet_safe: Annotated[
        bool | None,
        typer.Option(
            "--spreadsheet-safe/--no-spreadsheet-safe",
            help="In CSV, an apostrophe before text that begins like a formula (= + - @), so that "
            "no spreadsheet runs what a site sent. [default: as the run was configured]",
        ),
    ] = None,
) -> None:
    """Draw rows from a trained generator.

    Sensitive features and a target with classes are conditions of the generator: asking for one of
    their values costs nothing. Values of other columns are met by drawing until enough rows fit.
    """
    wanted = {}
    for item in where or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise SettingsError(f"--where {item}: expected COLUMN=VALUE, for instance sex=Female")
        wanted[name] = value
    if not output.name.lower().endswith(SUFFIXES):
        raise SettingsError(f"-o {output}: expected a name that ends in {', '.join(SUFFIXES)}")
    synthesizer = load_generator(RunFolder(run))
    if parity_level is not None:
        synthesizer = synthesizer.at_level(parity_level, tuple(parity_feature or ()))
    elif parity_feature:
        raise SettingsError("--parity-feature: name the level too, with --parity-level 0, say")
    table = synthesizer.draw(rows, seed, groups, wanted)
    if spreadsheet_safe is None:
        spreadsheet_safe = _configured(RunFolder(run)).spreadsheet_safe
    marked = write_table(table, synthesizer.plan.schema, output, spreadsheet_safe)
    if marked:
        say(f"note: {marked.sentence(output.name)}; --no-spreadsheet-safe: none")
    say(f"wrote {len(table):,} rows to {output}")


def _configured(run: RunFolder) -> OutputSettings:
    """What a run's configuration says of what is written; as by default where it has none."""
    return load(run.config, []).output if run.config.exists() else OutputSettings()


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet table.")],
    out: Annotated[Path, typer.Option(help="A new folder for one table per site.")],
    sites: Annotated[int, typer.Option(min=1, help="How many sites.")] = 10,
    by: Annotated[
        Literal["iid", "dirichlet", "group", "quantity", "column"],
        typer.Option(
            help="iid: alike; quantity: sizes differ; dirichlet: shares of each value differ; "
            "group: each value lives on few sites; column: each value is a site."
        ),
    ] = "iid",
    alpha: Annotated[float, typer.Option(help="Dirichlet's concentration; small is uneven.")] = 0.3,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column whose values are dealt out; may be repeated."),
    ] = None,
    largest: Annotated[
        float,
        typer.Option(help="Share of the rows on one site, with --by quantity; 0: off."),
    ] = 0.0,
    minimum: Annotated[int, typer.Option(min=1, help="Rows every site gets at least.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe/--no-spreadsheet-safe",
            help="In CSV, an apostrophe before text that begins like a formula (= + - @). Only for "
            "people: a site would take the apostrophe for a part of the value.",
        ),
    ] = False,
) -> None:
    """Deal the rows of one table out to sites, one file each."""
    columns = tuple(column or ())
    if by in ("dirichlet", "group", "column") and not columns:
        raise SettingsError(
            f"--by {by} needs --column NAME, the column whose values are dealt out "
            "(may be repeated)"
        )
    frame = read_table(file)
    unknown = [c for c in columns if c not in frame.columns]
    if unknown:
        raise SettingsError(
            [
                f"--column {c}: {file} has no such column; {suggest(c, frame.columns)}"
                for c in unknown
            ]
        )
    text = frame[list(columns)].astype("str")
    text = text.mask(frame[list(text.columns)].isna(), "")
    how = Split(by, sites, alpha, columns, minimum, largest=largest)
    owners = assign(text, how, seed)
    suffix = ".parquet" if file.name.lower().endswith(".parquet") else ".csv"
    if spreadsheet_safe and suffix == ".csv":
        frame, marked = safe_table(frame)
        if marked:
            say(f"note: {marked.sentence(str(out))}")
    written = write_sites(frame, owners, out, suffix)
    counts = site_table(text, owners)
    names = [str(name) for name in counts.columns]
    table = Table(title=told(f"rows per site in {out}"), title_justify="left")
    table.add_column("site", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    shown = names[:SHOWN] if columns else []
    for name in shown:
        table.add_column(named(name), justify="right", overflow="fold")
    if columns and len(names) > SHOWN:
        table.add_column(f"{len(names) - SHOWN} more", justify="right")
    for path, (_, row) in zip(written, counts.iterrows(), strict=True):
        numbers = [int(row.sum()), *row.iloc[: len(shown)]]
        if columns and len(names) > SHOWN:
            numbers.append(row.iloc[SHOWN:].sum())
        table.add_row(path.name, *(f"{int(n):,}" for n in numbers))
    Terminal().print(table)


@app.command()
def init(
    file: Annotated[
        Path, typer.Argument(help="A CSV or Parquet table, or a folder of site tables.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The TOML file to write.")],
    sensitive: Annotated[
        list[str] | None, typer.Option(help="A sensitive feature; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to be predicted.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Look at a table and write a configuration for it, with every key explained."""
    notes = start_configuration(file, tuple(sensitive or ()), target, output, force)
    Terminal().print(notes)
    say(f"wrote {output}; next: everymode simulate {shlex.quote(str(output))}")


app.command(help=CLAIMS)(claims)
app.command(help=COMPARE)(compare)
app.command(help=CLEAN)(clean)
app.command(help=AUDIT, cls=WithThresholds)(audit)


def _version(value: bool) -> None:
    if value:
        say(f"everymode {versions()['everymode']}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line: exit code 2 for anything the user can mend, 130 after Ctrl-C."""
    sys.excepthook = say_traceback
    try:
        app()
    except Interrupted as stopped:
        say(str(stopped), sys.stderr)
        sys.exit(130)
    except EveryModeError as error:
        for problem in dict.fromkeys(error.problems):
            say(f"error: {problem}", sys.stderr)
        sys.exit(2)
    except SystemExit as ended:
        # 130 is a second Ctrl-C, as Typer tells of it. Flower's worker threads would keep the
        # interpreter waiting for ever.
        waiting = {t for t in threading.enumerate() if not t.daemon} - {threading.main_thread()}
        if ended.code != 130 or not waiting:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
