"""A kit at work: SuperLink, proxy and two sites as processes, started by the scripts of the kit."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli_w

from everymode.server.config.files import parse
from everymode.server.deployment.address import Address
from everymode.server.deployment.certificates import make_authority
from everymode.server.deployment.kit import Kit, write_kit
from everymode.server.in_process import simulate
from tests.command_line import Call
from tests.conftest import TINY, TRAINING_ALONE
from tests.databases import write_duckdb
from tests.federated import people

pytestmark = pytest.mark.slow

NGINX = next(
    (p for name in ("nginx", "/usr/sbin/nginx") if (p := shutil.which(name)) is not None), None
)

MAIN = """
daemon off; pid {0}/nginx.pid; error_log {0}/nginx.log; worker_processes 1; {1}
events {{}}
http {{
  access_log off;
  client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;
  fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
  include {0}/kit/coordinator/nginx.conf;
}}
"""
"""nginx in one folder, for any user."""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.2)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Deployment:
    """A kit's processes, each in a session of its own; a log each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kit = folder / "kit"
        self.port, self.inner = free_ports(2)
        kit = Kit(Address("127.0.0.1", self.port), ("north", "south"), 397, str(self.kit))
        # Without nginx sites reach the SuperLink itself.
        self.proxied = NGINX is not None
        link = self.inner if self.proxied else 0
        write_kit(self.kit, Kit(kit.server, kit.sites, kit.days, kit.place, link))
        self.coordinator = self.kit / "coordinator"
        self._processes: list[subprocess.Popen[bytes]] = []
        binaries = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "OMP_NUM_THREADS": "1",
        }
        if not self.proxied:
            self.environment["SUPERLINK_PORT"] = str(self.port)

    def start(self, name: str, *words: object, **more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("wb") as log:
            process = subprocess.Popen(
                list(map(str, words)),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, **more},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def start_site(self, folder: Path) -> subprocess.Popen[bytes]:
        return self.start(folder.name, folder / "start_site.sh")

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")

    def do(self, script: Path, *words: object) -> subprocess.CompletedProcess[str]:
        command = [str(script), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment)

    def begin(self) -> None:
        self.start("link", self.coordinator / "start_superlink.sh")
        if NGINX is not None:
            user = "user root;" if os.geteuid() == 0 else ""
            (self.folder / "nginx.conf").write_text(MAIN.format(self.folder, user))
            self.start("nginx", NGINX, "-c", self.folder / "nginx.conf")
        until(lambda: listens(self.port), "the server listens")
        until(lambda: listens(self.inner if self.proxied else self.port), "the SuperLink listens")
        self.start("superexec", self.coordinator / "start_superexec.sh")

    def status(self, path: str, method: str = "POST", authority: Path | None = None) -> int:
        """What the server answers to a stranger's request."""
        context = ssl.create_default_context(cafile=str(authority or self.coordinator / "ca.crt"))
        url = f"https://127.0.0.1:{self.port}{path}"
        asked = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
        try:
            with urllib.request.urlopen(asked, context=context, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def end(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


TABLES = {"north": people(120, 0), "south": people(90, 1)}
"""North's lies in DuckDB, or in SQLite where that is not installed; south's is a file."""


def write_tables(kit: Path) -> None:
    """Gives each site its table, and south a policy, as their administrators would."""
    database = kit / "north/clinic.db"
    if importlib.util.find_spec("duckdb") is not None:
        write_duckdb(TABLES["north"], database)
        url = f"duckdb:///{database}#people"
    else:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            TABLES["north"].to_sql("people", connection, index=False)
            connection.commit()
        url = f"sqlite:///{database}#people"
    north = kit / "north/site.toml"
    north.write_text(north.read_text().replace('data = "table.csv"', f'data = "{url}"'))
    TABLES["south"].to_csv(kit / "south/table.csv", index=False)
    policy = kit / "south/policy.toml"
    policy.write_text(f'{policy.read_text()}\nsensitive = ["sex"]\nselections = 1\n')


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("loopback"))
    try:
        made.begin()
        for site in ("north", "south"):
            assert made.do(made.kit / site / "make_key.sh").returncode == 0
            key = made.coordinator / "keys" / f"{site}.pub"
            shutil.copy(made.kit / site / "site.key.pub", key)
            done = made.do(made.coordinator / "register.sh", site, key)
            assert done.returncode == 0, done.stdout + done.stderr
        write_tables(made.kit)
        yield made
    finally:
        made.end()


def test_registered_sites_connect_and_a_stranger_does_not(
    deployment: Deployment, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not deployment.proxied:
        monkeypatch.setenv("SUPERLINK_PORT", str(deployment.port))
    kit = deployment.kit
    stranger = shutil.copytree(kit / "north", kit / "stranger")
    for file in stranger.glob("site.key*"):
        file.unlink()
    assert deployment.do(stranger / "make_key.sh").returncode == 0
    folders = (kit / "north", kit / "south", stranger)
    north, south, refused = (deployment.start_site(folder) for folder in folders)
    for site in ("north", "south"):
        until(lambda name=site: "SuperNode ID" in deployment.said(name), f"{site} connects")
    # Flower's code for a key that is not registered, and its exit status.
    until(lambda: refused.poll() is not None, "the stranger is refused")
    assert refused.returncode != 0 and "305" in deployment.said("stranger")
    assert north.poll() is None and south.poll() is None
    # The coordinator sees both.
    code, printed, _ = call("deploy", "check", deployment.coordinator, "--json")
    found = {f["what"]: f for f in json.loads(printed)}
    assert [found[f"site {s}"]["found"] for s in ("north", "south")] == ["registered, online"] * 2
    if deployment.proxied:
        assert found["control interface"]["advice"] == ""
    else:
        assert "starts runs" in found["control interface"]["advice"]
    assert code in (0, 1)


def test_a_run_goes_through_the_kit_and_each_site_has_its_log(
    deployment: Deployment, call: Call, tmp_path: Path
) -> None:
    """Follows the test above, which starts the sites."""
    config = deployment.coordinator / "config.toml"
    values = {**tomllib.loads(config.read_text()), **TINY}
    values["deployment"]["columns"] = list(TABLES["north"])
    values["data"].update(sensitive=["sex"], target="income")
    values["train"] = {**values["train"], "rounds": 2}
    config.write_text(tomli_w.dumps(values))
    done = deployment.do(deployment.coordinator / "run.sh", "first")
    out = deployment.coordinator / "runs/first"
    assert (out / "synthetic.csv").exists(), done.stdout + done.stderr + deployment.said("south")
    # The same run in one process, over files, with the floor that the kit gives its sites.
    folder = tmp_path / "tables"
    folder.mkdir()
    for site, table in TABLES.items():
        table.to_csv(folder / f"{site}.csv", index=False)
    pooled = {key: value for key, value in values.items() if key != "deployment"}
    pooled |= {"data": {**values["data"], "path": str(folder)}, "site": {"floor": 5}}
    same = simulate(parse(pooled), tmp_path / "same").folder
    assert (out / "synthetic.csv").read_bytes() == same.synthetic.read_bytes()
    # What left a site is what the coordinator says it received of it, in both logs.
    released = json.loads((out / "releases.json").read_text())["releases"]
    for site in TABLES:
        code, printed, _ = call("site", "log", deployment.kit / site / "work" / site, "--json")
        log = json.loads(printed)
        assert code == 0 and log["intact"]
        received: list[str] = []
        for entry in released:
            if any(site in group["names"] for group in entry["sites"]):
                received += [entry["task"]] * entry["count"]
        assert [entry["question"] for entry in log["entries"]] == received


@pytest.mark.nightly
def test_a_site_that_joins_masks_its_sums_with_the_others(
    deployment: Deployment, call: Call, tmp_path: Path
) -> None:
    """Follows the tests above. The kit hands public keys round; the table is that of plain sums."""
    kit, coordinator = deployment.kit, deployment.coordinator
    assert call("deploy", "add", kit, "--site", "east")[0] == 0
    assert deployment.do(kit / "east/make_key.sh").returncode == 0
    # The script puts the key where `deploy peers` finds it.
    done = deployment.do(coordinator / "register.sh", "east", kit / "east/site.key.pub")
    assert done.returncode == 0, done.stdout + done.stderr
    tables = {**TABLES, "east": people(100, 2)}
    tables["east"].to_csv(kit / "east/table.csv", index=False)
    assert call("deploy", "peers", coordinator)[0] == 0
    for site in tables:
        assert call("deploy", "peers", kit / site, "--keys", coordinator / "peers.txt")[0] == 0
    deployment.start_site(kit / "east")
    config = coordinator / "config.toml"
    values = {**tomllib.loads(config.read_text()), **TINY, "seed": 1}
    values["deployment"] |= {"columns": list(TABLES["north"]), "sites": list(tables)}
    values["data"].update(sensitive=["sex"], target="income")
    values["model"] = {**TINY["model"], **TRAINING_ALONE, "trees": 0}
    values |= {"federation": {"sums_only": True}, "secure": {"summation": "masked"}}
    values["train"] = {**TINY["train"], "rounds": 2}
    config.write_text(tomli_w.dumps(values))
    _, printed, _ = call("deploy", "check", kit / "north", "--config", config, "--json")
    found = {f["what"]: f for f in json.loads(printed)}
    assert [found[f"key of {s}"]["advice"] for s in ("east", "south")] == ["", ""]
    done = deployment.do(coordinator / "run.sh", "masked")
    out = coordinator / "runs/masked"
    assert (out / "synthetic.csv").exists(), done.stdout + done.stderr + deployment.said("east")
    folder = tmp_path / "tables"
    folder.mkdir()
    for site, table in tables.items():
        table.to_csv(folder / f"{site}.csv", index=False)
    plain = {key: value for key, value in values.items() if key not in ("deployment", "secure")}
    plain |= {"data": {**values["data"], "path": str(folder)}, "site": {"floor": 5}}
    same = simulate(parse(plain), tmp_path / "same").folder
    assert (out / "synthetic.csv").read_bytes() == same.synthetic.read_bytes()


def test_a_key_is_registered_once_and_for_a_site_of_the_kit(deployment: Deployment) -> None:
    register = deployment.coordinator / "register.sh"
    key = deployment.coordinator / "keys/north.pub"
    assert deployment.do(register, "west", key).returncode == 2
    before = (deployment.coordinator / "keys/south.json").read_bytes()
    assert deployment.do(register, "south", key).returncode == 1
    assert (deployment.coordinator / "keys/south.json").read_bytes() == before


def test_another_authority_and_plain_http_are_refused(
    deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "other.crt").write_bytes(make_authority("other").certificate)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        deployment.status("/v1/fleet/get-run", authority=tmp_path / "other.crt")
    with socket.create_connection(("127.0.0.1", deployment.port), 10) as plain:
        plain.sendall(b"POST /v1/fleet/get-run HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        try:
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
    assert b" 200 " not in answer


@pytest.mark.skipif(NGINX is None, reason="no nginx here: apt-get install nginx-light")
def test_the_proxy_lets_the_fleet_path_pass_and_nothing_else(deployment: Deployment) -> None:
    # The SuperLink's own answer to a message that is none; the control: it gets there.
    assert deployment.status("/v1/fleet/get-run") not in (403, 404, 502)
    for path in (
        *("/", "/v1/control/list-runs", "/v1/runtime/get-nodes", "/v1/fleet", "/docs"),
        *("/v1/fleet/../control/list-runs", "/v1/fleet/%2e%2e/control/list-runs"),
        *("/v1/fleet/..%2fcontrol/list-runs", "//v1/control/list-runs", "/V1/FLEET/get-run"),
    ):
        assert deployment.status(path) == 403, path
    assert deployment.status("/v1/fleet/get-run", "GET") == 403
    refused = (deployment.coordinator / "state/refused.log").read_text()
    assert "/v1/control/list-runs" in refused and " 403" in refused
