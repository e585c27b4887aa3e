"""Reports of an audit.

- `report`: JSON, JUnit and one HTML page.
- `page`: the page's template.
- `svg`: its drawings.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairness.report.report import junit, read_report, write_report

_HOMES = {
    "junit": "report",
    "read_report": "report",
    "write_report": "report",
}

__all__ = [
    "junit",
    "read_report",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch, scikit-learn and fairlearn take seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
