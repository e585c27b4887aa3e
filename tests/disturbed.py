"""What disturbs a deployment: connections that are cut, and a disk that is full."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

DISK = 48 << 20
"""Bytes of a small disk."""


class Wire:
    """A way to a port of this machine that cuts connections; use as a context manager.

    Attributes:
        port: Where it is entered.
        most: Bytes after which every connection is cut, in both directions together; None: none is.
        cuts: Connections that were cut.
    """

    def __init__(self, target: int) -> None:
        """Leads to port `target`."""
        self.target, self.most, self.cuts = target, None, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._lock = threading.Lock()

    most: int | None

    def __enter__(self) -> "Wire":
        """Begins to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """Takes no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            carried = [0]
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(*ends, carried), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, carried: list[int]) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(2048):
                carried[0] += len(content)
                if self.most is not None and carried[0] > self.most:
                    with self._lock:
                        self.cuts += 1
                    # Half of what came gets there.
                    sink.sendall(content[: len(content) // 2])
                    break
                sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A disk in memory, which is gone afterwards."""
    place.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={DISK}")
    done = subprocess.run(["mount", *options, "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Takes all that is free; returns the file to remove."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    return filler
