"""What `flwr build` makes: the apps by name and no code, since each machine installed its own."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for layer in ("server", "clients", "tests"):
        (source / layer).symlink_to(ROOT / layer)
    flwr = Path(sys.executable).with_name("flwr")
    environment = {**os.environ, "FLWR_HOME": str(source / "home"), "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run(
        [str(flwr), "build"], cwd=source, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (fab,) = source.glob("*.fab")
    return fab


def test_bundle_holds_no_code(bundle: Path) -> None:
    names = set(zipfile.ZipFile(bundle).namelist())
    assert {"pyproject.toml", "LICENSE", "README.md"} <= names
    assert [name for name in names if name.endswith(".py")] == []


def test_apps_start_from_the_bundle(bundle: Path, tmp_path: Path) -> None:
    """As Flower loads them: its folder comes first on the path, and their code is the installed."""
    zipfile.ZipFile(bundle).extractall(tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    components = project["tool"]["flwr"]["app"]["components"]
    code = (
        "import sys; from flwr.supercore.object_ref import load_app;"
        "apps = [load_app(name, RuntimeError, sys.argv[1]) for name in sys.argv[2:]];"
        "from everymode import server; from everymode.server.config.files import load;"
        "load('quick'); print(*(type(app).__name__ for app in apps), server.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *components.values()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *apps, file = done.stdout.split()
    assert sorted(apps) == ["ClientApp", "ServerApp"]
    assert not file.startswith(str(tmp_path))
