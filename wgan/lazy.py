"""Exports of a package that are imported when they are first used (PEP 562).

A package's `__init__.py` is its table of contents. Were everything in it imported at once, whoever
needs one small module of the package would load all of PyTorch. The pattern:

    if TYPE_CHECKING:
        from package.module import Name
    else:
        __getattr__, __dir__ = lazy_exports(__name__, {"package.module": ("Name",)})

    __all__ = ["Name"]

A test holds the two lists equal (`tests/wgan/test_lazy.py`).
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: The package's name, `__name__`.
        exports: The names to take from each module.

    >>> get, names = lazy_exports("everymode.wgan", {"fractions": ("Fraction",)})
    >>> get("Fraction")(1, 2), "Fraction" in names()
    (Fraction(1, 2), True)
    """
    modules = {name: module for module, names in exports.items() for name in names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
