"""What a person sees of a run: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from everymode.server.outputs.run_directory import RunFolder
from everymode.server.outputs.terminal import Terminal, assembled, named, told
from everymode.server.progress import StageName
from everymode.server.training.rounds import Metrics
from everymode.wgan.words import brief

GROUPS = 12
"""Groups shown while training; with more, those with the largest estimates."""

PULSE = 10.0
"""Seconds between plain lines where there is no terminal."""

SMOOTH = 0.9

STYLES = {"pass": "green", "fail": "bold red", "insufficient": "yellow"}

VERDICTS = {"good": "green", "watch": "yellow", "bad": "bold red", "unknown": "dim"}


class Display:
    """A `ProgressListener` for people; use as a context manager."""

    def __init__(
        self, console: Console | None, quiet: bool = False, results: Console | None = None
    ) -> None:
        """Shows the progress and the results; `quiet` shows nothing but errors.

        Args:
            console: Where; None: standard error.
            quiet: Whether to show nothing.
            results: Where the results go at the end; None: where the progress went.
        """
        self.console = console or Terminal(stderr=True)
        self.results = results or self.console
        self.quiet = quiet
        self._live: Live | None = None
        self._steps: Progress | None = None
        self._bar = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[pace]}"),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            expand=True,
        )
        self._task: Any = None
        self._rounds = 0
        self._done = 0
        self._first = 0
        self._started = 0.0
        self._told = 0.0
        self._smooth: dict[str, float] = {}
        self._last: Metrics = {}

    def __enter__(self) -> "Display":
        """Nothing is shown yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the terminal as it was."""
        self._end()

    def on_stage_begin(self, stage: StageName, text: str) -> None:
        """Prints what begins."""
        self._end()
        if not self.quiet:
            self.console.print(told(text, "bold"), soft_wrap=True)

    def on_note(self, text: str) -> None:
        """Prints the note."""
        self._end()
        if not self.quiet:
            mark = "" if text.startswith("note: ") else "note: "
            self.console.print(told(mark + text, "bold"), soft_wrap=True)

    def on_train_begin(self, done: int, total: int, groups: Sequence[str]) -> None:
        """Opens the live display on a terminal."""
        self._rounds, self._done, self._first = total, done, done
        self._started = self._told = time.monotonic()
        if self.quiet:
            return
        self._task = self._bar.add_task("rounds", total=total, completed=done, pace="")
        if self.console.is_terminal:
            self._live = Live(self._view(), console=self.console, refresh_per_second=4)
            self._live.start()

    def on_round_end(self, metrics: Metrics) -> None:
        """Shows a finished round."""
        self._done, self._last = int(metrics["round"]), metrics
        for name, value in metrics["estimate_by_group"].items():
            if value is not None:
                old = self._smooth.get(name, value)
                self._smooth[name] = SMOOTH * old + (1 - SMOOTH) * value
        if self.quiet:
            return
        now = time.monotonic()
        pace = (self._done - self._first) / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=self._done, pace=f"{pace:.1f} rounds/s")
        if self._live:
            self._live.update(self._view())
        elif now - self._told >= PULSE or self._done == self._rounds:
            self._told = now
            left = (self._rounds - self._done) / max(pace, 1e-9)
            worst = self._worst()
            text = (
                f"round {self._done}/{self._rounds}  {pace:.1f} rounds/s  left {left:.0f} s  "
                f"estimate {metrics['estimate']:.4f}  worst group {brief(worst)} "
                f"{self._smooth.get(worst, float('nan')):.4f}"
            )
            self.console.print(told(text), soft_wrap=True)

    def on_progress(self, done: int, total: int) -> None:
        """Shows how much of a stage is done: a bar on a terminal, else a line now and then."""
        if self.quiet:
            return
        now = time.monotonic()
        if self.console.is_terminal:
            if not self._steps:
                self._steps = Progress(
                    TextColumn("step"),
                    MofNCompleteColumn(),
                    BarColumn(bar_width=None),
                    TextColumn("left at most"),
                    TimeRemainingColumn(compact=True),
                    console=self.console,
                    transient=True,
                )
                self._steps.add_task("steps", total=total)
                self._steps.start()
            self._steps.update(self._steps.task_ids[0], completed=done, total=total)
        elif not done:
            self._told = now
        elif now - self._told >= PULSE:
            self._told = now
            self.console.print(f"step {done} of at most {total}", highlight=False)

    def on_run_end(self, summary: dict[str, Any], folder: RunFolder) -> None:
        """Shows the figures and where the files are."""
        self._end()
        if not self.quiet:
            show_results(self.results, summary, folder)

    def _worst(self) -> str:
        return max(self._smooth, key=lambda name: self._smooth[name], default="none")

    def _view(self) -> RenderableType:
        table = Table(expand=True, box=None, pad_edge=False)
        table.add_column("group")
        table.add_column("critic's estimate (smoothed)", justify="right")
        table.add_column("", ratio=1)
        top = max([abs(v) for v in self._smooth.values()], default=1.0) or 1.0
        ranked = sorted(self._smooth.items(), key=lambda item: -item[1])
        for place, (name, value) in enumerate(ranked[:GROUPS]):
            bar = "█" * round(30 * max(value, 0.0) / top)
            style = "bold red" if place == 0 and len(ranked) > 1 else ""
            mark = " (worst)" if place == 0 and len(ranked) > 1 else ""
            table.add_row(named(name).append(mark), f"{value:.4f}", bar, style=style)
        if len(ranked) > GROUPS:
            table.add_row(f"and {len(ranked) - GROUPS} more", "", "")
        return Group(self._bar, Panel(table, title="per group", border_style="dim"))

    def _end(self) -> None:
        if self._steps:
            self._steps.stop()
            self._steps = None
        if self._live:
            self._live.stop()
            self._live = None


def show_results(console: Console, summary: dict[str, Any], folder: RunFolder) -> None:
    """Shows the figures of a finished run, what was read as something else, and where files are."""
    console.print(figures(summary))
    console.print(findings(summary))
    for text in summary.get("changed", ()):
        console.print(told(f"changed: {text}"), soft_wrap=True)
    if audit := summary.get("audit"):
        style = STYLES[audit["verdict"]]
        words = assembled("audit of the sites' sums: ", (audit["headline"], style))
        console.print(words, told(f"(see {folder.path / 'audit.html'})"), soft_wrap=True)
    console.print(told(f"results in {folder.path}", "bold"), soft_wrap=True)


def figures(summary: dict[str, Any]) -> Table:
    """The main figures of `summary.json`, as a table."""
    table = Table(title="figures", show_header=True, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")

    def number(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.4f}"

    table.add_row("rows real / synthetic", f"{summary['rows']:,} / {summary['rows_synthetic']:,}")
    left_out = summary["rows"] - summary["rows_modelled"]
    if left_out:
        table.add_row("rows left out: rarer than data.floor", f"{left_out:,}")
    table.add_row("sites, groups", f"{summary['sites']}, {len(summary['groups'])}")
    table.add_row("mean total variation (categories)", number(summary["tv_mean"]))
    table.add_row("mean Kolmogorov-Smirnov (numbers)", number(summary["ks_mean"]))
    table.add_row("worst group's standardised coverage", number(summary["coverage_group_min"]))
    for source, found in (summary["utility"] or {}).items():
        name = "AUC" if found["metric"] == "auc" else "R2"
        table.add_row(
            f"{name} on held-out rows, trained on {source}: linear / trees",
            f"{number(found['logistic'])} / {number(found['boosted_trees'])}",
        )
    for feature, gap in summary.get("parity", {}).get("gaps_made", {}).items():
        real = summary["parity"]["gaps_real"][feature]
        gaps = f"{real:.4f} / {gap:.4f}"
        table.add_row(told(f"target's gap over {brief(feature)}, real / made"), gaps)
    for column, leader in (summary["projection"] or {}).get("columns_that_follow", {}).items():
        pair = told(f"{brief(column)}: {brief(leader)}")
        table.add_row("filled in, as it follows from another column", pair)
    if summary["stopped_at_plateau"]:
        table.add_row("rounds, stopped at a plateau", str(summary["rounds"]))
    megabytes = summary["bytes_down"] / 1e6, summary["bytes_up"] / 1e6
    table.add_row("MB down / up", f"{megabytes[0]:,.1f} / {megabytes[1]:,.1f}")
    table.add_row("seconds", f"{summary['wall_seconds']:,.1f}")
    return table


def findings(summary: dict[str, Any]) -> Table:
    """What the training showed, as a table; advice only where there is any."""
    table = Table(title="training", show_header=True, title_justify="left")
    for name in ("aspect", "verdict", "seen"):
        table.add_column(name)
    for finding in summary["diagnosis"]:
        seen = told(finding["what"])
        if finding["advice"]:
            seen.append("\n").append(told(finding["advice"], "italic"))
        verdict = told(finding["verdict"], VERDICTS[finding["verdict"]])
        table.add_row(finding["aspect"], verdict, seen)
    return table
