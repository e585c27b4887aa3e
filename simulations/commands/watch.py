"""`everymode watch`: options and help; the display is `everymode.simulations.watch`."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """Show where a run stands: rounds, time left, sites, traffic, estimates by group, failures.

RUN is a run directory on this machine; it is only read, so any number of people may watch. On a
terminal the display follows the run until it ends; elsewhere a line is printed for each change.
The same is in RUN/watch.html, for a browser, and in RUN/metrics.prom, for Prometheus.
"""


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    once: Annotated[bool, typer.Option("--once", help="Print the state once and end.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.watch import show_progress

    show_progress(run, once)
