"""A SuperNode that looks for messages five times a second while a run is on.

Flower 1.41 looks every three seconds, by a number in its source. Its loop sleeps by the name `time`
of its own module, which is the one thing that is set here; nothing of Flower is copied. An idle
SuperNode looks once a second.

    python -m everymode.clients.supernode FLAGS OF flower-supernode
"""

import os
import time

from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supernode import start_client_internal as loop
from flwr.supernode.cli import flower_supernode

EMPTY = 3.0
"""Seconds that Flower sleeps after it found no message; while a reply is awaited they are fewer."""

BUSY, IDLE, REPLY = 0.2, 1.0, 0.03
"""Seconds that are slept instead: within a minute of a message, later, and for a reply."""

LASTING = 60.0
"""Seconds for which a run counts as going on after a message."""


class Clock:
    """Stands for the module `time` in Flower's loop, which only sleeps."""

    def __init__(self) -> None:
        """No message has come."""
        self._last = -LASTING

    def sleep(self, seconds: float) -> None:
        """Sleeps no longer than is asked for."""
        time.sleep(min(seconds, self.pause(seconds, time.monotonic())))

    def pause(self, seconds: float, now: float) -> float:
        """How long to sleep at time `now` instead of `seconds`.

        >>> clock = Clock()
        >>> clock.pause(3, 100.0), clock.pause(0.5, 101.0), clock.pause(3, 102.0)
        (1.0, 0.03, 0.2)
        """
        if seconds < EMPTY:
            self._last = now
            return REPLY
        return BUSY if now - self._last < LASTING else IDLE


def main() -> None:
    """Runs `flower-supernode`, and ends it when the process that started this one is gone."""
    loop.__dict__["time"] = Clock()
    start_parent_process_monitor(os.getppid())
    flower_supernode()


if __name__ == "__main__":
    main()
