"""Measures claims side by side and writes what came out: JSON, pictures, a page."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from everymode.simulations.claims.catalogue import CLAIMS
from everymode.simulations.claims.claim import Check, Claim, Result
from everymode.simulations.claims.page import STYLE, write_page, write_sheet
from everymode.wgan.errors import SettingsError
from everymode.wgan.files import write_json, write_whole


def chosen(names: Sequence[str]) -> tuple[Claim, ...]:
    """The claims called by name or number; all, if none is called.

    Raises:
        SettingsError: No claim has this name; with those there are.
    """
    known = {claim.name: claim for claim in CLAIMS} | {str(c.number): c for c in CLAIMS}
    strange = [name for name in names if name not in known]
    if strange:
        listed = ", ".join(f"{claim.number} {claim.name}" for claim in CLAIMS)
        raise SettingsError([f"there is no claim '{n}'; there are: {listed}" for n in strange])
    picked = {known[name].name for name in names}
    return tuple(claim for claim in CLAIMS if not names or claim.name in picked)


def measure(name: str, seeds: int | None, folder: Path) -> Result:
    """Measures one claim in this process and writes its picture, `NAME.png`."""
    torch.set_num_threads(1)
    claim = next(claim for claim in CLAIMS if claim.name == name)
    count = seeds or claim.seeds
    started = time.perf_counter()
    checks: list[Check] = []
    error = ""
    with rc_context(STYLE):
        figure = Figure(figsize=claim.size, layout="constrained")
        try:
            checks = claim.measure(range(count), figure)
        except Exception as problem:  # One claim that breaks must not take the others with it.
            error = f"{type(problem).__name__}: {problem}"
        if figure.axes:
            path = folder / f"{name}.png"
            write_whole(path, lambda file: figure.savefig(file, format="png", dpi=110))
    seconds = round(time.perf_counter() - started, 1)
    return Result(name, tuple(checks), error, count, seconds)


def run(
    claims: Sequence[Claim],
    folder: Path,
    seeds: int | None = None,
    jobs: int = 0,
    started: Callable[[Claim], None] = lambda _: None,
) -> Iterator[Result]:
    """Measures claims, longest first, and yields each result as it comes.

    After every result `claims.json` and `claims.html` hold all there are, in the claims' order; at
    the end `claims.png` shows all pictures on one sheet.

    Args:
        claims: Which.
        folder: Where everything is written.
        seeds: How many seeds; None: as many as each claim asks for.
        jobs: How many are measured at once; 0: one a core.
        started: Is told of each claim that is handed to a process.
    """
    results: dict[str, Result] = {}
    pairs: list[tuple[Claim, Result]] = []
    order = {claim.name: claim.number for claim in claims}
    for result in _measured(claims, folder, seeds, jobs or os.cpu_count() or 1, started):
        results[result.claim] = result
        done = [results[name] for name in sorted(results, key=lambda n: order[n])]
        write_json(folder / "claims.json", [as_json(entry) for entry in done])
        pairs = [(_claim(r.claim), r) for r in done]
        write_page(folder / "claims.html", pairs, folder)
        yield result
    write_sheet(folder / "claims.png", pairs, folder)


def as_json(result: Result) -> dict[str, Any]:
    """One entry of `claims.json`."""
    claim = _claim(result.claim)
    return {
        "name": claim.name,
        "number": claim.number,
        "statement": claim.statement,
        "source": claim.source,
        "expected": result.expected,
        "measured": result.measured,
        "verdict": result.verdict,
        "checks": [asdict(check) for check in result.checks],
        "seeds": result.seeds,
        "seconds": result.seconds,
    }


def _measured(
    claims: Sequence[Claim],
    folder: Path,
    seeds: int | None,
    jobs: int,
    started: Callable[[Claim], None],
) -> Iterator[Result]:
    queue = sorted(claims, key=lambda claim: -claim.seconds)
    if jobs == 1 or len(queue) == 1:
        for claim in queue:
            started(claim)
            yield measure(claim.name, seeds, folder)
        return
    # Forking a process that has used PyTorch's threads may hang the child.
    pool = ProcessPoolExecutor(
        min(jobs, len(queue)), mp_context=get_context("spawn"), initializer=_die_with_parent
    )
    try:
        running: set[Future[Result]] = set()
        while queue or running:
            while queue and len(running) < jobs:
                claim = queue.pop(0)
                running.add(pool.submit(measure, claim.name, seeds, folder))
                # Told once its process exists: an interrupt while one is made may lose it.
                started(claim)
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # Whoever is still measuring was interrupted: nobody waits for it.
        for process in active_children():
            process.terminate()


def _die_with_parent() -> None:
    """Ends this process when the one that started it is gone: killed, it cannot clean up."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _claim(name: str) -> Claim:
    return next(claim for claim in CLAIMS if claim.name == name)
