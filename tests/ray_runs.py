"""Real runs in processes of their own, and where their processes listen."""

import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.decoys import lay_decoys

PATIENCE = 400.0

STRANGER = """
import getpass, sys, ray
ray.init(address=sys.argv[1], logging_level="error")
look = ray.remote(num_cpus=0)(getpass.getuser)
print("ran as", ray.get(look.remote(), timeout=60))
"""


def installed(*arguments: str) -> list[str]:
    """The installed command: `python -m` would put the working directory first."""
    return [str(Path(sys.executable).with_name("everymode")), *arguments]


def clean(**variables: str) -> dict[str, str]:
    """The environment of a user who has set nothing for Ray."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**own, **variables}


@contextmanager
def running(command: list[str], log: Path, **variables: str) -> Iterator[psutil.Popen]:
    """A process that leads a session and is stopped in the end, with all that it started.

    It starts in a folder full of files with the names of our packages.
    """
    with log.open("w") as sink:
        process = psutil.Popen(
            command,
            cwd=lay_decoys(log.with_name("decoys")),
            env=clean(**variables),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    except Exception as error:
        error.add_note(log.read_text())
        raise
    finally:
        if process.is_running():
            others = process.children(recursive=True)
            for other in (process, *others):
                with suppress(psutil.Error):
                    other.kill()
            psutil.wait_procs([process, *others])


def tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def relatives(leader: int) -> list[psutil.Process]:
    """All processes of the session that a process leads or has led."""
    found = []
    for other in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getsid(other.pid) == leader and other.status() != psutil.STATUS_ZOMBIE:
                found.append(other)
    return found


def actors(process: psutil.Process) -> list[psutil.Process]:
    children = process.children(recursive=True)
    return [c for c in children if "ClientAppActor" in " ".join(c.cmdline())]


def wait_for(there: Callable[[], bool], process: psutil.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline, f"nothing in {PATIENCE:.0f} s"
        time.sleep(0.05)


def rounds(metrics: Path) -> int:
    """How many rounds of a run are finished."""
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def listening(processes: list[psutil.Process]) -> dict[str, list[tuple[str, int]]]:
    """Addresses and ports by the name of the process."""
    found: dict[str, list[tuple[str, int]]] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM:
                    address, port = connection.laddr
                    found.setdefault(process.name(), []).append((address, port))
    return found


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def assert_closed(processes: list[psutil.Process]) -> dict[str, list[tuple[str, int]]]:
    """Ray runs among the processes, and all of them keep to the loopback interface."""
    found = listening(processes)
    assert {"gcs_server", "raylet"} <= found.keys(), found
    assert sum(map(len, found.values())) >= 6, found
    assert all(is_loopback(address) for sockets in found.values() for address, _ in sockets), found
    return found


def build_run_folder(processes: list[psutil.Process]) -> Path:
    """Where Ray keeps its session files."""
    words = [word for p in processes if p.name() == "raylet" for word in p.cmdline()]
    (folder,) = (word for word in words if word.startswith("--temp_dir="))
    return Path(folder.partition("=")[2])


def join(port: int, **variables: str) -> subprocess.Popen[str]:
    """Tries to run code in the Ray whose control store has this port."""
    knobs = {
        # On the same interface; and no patience with who does not answer.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_NUM_REDIS_GET_RETRIES": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    }
    return subprocess.Popen(
        [sys.executable, "-c", STRANGER, f"127.0.0.1:{port}"],
        env=clean(**knobs, **variables),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
