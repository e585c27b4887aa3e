"""What is set in the loop of Flower's SuperNode."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import pytest
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import start_client_internal as loop

from everymode.clients import supernode
from everymode.clients.supernode import EMPTY, RECEIVE, RunEndedError, clearing

PARTS = ("pull_object", "confirm_message_received")


def receive(cleared: list[str], **calls: Callable[[], None]) -> int | None:
    """As Flower does: what an error interrupts is cleared; the end of a run is no such error."""
    try:
        try:
            for name in PARTS:
                calls[name]()
        except Exception as error:
            cleared.append(str(error))
            return None
    except RunNotRunningException:
        return None
    return 7


def ended() -> None:
    raise RunNotRunningException


@pytest.mark.parametrize("part", PARTS)
def test_a_message_of_a_run_that_ends_meanwhile_is_cleared(part: str) -> None:
    calls: dict[str, Any] = {name: (ended if name == part else int) for name in PARTS}
    control = list[str]()
    assert receive(control, **calls) is None and control == []
    cleared = list[str]()
    assert clearing(partial(receive, cleared))(**calls) is None
    assert cleared == ["the run has ended"]


def test_other_messages_are_received_as_ever() -> None:
    cleared = list[str]()
    assert clearing(partial(receive, cleared))(pull_object=int, confirm_message_received=int) == 7

    def broken() -> None:
        raise OSError("no way")

    assert (
        clearing(partial(receive, cleared))(pull_object=broken, confirm_message_received=int)
        is None
    )
    assert cleared == ["no way"]


def test_flowers_loop_has_what_is_set() -> None:
    """Fails where another version of Flower receives messages or sleeps in another way."""
    assert set(PARTS) <= signature(getattr(loop, RECEIVE)).parameters.keys()
    assert not issubclass(RunNotRunningException, Exception)
    assert issubclass(RunEndedError, Exception)
    assert hasattr(loop.time, "sleep") and EMPTY == 3


FAILS = """
import threading, time
from everymode.clients import supernode

def flower_supernode():
    threading.Thread(target=time.sleep, args=(60,)).start()
    if {raises}:
        raise OSError("EOF occurred in violation of protocol")

supernode.flower_supernode = flower_supernode
supernode.main()
"""


@pytest.mark.parametrize("raises", [True, False])
def test_a_supernode_whose_loop_ends_does_so_although_threads_of_flowers_go_on(
    raises: bool,
) -> None:
    """Else nobody would start it again: `everymode site serve` waits for its end.

    Flower logs errors of its connection, and returns from the loop as if all were well.
    """
    program = FAILS.format(raises=raises)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=55
    )
    assert done.returncode == supernode.FAILED
    assert "failed, and" in done.stderr and ("EOF occurred" in done.stderr) == raises
