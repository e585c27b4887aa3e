"""The keys that masks between sites rest on: handed on, checked, never exchanged unseen."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from everymode.server.deployment.address import Address
from everymode.server.deployment.keys import PUBLIC, make_key
from everymode.server.deployment.kit import Kit, read_role, write_kit
from everymode.server.deployment.peer_check import gathered_findings, peer_findings
from tests.command_line import Call

SITES = ("north", "south", "east")
VALUES = {"signing_key": "site.key", "peers": "peers"}


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit whose sites have made their keys, which the coordinator has."""
    out = tmp_path / "kit"
    write_kit(out, Kit(Address("127.0.0.1", 9), SITES))
    for site in SITES:
        public = make_key(out / site, site)
        (out / "coordinator/keys" / f"{site}.pub").write_bytes(public.read_bytes())
    return out


def handed_on(kit: Path, call: Call) -> Path:
    code, _, err = call("deploy", "peers", kit / "coordinator")
    assert code == 0, err
    return kit / "coordinator/peers.txt"


def findings(kit: Path, site: str, needed: bool = True, sites: tuple[str, ...] = SITES):
    found = peer_findings(read_role(kit / site), VALUES, needed, sites)
    return {finding.what: finding for finding in found}


def test_every_site_gets_the_keys_of_the_others_and_shows_their_fingerprints(
    kit: Path, call: Call
) -> None:
    file = handed_on(kit, call)
    assert b"PRIVATE" not in file.read_bytes()
    code, out, err = call("deploy", "peers", kit / "north", "--keys", file)
    assert code == 0 and "by telephone" in out + err
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", kit / "south" / PUBLIC], capture_output=True, text=True
    ).stdout.split()[1]
    assert f"south: {shown}" in (out + err).splitlines()
    assert {p.name for p in (kit / "north/peers").iterdir()} == {"south.pub", "east.pub"}
    found = findings(kit, "north")
    assert {what: f.advice for what, f in found.items()} == {"key of south": "", "key of east": ""}
    assert found["key of south"].found == shown
    # The folder is empty until then, and that is something to do only where masks are wanted.
    assert "everymode deploy peers" in findings(kit, "south")["keys of other sites"].advice
    assert findings(kit, "south", False, ())["keys of other sites"].advice == ""


def test_a_key_that_changed_is_taken_only_when_told_to(kit: Path, call: Call) -> None:
    call("deploy", "peers", kit / "north", "--keys", handed_on(kit, call))
    before = (kit / "north/peers/south.pub").read_bytes()
    # A coordinator that hands out a key of its own.
    forged = make_key(kit / "coordinator/state", "south")
    (kit / "coordinator/keys/south.pub").write_bytes(forged.read_bytes())
    code, _, err = call("deploy", "peers", kit / "north", "--keys", handed_on(kit, call))
    assert code == 2 and "south.pub: is another key than" in err and "not the coordinator" in err
    assert (kit / "north/peers/south.pub").read_bytes() == before
    words = ("deploy", "peers", kit / "north", "--keys", kit / "coordinator/peers.txt")
    assert call(*words, "--replace")[0] == 0
    assert (kit / "north/peers/south.pub").read_bytes().split()[:2] == forged.read_bytes().split()[
        :2
    ]
    # South sees at once that another key goes round under its name.
    code, _, err = call("deploy", "peers", kit / "south", *words[3:])
    assert code == 2 and "has another key of 'south'" in err


def test_a_site_whose_key_is_missing_is_named_and_the_others_are_gathered(
    kit: Path, call: Call
) -> None:
    (kit / "coordinator/keys/east.pub").unlink()
    code, out, err = call("deploy", "peers", kit / "coordinator")
    assert code == 0 and "without east" in out + err
    assert call("deploy", "peers", kit / "north", "--keys", kit / "coordinator/peers.txt")[0] == 0
    found = findings(kit, "north")["keys of other sites"]
    assert "'east'" in found.found and "'south'" not in found.found and found.advice


def test_a_key_of_two_sites_of_others_or_of_nobody_is_found(kit: Path, call: Call) -> None:
    call("deploy", "peers", kit / "north", "--keys", handed_on(kit, call))
    peers = kit / "north/peers"
    (peers / "east.pub").write_bytes((peers / "south.pub").read_bytes())
    assert "is that of" in findings(kit, "north")["key of south"].found
    (peers / "east.pub").write_bytes((kit / "north" / PUBLIC).read_bytes())
    assert findings(kit, "north")["key of east"].found == "is that of 'north'"
    (peers / "east.pub").write_text("ssh-rsa AAAA")
    assert "no public key" in findings(kit, "north")["key of east"].found
    if os.name != "nt":
        (peers / "south.pub").chmod(0o666)
        assert "chmod 644" in findings(kit, "north")["key of south"].advice


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("north no-key", "line 1: expected SITE and its key"),
        ("../x ecdsa-sha2-nistp384 AAAA", "line 1: '../x' cannot name a site"),
        ("north {key}\nnorth {other}", "line 2: a second key of 'north'"),
        (b"\xff\xfe", "it is no text"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_keys_that_is_none_changes_nothing(
    kit: Path, text: str | bytes | None, problem: str, call: Call, tmp_path: Path
) -> None:
    file = tmp_path / "peers.txt"
    if isinstance(text, bytes):
        file.write_bytes(text)
    elif text is not None:
        key, other = ((kit / s / PUBLIC).read_text().strip() for s in ("south", "east"))
        file.write_text(text.format(key=key, other=other))
    code, _, err = call("deploy", "peers", kit / "north", "--keys", file)
    assert code == 2 and problem in err
    assert not list((kit / "north/peers").iterdir())


def test_options_of_the_other_side_are_refused(kit: Path, call: Call) -> None:
    code, _, err = call("deploy", "peers", kit / "north")
    assert code == 2 and "--keys" in err
    assert call("deploy", "peers", kit / "coordinator", "--replace")[0] == 2
    for site in SITES:
        (kit / "coordinator/keys" / f"{site}.pub").unlink()
    code, _, err = call("deploy", "peers", kit / "coordinator")
    assert code == 2 and "no site's key yet" in err


def test_checks_want_keys_where_a_run_or_the_policy_wants_masks(kit: Path, call: Call) -> None:
    config = kit / "run.toml"
    config.write_text(
        '[data]\nsensitive = ["sex"]\n[deployment]\nsites = ["north", "south", "east"]\n'
        'columns = ["age", "sex"]\n[federation]\nsums_only = true\n[secure]\nsummation = "masked"\n'
    )

    def advice(*words: object) -> dict[str, str]:
        _, printed, _ = call("deploy", "check", kit / "north", "--json", *words)
        return {f["what"]: f["advice"] for f in json.loads(printed)}

    assert advice()["keys of other sites"] == ""
    assert "ask the coordinator" in advice("--config", config)["keys of other sites"]
    (kit / "north/policy.toml").write_text("masking = true\n")
    assert "ask the coordinator" in advice()["keys of other sites"]
    site = kit / "north/site.toml"
    site.write_text('site = "north"\ndata = "table.csv"\npolicy = "policy.toml"\n')
    assert 'peers = "peers"' in advice()["keys of other sites"]


def test_the_coordinator_is_told_of_a_file_of_keys_that_is_old(kit: Path, call: Call) -> None:
    role = read_role(kit / "coordinator")
    assert list(gathered_findings(role, False)) == []
    (finding,) = gathered_findings(role, True)
    assert finding.what == "peers.txt" and "deploy peers" in finding.advice
    handed_on(kit, call)
    (finding,) = gathered_findings(role, True)
    assert finding.advice == "" and "3 sites" in finding.found
    (kit / "coordinator/keys/east.pub").write_bytes((kit / "south" / PUBLIC).read_bytes())
    (finding,) = gathered_findings(role, True)
    assert "'east'" in finding.found and finding.advice
