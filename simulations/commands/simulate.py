"""`everymode simulate`: options and help; the run itself is `everymode.simulations.simulate`."""

from pathlib import Path
from typing import Annotated, Literal

import click
import typer
from rich import box
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, told
from everymode.simulations.commands.examples import WithExamples
from everymode.wgan.errors import SettingsError

HELP = """Train across simulated sites on this machine and write a run directory.

CONFIG is a TOML file or a preset: {presets}. Without it, `adult` runs: the built-in
table over ten unlike sites, about three minutes on two cores.

The run directory holds `config.toml` (every key, explained), `synthetic.csv`, `summary.json`,
`curves.png`, `groups.png`, `audit.html`, `generator.safetensors`, `metrics.jsonl`, `releases.json`,
`schema.json`, `checkpoints/` and `log.txt`. Ctrl-C stops after the current round; `--resume DIR`
goes on bit for bit.
"""


class WithKeys(WithExamples):
    """A command whose help names the presets and has a table of all configuration keys."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the usual help with the presets there are."""
        from everymode.server.config.files import presets

        self.help = HELP.format(presets=", ".join(presets()))
        super().format_help(ctx, formatter)

    def format_more(self) -> None:
        """Writes the table."""
        from everymode.server.config.files import keys

        Terminal().print(_key_table(keys()))


def _key_table(keys: list[tuple[str, str, str]]) -> Table:
    table = Table(title="Keys of CONFIG and --set", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("key", no_wrap=True, style="cyan")
    table.add_column("default", max_width=16)
    table.add_column("meaning")
    section = ""
    for key, default, meaning in keys:
        first = key.rpartition(".")[0]
        if first != section:
            table.add_section()
            section = first
        table.add_row(key, told(default), told(meaning))
    return table


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
    """See HELP."""
    from everymode.simulations.simulate import resume_run, start_run

    if resume is None:
        start_run(config, set_ or [], out, backend, quiet)
    elif out is not None or config != "adult":
        raise SettingsError("--resume goes on with a run as it was: leave out CONFIG and --out")
    else:
        resume_run(resume, set_ or [], backend, quiet)
