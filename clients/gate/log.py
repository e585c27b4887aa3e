"""The log of a site: what has left it, one line a release, each chained to the one before.

A line is a JSON object with the SHA-256 of its own other entries and of the line before
(`previous`). A changed, removed or inserted line breaks the chain. `log.head` holds number and hash
of the last line, so that lines removed at the end are found, too. The gate writes line and head,
each flushed to the disk, before an answer leaves: a line that a crash cut short stands for an
answer that never left, and the next line names the digest of the fragment.

Whoever can write to the workspace can compute a new chain. Note down the last hash elsewhere, as
`everymode site log` prints it, to find that as well. Simulated sites keep no log.

Source: Haber and Stornetta, 1991, How to time-stamp a digital document (linking).
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from everymode.clients.gate.ledger import open_ledger
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.site import Site
from everymode.wgan.errors import StateError
from everymode.wgan.files import compute_digest, parse_json, write_bytes
from everymode.wgan.portable import lock

NAME, HEAD = "log.jsonl", "log.head"

START = "0" * 64
"""What the first line names as the hash of the line before."""

KEYS: Mapping[str, tuple[type, ...]] = {
    "number": (int,),
    "time": (str,),
    "run": (str,),
    "plan": (str, type(None)),
    "question": (str,),
    "round": (int,),
    "fields": (dict,),
    "per_site": (dict,),
    "rows": (int, type(None)),
    "digest": (str,),
    "masked": (bool,),
    "mechanism": (str,),
    "previous": (str,),
    "hash": (str,),
}
"""Entries of a line with their types; `cut`, the digest of a fragment before it, may come too."""


@dataclass(frozen=True)
class Entry:
    """What a site writes down of a release.

    Attributes:
        run: The run's name.
        plan: The plan's fingerprint; None before there is one.
        question: Name of the message.
        round: Round of training; 0 for every other question.
        fields: Shapes of the sums, by name.
        per_site: Shapes of what the server keeps apart by site.
        rows: Rows of the site that the answer rests on; None: not known.
        digest: SHA-256 of all numbers that left.
        mechanism: Name of the privacy mechanism that changed the answer; "none".
        masked: Whether sums were masked.
    """

    run: str
    plan: str | None
    question: str
    round: int
    fields: Mapping[str, list[int]]
    per_site: Mapping[str, list[int]]
    rows: int | None
    digest: str
    mechanism: str
    masked: bool = False


@dataclass(frozen=True)
class Verified:
    """A log that was read.

    Attributes:
        entries: Its lines, up to the first broken one.
        broken: Number of the first line that is not as it was written, from 1; None: all are.
        reason: What is wrong there.
        fragments: What a crash left of a last line; more than one where the next crashed, too.
        last: Hash of the last line.
    """

    entries: tuple[dict[str, Any], ...]
    broken: int | None = None
    reason: str = ""
    fragments: tuple[bytes, ...] = ()
    last: str = START


def compute_sums_digest(sums: SiteSums) -> str:
    """SHA-256, in hexadecimal, of all numbers of an answer."""
    found = hashlib.sha256(sums.vector.tobytes())
    for site in sorted(sums.per_site):
        for name in sorted(sums.per_site[site]):
            found.update(name.encode() + b"\0" + sums.per_site[site][name].tobytes())
    return found.hexdigest()


def verify_log(content: bytes, head: bytes | None) -> Verified:
    """Reads a log and checks its chain.

    Args:
        content: The bytes of the log.
        head: The bytes of its head; None where there is none.
    """
    *lines, rest = content.split(b"\n")
    entries: list[dict[str, Any]] = []
    fragments: list[bytes] = []

    def broken(number: int, reason: str) -> Verified:
        last = entries[-1]["hash"] if entries else START
        return Verified(tuple(entries), number, reason, last=last)

    for number, line in enumerate(lines, 1):
        entry = _parsed(line)
        if entry is None:
            # Of a crash, if the next line or the head says so.
            fragments.append(line)
            continue
        if entry.get("cut") != (_digest(fragments) if fragments else None):
            which = number - len(fragments) if fragments else number
            return broken(which, "is not as it was written, and no crash cut it")
        fragments = []
        last = entries[-1]["hash"] if entries else START
        if entry["previous"] != last or entry["number"] != len(entries) + 1:
            return broken(
                number, "does not follow the line before: a line was removed, added or moved"
            )
        if entry["hash"] != compute_hash(entry):
            return broken(number, "has been changed")
        entries.append(entry)
    if rest:
        fragments.append(rest)
    if reason := _behind(entries, head):
        return broken(len(entries) + 1, reason)
    last = entries[-1]["hash"] if entries else START
    return Verified(tuple(entries), fragments=tuple(fragments), last=last)


def _digest(fragments: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(fragments)).hexdigest()


def compute_hash(entry: Mapping[str, Any]) -> str:
    """The hash that a line should have."""
    return compute_digest({key: value for key, value in entry.items() if key != "hash"})


def count_releases(site: Site, run: str) -> tuple[int, int]:
    """Answers that have left a site: in a run, and in all.

    Raises:
        StateError: The log cannot be read.
    """
    path = site.workspace / NAME
    if not path.exists():
        return 0, 0
    handle = open_ledger(path)
    try:
        lock(handle, shared=True)
        known = _read(path, handle)
        return known.runs.get(run, 0), known.number
    finally:
        os.close(handle)


def write_entry(site: Site, entry: Entry) -> None:
    """Appends a line and writes the head; both are on the disk when this returns.

    Raises:
        StateError: The disk does not take it, or the log is not as it was left.
    """
    path = site.workspace / NAME
    handle = open_ledger(path)
    try:
        lock(handle)
        known = _read(path, handle)
        value: dict[str, Any] = {
            "number": known.number + 1,
            "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            **entry.__dict__,
            "previous": known.last,
        }
        begin = b""
        if known.fragments:
            value["cut"] = _digest(known.fragments)
            begin = b"\n" if known.open else b""
        value["hash"] = compute_hash(value)
        line = begin + json.dumps(value, allow_nan=False).encode() + b"\n"
        if os.write(handle, line) != len(line):
            raise StateError(f"{path}: the disk is full; free space at the site")
        os.fsync(handle)
        head = f"{value['number']} {value['hash']}\n".encode()
        write_bytes(path.with_name(HEAD), head, private=True)
        known.fragments, known.open = (), False
        known.size += len(line)
        known.add(value)
    except StateError:
        raise
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        os.close(handle)


@dataclass
class _Known:
    """What has been read of a log: `size` bytes; `open` says that its last line has no end."""

    size: int = 0
    number: int = 0
    last: str = START
    fragments: tuple[bytes, ...] = ()
    open: bool = False
    runs: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Mapping[str, Any]) -> None:
        self.number, self.last = entry["number"], entry["hash"]
        self.runs[entry["run"]] = self.runs.get(entry["run"], 0) + 1


@lru_cache(maxsize=4096)
def _known(path: Path) -> _Known:
    return _Known()


def _read(path: Path, handle: int) -> _Known:
    """What a log says. It is verified when it is read first, and whenever another process wrote."""
    known = _known(path)
    size = os.fstat(handle).st_size
    if size == known.size and (size or not path.with_name(HEAD).exists()):
        return known
    content = os.pread(handle, size, 0)
    found = verify_log(content, read_head(path))
    if found.broken is not None:
        raise StateError(
            f"{path}: line {found.broken} {found.reason}, so nothing leaves this site; look at it "
            "with: everymode site log WORKSPACE, then move it away to begin a new one"
        )
    known.number, known.last, known.size = 0, START, size
    known.runs.clear()
    for entry in found.entries:
        known.add(entry)
    known.fragments = found.fragments
    known.open = bool(content) and not content.endswith(b"\n")
    return known


def read_head(path: Path) -> bytes | None:
    """The head of a log; None where there is none."""
    try:
        return path.with_name(HEAD).read_bytes()
    except FileNotFoundError:
        return None


def _behind(entries: list[dict[str, Any]], head: bytes | None) -> str:
    """What the head says against the lines; a crash may leave it one line behind, never ahead."""
    if head is None:
        # The first line is written before the first head.
        return "" if len(entries) <= 1 else f"is missing: {HEAD} was removed"
    words = head.decode("ascii", "replace").split()
    if len(words) != 2 or not (words[0].isdigit() and len(words[0]) < 16) or int(words[0]) < 1:
        return f"cannot be told: {HEAD} has been changed"
    number = int(words[0])
    if number > len(entries):
        return f"is missing: {number} lines were written ({HEAD})"
    if number < len(entries) - 1 or entries[number - 1]["hash"] != words[1]:
        return f"cannot be told: {HEAD} is that of another log"
    return ""


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or not KEYS.keys() <= value.keys() <= {*KEYS, "cut"}:
        return None
    for key, types in KEYS.items():
        if type(value[key]) not in types:
            return None
    return value
