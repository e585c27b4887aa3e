"""The examples in docstrings hold."""

import doctest
import importlib
import pkgutil

import pytest

from tests.test_layers import LAYERS

MODULES = [
    "everymode",
    *(
        found.name
        for layer in LAYERS
        for found in pkgutil.walk_packages(
            importlib.import_module(f"everymode.{layer}").__path__, f"everymode.{layer}."
        )
    ),
    *(f"everymode.{layer}" for layer in LAYERS),
]


def examples(name: str) -> list[doctest.DocTest]:
    """Docstrings of a module that hold examples."""
    return doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_examples(module: str) -> None:
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    for example in examples(module):
        runner.run(example, out=said.append)
    assert not said, "".join(said)


def test_examples_are_found() -> None:
    assert len(MODULES) > 250
    assert any(example.examples for example in examples("everymode.wgan.words"))
