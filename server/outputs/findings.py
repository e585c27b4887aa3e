"""What a check found, and how it is shown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich import box
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, say, told
from everymode.wgan.words import json_text


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        what: The thing.
        found: What it is here.
        advice: What to do about it; empty: it is as it should be.
        fatal: Whether what was asked for would fail.
    """

    what: str
    found: str
    advice: str = ""
    fatal: bool = False


def show_findings(findings: Sequence[Finding], conclusion: str, as_json: bool = False) -> None:
    """Prints findings on standard output, one a line of a table, and what follows from them."""
    if as_json:
        text = json_text([asdict(finding) for finding in findings], indent=2)
        Terminal(soft_wrap=True).print(text)
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("what", "found", "verdict"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        style = "bold red" if finding.fatal else "yellow" if finding.advice else "green"
        table.add_row(told(finding.what), told(finding.found), told(finding.advice or "ok", style))
    Terminal().print(table)
    say(conclusion)
