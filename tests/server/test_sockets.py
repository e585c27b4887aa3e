"""Sockets that others could reach are found, in this process and in its children."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from everymode.server.transport.sockets import exposed, refuse_exposed
from everymode.wgan.errors import StateError

LISTEN = """
import socket, sys
server = socket.socket(socket.AF_INET6)
server.bind((sys.argv[1], 0))
server.listen()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def child(address: str) -> Iterator[int]:
    """A child process that listens on an IPv6 address; gives its port."""
    command = [sys.executable, "-c", LISTEN, address]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize(
    ("kind", "address", "open_"),
    [
        (socket.SOCK_STREAM, "0.0.0.0", True),
        (socket.SOCK_DGRAM, "0.0.0.0", True),
        (socket.SOCK_STREAM, "127.0.0.1", False),
        (socket.SOCK_DGRAM, "127.0.0.2", False),
    ],
)
def test_a_socket_of_this_process_is_found_unless_it_keeps_to_loopback(
    kind: socket.SocketKind, address: str, open_: bool
) -> None:
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind((address, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
        port = server.getsockname()[1]
        assert (
            any(line.endswith(f"listens on {address} port {port}") for line in exposed()) == open_
        )


def test_a_childs_socket_ends_the_run_and_is_named() -> None:
    with ExitStack() as stack:
        private = stack.enter_context(child("::1"))
        mapped = stack.enter_context(child("::ffff:127.0.0.1"))
        refuse_exposed()
        port = stack.enter_context(child("::"))
        with pytest.raises(StateError, match=f"listens on :: port {port}") as caught:
            refuse_exposed()
        assert not any(f"port {p}" in str(caught.value) for p in (private, mapped))


def test_a_connection_to_elsewhere_is_no_open_door() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert not any(f"port {client.getsockname()[1]}" in line for line in exposed())
