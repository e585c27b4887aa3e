"""What `flwr build` makes: everything the apps need, nothing else, importable on its own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("wgan", "fairness", "clients", "server", "simulations")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    skip = shutil.ignore_patterns(
        ".git", ".venv", "venv", "runs", "*.fab", "__pycache__", ".*cache"
    )
    shutil.copytree(ROOT, source, ignore=skip, dirs_exist_ok=True)
    flwr = Path(sys.executable).with_name("flwr")
    environment = {**os.environ, "FLWR_HOME": str(source / "home"), "FLWR_TELEMETRY_ENABLED": "0"}
    done = subprocess.run(
        [str(flwr), "build"], cwd=source, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (fab,) = source.glob("*.fab")
    return fab


def test_bundle_holds_the_packages_and_nothing_that_is_not_needed(bundle: Path) -> None:
    names = zipfile.ZipFile(bundle).namelist()
    modules = {str(path.relative_to(ROOT)) for p in PACKAGES for path in (ROOT / p).rglob("*.py")}
    assert modules <= set(names)
    assert {"simulations/presets/quick.toml", "LICENSE"} <= set(names)
    stray = [
        n
        for n in names
        if n.startswith(("tests", ".ci", ".github", ".pre-commit")) or n.endswith(".gz")
    ]
    assert stray == []


def test_whatever_a_run_reads_is_in_the_bundle(bundle: Path) -> None:
    """Flower leaves out files by their ending: what is read has to have one that it takes."""
    names = set(zipfile.ZipFile(bundle).namelist())
    for package in ("wgan", "fairness", "clients", "server"):
        files = (path for path in (ROOT / package).rglob("*") if path.is_file())
        held = {
            str(path.relative_to(ROOT))
            for path in files
            if path.suffix != ".pyc" and path.name != "py.typed"
        }
        assert held <= names, held - names


def test_apps_start_from_the_bundle_alone(bundle: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(bundle).extractall(tmp_path)
    code = (
        "from everymode.server.app import app as s; from everymode.clients.app import app as c; import everymode.server, clients;"
        "from everymode.server.config.files import load; load('quick');"
        "print(type(s).__name__, type(c).__name__, server.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["ServerApp", "ClientApp"]
    assert str(tmp_path) in done.stdout
