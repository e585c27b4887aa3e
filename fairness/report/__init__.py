"""Reports of an audit.

- `report`: JSON, JUnit and one HTML page.
- `page`: the page's template.
- `svg`: its drawings.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.fairness.report.report import junit, read_report, write_report
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.fairness.report.report": (
                "junit",
                "read_report",
                "write_report",
            ),
        },
    )

__all__ = [
    "junit",
    "read_report",
    "write_report",
]
