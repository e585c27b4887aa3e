"""`everymode deploy check`: what it says of a folder, a connection, a table."""

import http.server
import json
import shutil
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from everymode.server.deployment.address import Address
from everymode.server.deployment.certificates import make_authority, make_server
from everymode.server.deployment.connection import (
    clock_finding,
    connection_findings,
    date_finding,
)
from everymode.server.deployment.keys import make_key
from everymode.server.deployment.kit import Kit, write_kit
from tests.command_line import Call


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers as the proxy does, or as a SuperLink that stands open."""

    status = 403
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        assert self.headers.get("Content-Length", "0") == "0"
        self.send_response(type(self).status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server:
    """A TLS server on the loopback interface, in a thread."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self.address = Address("127.0.0.1", self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def end(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    authority = make_authority("test")
    made = make_server(authority, "127.0.0.1")
    for name, content in (
        ("ca.crt", authority.certificate),
        ("s.crt", made.certificate),
        ("s.key", made.key),
    ):
        (tmp_path / name).write_bytes(content)
    running = Server(tmp_path / "s.crt", tmp_path / "s.key")
    yield running
    running.end()


def verdicts(address: Address, authority: Path) -> dict[str, str]:
    return {f.what.split()[0]: f.advice for f in connection_findings(address, authority)}


def test_a_server_behind_its_proxy_is_ok_and_one_that_stands_open_is_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verdicts(server.address, tmp_path / "ca.crt")
    assert found == {"address": "", "server's": "", "clock": "", "control": ""}
    # What Flower answers to a request without a body on its control interface.
    monkeypatch.setattr(Proxy, "status", 422)
    assert (
        "whoever reaches it starts runs" in verdicts(server.address, tmp_path / "ca.crt")["control"]
    )


def test_another_authority_another_name_and_no_server_are_told_apart(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "other.crt").write_bytes(make_authority("other").certificate)
    assert "another authority" in verdicts(server.address, tmp_path / "other.crt")["address"]
    by_name = Address("127.0.0.2", server.address.port)
    assert set(verdicts(by_name, tmp_path / "ca.crt")) == {"address"}
    away = Address("127.0.0.1", 9)
    assert "start the SuperLink" in verdicts(away, tmp_path / "ca.crt")["address"]
    unknown = Address("no-such-host.invalid", 443)
    assert verdicts(unknown, tmp_path / "ca.crt")["address"]


@pytest.mark.parametrize(
    ("offset", "found", "advice"),
    [
        (None, "does not say", ""),
        (3.0, "3 s behind the server", ""),
        (-90.0, "90 s ahead of the server", "permits less than 300 s"),
        (600.0, "600 s behind the server", "refuses 300 s"),
    ],
)
def test_clocks_may_differ_by_less_than_flower_permits(
    offset: float | None, found: str, advice: str
) -> None:
    finding = clock_finding(offset)
    assert found in finding.found
    assert advice in finding.advice and bool(finding.advice) == bool(advice)


@pytest.mark.parametrize(("days", "found"), [(400, "399 days left"), (20, "19 days left")])
def test_a_certificate_is_renewed_a_month_before_it_ends(days: int, found: str) -> None:
    finding = date_finding("ca.crt", make_authority("x", days).certificate, "renew it")
    assert finding.found == found and bool(finding.advice) == (days < 30)


def test_a_site_is_checked_without_a_server(tmp_path: Path, call: Call, kit: object) -> None:
    out = tmp_path / "kit"
    write_kit(out, Kit(Address("127.0.0.1", 9), ("north", "south")))
    site = out / "north"
    make_key(site, "north")
    kit.people(300).to_csv(site / "table.csv", index=False)  # type: ignore[attr-defined]
    (site / "table.csv").chmod(0o600)
    config = tmp_path / "run.toml"
    config.write_text('[data]\npath = "x.csv"\nsensitive = ["sex"]\n')
    code, printed, _ = call("deploy", "check", site, "--json", "--config", config)
    found = {f["what"]: f for f in json.loads(printed)}
    assert code == 1
    # The server is away; all else is as it should be.
    assert [what for what, f in found.items() if f["advice"]] == ["address 127.0.0.1:9"]
    assert "300 rows" in found["table"]["found"]
    config.write_text('[data]\npath = "x.csv"\nsensitive = ["age_group"]\n')
    (site / "site.key").chmod(0o640)
    (site / "table.csv").chmod(0o644)
    (site / "site.toml").write_text('site = "south"\ndata = "table.csv"\npolicy = "none.toml"\n')
    code, printed, _ = call("deploy", "check", site, "--json", "--config", config)
    advice = {f["what"]: f["advice"] for f in json.loads(printed)}
    assert code == 1 and "chmod 600" in advice["key"]
    assert "chmod o-r" in advice["table"] and "north" in advice["site.toml"]
    assert "age_group" in advice["table and configuration"]
    assert "no such policy file" in advice["policy"]
    # Every problem of a policy is named.
    (site / "none.toml").write_text("min_row = 3\nmasking = 1\n")
    _, printed, _ = call("deploy", "check", site, "--json")
    advice = {f["what"]: f["advice"] for f in json.loads(printed)}
    assert "min_rows" in advice["policy"] and "masking" in advice["policy"]
    # No trace is left beside the table.
    assert not (site / "work").exists()


def test_a_folder_of_no_deployment_cannot_be_checked(tmp_path: Path, call: Call) -> None:
    assert call("deploy", "check", tmp_path)[0] == 2
    out = tmp_path / "kit"
    write_kit(out, Kit(Address("127.0.0.1", 9), ("north",)))
    code, _, err = call("deploy", "check", out)
    assert code == 2 and "coordinator" in err
    assert call("deploy", "check", out / "coordinator", "--data", "x.csv")[0] == 2
    shutil.copy(out / "north/policy.toml", out / "north/kit.json")
    code, _, err = call("deploy", "check", out / "north")
    assert code == 2 and "kit.json" in err
