"""The one way to a terminal: text stays text, whatever it is made of."""

import ast
import io
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from everymode.server.outputs.terminal import Terminal, assembled, named, say, say_traceback, told

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("wgan", "fairness", "clients", "server", "simulations")
HOSTILE = "[red]a[/red] :smile: [link=http://x]b[/link] \x1b[2J\x9b1m\r\b\x07\u202e\u2028\u200b\x0b"
SHOWN = (
    "[red]a[/red] :smile: [link=http://x]b[/link] "
    r"\x1b[2J\x9b1m\r\x08\x07\u202e\u2028\u200b\x0b"
)


def shown(*renderables: object) -> str:
    file = io.StringIO()
    # A terminal of full colour, so that a style or a link would be seen.
    Terminal(file=file, force_terminal=True, color_system="truecolor", width=400).print(
        *renderables, soft_wrap=True
    )
    return file.getvalue().rstrip("\n ")


@pytest.mark.parametrize("way", [str, told, named, assembled])
def test_text_is_shown_as_it_is_and_commands_nothing(way) -> None:
    assert shown(way(HOSTILE)) == SHOWN


def test_cells_titles_and_headers_of_tables_are_text_too() -> None:
    for cell in (HOSTILE, named(HOSTILE)):
        table = Table(title=cell, box=None)
        table.add_column(cell)
        table.add_row(cell)
        text = shown(table)
        # rich sets a style of its own for title and header: bold, italic, nothing else.
        assert text.count(SHOWN) == 3
        assert "\x9b" not in text and "\x1b[2J" not in text and "\x1b]8" not in text


def test_a_text_that_was_made_elsewhere_is_caught_on_its_way_out() -> None:
    assert shown(Text("a\x1b[2Jb\x9bc")) == r"a\x1b[2Jb\x9bc"


def test_styles_and_lines_of_our_own_remain() -> None:
    assert shown(told("a\x1b", "bold")) == "\x1b[1ma\\x1b\x1b[0m"
    assert shown("one\ntwo") == "one\ntwo"
    assert shown(assembled("a ", ("b", "bold"))) == "a \x1b[1mb\x1b[0m"


def test_a_line_that_is_printed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("error: no 'a\nerror: all is well\x1b[2J'", sys.stderr)
    say("wrote \x9b")
    found = capsys.readouterr()
    assert found.err == "error: no 'a\\nerror: all is well\\x1b[2J'\n"
    assert found.out == "wrote \\x9b\n"


def test_a_traceback_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("x") from RuntimeError("\x1b[2J\udcff")
    except KeyError as error:
        say_traceback(type(error), error, error.__traceback__)
    err = capsys.readouterr().err
    assert "Traceback" in err and r"\x1b[2J\udcff" in err and "\x1b" not in err


def ways_around(source: str) -> list[str]:
    """Calls in a file that reach a terminal on a way of their own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "Console", "Text", "Text.assemble", "Text.from_markup"):
                found.append(name)
            if name in ("sys.stdout.write", "sys.stderr.write", "typer.echo", "click.echo"):
                found.append(name)
    return found


def test_there_is_no_other_way_to_a_terminal() -> None:
    allowed = {"server/outputs/terminal.py"}
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name not in allowed and "/examples/" not in name:
                assert ways_around(path.read_text(encoding="utf-8")) == [], name


def test_the_reader_of_sources_sees_what_it_looks_for() -> None:
    assert ways_around("def f():\n    Console().print(Text(x))\n    print(y)") != []
    assert ways_around((ROOT / "server/outputs/terminal.py").read_text(encoding="utf-8")) != []
