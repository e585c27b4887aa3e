"""How the processor treats numbers too small to matter."""

import contextlib
import threading
from collections.abc import Iterator

import torch

_DEPTH = threading.local()


@contextlib.contextmanager
def flush_denormals() -> Iterator[None]:
    """Takes subnormal numbers (below 1.2e-38 in float32) for zero on this thread meanwhile.

    A softmax at a low temperature and the statistics of its gradients end up full of them late in
    training, and many processors compute with them several times slower. The setting is the
    thread's own: whoever shall agree to the last bit, a server in one process and a site in
    another, enters this alike. Nested use is fine.

    >>> small = torch.full((1,), 1e-30)
    >>> with flush_denormals():
    ...     bool(small * small == 0)
    True
    """
    depth = getattr(_DEPTH, "value", 0)
    _DEPTH.value = depth + 1
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        _DEPTH.value = depth
        if not depth:
            torch.set_flush_denormal(False)
