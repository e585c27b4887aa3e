"""The one way to a terminal: whatever is shown there has gone through `everymode.wgan.words`.

Names of sites, columns and groups are among what is shown, and neither the terminal nor rich may
take them for commands. Therefore no other file makes a `Console` or a `Text`, or calls `print`; a
test reads the sources and fails otherwise.
"""

import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from everymode.wgan.words import brief, line, visible


class Terminal(Console):
    """A console that takes text for text: no markup, no emoji codes, no control characters."""

    def __init__(self, **options: Any) -> None:
        """Takes what `rich.console.Console` takes, but for `markup`, `emoji` and `highlight`."""
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a table's cell or of `print`; rich would drop some control characters unsaid."""
        return super().render_str(_each_line(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What rich writes; its own commands to the terminal stand apart from the text."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(_each_line(segment.text), segment.style)


def told(text: str, style: str | Style = "") -> Text:
    """A sentence of ours that may hold words of others, on one line."""
    return Text(line(text), style)


def named(name: str, style: str | Style = "") -> Text:
    """A name, as a cell of a table or a label: cut where it is long."""
    return Text(brief(name), style)


def assembled(*parts: str | tuple[str, str]) -> Text:
    """Sentences and pieces with a style of their own, one after the other on one line."""
    styled = [(p, "") if isinstance(p, str) else p for p in parts]
    return Text.assemble(*((line(text), style) for text, style in styled))


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a line, by default to standard output."""
    print(line(text), file=file or sys.stdout)


def say_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What `sys.excepthook` does: prints a traceback, whose last lines may hold any words."""
    print(_each_line("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr)


def _each_line(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(visible, text.split("\n")))
