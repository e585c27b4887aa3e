"""Versions of the packages that a result depends on."""

import platform

from everymode.wgan.versions import package_versions

PACKAGES = ("everymode", "flwr", "ray", "torch", "numpy", "pandas", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **package_versions(PACKAGES)}
