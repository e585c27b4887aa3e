"""The one way out of a site: every answer is released here, and the site writes down what it held.

`release` applies the site's mechanism, packs the result and enters it in the site's ledger of
releases, `released.jsonl`. Nothing else in `clients` packs an answer; a test reads that off the
sources.

The ledger of questions (`answered.txt`) has a line for each question, with its round. This ledger
says what the answers held: one JSON object per scope and task, and another one from the first round
on in which the fields, the shapes or the mechanism differ. Together they list every release, and a
round costs no further write. A line is written before its answer leaves, so the ledger may hold an
answer that was lost on the way, and never lacks one.

A deployed site keeps a log besides (`everymode.clients.gate.log`), with a line for every release.
"""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from everymode.clients.gate.ledger import open_ledger
from everymode.clients.gate.log import Entry, compute_sums_digest, write_entry
from everymode.clients.gate.mechanism import Answer, ReleaseContext
from everymode.clients.gate.noise import SumNoise
from everymode.clients.protocol.messages import CountBatchRows, Task, Train
from everymode.clients.protocol.refusal import RefusedError, named
from everymode.clients.protocol.sums import Field, Ints, Layout, SiteSums
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.portable import lock

NAME = "released.jsonl"

VERSION = 1

MASKED = "secure summation"
"""What a masked release states as a mechanism."""

Mask = Callable[[Layout, Ints], Ints]
"""Adds a site's masks to a packed answer, the last thing that is done to it; see
`everymode.clients.secure`."""


def build_context(order: Task, run: str, site: str) -> ReleaseContext:
    """Which question the answer to `order` belongs to."""
    scope = order.train.plan if isinstance(order, CountBatchRows) else getattr(order, "plan", run)
    number = order.round if isinstance(order, Train) else 0
    return ReleaseContext(site, scope, str(order.order), number)


def release(
    answer: Answer,
    context: ReleaseContext,
    site: Site,
    run: str = "",
    plan: str | None = None,
    noise: SumNoise | None = None,
    mask: Mask | None = None,
) -> SiteSums:
    """What leaves the site: the answer after the site's mechanism, packed, masked, written down.

    Args:
        answer: What a task computed.
        context: The question. Not the run: noise that differed from run to run could be averaged.
        site: Whose answer it is.
        run: The run's name, for the site's log; "": the scope's.
        plan: The plan's fingerprint, likewise; None: the scope's where that is no run.
        noise: What the question asks to be added to the packed integers; None: nothing.
        mask: Adds masks; None: the sums leave as they are.

    Raises:
        RefusedError: The mechanism refuses; the site is named.
        NumericalError: A value is not finite or out of range.
        StateError: The site's disk does not take the line.
        ValueError: Arrays of other names or shapes than the layout's.
    """
    layout, mechanism = answer.layout, site.mechanism
    if answer.per_site is not None:
        # A mechanism sees just what leaves.
        wanted = {f.name: answer.per_site[f.name] for f in layout.per_site}
        answer = replace(answer, per_site=wanted if layout.per_site else None)
    try:
        changed = mechanism.apply(answer, context)
    except RefusedError as error:
        raise RefusedError(named(error.problems, [context.site])) from None
    if changed.layout != layout:
        raise ValueError(f"mechanism '{mechanism.name}' changed the layout of '{context.task}'")
    per_site = None
    if changed.per_site is not None:
        per_site = layout.site_payload(context.site, changed.per_site)
    sums = layout.pack(changed.sums, per_site)
    statement = mechanism.statement(layout)
    if statement is not None:
        text = json.dumps({"name": mechanism.name, **statement}, sort_keys=True, allow_nan=False)
        sums = replace(sums, mechanisms=(text,))
    if noise is not None:
        text = json.dumps(noise.statement(), sort_keys=True, allow_nan=False)
        sums = replace(noise.add(sums), mechanisms=(*sums.mechanisms, text))
    if mask is not None:
        stated = json.dumps({"name": MASKED})
        sums = replace(
            sums,
            vector=mask(layout, sums.vector),
            mechanisms=tuple(sorted((*sums.mechanisms, stated))),
        )
    _enter(site, context, _content(layout, sums.mechanisms))
    if not site.simulated:
        write_entry(
            site, _entry(sums, changed, context, site, run or context.scope, plan, mask is not None)
        )
    return sums


def _entry(
    sums: SiteSums,
    answer: Answer,
    context: ReleaseContext,
    site: Site,
    run: str,
    plan: str | None,
    masked: bool,
) -> Entry:
    names = [json.loads(text)["name"] for text in sums.mechanisms]
    return Entry(
        run=run,
        plan=context.scope if context.scope != run else plan,
        question=context.task,
        round=context.round,
        fields=_shapes(sums.layout.fields),
        per_site=_shapes(sums.layout.per_site) if sums.per_site else {},
        rows=count_rows(answer, context, site),
        digest=compute_sums_digest(sums),
        mechanism=", ".join(name for name in names if name != MASKED) or "none",
        masked=masked,
    )


def count_rows(answer: Answer, context: ReleaseContext, site: Site) -> int | None:
    """Rows of the site that an answer rests on; None where neither answer nor disk says it.

    After a plan they are the encoded rows, those held out included.
    """
    try:
        return len(site.array(context.scope, "cells"))
    except (OSError, ValueError, RefusedError):
        pass
    wanted = {"look": "rows", "ranks": "cells", "cluster": "counts", "prepare": "rows"}
    array = answer.sums.get(wanted.get(context.task, ""))
    if context.task == "cluster" and array is None:
        array = answer.sums.get("cells")
    return None if array is None else int(array.sum())


@dataclass(frozen=True)
class Released:
    """One line of a site's ledger of releases.

    Attributes:
        context: The question; its round is the first one whose answer holds this content.
        content: Fields, shapes and mechanism, as JSON text.
    """

    context: ReleaseContext
    content: str

    @property
    def line(self) -> str:
        """As it is written."""
        told = self.context
        value = {"version": VERSION, "scope": told.scope, "task": told.task, "round": told.round}
        return json.dumps({**value, **json.loads(self.content)}) + "\n"


@dataclass
class _Known:
    """What has been read of a ledger; `size` bytes of it."""

    size: int = 0
    lines: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)

    def holds(self, context: ReleaseContext, content: str) -> bool:
        """Whether the ledger says already that this answer has this content."""
        lines = self.lines.get((context.scope, context.task), [])
        if not context.round:
            return any(held == content for _, held in lines)
        # Rounds rise: the latest line up to this round says what its answer holds.
        before = (held for number, held in reversed(lines) if number <= context.round)
        return next(before, None) == content

    def add(self, text: str) -> None:
        """Takes in a line; one that a crash cut short says nothing."""
        try:
            value = json.loads(text)
            key = value.pop("scope"), value.pop("task")
            number = int(value.pop("round"))
            del value["version"]
        except (AttributeError, KeyError, TypeError, ValueError):
            return
        self.lines.setdefault(key, []).append((number, json.dumps(value)))


def _enter(site: Site, context: ReleaseContext, content: str) -> None:
    """Writes down what an answer holds, unless the ledger says so already."""
    path = site.workspace / NAME
    known = _known(path)
    if known.size == _size(path) and known.holds(context, content):
        return
    handle = open_ledger(path)
    try:
        lock(handle)
        _read(known, handle)
        if known.holds(context, content):
            return
        line = Released(context, content).line
        if os.write(handle, line.encode()) != len(line):
            raise StateError(f"{path}: the disk is full; free space at the site")
        known.add(line)
        known.size += len(line)
    except StateError:
        raise
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        os.close(handle)


@lru_cache(maxsize=4096)
def _known(path: Path) -> _Known:
    return _Known()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(known: _Known, handle: int) -> None:
    """Reads what has been appended since."""
    size = os.fstat(handle).st_size
    if size < known.size:
        # The site's disk was emptied: it is another ledger.
        known.size = 0
        known.lines.clear()
    more = os.pread(handle, size - known.size, known.size)
    if more and not more.endswith(b"\n"):
        # A crash of the machine cut the last line; it ends here.
        os.write(handle, b"\n")
        more += b"\n"
    for line in more.decode("ascii", "replace").splitlines():
        known.add(line)
    known.size += len(more)


@lru_cache(maxsize=256)
def _content(layout: Layout, mechanisms: tuple[str, ...]) -> str:
    """Fields, shapes and mechanism as JSON; `per_site` arrays are not sums."""
    value: dict[str, Any] = {
        "sums": _shapes(layout.fields),
        "per_site": _shapes(layout.per_site),
        "mechanism": _stated(mechanisms),
    }
    return json.dumps(value)


def _stated(mechanisms: tuple[str, ...]) -> Any:
    """What the mechanisms state: nothing, one statement, or a list; of a masked release, too."""
    found = [json.loads(text) for text in mechanisms]
    own = [stated for stated in found if stated["name"] != MASKED]
    if len(own) == len(found):
        return found if len(found) > 1 else next(iter(found), None)
    return (
        [*own, {"name": MASKED}]
        if len(own) > 1
        else {**(own or [{"name": MASKED}])[0], "masked": True}
    )


def _shapes(fields: Iterable[Field]) -> dict[str, list[int]]:
    return {f.name: list(f.shape) for f in fields}
