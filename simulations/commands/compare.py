"""`everymode compare`: options and help; training is `everymode.simulations.compare.command`."""

from pathlib import Path
from typing import Annotated, Literal

import click
import typer

from everymode.simulations.commands.examples import WithExamples

DEFAULT = "pooled,local,fedgan,everymode"

HELP = """Train the same data, seeds and budget under several strategies, side by side.

CONFIG is a TOML file or a preset. Every strategy trains once a seed, with the same exchanges,
generator steps and critic steps; `--set` changes all of them alike. [federation] is EveryMode's
own: the others do as their papers say.

DIR gets `compare.md` (tables: best federated value bold, `=` within one spread of it),
`compare.json`, `curves.png` (quality against rounds, bytes and seconds), `final.png`, `weights.png`
where weights move, and one run directory each, `DIR/STRATEGY/seed-S`, as `simulate` makes it.

Ctrl-C stops after the round at hand; the same command goes on. Asked for more seeds or strategies,
it keeps the runs that are there. The exit code is 1 if a run failed, 2 for bad input.

For instance: `everymode compare quick --strategies all --seeds 0,1,2 --out compared --jobs 2`

`cart` and `local_cart` train nothing: they are what a user would do instead, with their figures and
costs in the tables, and without curves.

Strategies:
"""


class WithStrategies(WithExamples):
    """A command whose help has a list of all strategies."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the usual help, the list included."""
        from everymode.simulations.compare.entries import ENTRIES

        entries = [f"- `{name}`: {s.paper or s.note}" for name, s in ENTRIES.items()]
        self.help = "\n".join((HELP, *entries))
        super().format_help(ctx, formatter)


def compare(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A configuration file or a preset.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of everything.")],
    strategies: Annotated[
        str, typer.Option(metavar="A,B,...", help="Which strategies; all: every one.")
    ] = DEFAULT,
    seeds: Annotated[str, typer.Option(metavar="0,1,...", help="Which seeds.")] = "0,1,2",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key for all runs; may be repeated."
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(metavar="N", help="Runs at once, a process of one thread each.")
    ] = 1,
    backend: Annotated[
        Literal["inline", "ray"],
        typer.Option(help="inline: in this process; ray: each run in Flower's simulation."),
    ] = "inline",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try runs again that diverged or failed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.compare.command import compare_strategies

    broken = compare_strategies(
        config, strategies, seeds, out, set_ or [], jobs, backend, retry_failed, quiet
    )
    if broken:
        raise typer.Exit(1)
