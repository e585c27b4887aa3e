"""The executor of a site: answers its SuperNode from the installed package, in one process.

Flower starts a new process for every message and runs in it whatever code came with the run. Here
one process imports the package that the site installed, once, and answers all messages with it; a
bundle that comes with a run is never unpacked. It talks to its own SuperNode, on the loopback
interface, and to nobody else; the SuperNode hands messages only to whoever knows a secret that is
made anew at each start.

A site that is asked to stop finishes the message at hand.
"""

# First: Flower reads the environment as it is imported.
from everymode.clients import environment  # noqa: F401

# isort: split

import contextlib
import logging
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context, Message
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import (
    pull_task_input,
    push_message,
    push_task_output,
)

from everymode.clients.app import app
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.files import write_whole
from everymode.wgan.portable import folder_for_sockets

OWN_FLAGS = (
    "--isolation",
    "--host",
    "--port",
    "--superexec-auth-secret-file",
    "--ssl-certfile",
    "--ssl-keyfile",
    "--ssl-ca-certfile",
    "--allow-runtime-dependency-installation",
)
"""What the executor decides about its SuperNode."""

ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
"""The one call that is signed with the secret; a task's own calls carry its token."""

BUSY, IDLE = 0.1, 0.5
"""Seconds between looks for a message, within a minute after the last and later."""

LASTING = 60.0
"""Seconds for which a site counts as busy."""

START = 120.0
"""Seconds in which a SuperNode must have opened its port."""

LEAVE = 5.0
"""Seconds in which a SuperNode leaves that was sent a signal itself."""

LOOPBACK = "127.0.0.1"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """The interface of a SuperNode to whoever answers its messages.

    Attributes:
        address: `host:port`, of the loopback interface.
        secret: What the SuperNode was started with.
    """

    address: str
    secret: bytes

    def supervisor(self) -> RuntimeHttpClient:
        """A client that may take tasks."""
        signed = SuperExecAuthHttpInterceptor(
            master_secret=self.secret, protected_methods=frozenset({ACQUIRE})
        )
        return self._client("SuperExec", signed)

    def of_task(self, token: str) -> RuntimeHttpClient:
        """A client for one task."""
        return self._client("flwr-clientapp", RuntimeTokenHttpInterceptor(token))

    def _client(self, name: str, identity: object) -> RuntimeHttpClient:
        # Flower's way to repeat a call does so for ever, and ends the process with a signal where
        # a task has lost its rights: its run was stopped, and the next may begin.
        interceptors = [RuntimeVersionHttpInterceptor(component_name=name), identity]
        return RuntimeHttpClient.from_server_address(
            server_address=self.address,
            insecure=True,
            root_certificates=None,
            interceptors=interceptors,  # type: ignore[arg-type]
            retry_invoker=None,
        )


def answer_task(runtime: Runtime, token: str) -> None:
    """Fetches the message of one task, answers it, and hands the answer over."""
    client, context, reason = runtime.of_task(token), None, "the executor failed"
    alive = HeartbeatSender(lambda: _beat(client))
    alive.start()
    try:
        # The bundle comes along, and stays where it is.
        message, context, _, _ = pull_task_input(client)
        push_message(client, _answer(message, context), context)
        reason = ""
    finally:
        status = "failed" if reason else "completed"
        push_task_output(client, context, status, reason)
        if alive.is_running:
            alive.stop()
        client.close()


def _answer(message: Message, context: Context) -> Message:
    return app(message=message, context=context)


def _beat(client: RuntimeHttpClient) -> bool:
    """Tells the SuperNode that its task goes on; an answer that nobody wants is not sent for."""
    try:
        client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
    except Exception:
        return False
    return True


def run_site(flags: Sequence[str]) -> int:
    """Starts a SuperNode and answers its messages until it ends, or SIGTERM or SIGINT come.

    Args:
        flags: Those of `flower-supernode`, without the ones that are the executor's own.

    Returns:
        The SuperNode's exit status; 0 after a signal.

    Raises:
        SettingsError: A flag is the executor's own.
        StateError: The SuperNode does not start.
    """
    given = {flag.partition("=")[0] for flag in flags}
    if wrong := [flag for flag in OWN_FLAGS if flag in given]:
        raise SettingsError(
            f"{', '.join(wrong)}: everymode site serve decides this itself; leave it out"
        )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _node(flags) as (node, runtime):
        _await_port(node, runtime, stop)
        client, last = runtime.supervisor(), time.monotonic()
        wanted = AcquireTaskRequest(supported_task_types=[TaskType.CLIENT_APP])
        while not stop.is_set() and node.poll() is None:
            try:
                found = client.AcquireTask(wanted)
                if found.HasField("task") and found.token:
                    answer_task(runtime, found.token)
                    last = time.monotonic()
            except Exception as error:
                # The run was stopped, or the SuperNode ends, of which its status tells.
                _log.warning("a message was not answered: %s", type(error).__name__)
            stop.wait(BUSY if time.monotonic() - last < LASTING else IDLE)
        return 0 if stop.is_set() else node.wait()


@contextlib.contextmanager
def _node(flags: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Runtime]]:
    """A SuperNode of our own, which ends with this process."""
    with tempfile.TemporaryDirectory(prefix="em-", dir=folder_for_sockets()) as folder:
        # Python's folder is for this user only.
        secret = Path(folder) / "secret"
        runtime = Runtime(f"{LOOPBACK}:{_free_port()}", secrets.token_bytes(32))
        write_whole(secret, lambda file: file.write(runtime.secret), durable=False, private=True)
        own = [
            *("--isolation", "process", "--superexec-auth-secret-file", str(secret)),
            *("--host", LOOPBACK, "--port", runtime.address.rpartition(":")[2]),
        ]
        command = [sys.executable, "-m", "everymode.clients.supernode", *flags, *own]
        node = subprocess.Popen(command)
        try:
            yield node, runtime
        finally:
            # A supervisor sends its signal to both. Flower takes a second one for impatience, and
            # leaves without a word to the SuperLink, which then refuses the next for a minute.
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(LEAVE)
            if node.poll() is None:
                node.terminate()
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


def _await_port(node: subprocess.Popen[bytes], runtime: Runtime, stop: threading.Event) -> None:
    host, _, port = runtime.address.rpartition(":")
    deadline = time.monotonic() + START
    while not stop.is_set() and node.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        if time.monotonic() > deadline:
            raise StateError(f"the SuperNode has not opened {runtime.address} in {START:g} seconds")
        stop.wait(0.1)


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as found:
        return int(found.getsockname()[1])
