"""Reports of an audit.

- `report`: JSON, JUnit and one HTML page.
- `page`: the page's template.
- `svg`: its drawings.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from fairness.report.report import junit, read_report, write_report
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "fairness.report.report": (
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
