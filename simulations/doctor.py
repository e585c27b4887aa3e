"""What the main job needs of a machine, looked at for `everymode doctor`."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich import box
from rich.table import Table

from everymode.server.outputs.terminal import Terminal, say, told
from everymode.simulations.shadows import find_shadow
from everymode.wgan.versions import package_versions
from everymode.wgan.words import json_text

GIGABYTE = 1024**3

MEMORY, DISK = 2.0, 1.0
"""Gigabytes that the main job needs: Ray, two workers and the built-in table; its files."""

PACKAGES = ("everymode", "flwr", "ray", "torch", "numpy", "pandas", "pyarrow", "scikit-learn")

PATIENCE = 120.0
"""Seconds that Ray gets to start."""

START_RAY = """
from everymode.clients import environment
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
         logging_level="error", object_store_memory=100 * 1024**2)
assert ray.get(ray.remote(lambda: 42).remote(), timeout=90) == 42
ray.shutdown()
"""


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        what: The thing.
        found: What it is here.
        advice: What to do about it; empty: it is as it should be.
        fatal: Whether `everymode simulate` would fail.
    """

    what: str
    found: str
    advice: str = ""
    fatal: bool = False


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
    if start_ray:
        looks.append(_ray)
    return [finding for look in looks for finding in look()]


def show(findings: list[Finding], as_json: bool = False) -> None:
    """Prints the findings on standard output."""
    if as_json:
        say_json = [asdict(finding) for finding in findings]
        Terminal(soft_wrap=True).print(json_text(say_json, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("what", "found", "verdict"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        style = "bold red" if finding.fatal else "yellow" if finding.advice else "green"
        table.add_row(told(finding.what), told(finding.found), told(finding.advice or "ok", style))
    Terminal().print(table)
    fatal = sum(finding.fatal for finding in findings)
    if fatal:
        say(f"everymode simulate would fail: {fatal} of {len(findings)} things are in the way")
    else:
        say("everymode simulate can run here")


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Finding("Python", version, "needs 3.11 or newer" if old else "", old)
    system = f"{platform.system()} {platform.machine()}"
    inline = "Flower's simulation does not run here: use --backend inline"
    yield Finding("system", system, inline if os.name == "nt" else "", os.name == "nt")


def _packages() -> Iterator[Finding]:
    versions = package_versions(PACKAGES)
    for name in PACKAGES:
        module = {"scikit-learn": "sklearn"}.get(name, name)
        missing = importlib.util.find_spec(module) is None
        advice = "is missing: install EveryMode anew with pip install everymode" if missing else ""
        yield Finding(name, str(versions.get(name, "")) or "not installed", advice, missing)


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


def _ray() -> Iterator[Finding]:
    # In a process of its own: Ray leaves threads and environment variables behind.
    try:
        done = subprocess.run(
            [sys.executable, "-c", START_RAY], capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        yield Finding("Ray", f"did not start in {PATIENCE:.0f} s", "use --backend inline", True)
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("Ray", last, "does not start: use --backend inline", fatal=True)
    else:
        yield Finding("Ray", "started and stopped")
