"""`everymode attack`: options and help; the attacks are run by `everymode.simulations.attack`."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, told
from everymode.simulations.commands.examples import WithExamples

HELP = """Attack a synthetic table: can rows that it was made from be found again, group by group?

Attacks the table of the run directory RUN, or `--synthetic FILE`, with real rows that were trained
on (members) and real rows of the same distribution that were not. Without `--members` and
`--nonmembers` they are the run's training rows and its held-out rows.

*Membership*: does a row's nearest synthetic row, a density ratio, or (with RUN) the trained
critic tell members from others? For all rows, the tenth that are most isolated, and every group.
*Attribute inference*, *linkability* and *singling out* as in anonymeter: each is made on
members, on others (control) and by a guess (baseline); the risk is what is gained over the control.
*Epsilon*: what the best membership attack rules out, compared with what the run's `privacy.json`
guarantees, or with `--claimed-epsilon`.

DIR gets `attack.json` and `attack.html` (one page with the ROC curves of groups). The exit code is
0 if no attack succeeds beyond its limit, 1 if one does, 2 for bad input, and 3 if there are too
few rows to judge membership by. No attack proves that there is no better one.
"""


class WithLimits(WithExamples):
    """A command whose help has a table of all limits."""

    def format_more(self) -> None:
        """Writes the table."""
        from everymode.fairness.attacks.limits import AttackLimits

        table = Table(title="Limits for --set", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("key", no_wrap=True, style="cyan")
        table.add_column("default", justify="right")
        table.add_column("an attack succeeds where the interval's lower end is above")
        for name, field in AttackLimits.model_fields.items():
            table.add_row(name, str(field.default), told(field.description or ""))
        Terminal().print(table)


def attack(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run directory.", show_default=False)
    ] = None,
    members: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Real rows that were trained on.")
    ] = None,
    nonmembers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Real rows that were not.")
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The synthetic rows, in place of RUN's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the report; default: RUN/attack."),
    ] = None,
    sensitive: Annotated[
        list[str] | None, typer.Option(help="A sensitive feature; may be repeated.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="A column whose values are guessed; may be repeated; default: all."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="A column to leave out, an identifier, say; may be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A limit, or KEY=off; repeatable."),
    ] = None,
    claimed_epsilon: Annotated[
        float | None,
        typer.Option(
            help="The epsilon that was promised; an attack that rules it out succeeds. Default: "
            "what RUN's privacy.json guarantees."
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="The delta of the promise; default: RUN's own, or 1e-5."),
    ] = None,
    minimum: Annotated[
        int, typer.Option(min=20, help="Rows of either kind to judge a group by.")
    ] = 300,
    rows: Annotated[
        int, typer.Option(min=50, help="Rows of either kind that are scored in a group at most.")
    ] = 4000,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of what is drawn; default: RUN's own, or 0."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.attack import attack_table

    code = attack_table(
        run,
        members=members,
        nonmembers=nonmembers,
        synthetic=synthetic,
        out=out,
        sensitive=sensitive or [],
        secret=secret or [],
        drop=drop or [],
        overrides=set_ or [],
        claimed_epsilon=claimed_epsilon,
        delta=delta,
        minimum=minimum,
        rows=rows,
        seed=seed,
        quiet=quiet,
    )
    raise typer.Exit(code)
