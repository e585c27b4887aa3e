"""The command line: its commands, its exit codes, and how errors are shown.

The signature and the help text of each command are in `everymode.simulations.commands`. Nothing
heavy is imported here, so that help and errors of usage come at once.
"""

import os
import sys
import threading
from typing import Annotated

import typer

from everymode.server.outputs.terminal import say, say_traceback
from everymode.simulations.commands import (
    attack,
    audit,
    claims,
    clean,
    compare,
    deploy,
    doctor,
    init,
    privacy,
    sample,
    simulate,
    site,
    split,
    watch,
)
from everymode.simulations.commands.examples import WithExamples
from everymode.wgan.errors import INTERRUPTED, EveryModeError
from everymode.wgan.versions import package_versions

app = typer.Typer(
    name="everymode",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Train one synthetic-data generator across sites that cannot pool their data, so that it "
    "covers every mode of every group.",
)

app.command(help=simulate.HELP, cls=simulate.WithKeys)(simulate.simulate)
app.command(help=sample.HELP, cls=WithExamples)(sample.sample)
app.command(cls=WithExamples)(split.split)
app.command(cls=WithExamples)(init.init)
app.command(help=claims.HELP, cls=WithExamples)(claims.claims)
app.command(help=compare.HELP, cls=compare.WithStrategies)(compare.compare)
app.command(help=clean.HELP, cls=WithExamples)(clean.clean)
app.command(help=doctor.HELP, cls=WithExamples)(doctor.doctor)
app.command(help=privacy.HELP, cls=WithExamples)(privacy.privacy)
app.command(help=watch.HELP, cls=WithExamples)(watch.watch)
app.command(help=audit.HELP, cls=audit.WithThresholds)(audit.audit)
app.command(help=attack.HELP, cls=attack.WithLimits)(attack.attack)
app.add_typer(site.site)
app.add_typer(deploy.deploy)


def _version(value: bool) -> None:
    if value:
        say(f"everymode {package_versions(['everymode'])['everymode']}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line: exit code 2 for anything the user can correct, 130 after Ctrl-C."""
    sys.excepthook = say_traceback
    try:
        app()
    except EveryModeError as error:
        beginning = "" if error.exit_code == INTERRUPTED else "error: "
        for problem in dict.fromkeys(error.problems):
            say(f"{beginning}{problem}", sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # 130 is a second Ctrl-C, as Typer tells of it. Flower's worker threads would keep the
        # interpreter waiting for ever.
        waiting = {t for t in threading.enumerate() if not t.daemon} - {threading.main_thread()}
        if ended.code != INTERRUPTED or not waiting:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
