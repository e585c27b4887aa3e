"""Work on columns in threads: Arrow and NumPy let others run while they compute."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What a function makes of each item, in their order.

    As many run at a time as Arrow itself uses threads: one a core, or what `OMP_NUM_THREADS` says.
    The first error in the order of items is raised.

    >>> in_threads(abs, [-2, 3])
    [2, 3]
    """
    held = list(items)
    threads = min(pa.cpu_count(), len(held))
    if threads < 2:
        return [function(item) for item in held]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, held))
