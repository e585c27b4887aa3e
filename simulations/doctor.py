"""What the main job needs of a machine, looked at for `everymode doctor`."""

import contextlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from everymode.server.outputs.findings import Finding, show_findings
from everymode.simulations.shadows import find_shadow
from everymode.wgan.versions import package_versions

GIGABYTE = 1024**3

MEMORY, DISK = 2.0, 1.0
"""Gigabytes that the main job needs: Ray, two workers and the built-in table; its files."""

PACKAGES = ("everymode", "flwr", "ray", "torch", "numpy", "pandas", "pyarrow", "scikit-learn")

PATIENCE = 120.0
"""Seconds that Flower and Ray get to be imported, and to start."""

IMPORTS = "from everymode.simulations import flower"

START_RAY = f"{IMPORTS}; flower.try_ray()"


def examine(start_ray: bool = False) -> list[Finding]:
    """Looks at everything, whatever is found.

    Args:
        start_ray: Whether to start Ray and stop it again.
    """
    looks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _cores_and_memory,
        _gpu,
        _folders,
        _shadow,
    ]
    if os.name != "nt":
        looks.append(_ray if start_ray else _imports)
    return [finding for look in looks for finding in look()]


def show(findings: list[Finding], as_json: bool = False) -> None:
    """Prints the findings on standard output."""
    fatal = sum(finding.fatal for finding in findings)
    show_findings(
        findings,
        f"everymode simulate would fail: {fatal} of {len(findings)} things are in the way"
        if fatal
        else "everymode simulate can run here",
        as_json,
    )


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Finding("Python", version, "needs 3.11 or newer" if old else "", old)
    system = f"{platform.system()} {platform.machine()}"
    inline = "Flower's simulation does not run here: use --backend inline"
    yield Finding("system", system, inline if os.name == "nt" else "", os.name == "nt")


def _packages() -> Iterator[Finding]:
    versions, ranges = package_versions(PACKAGES), _ranges()
    for name in PACKAGES:
        module = {"scikit-learn": "sklearn"}.get(name, name)
        version = str(versions.get(name, "")) or "not installed"
        if importlib.util.find_spec(module) is None:
            advice = "is missing: install EveryMode anew with pip install everymode"
            yield Finding(name, version, advice, fatal=True)
        elif name in ranges and not ranges[name].contains(version, prereleases=True):
            advice = f'EveryMode is tested with {ranges[name]}: pip install "{name}{ranges[name]}"'
            yield Finding(name, version, advice, fatal=name == "flwr")
        else:
            yield Finding(name, version)


def _ranges() -> dict[str, SpecifierSet]:
    """The versions of each package that EveryMode says it works with."""
    try:
        needed = metadata.requires("everymode") or []
    except metadata.PackageNotFoundError:
        needed = []
    found = map(Requirement, needed)
    return {r.name: r.specifier for r in found if r.marker is None or r.marker.evaluate()}


def _cores_and_memory() -> Iterator[Finding]:
    yield Finding("cores", str(os.cpu_count() or 1))
    free = psutil.virtual_memory().available / GIGABYTE
    short = free < MEMORY
    advice = f"the main job takes {MEMORY:g} GB: close programs, or use --backend inline"
    yield Finding("free memory", f"{free:.1f} GB", advice if short else "", short)


def _gpu() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if torch.cuda.is_available():
        yield Finding("GPU", torch.cuda.get_device_name(0))
    else:
        yield Finding("GPU", "none; none is needed")


def _folders() -> Iterator[Finding]:
    for what, folder in (
        ("working directory", Path.cwd()),
        ("temporary folder", Path(tempfile.gettempdir())),
    ):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            advice = f"cannot be written to ({error.strerror}): change its rights or use another"
            yield Finding(what, str(folder), advice, fatal=True)
            continue
        free = shutil.disk_usage(folder).free / GIGABYTE
        short = free < DISK
        advice = f"the main job takes {DISK:g} GB: free some" if short else ""
        yield Finding(what, f"{folder}, {free:.1f} GB free", advice, short)


def _shadow() -> Iterator[Finding]:
    path = find_shadow(Path.cwd())
    if path is None:
        yield Finding("imports", "the installed everymode")
    else:
        advice = "hides the installed package from Ray's workers: rename it"
        yield Finding("imports", str(path), advice, fatal=True)


def _imports() -> Iterator[Finding]:
    """Whether Flower and Ray can be imported: what is installed may still be broken."""
    yield _tried(IMPORTS, "are imported")


def _ray() -> Iterator[Finding]:
    yield _tried(START_RAY, "started and stopped")


def _tried(code: str, well: str) -> Finding:
    """Runs code in a process of its own: Ray leaves threads and environment variables behind.

    Args:
        code: What to run.
        well: What is found where it ends well.
    """
    # -P: a folder of the name of a package, in the working directory, is another finding.
    command = [sys.executable, "-P", "-c", code]
    # A file, not a pipe: what Ray starts may hold a pipe open after its end.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            failed = process.wait(PATIENCE) != 0
        except subprocess.TimeoutExpired:
            _end(process)
            what = f"did not answer in {PATIENCE:.0f} s"
            return Finding("Flower and Ray", what, "use --backend inline", fatal=True)
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    if not failed:
        return Finding("Flower and Ray", well)
    advice = "do not work here: install EveryMode anew, or use --backend inline"
    return Finding("Flower and Ray", said[-1] if said else "no message", advice, fatal=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process with all that it started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()
    process.wait()
