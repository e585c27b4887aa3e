"""A SuperLink and SuperNodes as processes on the loopback interface, with TLS and keys."""

import contextlib
import datetime
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).resolve().parent.parent
LINK = "here"
OURS = ("link", "superexec")
"""Processes of the coordinator's."""

APP = {
    "build-system": {"requires": ["hatchling"], "build-backend": "hatchling.build"},
    "project": {"name": "everymode-app", "version": "0.1.0", "license": "Apache-2.0"},
    "tool": {
        "flwr": {
            "app": {
                "publisher": "everymode",
                "components": {
                    "serverapp": "everymode.server.app:app",
                    "clientapp": "everymode.clients.app:app",
                },
                "config": {"config": "", "out": "", "set": "", "resume": ""},
            }
        }
    },
}
"""What a coordinator hands to `flwr run`: the names of what is installed, and no code."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits; a test fails that waits in vain."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.1)


def write_certificates(folder: Path) -> None:
    """`ca.crt`, and `server.crt` with `server.key`, which it signed for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, key: Any, issuer: str, signer: Any, ca: bool) -> x509.Certificate:
        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(signer, hashes.SHA256())
        )

    ca, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    for name, made in (
        ("ca.crt", certificate("ca", ca, "ca", ca, True)),
        ("server.crt", certificate("server", own, "ca", ca, False)),
    ):
        (folder / name).write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(
        own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def write_key(path: Path) -> None:
    """A SuperNode's key pair: `path` and `path.pub`."""
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(path.name + ".pub").write_bytes(public)


@dataclass
class Deployed:
    """Processes of a deployment; use as a context manager, which ends them all.

    Attributes:
        folder: Everything of theirs lies below.
        tables: The sites' tables, files or databases, by the name each is registered under.
        warm: Whether sites run what they installed in one process; else as Flower does.
        apart: Whether ServerApps have a process apart from the SuperLink's, as in a kit.
    """

    folder: Path
    tables: dict[str, str]
    warm: bool = True
    apart: bool = False
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    helpers: list[psutil.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Writes certificates, the app and the address."""
        self.port = free_port()
        self.app = self.folder / "app"
        self.app.mkdir(parents=True)
        (self.app / "pyproject.toml").write_text(tomli_w.dumps(APP))
        write_certificates(self.folder)
        home = self.folder / "home"
        home.mkdir()
        link = {"address": f"127.0.0.1:{self.port}", "root-certificates": str(self._at("ca.crt"))}
        (home / "config.toml").write_text(tomli_w.dumps({"superlink": {LINK: link}}))

    def __enter__(self) -> "Deployed":
        """Starts the SuperLink, registers the sites and starts them."""
        self.start_link()
        until(self.answers, 60, "the SuperLink listens")
        if self.apart:
            self.start_superexec()
        for name in self.tables:
            write_key(self._at(name))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.register, self.tables))
        for name in self.tables:
            self.start(name)
        return self

    def register(self, name: str) -> None:
        self.flwr("supernode", "register", str(self._at(f"{name}.pub")), LINK, "--name", name)

    def __exit__(self, *error: object) -> None:
        """Ends all processes."""
        self.end()

    def _at(self, name: str) -> Path:
        return self.folder / name

    def environment(self, home: str) -> dict[str, str]:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        return {
            **os.environ,
            "PATH": path,
            "FLWR_HOME": str(self._at(home)),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": "1",
        }

    def spawn(self, name: str, *command: str) -> None:
        with self._at(f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment("home" if name in OURS else f"home-{name}"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_link(self) -> None:
        self.spawn(
            "link",
            "flower-superlink",
            *("--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt"),
            *("--ssl-keyfile", "server.key", "--enable-supernode-auth"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--database", "link.db"),
            "--disable-runtime-dependency-installation",
            *(("--isolation", "process", *self._secret()) if self.apart else ()),
        )

    def start_superexec(self) -> None:
        self.spawn(
            "superexec",
            "flower-superexec",
            *("--runtime-api-address", f"127.0.0.1:{self.port}"),
            *("--root-certificates", "ca.crt", *self._secret()),
        )

    def _secret(self) -> tuple[str, str]:
        secret = self._at("superexec.secret")
        if not secret.exists():
            secret.write_bytes(os.urandom(32))
        return "--superexec-auth-secret-file", secret.name

    def start(self, name: str, key: str | None = None, port: int = 0) -> None:
        """Starts a site's SuperNode; `key` names another's, `port` another way to the SuperLink."""
        own = {
            "site": name,
            "data": self.tables[name],
            "workspace": self._at(f"work-{name}"),
            # As `everymode deploy` sets them up; the others' public keys lie beside this one's.
            "signing_key": self._at(name),
            "peers": self.folder,
        }
        node = " ".join(f'{key}="{value}"' for key, value in own.items())
        flags = [
            *("--superlink", f"127.0.0.1:{port or self.port}", "--root-certificates", "ca.crt"),
            *("--auth-supernode-private-key", key or name, "--node-config", node),
        ]
        if self.warm:
            self.spawn(name, sys.executable, "-m", "everymode", "site", "serve", *flags)
        else:
            port = ("--host", "127.0.0.1", "--port", str(free_port()))
            self.spawn(name, "flower-supernode", *flags, *port)

    def answers(self) -> bool:
        assert self.processes["link"].poll() is None, self.log("link")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def flwr(self, *arguments: str) -> str:
        done = subprocess.run(
            ["flwr", *arguments],
            cwd=self.folder,
            env=self.environment("home"),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def server_app(self) -> psutil.Process:
        """The process in which the server half of the newest run works."""
        first = self.processes["superexec" if self.apart else "link"].pid
        found = []
        for process in psutil.Process(first).children(recursive=True):
            # One that has just ended is there until it is looked for.
            with contextlib.suppress(psutil.Error):
                if any("flwr-serverapp" in word for word in process.cmdline()):
                    found.append(process)
        assert found, "no ServerApp runs"
        return max(found, key=lambda process: process.create_time())

    def run(self, **config: str) -> str:
        """Starts a run; returns its id."""
        text = " ".join(f'{key}="{value}"' for key, value in config.items())
        shown = self.flwr("run", str(self.app), LINK, "--run-config", text, "--format", "json")
        return str(json.loads(shown)["run-id"])

    def status(self, run: str) -> str:
        shown = json.loads(self.flwr("list", LINK, "--run-id", run, "--format", "json"))
        return str(shown["runs"][0]["status"])

    def log(self, name: str) -> str:
        return self._at(f"{name}.log").read_text(errors="replace")

    def logs(self) -> str:
        return "\n".join(f"== {name}\n{self.log(name)[-6000:]}" for name in self.processes)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends a process and all it started."""
        process = self.processes[name]
        os.killpg(process.pid, number)
        process.wait(30)

    def end(self) -> None:
        """Ends the processes; a helper of theirs ends itself once it misses its parent."""
        for process in self.processes.values():
            with contextlib.suppress(psutil.Error):
                self.helpers += psutil.Process(process.pid).children(recursive=True)
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(15)
        with contextlib.suppress(AssertionError):
            until(lambda: not self.left(), 15, "nothing is left")

    def left(self) -> list[str]:
        """Processes started here, and by those, that still run."""
        started = {p.pid for p in self.processes.values()}
        found = []
        for process in [*self.helpers, *psutil.process_iter()]:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                ours = process in self.helpers or os.getsid(process.pid) in started
                if ours and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found
