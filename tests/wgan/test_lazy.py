"""Packages as tables of contents whose entries are imported when they are first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from everymode import wgan

ROOT = Path(__file__).resolve().parents[2]
LAZY = sorted(
    "everymode." + path.parent.relative_to(ROOT).as_posix().replace("/", ".")
    for layer in ("wgan", "fairness", "clients", "server", "simulations")
    for path in (ROOT / layer).rglob("__init__.py")
    if "lazy_exports(" in path.read_text(encoding="utf-8")
)


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("package", LAZY)
def test_the_lists_of_a_package_agree(package: str) -> None:
    """What type checkers read, what is imported, and what `__all__` promises, name for name."""
    module = importlib.import_module(package)
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (branch,) = (n for n in tree.body if isinstance(n, ast.If))
    checked = {
        node.module: [alias.name for alias in node.names]
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
    }
    (call,) = (n for n in ast.walk(branch) if isinstance(n, ast.Call))
    imported = {name: list(names) for name, names in ast.literal_eval(call.args[1]).items()}
    assert imported == checked
    assert sorted(name for names in imported.values() for name in names) == sorted(module.__all__)
    for source, names in imported.items():
        for name in names:
            assert getattr(module, name) is getattr(importlib.import_module(str(source)), name)
    assert set(module.__all__) <= set(dir(module))


def test_names_that_are_not_there_are_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="wgan' has no attribute 'Playres'"):
        _ = wgan.Playres  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="Playres"):
        exec("from everymode.wgan import Playres")
    assert importlib.import_module("everymode.wgan.shape").Shape is wgan.Shape


@pytest.mark.parametrize("module", ["wgan", "wgan.errors", "wgan.files", "wgan.words"])
def test_importing_the_engine_does_not_import_torch(module: str) -> None:
    assert python(f"import sys, everymode.{module}; print('torch' in sys.modules)") == "False"


def test_using_the_engine_imports_torch() -> None:
    """The control of the test above."""
    code = "import sys; from everymode import wgan; wgan.Players; print('torch' in sys.modules)"
    assert python(code) == "True"
