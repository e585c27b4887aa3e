"""Every question is answered once: what a site has answered, on its own disk.

The same question may come again: a reply was lost, a process died, a run went on from an older
checkpoint. All that a site computes is a function of the request and of its stored rows, to the
last bit, so that the same question is computed anew and no answer has to be kept. Another question
of the same kind is refused: two sums of which one leaves out a site, a row or a coordinate give it
away.

One line is appended a question, before it is answered, under a lock, and not flushed: a crash of
the machine may forget the last few.
"""

import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from everymode.clients.protocol.messages import CountBatchRows, CountLeaves, Task, Train
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.schema_messages import KMeansStep
from everymode.clients.site import Site
from everymode.fairness.groups.clusters import AFTER_SPLIT, SETTLING
from everymode.wgan.errors import StateError
from everymode.wgan.files import make_folder
from everymode.wgan.portable import NOFOLLOW, PRIVATE, lock

NAME = "answered.txt"

COUNTS = 2
"""Questions for the cells of clusters in a run."""

_LINE = re.compile(r"([0-9a-f]{16}) ([a-z]+) (\d+) ([0-9a-f]{32}) ([0-9]+-[0-9]+)\n")


@dataclass(frozen=True)
class Question:
    """What a line says.

    Attributes:
        scope: The run, for questions before there is a plan; then the plan.
        kind: The order's name; `cells` for a k-means question that wants counts of cells.
        number: The round or exchange; of a k-means question the number of centres; else 0.
        digest: Of the request; see `everymode.clients.gate.inputs`.
        table: Of the site's file: when it was changed last, and its size.
    """

    scope: str
    kind: str
    number: int
    digest: str
    table: str

    @property
    def line(self) -> str:
        """As it is written."""
        return f"{self.scope} {self.kind} {self.number} {self.digest} {self.table}\n"


@dataclass
class _Known:
    """What has been read of a ledger; `size` bytes of it."""

    size: int = 0
    latest: dict[tuple[str, str], Question] = field(default_factory=dict)
    first: dict[str, Question] = field(default_factory=dict)
    steps: dict[tuple[str, str], list[Question]] = field(default_factory=dict)

    def add(self, question: Question) -> None:
        """Takes in a line."""
        key = question.scope, question.kind
        self.latest[key] = question
        self.first.setdefault(question.scope, question)
        if question.kind in ("cluster", "cells"):
            self.steps.setdefault(key, []).append(question)


def build_question(order: Task, run: str, digest: str, site: Site) -> Question:
    """What a site would write down of a request."""
    kind, number, scope = str(order.order), 0, run
    if isinstance(order, Train):
        number, scope = order.round, order.plan
    elif isinstance(order, CountLeaves):
        number, scope = order.exchange, order.plan
    elif isinstance(order, CountBatchRows):
        scope = order.train.plan
    elif isinstance(order, KMeansStep):
        number = len(order.conditions.get("centres") or ())
        kind = "cells" if order.cells else kind
    else:
        scope = getattr(order, "plan", run)
    return Question(scope, kind, number, digest, describe_table(site))


def describe_table(site: Site) -> str:
    """What changes where a site's file does."""
    try:
        found = site.table.stat()
    except OSError:
        # Whoever reads it will say so.
        return "0-0"
    return f"{found.st_mtime_ns}-{found.st_size}"


def enter(site: Site, question: Question) -> bool:
    """Writes a question down, unless it is the same as one that stands there.

    Returns:
        Whether it is new.

    Raises:
        RefusedError: Another question of that kind, run or plan stands there, or the site's file
            has been changed since.
        StateError: The site's disk does not take the line.
    """
    path = site.workspace / NAME
    handle = open_ledger(path)
    try:
        lock(handle)
        known = _read(path, handle)
        if _repeats(path, known, question):
            return False
        line = question.line.encode()
        if os.write(handle, line) != len(line):
            raise StateError(f"{path}: the disk is full; free space at the site")
        known.add(question)
        known.size += len(line)
        return True
    except StateError:
        raise
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        os.close(handle)


def entered(site: Site, scope: str, kind: str) -> Question | None:
    """The latest question of a kind that stands in a site's ledger; None where there is none."""
    path = site.workspace / NAME
    if not path.exists():
        return None
    handle = open_ledger(path)
    try:
        lock(handle, shared=True)
        return _read(path, handle).latest.get((scope, kind))
    finally:
        os.close(handle)


def _repeats(path: Path, known: _Known, question: Question) -> bool:
    """Whether the very question stands there; refuses another in its place."""
    latest = same = known.latest.get((question.scope, question.kind))
    match question.kind:
        case "train" | "leaves":
            if latest is None or question.number > latest.number:
                return False
            if question.number < latest.number and (same := _sought(path, question)) is None:
                raise RefusedError(
                    f"round {question.number} of plan {question.scope} comes after round "
                    f"{latest.number}; rounds rise"
                )
        case "cluster" | "cells":
            steps = known.steps.get((question.scope, question.kind), [])
            same = next((q for q in steps if q.digest == question.digest), None)
            if same is None:
                _step(known, question, len(steps))
    if same is None:
        _unchanged(known.first.get(question.scope), question)
        return False
    if same.digest != question.digest:
        which = f"round {question.number} of" if question.kind in ("train", "leaves") else "for"
        raise RefusedError(
            f"'{question.kind}' {which} {question.scope} has been answered already, to another "
            "request: the same may come again, no other. A new run has another seed"
        )
    _unchanged(same, question)
    return True


def _unchanged(before: Question | None, question: Question) -> None:
    # Rounds train on the rows that were encoded, whatever has become of the file.
    if before is None or question.kind == "train" or before.table == question.table:
        return
    raise RefusedError(
        f"the site's table has been changed since '{before.kind}' of {before.scope} was answered, "
        "and the difference of two answers would be that of its rows; put the table back, or start "
        "a run with another seed"
    )


def _step(known: _Known, question: Question, asked: int) -> None:
    """Refuses k-means questions that no k-means asks (`everymode.fairness.groups.clusters`)."""
    steps = known.steps.get((question.scope, "cluster"), [])
    most = max((q.number for q in steps), default=0)
    if question.kind == "cells":
        if question.number > most or asked >= COUNTS:
            raise RefusedError(
                f"counts of {question.number} clusters, asked for {asked + 1} times after sums "
                f"around {most} centres; expected as many or fewer, {COUNTS} times"
            )
        return
    if question.number > most + 1:
        raise RefusedError(
            f"sums around {question.number} centres after {most}; clusters are parted one by one"
        )
    allowed = AFTER_SPLIT * max(question.number, most) + SETTLING - 1
    if asked >= allowed:
        raise RefusedError(
            f"sums around centres for the {asked + 1}th time, and {max(question.number, most)} "
            f"clusters take {allowed} at most"
        )


def _sought(path: Path, question: Question) -> Question | None:
    """An older round's line."""
    found = None
    start = f"{question.scope} {question.kind} {question.number} "
    with path.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(start) and (read := _parsed(line)):
                found = read
    return found


def open_ledger(path: Path) -> int:
    """Opens a ledger to read and append, for its user only; makes it where there is none.

    Raises:
        StateError: The site's disk refuses, or a link lies there.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | NOFOLLOW | PRIVATE
    try:
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            make_folder(path.parent, private=True)
            return os.open(path, flags, 0o600)
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror or error}") from error


@lru_cache(maxsize=4096)
def _known(path: Path) -> _Known:
    return _Known()


def _read(path: Path, handle: int) -> _Known:
    """What a ledger says; only what has been appended since is read."""
    known = _known(path)
    size = os.fstat(handle).st_size
    if size < known.size:
        # The site's disk was emptied: it is another ledger.
        known.size = 0
        known.latest.clear()
        known.first.clear()
        known.steps.clear()
    if size > known.size:
        more = os.pread(handle, size - known.size, known.size)
        if not more.endswith(b"\n"):
            # A crash of the machine cut the last line; it ends here.
            os.write(handle, b"\n")
            more += b"\n"
        for line in more.decode("ascii", "replace").splitlines(keepends=True):
            if question := _parsed(line):
                known.add(question)
        known.size += len(more)
    return known


def _parsed(line: str) -> Question | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    scope, kind, number, digest, table = found.groups()
    return Question(scope, kind, int(number), digest, table)
