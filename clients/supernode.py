"""A SuperNode that looks for messages five times a second while a run is on.

Flower 1.41 looks every three seconds, by a number in its source. Its loop sleeps by the name `time`
of its own module, which is set here. An idle SuperNode looks once a second.

A run that ends while a message of it arrives leaves that message's task behind in Flower 1.41. It
is answered later, when the SuperNode awaits the reply to another message, and takes this one for
it; from then on every reply is one late. So what says that the run has ended is passed on as the
failure that it is, after which Flower removes the message and its task. Nothing of Flower is
copied: two names of its loop's module are set.

    python -m everymode.clients.supernode FLAGS OF flower-supernode
"""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import start_client_internal as loop
from flwr.supernode.cli import flower_supernode

EMPTY = 3.0
"""Seconds that Flower sleeps after it found no message; while a reply is awaited they are fewer."""

BUSY, IDLE, REPLY = 0.2, 1.0, 0.03
"""Seconds that are slept instead: within a minute of a message, later, and for a reply."""

RECEIVE = "_pull_and_store_message"
"""The name by which Flower's loop receives a message and makes its task."""

LASTING = 60.0
"""Seconds for which a run counts as going on after a message."""


FAILED = 1
"""Exit status of a SuperNode whose loop has failed."""

_log = logging.getLogger(__name__)


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


class RunEndedError(Exception):
    """The run of a message ended while the message arrived."""


def failing(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, for which the end of the run is an error like others.

    Flower's own error for it is none, and passes by what clears up after errors.
    """

    def called(*args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except RunNotRunningException as error:
            raise RunEndedError("the run has ended") from error

    return called


def clearing(receive: Callable[..., int | None]) -> Callable[..., int | None]:
    """Flower's way to receive a message, which leaves nothing of one whose run has ended."""

    def received(**named: Any) -> int | None:
        for name in ("pull_object", "confirm_message_received"):
            named[name] = failing(named[name])
        return receive(**named)

    return received


def main() -> None:
    """Runs `flower-supernode`, and ends it when the process that started this one is gone.

    A connection that is cut within TLS ends Flower's loop. Flower logs the error and returns, and a
    thread of its own keeps the process: it would neither work nor end, so that no supervisor could
    start it again.
    """
    loop.__dict__["time"] = Clock()
    loop.__dict__[RECEIVE] = clearing(loop.__dict__[RECEIVE])
    start_parent_process_monitor(os.getppid())
    try:
        flower_supernode()
    except Exception:
        _log.exception("the SuperNode failed, and ends")
    else:
        _log.error("the SuperNode's connection failed, and it ends")
    # Its other threads are not waited for. Whoever asks it to end raises `SystemExit`.
    os._exit(FAILED)


if __name__ == "__main__":
    main()
