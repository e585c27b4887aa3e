"""What is held against every reply before it joins a sum.

- `replies`: all of it, in order.
- `invariants`: of schema, counts and audit.
- `training`: of a round.
- `moments`: of second moments.
- `releases`: the record of every reply that was taken.
- `outliers`: updates far from the others'.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.replies.releases import Releases
    from everymode.server.replies.replies import Checker, Collector, Source
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.replies.releases": ("Releases",),
            "everymode.server.replies.replies": ("Checker", "Collector", "Source"),
        },
    )

__all__ = ["Checker", "Collector", "Releases", "Source"]
