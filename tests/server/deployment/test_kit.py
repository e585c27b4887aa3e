"""The folders of a deployment: what is in them, for whom, and what is refused."""

import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from everymode.clients.gate.policy import DEFAULT, Policy, load_policy
from everymode.server.deployment import keys
from everymode.server.deployment import kit as kits
from everymode.server.deployment.address import Address, parse_address, parse_sites
from everymode.server.deployment.certificates import (
    certificate_problems,
    days_left,
    make_authority,
    make_server,
)
from everymode.server.deployment.kit import Kit, read_role, renew_certificate, write_kit
from everymode.wgan.errors import SettingsError, StateError
from tests.command_line import Call

SERVER = Address("fl.example.org", 443)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "kit"
    write_kit(folder, Kit(SERVER, ("north", "south")))
    return folder


def test_secrets_are_for_their_owner_and_no_site_gets_one(written: Path) -> None:
    secret = {p for p in written.rglob("*") if p.is_file() and b"PRIVATE KEY" in p.read_bytes()}
    assert {p.relative_to(written).as_posix() for p in secret} == {
        "coordinator/ca.key",
        "coordinator/server.key",
    }
    assert {stat.S_IMODE(p.stat().st_mode) for p in secret} == {0o600}
    # A site's folder does not say who the others are.
    assert not any("south" in p.read_text() for p in (written / "north").rglob("*") if p.is_file())


def test_the_certificate_is_for_the_server_and_for_its_own_machine(written: Path) -> None:
    folder = written / "coordinator"
    certificate, authority, key = (
        (folder / name).read_bytes() for name in ("server.crt", "ca.crt", "server.key")
    )
    for host in ("fl.example.org", "127.0.0.1", "localhost"):
        assert certificate_problems(certificate, authority, host, key) == []
    other = make_authority("another")
    assert certificate_problems(certificate, other.certificate, "10.0.0.1", other.key) == [
        "it was signed by another certificate authority",
        "it is not valid for 10.0.0.1",
        "it does not belong to the key",
    ]
    assert 395 <= days_left(certificate) <= 397 and days_left(authority) > 3600
    constraints = x509.load_pem_x509_certificate(authority).extensions
    assert constraints.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_a_new_certificate_needs_nothing_new_at_the_sites(written: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(written / "coordinator", tmp_path / "c")
    before = (folder / "server.crt").read_bytes()
    renew_certificate(folder, 10)
    after, key = (folder / "server.crt").read_bytes(), (folder / "server.key").read_bytes()
    assert after != before and days_left(after) <= 10
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600
    at_site = (written / "north/ca.crt").read_bytes()
    assert certificate_problems(after, at_site, SERVER.host, key) == []
    (folder / "ca.key").unlink()
    with pytest.raises(StateError, match="put them back"):
        renew_certificate(folder)
    with pytest.raises(StateError, match="is a site's"):
        renew_certificate(written / "north")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_site_that_joins_gets_a_folder_and_nothing_else_changes(
    written: Path, tmp_path: Path, call: Call
) -> None:
    kit = shutil.copytree(written, tmp_path / "kit")
    (kit / "coordinator/config.toml").write_text("# mine")
    (kit / "coordinator/ca.key").unlink()
    before = contents(kit)
    assert call("deploy", "add", kit, "--site", "west")[0] == 0
    after = contents(kit)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"coordinator/kit.json", "coordinator/register.sh"}
    assert read_role(kit / "coordinator").sites == ("north", "south", "west")
    assert read_role(kit / "west").site == "west"
    # As if the kit had been made with it: but for its name, the folder is that of another site.
    at_west = {name.removeprefix("west/") for name in after if name.startswith("west/")}
    assert at_west == {n.removeprefix("north/") for n in before if n.startswith("north/")}
    for name in at_west:
        like = after[f"north/{name}"].replace(b"north", b"west")
        assert after[f"west/{name}"] == like, name
    assert b"PRIVATE KEY" not in b"".join(after[f"west/{name}"] for name in at_west)
    assert b"  west) ;;" in after["coordinator/register.sh"]


@pytest.mark.parametrize(
    ("folder", "site", "text"),
    [
        ("", "north", "is in this kit already"),
        ("", "../x", "cannot name a site"),
        ("", "coordinator", "name the site else"),
        ("north", "west", "is a site's"),
        ("keys", "west", "no folder of a deployment"),
    ],
)
def test_who_cannot_join_is_refused_and_nothing_is_left(
    written: Path, folder: str, site: str, text: str, call: Call
) -> None:
    before = contents(written)
    code, _, said = call("deploy", "add", written / folder, "--site", site)
    assert code == 2 and text in said
    assert contents(written) == before


def test_no_certificate_outlives_its_authority() -> None:
    authority = make_authority("short", days=5)
    assert days_left(make_server(authority, "127.0.0.1", 397).certificate) <= 5


SCRIPTS = {
    "coordinator/start_superlink.sh": ("flower-superlink",),
    "coordinator/start_superexec.sh": ("flower-superexec",),
    "coordinator/register.sh": ("flwr", "supernode", "register"),
    "coordinator/run.sh": ("flwr", "run"),
    "north/start_site.sh": ("flower-supernode",),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_installed_flower_knows_every_option_that_a_script_gives(
    written: Path, script: str
) -> None:
    command = SCRIPTS[script]
    text = (written / script).read_text().replace("\\\n", " ")
    # A site's script adds options to whichever command it is.
    name = rf"(exec |flower-supernode\) set -- )?{' '.join(command)}\b|exec \"\$@\" "
    line = " ".join(x for x in text.splitlines() if re.match(name, x.strip()))
    given = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", line))
    program = Path(sys.executable).with_name(command[0])
    words = [str(program), *command[1:], "--help"]
    done = subprocess.run(words, capture_output=True, text=True, env={"COLUMNS": "200"})
    known = set(re.findall(r"--[a-z][a-z-]*", done.stdout))
    assert given and given <= known
    # Deprecated options stay in Flower's help; none is among those given.
    for option in given:
        explained = done.stdout.partition(f"  {option}")[2][:200]
        assert not explained.strip().startswith("Deprecated")


def test_scripts_and_files_are_well_formed(written: Path) -> None:
    for script in written.rglob("*.sh"):
        assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
        run_by_hand = script.name != "environment.sh"
        assert bool(script.stat().st_mode & 0o111) == run_by_hand
    for path in written.rglob("*.toml"):
        tomllib.loads(path.read_text())
    for path in written.rglob("compose.yaml"):
        services = yaml.safe_load(path.read_text())["services"]
        assert all(service["restart"] == "always" for service in services.values())
    for unit in written.rglob("*.service"):
        text = unit.read_text()
        assert "Restart=always\n" in text and "StartLimitIntervalSec=0\n" in text
        (started,) = re.findall(r"ExecStart=/opt/everymode/(\S+)", text)
        assert (written / started).is_file()
    assert not any("{{" in p.read_text() for p in written.rglob("*") if p.is_file())


def test_the_policy_shows_all_keys_and_its_defaults_hold(written: Path, tmp_path: Path) -> None:
    path = written / "north/policy.toml"
    assert load_policy(path) == DEFAULT
    keys_shown = tmp_path / "policy.toml"
    keys_shown.write_text(re.sub(r"(?m)^# ([a-z_]+ = )", r"\1", path.read_text()))
    shown = load_policy(keys_shown)
    assert shown.model_fields_set == set(Policy.model_fields)
    examples = {"questions", "columns", "sensitive", "epsilon"}
    assert shown.model_dump(exclude=examples) == DEFAULT.model_dump(exclude=examples)


def test_a_supernode_that_was_killed_is_started_again_until_flower_takes_it(written: Path) -> None:
    # Flower refuses it for up to 60 s; each try in between ends with an error.
    unit = (written / "north/systemd/everymode-site.service").read_text()
    (seconds,) = re.findall(r"RestartSec=(\d+)", unit)
    assert 5 <= int(seconds) <= 30


def test_the_site_makes_a_key_that_flower_takes(written: Path, tmp_path: Path, call: Call) -> None:
    for name, command in (("a", ["./make_key.sh"]), ("b", None)):
        site = shutil.copytree(written / "north", tmp_path / name)
        (missing,) = keys.key_problems(site)
        assert "make_key.sh" in missing
        if command:
            assert subprocess.run(command, cwd=site, capture_output=True).returncode == 0
            assert subprocess.run(command, cwd=site, capture_output=True).returncode == 1
        else:
            assert call("deploy", "key", site)[0] == 0
            code, _, err = call("deploy", "key", site)
            assert code == 2 and "there already" in err
        assert keys.key_problems(site) == []
        from flwr.cli.supernode.register import try_load_public_key

        assert try_load_public_key(site / keys.PUBLIC)
    (site / keys.PRIVATE).chmod(0o644)
    shutil.copy(tmp_path / "a" / keys.PUBLIC, site / keys.PUBLIC)
    open_to_all, other = keys.key_problems(site)
    assert "chmod 600" in open_to_all and "belongs to another key" in other


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fl.example.org", "expected HOST:PORT"),
        ("::1:443", "expected HOST:PORT"),
        ("https://fl.example.org:443", "is a URL"),
        ("fl.example.org:0", "from 1 to 65535"),
        ("fl.example.org:70000", "from 1 to 65535"),
        ("fl.example.org:x", "from 1 to 65535"),
        ("10.0.0.300:443", "neither a DNS name nor an IP address"),
        ("a b:443", "neither a DNS name nor an IP address"),
        ("-x:443", "neither a DNS name nor an IP address"),
    ],
)
def test_an_address_that_is_none_is_refused(text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        parse_address(text)


@pytest.mark.parametrize("text", ["[2001:db8::1]:443", "10.0.0.5:8443", "FL.example.org:443"])
def test_an_address_has_a_certificate(text: str) -> None:
    address = parse_address(text)
    authority = make_authority("x")
    certificate = make_server(authority, address.host).certificate
    assert certificate_problems(certificate, authority.certificate, address.host) == []


def test_names_that_cannot_be_sites_are_all_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        parse_sites("north,North,north,a b,../x,,coordinator")
    assert [p.split("'")[1] for p in refused.value.problems] == [
        *("North", "north", "a b", "../x", "", "coordinator")
    ]


def test_bad_input_is_one_clear_error_and_leaves_nothing(tmp_path: Path, call: Call) -> None:
    out = tmp_path / "kit"
    code, _, err = call("deploy", "init", out, "--sites", "a,a", "--server", "x")
    assert code == 2 and err.count("error: ") == 2 and list(tmp_path.iterdir()) == []
    code, _, err = call("deploy", "init", out, "--sites", "a", "--server", "h:1", "--place", "x y")
    assert code == 2 and "--place" in err and list(tmp_path.iterdir()) == []


def test_a_kit_that_is_there_is_kept(tmp_path: Path, call: Call) -> None:
    out = tmp_path / "kit"
    words = ("deploy", "init", out, "--sites", "a,b", "--server", "localhost:8000")
    assert call(*words)[0] == 0
    authority = (out / "coordinator/ca.crt").read_bytes()
    code, _, err = call(*words)
    assert code == 2 and "--force" in err
    assert (out / "coordinator/ca.crt").read_bytes() == authority
    assert call(*words, "--force")[0] == 0
    (kept,) = tmp_path.glob("kit.before-*")
    assert (kept / "coordinator/ca.crt").read_bytes() == authority
    assert (out / "coordinator/ca.crt").read_bytes() != authority
    # The proxy's port is 8000 here, so the SuperLink has another.
    assert read_role(out / "coordinator").inner == 8001
    # What is no kit is never moved away.
    (tmp_path / "own").mkdir()
    code, _, err = call("deploy", "init", tmp_path / "own", *words[3:], "--force")
    assert code == 2 and "holds no kit" in err


def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kits, "write_json", full)
    with pytest.raises(StateError, match="No space left"):
        write_kit(tmp_path / "kit", Kit(SERVER, ("north",)))
    assert list(tmp_path.iterdir()) == []
