"""Secrets of simulated sites, from which they draw noise: derived from one of the run's.

Real sites draw their own. A simulation's sites are made anew with every command, and a run that
goes on must get the same answers, so that the run keeps one secret until it is finished. Then it is
removed: whoever has it can take the noise off.
"""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from everymode.clients.gate.noise import SECRET, read_secret, write_secret
from everymode.clients.site import Site


def give_secrets(sites: Iterable[Site], run: Path, seed: int | None) -> None:
    """Gives every site its secret.

    Args:
        sites: Simulated sites.
        run: The run directory, which keeps the run's secret.
        seed: What the secret derives from, in tests; None: the system's entropy.

    Raises:
        StateError: The secret cannot be read or written.
    """
    if seed is None:
        secret = read_secret(run)
    else:
        secret = hashlib.sha256(f"everymode noise for tests {seed}".encode()).digest()
    for site in sites:
        own = hmac.new(secret, site.name.encode(), hashlib.sha256).digest()
        write_secret(site.workspace, own)


def has_secret(run: Path) -> bool:
    """Whether a run still has its secret."""
    return (run / SECRET).exists()


def forget_secret(run: Path) -> None:
    """Removes a run's secret once nothing is asked of its sites any more."""
    (run / SECRET).unlink(missing_ok=True)
