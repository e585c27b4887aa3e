"""Where output goes while Flower and Ray run, and what Ctrl-C means."""

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from everymode.wgan.errors import StateError
from everymode.wgan.files import write_bytes
from everymode.wgan.portable import NOFOLLOW, PRIVATE
from everymode.wgan.words import visible

_COLOURS = re.compile(r"\x1b\[(0|9[1-5])m")
"""Of Flower's logger, exactly: other sequences are none of ours and are written out."""


@contextlib.contextmanager
def diverted(log: Path) -> Iterator[TextIO]:
    """Sends what this process and its children print to `log`; gives the real standard error.

    File descriptors are diverted, not `sys.stdout`: Ray's processes and C++ code print too. What
    they printed is made harmless at the end (`harmless_log`): a pipe that did so at once would hold
    up whoever prints while this process is busy, and could hold up this process itself.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | NOFOLLOW | PRIVATE
        sink = os.open(log, flags, 0o644)
    except OSError as error:
        raise StateError(f"cannot write {log}: {error.strerror}") from error
    kept = os.dup(1), os.dup(2)
    try:
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        with os.fdopen(os.dup(kept[1]), "w", encoding="utf-8", errors="replace") as person:
            yield person
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, sink):
            os.close(descriptor)
        harmless_log(log)


def harmless_log(log: Path) -> None:
    """Writes out what is not seen in a log, without Flower's colours; nothing where that fails.

    Errors of sites are among what is logged, with any names in them, and people `cat` logs.
    """
    with contextlib.suppress(OSError, StateError):
        text = log.read_bytes().decode("utf-8", "backslashreplace")
        plain = "\n".join(visible(row.expandtabs()) for row in _COLOURS.sub("", text).split("\n"))
        if plain != text:
            write_bytes(log, plain.encode())


class Stop:
    """Asks a run to stop: the first Ctrl-C or SIGTERM after the round at hand, a second now."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self._asked = threading.Event()

    def __call__(self) -> bool:
        """Whether somebody has asked."""
        return self._asked.is_set()

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Listens to signals; must be entered on the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
