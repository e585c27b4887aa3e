"""What is installed: the lock names all of it, by hashes, and the ranges hold what is tested."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DIRECT = [*map(Requirement, PROJECT["project"]["dependencies"])]
TOOLS = [
    *map(Requirement, PROJECT["project"]["optional-dependencies"]["test"]),
    *map(Requirement, PROJECT["build-system"]["requires"]),
]


def locked(name: str) -> dict[str, list[tuple[str, str, list[str]]]]:
    """Marker, version and hashes of a lock file's entries, by the package's name."""
    found: dict[str, list[tuple[str, str, list[str]]]] = {}
    text = (ROOT / ".ci" / name).read_text(encoding="utf-8")
    for entry in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        head, *hashes = (line.strip() for line in entry.replace("\\\n", "\n").splitlines())
        pin, _, marker = head.partition(" ; ")
        package, version = pin.split("==")
        found.setdefault(canonicalize_name(package), []).append((marker, version, hashes))
    return found


def needed(requirements: list[Requirement]) -> set[str]:
    """Names of all packages that the requirements lead to, as they are installed here."""
    found: set[str] = set()
    left = [(r, frozenset(r.extras)) for r in requirements]
    seen = set()
    while left:
        requirement, extras = left.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        try:
            below = [*map(Requirement, metadata.requires(name) or ())]
        except metadata.PackageNotFoundError:
            assert name == "hatchling" or name in needed_by_hatchling(), f"{name} is not installed"
            continue
        for other in below:
            contexts = [{"extra": extra} for extra in extras or {""}]
            if other.marker is None or any(other.marker.evaluate(c) for c in contexts):
                left.append((other, frozenset(other.extras)))
    return found


def needed_by_hatchling() -> set[str]:
    """What builds the project need not be installed once it is built."""
    return {"packaging", "pathspec", "pluggy", "trove-classifiers", "tomli"}


def test_the_lock_names_every_package_that_is_needed_here() -> None:
    names = needed(DIRECT + TOOLS)
    assert len(names) > 60 and {"ray", "torch", "sqlalchemy", "pytest", "hatchling"} <= names
    assert names <= locked("requirements.lock").keys()


@pytest.mark.parametrize("name", ["requirements.lock", "cuda.lock"])
def test_every_locked_package_has_hashes_and_comes_from_no_particular_place(name: str) -> None:
    entries = [entry for several in locked(name).values() for entry in several]
    assert all(hashes for _, _, hashes in entries)
    pattern = re.compile(r"--hash=sha256:[0-9a-f]{64}")
    assert all(pattern.fullmatch(h) for _, _, hashes in entries for h in hashes)
    text = (ROOT / ".ci" / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted-host| @ ", text)


def test_the_lock_agrees_with_the_constraints_and_with_the_ranges() -> None:
    lock = locked("requirements.lock")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    for name, version in pins.items():
        assert {v for _, v, _ in lock[canonicalize_name(name)]} == {version}, name
    for requirement in DIRECT + TOOLS:
        for _, version, _ in lock[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version), requirement


def test_no_other_minor_version_of_flower_is_allowed_than_the_one_that_is_tested() -> None:
    (flower,) = (r for r in DIRECT if r.name == "flwr")
    ((_, tested, _),) = locked("requirements.lock")["flwr"]
    major, minor, _ = map(int, tested.split("."))
    assert flower.specifier.contains(tested)
    assert not flower.specifier.contains(f"{major}.{minor + 1}.0")
    assert not flower.specifier.contains(f"{major}.{minor - 1}.0")


def test_cuda_libraries_are_apart_and_both_builds_of_pytorch_are_known() -> None:
    lock, cuda = locked("requirements.lock"), locked("cuda.lock")
    assert not any(name.startswith(("nvidia-", "cuda-")) or name == "triton" for name in lock)
    assert {"nvidia-cudnn-cu13", "triton"} <= cuda.keys()
    assert all("sys_platform == 'linux'" in m for several in cuda.values() for m, _, _ in several)
    script = (ROOT / ".ci/lock").read_text(encoding="utf-8")
    ((_, version, hashes),) = lock["torch"]
    (cpu,) = re.findall(rf'"torch=={re.escape(version)}": "([0-9a-f]{{64}})"', script)
    assert f"--hash=sha256:{cpu}" in hashes and len(hashes) > 10
