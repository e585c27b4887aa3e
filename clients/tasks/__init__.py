"""What a site does when it is asked, one file a request.

- `dispatch`: from a request to its answer; encoding, moments, the audit's counts.
- `level_sums`: sums of encoded rows within every level, in bounded memory.
- `schema`: clusters, and rows encoded once for them and for training.
- `statistics`: what rules of weights read.
- `train`: a round.
- `rows`: encoded rows on the site's disk, and batches of them.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.clients.tasks.dispatch import admission, handle, served
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.clients.tasks.dispatch": ("admission", "handle", "served"),
        },
    )

__all__ = ["admission", "handle", "served"]
