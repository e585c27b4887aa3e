"""`everymode sample`: rows from a trained generator."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from everymode.server.outputs.terminal import say
from everymode.wgan.errors import SettingsError


def sample(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, help="How many rows.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .csv, .parquet, .feather, .jsonl or .xlsx file."),
    ],
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
    from everymode.server.config.files import load
    from everymode.server.config.sections import OutputSettings
    from everymode.server.outputs.run_directory import RunFolder
    from everymode.server.synthesis.generator_file import load_generator
    from everymode.wgan.data.formats import WRITTEN
    from everymode.wgan.data.write import write_table

    wanted = {}
    for item in where or []:
        name, equals, value = item.partition("=")
        if not equals:
            raise SettingsError(f"--where {item}: expected COLUMN=VALUE, for instance sex=Female")
        wanted[name] = value
    if not output.name.lower().endswith(WRITTEN):
        raise SettingsError(f"-o {output}: expected a name that ends in {', '.join(WRITTEN)}")
    synthesizer = load_generator(RunFolder(run))
    if parity_level is not None:
        synthesizer = synthesizer.at_level(parity_level, tuple(parity_feature or ()))
    elif parity_feature:
        raise SettingsError("--parity-feature: name the level too, with --parity-level 0, say")
    table = synthesizer.draw(rows, seed, groups, wanted)
    if spreadsheet_safe is None:
        config = RunFolder(run).config
        written = load(config).output if config.exists() else OutputSettings()
        spreadsheet_safe = written.spreadsheet_safe
    marked = write_table(table, synthesizer.plan.schema, output, spreadsheet_safe)
    if marked:
        say(f"note: {marked.sentence(output.name)}; --no-spreadsheet-safe: none")
    say(f"wrote {len(table):,} rows to {output}")
