"""Runs a comparison: one training after another, or several side by side in processes."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from typing import Any, Literal

import torch

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.sums import SiteSums
from everymode.server.outputs.console import Display
from everymode.server.session import Interrupted, Session
from everymode.server.simulated_sites import SimulatedSites, create_simulated_sites
from everymode.server.transport.exchange import (
    Exchange,
    InProcess,
    Traffic,
    Wrapped,
    payload_nbytes,
)
from everymode.simulations.compare import curve
from everymode.simulations.compare.plan import Run
from everymode.simulations.scenarios import find_scenario, place
from everymode.wgan.errors import EveryModeError, NumericalError, StateError
from everymode.wgan.files import append, read_json, write_json
from everymode.wgan.words import line, visible

PULSE = 0.2
"""Seconds between looks at whether the user asked to stop."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: The run.
        kind: `diverged` and `failed` leave the others alone; `refused` is bad input and ends all.
        problems: What went wrong.
    """

    run: Run
    kind: Literal["finished", "diverged", "failed", "refused", "stopped"]
    problems: tuple[str, ...] = ()


class PerSiteAccounting(Wrapped):
    """An exchange in this process that counts bytes as if every site were a machine of its own.

    Strategies that add up at once and those that look at each site's message would otherwise be
    counted differently: the one as a single machine, the other as many.
    """

    def __init__(self, inner: Exchange) -> None:
        """Counts from nothing what `inner` carries."""
        super().__init__(inner)
        self._counted = Traffic()

    @property
    def traffic(self) -> Traffic:
        """What has been carried so far, by that count."""
        return self._counted

    def __call__(self, request: Request) -> SiteSums:
        """Carries one request; see `everymode.server.transport.exchange.Exchange`."""
        sums = self.inner(request)
        others = len(self.names if request.sites is None else request.sites) - 1
        down, up = payload_nbytes(request), sums.nbytes
        shared = Request(request.order, request.tensors)
        self.traffic.down += down + others * payload_nbytes(shared)
        self.traffic.up += up + others * sums.vector.nbytes
        return sums


def pending(runs: Sequence[Run], again: bool) -> list[Run]:
    """Runs that something is left to do for.

    Args:
        runs: All.
        again: Whether those that failed are tried once more.
    """
    return [r for r in runs if not _done(r) and (again or not r.failure.exists())]


def run_all(
    runs: Sequence[Run],
    jobs: int,
    backend: str,
    stop: Callable[[], bool],
    started: Callable[[Run], None] = lambda run: None,
) -> Iterator[Outcome]:
    """Trains what is to be trained and yields how each ended, as they end.

    Args:
        runs: Which.
        jobs: How many at once; 1: in this process.
        backend: `inline` or `ray`.
        stop: Whether the user asked to stop: runs at hand then end after their round.
        started: Is told of each run that begins.
    """
    queue = list(runs)
    if jobs == 1 or len(queue) < 2:
        for run in queue:
            if stop():
                return
            started(run)
            outcome = perform(run, backend, stop)
            yield outcome
            if outcome.kind in ("refused", "stopped"):
                return
        return
    # Forking a process that has used PyTorch's threads may hang the child.
    context = get_context("spawn")
    halt = context.Event()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(
        min(jobs, len(queue)), mp_context=context, initializer=_settle, initargs=(halt,)
    )
    try:
        running: dict[Future[Outcome], Run] = {}
        while running or (queue and not halt.is_set()):
            while queue and len(running) < jobs and not halt.is_set():
                run = queue.pop(0)
                started(run)
                running[pool.submit(_work, run, backend)] = run
            finished, _ = wait(running, timeout=PULSE, return_when=FIRST_COMPLETED)
            for future in finished:
                outcome = _result(future, running.pop(future))
                if outcome.kind in ("refused", "stopped"):
                    halt.set()
                yield outcome
            if stop():
                halt.set()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        # Whoever is still training was interrupted a second time: nobody waits for it.
        for process in active_children():
            process.terminate()


def perform(run: Run, backend: str, stop: Callable[[], bool]) -> Outcome:
    """One run: trained to the end from wherever it stands, then judged at its checkpoints."""
    try:
        with run.folder.locked():
            return _performed(run, backend, stop)
    except EveryModeError as error:
        # Another process holds the directory, or private rows cannot be removed.
        return Outcome(run, "refused", error.problems)


def _performed(run: Run, backend: str, stop: Callable[[], bool]) -> Outcome:
    folder, new = run.folder, False
    run.failure.unlink(missing_ok=True)
    try:
        if not folder.config.exists():
            folder.create(run.settings)
            new = True
        sites = folder.fresh_sites()
        stage = create_simulated_sites(place(run.settings, sites), sites)
        if not run.finished:
            _train(run, stage, backend, not new, stop)
        curve.draw(run, stage, find_scenario(run.settings), stop)
        return Outcome(run, "finished")
    except Interrupted:
        return Outcome(run, "stopped")
    except NumericalError as error:
        return _failed(run, "diverged", error.problems)
    except EveryModeError as error:
        if new and not folder.metrics.exists():
            folder.discard()
        return Outcome(run, "refused", error.problems)
    except Exception as error:  # A strategy that breaks must not take the others with it.
        append(folder.log, "\n".join(map(visible, traceback.format_exc().split("\n"))).encode())
        said = line(f"{type(error).__name__}: {error}; see {folder.log}")
        return _failed(run, "failed", (said,))


def read_failure(run: Run) -> dict[str, Any] | None:
    """Why a run failed: `kind`, `round` and `error`; None where it did not."""
    if run.finished or not run.failure.exists():
        return None
    found = read_json(run.failure)
    kinds = {"kind": str, "round": int, "error": str}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key), kind) for key, kind in kinds.items()
    ):
        raise StateError(
            f"{run.failure}: expected an object with 'kind', 'round' and 'error'; remove it, and "
            "the run is tried again"
        )
    return found


def _done(run: Run) -> bool:
    return run.finished and curve.drawn(run)


def _train(
    run: Run, stage: SimulatedSites, backend: str, resume: bool, stop: Callable[[], bool]
) -> None:
    settings = run.settings
    if run.baseline is not None:
        from everymode.simulations.compare.without_training import UntrainedSession

        UntrainedSession(
            settings=settings,
            folder=run.folder,
            exchange=InProcess(stage.sites),
            columns=stage.columns,
            samples=stage.samples,
            real_rows=lambda: stage.frame(settings.data.missing),
            resume=resume,
            stop=stop,
            baseline=run.baseline,
            sites=stage.sites,
        )()
        return
    if backend == "ray":
        from everymode.simulations.flower import run_flower

        run_flower(settings, run.folder, stage, resume, quiet=True)
        return
    missing = settings.data.missing
    with Display(None, quiet=True) as display:
        exchange = PerSiteAccounting(InProcess(stage.sites))
        Session(
            settings=settings,
            folder=run.folder,
            exchange=exchange,
            columns=stage.columns,
            samples=stage.samples,
            form=stage.form,
            listener=display,
            real_rows=lambda: stage.frame(missing),
            resume=resume,
            stop=stop,
        )()


def _result(future: Future[Outcome], run: Run) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        raise StateError(
            f"{run.folder.path}: a process was killed, perhaps for want of memory; the same "
            "command goes on from the last checkpoints, with --jobs 1 in less memory"
        ) from None


def _failed(run: Run, kind: Literal["diverged", "failed"], problems: tuple[str, ...]) -> Outcome:
    rounds = run.folder.read_metrics()
    number = rounds[-1]["round"] + 1 if rounds else 1
    write_json(run.failure, {"kind": kind, "round": number, "error": "; ".join(problems)})
    return Outcome(run, kind, problems)


_halt: Any = None
"""A worker's event: set once the user asked to stop."""


def _settle(halt: Any) -> None:
    """Makes a worker of this process: one thread, deaf to Ctrl-C, gone with its parent."""
    global _halt
    _halt = halt
    torch.set_num_threads(1)
    # A terminal sends Ctrl-C to all of its processes; the parent tells when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(run: Run, backend: str) -> Outcome:
    return perform(run, backend, _halt.is_set)
