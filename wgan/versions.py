"""Versions of what a result depends on."""

from collections.abc import Sequence
from importlib import metadata


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """The version of each distribution, or that it is not installed.

    >>> package_versions(["no-such-package"])
    {'no-such-package': 'not installed'}
    """
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
