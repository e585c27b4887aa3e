"""What an installation puts where."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.test_layers import LAYERS

ROOT = Path(__file__).resolve().parents[1]
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]


def installed() -> set[str]:
    """Files of the installation, relative to site-packages."""
    return {file.as_posix() for file in metadata.files("everymode") or ()}


def test_nothing_but_everymode_is_at_the_top() -> None:
    tops = {name.partition("/")[0] for name in installed() if not name.startswith("..")}
    tops = {name for name in tops if not name.endswith((".dist-info", ".pth"))}
    assert tops <= {"everymode"}


def test_an_installation_holds_every_module_and_what_is_read() -> None:
    files = installed()
    if any(name.endswith(".pth") for name in files):
        pytest.skip("an editable installation: the folders themselves are imported")
    wanted = {
        f"everymode/{path.relative_to(ROOT).as_posix()}"
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.*")
        if path.suffix in (".py", ".toml", ".gz", ".json") and "examples" not in path.parts
    }
    assert wanted | {"everymode/py.typed", "everymode/__main__.py"} <= files
    assert not any("/examples/" in name or name.endswith(".md") for name in files - {"LICENSE"})


def test_folders_and_links_agree() -> None:
    """Editable installations and type checkers see what is installed."""
    folder = ROOT / ".src" / "everymode"
    assert {p.name: p.resolve() for p in folder.iterdir() if p.is_symlink()} == {
        layer: ROOT / layer for layer in LAYERS
    }
    assert WHEEL["wheel"]["sources"] == {
        ".src": "",
        **{layer: f"everymode/{layer}" for layer in LAYERS},
    }
