"""`everymode compare`: several strategies on the same data, seeds and budget, side by side."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from server.config.strategies import STRATEGIES
from server.outputs.locks import locked
from server.outputs.terminal import Terminal, say, told
from server.session import Interrupted
from simulations.compare import pictures, tables
from simulations.compare.plan import Comparison, planned
from simulations.compare.progress import Watch
from simulations.compare.results import budget_of, collected
from simulations.compare.run import Outcome, pending, run_all
from simulations.streams import Stop
from wgan.errors import SettingsError
from wgan.state import write_bytes, write_json

DEFAULT = "pooled,local,fedgan,everymode"


def _entry(name: str) -> str:
    strategy = STRATEGIES[name]
    return f"- `{name}`: {strategy.paper or strategy.note}"


HELP = f"""Train the same data, seeds and budget under several strategies, side by side.

CONFIG is a TOML file or a preset. Every strategy trains once a seed, with the same exchanges,
generator steps and critic steps; `--set` changes all of them alike. [federation] is EveryMode's
own: the others do as their papers say.

DIR gets `compare.md` (tables: best federated value bold, `=` within one spread of it),
`compare.json`, `curves.png` (quality against rounds, bytes and seconds), `final.png`, `weights.png`
where weights move, and one run directory each, `DIR/STRATEGY/seed-S`, as `simulate` makes it.

Ctrl-C stops after the round at hand; the same command goes on. Asked for more seeds or strategies,
it keeps the runs that are there. The exit code is 1 if a run failed, 2 for bad input.

For instance: `everymode compare quick --strategies all --seeds 0,1,2 --out compared --jobs 2`

Strategies:

{chr(10).join(map(_entry, STRATEGIES))}
"""


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
    comparison = planned(config, strategies, seeds, out, set_ or [], jobs, backend)
    with locked(out):
        report = _compared(comparison, jobs, backend, retry_failed, quiet)
    broken = sum(run["status"] in ("diverged", "failed") for run in _runs(report))
    if broken:
        if not quiet:
            say(f"runs that did not end well: {broken}; --retry-failed tries them again")
        raise typer.Exit(1)


def _compared(
    comparison: Comparison, jobs: int, backend: str, again: bool, quiet: bool
) -> dict[str, Any]:
    """Trains, writes and shows, in a folder that is held; returns what `compare.json` holds."""
    # From here on the folder says what it is, even if the first run is killed at once.
    write_json(comparison.out / "compare.json", collected(comparison))
    # Flower's backend sends what is printed to a log; the display keeps the real standard error.
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as person:
        console = Terminal(file=person)
        if not quiet:
            _announce(comparison, console)
        _train(comparison, jobs, backend, again, console, quiet)
    report = write(comparison)
    if not quiet:
        screen = Terminal()
        screen.print(*tables.shown(report, screen.width))
        for note in tables.notes(report):
            say(note)
        say(f"tables and pictures: {comparison.out / 'compare.md'}")
    return report


def write(comparison: Comparison) -> dict[str, Any]:
    """Writes `compare.json`, pictures and `compare.md` of what there is; returns the first."""
    report = collected(comparison)
    write_json(comparison.out / "compare.json", report)
    names = pictures.draw(comparison, report)
    write_bytes(comparison.out / "compare.md", tables.page(report, names).encode())
    return report


def _train(
    comparison: Comparison, jobs: int, backend: str, again: bool, console: Terminal, quiet: bool
) -> None:
    """Trains what is left.

    Raises:
        Interrupted: The user asked to stop.
        SettingsError: A run was refused.
    """
    left = pending(comparison.runs, again)
    refused: list[Outcome] = []
    with Stop().listening() as stop, Watch(comparison.runs, left, console, quiet) as watch:
        for outcome in run_all(left, jobs, backend, stop, watch.started):
            if outcome.kind != "stopped":
                left.remove(outcome.run)
            refused += [outcome] if outcome.kind == "refused" else []
            watch.ended(outcome)
            # What is there already can be looked at while the rest is trained.
            write_json(comparison.out / "compare.json", collected(comparison))
    if refused:
        raise SettingsError(
            f"{outcome.run.strategy}, seed {outcome.run.seed}: {problem}"
            for outcome in refused
            for problem in outcome.problems
        )
    if left:
        done = len(comparison.runs) - len(left)
        command = shlex.join(_command(comparison, jobs, backend, again))
        raise Interrupted(
            f"stopped with {done} of {len(comparison.runs)} runs done; continue with: {command}"
        )


def _announce(comparison: Comparison, console: Terminal) -> None:
    strategies, seeds, runs = comparison.strategies, comparison.seeds, comparison.runs
    lines = [
        f"{len(runs)} runs: strategies {', '.join(strategies)}; seeds {', '.join(map(str, seeds))}",
        tables.budget_line(budget_of(comparison)),
        *(f"note: {note}" for note in comparison.notes),
    ]
    for line in lines:
        console.print(told(line), soft_wrap=True)


def _command(comparison: Comparison, jobs: int, backend: str, again: bool) -> list[str]:
    """The command that goes on."""
    words = ["everymode", "compare", comparison.config]
    words += ["--strategies", ",".join(comparison.strategies)]
    words += ["--seeds", ",".join(map(str, comparison.seeds)), "--out", str(comparison.out)]
    words += [word for override in comparison.overrides for word in ("--set", override)]
    words += ["--jobs", str(jobs)] if jobs > 1 else []
    words += ["--backend", backend] if backend != "inline" else []
    return [*words, "--retry-failed"] if again else words


def _runs(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for row in report["strategies"] for run in row["runs"]]
