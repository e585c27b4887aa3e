"""What stands in the environment when Ray is imported, in processes of their own."""

import ast
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from everymode.clients import environment
from everymode.wgan.errors import StateError
from everymode.wgan.portable import folder_for_sockets

ROOT = Path(__file__).resolve().parents[2]
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"
THEIRS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_AUTH_TOKEN": "of a cluster elsewhere",
    "RAY_AUTH_TOKEN_PATH": "/nowhere/token",
    "RAY_ENABLE_K8S_TOKEN_AUTH": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    "RAY_ADDRESS": "192.0.2.7:6379",
}


def run(code: str, **variables: str) -> str:
    """Runs code in a process of its own, without what this one has set for Ray."""
    clean = {name: v for name, v in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**clean, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def after(code: str, **variables: str) -> dict[str, str]:
    """The environment after some code."""
    found: dict[str, str] = json.loads(run(f"{code}; {SHOW}", **variables))
    return found


@pytest.mark.parametrize("variables", [{}, THEIRS], ids=["nothing set", "set for a cluster"])
def test_ray_is_closed_whatever_the_user_has_set(variables: dict[str, str]) -> None:
    found = after("import everymode.clients.environment", **variables)
    assert {name: found[name] for name in environment.GUARDS} == environment.GUARDS
    assert len(bytes.fromhex(found["RAY_AUTH_TOKEN"])) == 32
    assert "RAY_AUTH_TOKEN_PATH" not in found and "RAY_TMPDIR" not in found


def test_every_process_has_a_token_of_its_own() -> None:
    tokens = [after("import everymode.clients.environment")["RAY_AUTH_TOKEN"] for _ in range(2)]
    assert tokens[0] != tokens[1]


def test_what_is_only_a_default_is_left_to_the_user() -> None:
    assert after("import everymode.clients.environment")["FLWR_TELEMETRY_ENABLED"] == "0"
    found = after("import everymode.clients.environment", FLWR_TELEMETRY_ENABLED="1")
    assert found["FLWR_TELEMETRY_ENABLED"] == "1"


def test_a_process_of_rays_keeps_the_token_that_it_inherited() -> None:
    code = "import sys; sys.modules['ray'] = sys; import everymode.clients.environment"
    found = after(code, RAY_AUTH_TOKEN="inherited")
    assert found["RAY_AUTH_TOKEN"] == "inherited"


def test_ray_is_not_started_where_it_was_imported_before() -> None:
    code = (
        "import sys; sys.modules['ray'] = sys\n"
        "from everymode.clients import environment\n"
        "try: environment.require_guards()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert run(code).startswith("StateError Ray was imported before EveryMode")


def test_variables_that_were_changed_since_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "LATE", False)
    for name, value in environment.GUARDS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    environment.require_guards()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(
        StateError, match="RAY_AUTH_MODE must be 'token'; RAY_AUTH_TOKEN must be a secret"
    ):
        environment.require_guards()


@pytest.mark.parametrize("path", ["clients/app.py", "simulations/flower.py"])
def test_what_starts_ray_sets_the_environment_before_any_other_import(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    first = next(node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "from everymode.clients import environment"


@pytest.mark.parametrize(
    "first", ["everymode.simulations.flower", "flwr.simulation.app, everymode.clients.app"]
)
def test_ray_itself_says_that_it_is_closed(first: str) -> None:
    """Whether `everymode` starts Flower's simulation, or Flower by itself."""
    code = (
        f"import {first}\n"
        "import ray._raylet, ray._private.ray_constants, os\n"
        "from ray._private.authentication.authentication_utils import is_token_auth_enabled\n"
        "loader = ray._raylet.AuthenticationTokenLoader.instance()\n"
        "print(is_token_auth_enabled(), ray._private.ray_constants.ENABLE_RAY_CLUSTER,"
        " loader.get_raw_token(ignore_auth_mode=True) == os.environ['RAY_AUTH_TOKEN'])"
    )
    assert run(code, **THEIRS) == "True False True"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_simulation_that_flower_starts_has_a_private_folder_until_it_ends(short: Path) -> None:
    code = (
        "import flwr.simulation.app, everymode.clients.environment\n"
        "import os, ray._common.utils as ray\n"
        "folder = ray.get_default_ray_temp_dir(); ray.try_to_create_directory(folder)\n"
        "print(folder, *(oct(os.stat(p).st_mode) for p in (os.environ['RAY_TMPDIR'], folder)))"
    )
    folder, outer, inner = run(code, RAY_TMPDIR=str(short)).split()
    assert Path(folder).parents[1] == short
    assert stat.S_IMODE(int(inner, 8)) == 0o777, "Ray opens its folder to everybody"
    assert stat.S_IMODE(int(outer, 8)) == 0o700
    assert list(short.iterdir()) == []


@pytest.mark.parametrize("usual", ["/tmp", "/var/folders/yz/zyxvpxvq6csfxvn_n0000000000000/T"])
def test_names_of_rays_sockets_are_short_enough_for_every_system(
    monkeypatch: pytest.MonkeyPatch, usual: str
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", usual)
    session = "em-12345678/ray/session_2026-11-27_03-48-01_134832_4194304/sockets/plasma_store"
    assert len(f"{folder_for_sockets()}/{session}") <= 103
