"""Seconds and memory of `everymode.fairness.metrics.neighbours`, and of the package `prdc`.

    python tests/benchmarks/neighbours.py [--large 100000]

Needs `pip install --no-deps prdc==0.2`. Also ours where float32 cannot tell distances apart: rows
of categories, of one value, and with one row far from all others. Results go to `neighbours.json`.
Run it alone.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from everymode.fairness.metrics.neighbours import neighbours

WIDTH, K = 30, 5
RESULTS = Path(__file__).with_suffix(".json")


def timed(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The shortest time, and what the call gave."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            found = call()
        times.append(time.perf_counter() - started)
    return round(min(times), 2), found


def main() -> None:
    """Measures both, ours at the large size too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--large", type=int, default=100_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)

    def points(count: int) -> Any:
        return rng.standard_normal((count, WIDTH)).astype(np.float32)

    large: dict[str, Any] = {}
    if options.large:
        # First, so that the peak of the process is ours.
        real, made = points(options.large), points(options.large)
        seconds, _ = timed(lambda: neighbours(real, made, K), 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        large = {
            "rows": options.large,
            "seconds": seconds,
            "peak_megabytes": round(peak / 1024),
        }
        del real, made
    from prdc import compute_prdc

    real, made = points(10_000), points(10_000)
    ours, found = timed(lambda: neighbours(real, made, K), 3)
    theirs, oracle = timed(lambda: compute_prdc(real, made, K), 3)
    codes = rng.integers(0, 4, (2, 10_000, 8))
    categories = (np.eye(4, dtype=np.float32) / np.float32(np.sqrt(2)))[codes].reshape(
        2, 10_000, 32
    )
    one_value = np.full((10_000, WIDTH), 0.1, dtype=np.float32)
    outlier = made.copy()
    outlier[0] = 1e4
    hard = {
        "categories": categories,
        "one_value": (one_value, one_value),
        "outlier": (real, outlier),
    }
    result = {
        "cores": os.cpu_count(),
        "rows": 10_000,
        "width": WIDTH,
        "seconds": ours,
        "seconds_prdc": theirs,
        "times_faster": round(theirs / ours, 2),
        "equal": all(abs(getattr(found, name) - oracle[name]) < 1e-12 for name in oracle),
        "seconds_hard": {
            name: timed(lambda pair=pair: neighbours(*pair, K), 1)[0] for name, pair in hard.items()
        },
        "large": large,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
