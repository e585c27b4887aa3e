"""Real runs, looked at from outside: where their processes listen, and who may join them."""

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import tomli_w

from tests.decoys import lay_decoys

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 400.0
STRANGER = """
import getpass, sys, ray
ray.init(address=sys.argv[1], logging_level="error")
look = ray.remote(num_cpus=0)(getpass.getuser)
print("ran as", ray.get(look.remote(), timeout=60))
"""


def clean(**variables: str) -> dict[str, str]:
    """The environment of a user who has set nothing for Ray."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**own, **variables}


@contextmanager
def running(command: list[str], log: Path, **variables: str) -> Iterator[psutil.Popen]:
    """A process that is stopped in the end, with all that it started."""
    with log.open("w") as sink:
        cwd = lay_decoys(log.with_name("decoys"))
        process = psutil.Popen(
            command, cwd=cwd, env=clean(**variables), stdout=sink, stderr=subprocess.STDOUT
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


def tree(process: psutil.Popen) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def wait_for(there: Callable[[], bool], process: psutil.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while not there():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def begun(metrics: Path) -> bool:
    return metrics.exists() and metrics.stat().st_size > 0


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


def everymode(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("everymode")), *arguments]


@pytest.fixture
def small(tmp_path: Path, table: Path) -> Path:
    """A configuration of a run that is quick to begin and does not end by itself."""
    values = {
        "data": {"path": str(table), "sensitive": ["group"], "target": "outcome"},
        "split": {"sites": 3},
        "model": {"generator_hidden": [16], "critic_hidden": [16], "noise": 8},
        "train": {"rounds": 100_000, "critic_steps": 2, "generator_steps": 1, "batch": 40},
        "simulation": {"actors": 2, "num_cpus": 0.5},
        "output": {"checkpoint_every": 10_000},
    }
    path = tmp_path / "small.toml"
    path.write_text(tomli_w.dumps(values))
    return path


def test_a_simulation_listens_on_loopback_alone_and_lets_no_stranger_in(
    tmp_path: Path, small: Path
) -> None:
    out = tmp_path / "run"
    with running(everymode("simulate", str(small), "--out", str(out)), tmp_path / "log") as process:
        wait_for(lambda: begun(out / "metrics.jsonl"), process)
        processes = tree(process)
        port = assert_closed(processes)["gcs_server"][0][1]
        (raylet,) = (p for p in processes if p.name() == "raylet")
        token = raylet.environ()["RAY_AUTH_TOKEN"]
        assert raylet.environ()["RAY_AUTH_MODE"] == "token" and len(token) == 64
        assert not any(token in word for p in processes for word in p.cmdline())

        private = build_run_folder(processes).parent
        assert private.stat().st_mode & 0o777 == 0o700
        files = [p for top in (private, out) for p in top.rglob("*") if p.is_file()]
        assert files and not any(token.encode() in path.read_bytes() for path in files)

        # The one who has the token shows that the others would have joined if they could.
        joins = {
            "no token": join(port),
            "a wrong token": join(port, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64),
            "the token": join(port, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token),
        }
        said = {who: stranger.communicate(timeout=PATIENCE)[0] for who, stranger in joins.items()}
        assert {who: "ran as" in text for who, text in said.items()} == {
            "no token": False,
            "a wrong token": False,
            "the token": True,
        }, said
        assert process.poll() is None, "a stranger ended the run"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert not private.exists()


def test_a_comparison_on_ray_listens_on_loopback_alone(tmp_path: Path, small: Path) -> None:
    command = everymode("compare", str(small), "--strategies", "everymode", "--seeds", "0")
    command += ["--backend", "ray", "--out", str(tmp_path / "all")]
    with running(command, tmp_path / "log") as process:
        metrics = tmp_path / "all/everymode/seed-0/metrics.jsonl"
        wait_for(lambda: begun(metrics), process)
        assert_closed(tree(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


def test_flowers_own_command_listens_on_loopback_alone(tmp_path: Path, small: Path) -> None:
    """`flwr run`, where Flower starts Ray and nothing is set in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        "FLWR_HOME": str(tmp_path / "flower"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
    }
    out = tmp_path / "run"
    programs = Path(sys.executable).parent
    # As `flwr run` starts it, but with more patience on a busy machine.
    superlink = [str(programs / "flower-superlink"), "--insecure", "--simulation"]
    superlink += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
    run = [str(programs / "flwr"), "run", str(ROOT), "--stream"]
    run += ["--run-config", f'config="{small}" out="{out}" set="train.rounds=100"']
    with running(superlink, tmp_path / "link.log", **variables) as link:
        wait_for(lambda: bool(listening([link])), link)
        with running(run, tmp_path / "run.log", **variables) as command:
            wait_for(lambda: begun(out / "metrics.jsonl"), command)
            processes = tree(link)
            assert_closed(processes)
            private = build_run_folder(processes).parent
            assert private.stat().st_mode & 0o777 == 0o700
            command.wait(PATIENCE)
        assert (out / "summary.json").exists()
        wait_for(lambda: not private.exists(), link)


def test_doctor_starts_ray_as_closed_and_leaves_nothing(tmp_path: Path) -> None:
    """In a folder of its own, which it removes: Ray's usual one is open to all users."""
    usual = {entry.name for entry in Path("/tmp/ray").glob("session_2*")}
    command = str(Path(sys.executable).with_name("everymode"))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [command, "doctor", "--ray", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert found["Flower and Ray"]["found"] == "started and stopped", done
    assert {entry.name for entry in Path("/tmp/ray").glob("session_2*")} == usual
    assert list(tmp_path.iterdir()) == []
