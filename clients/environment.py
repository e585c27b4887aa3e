"""What Ray and Flower read from the environment as they are imported; import this before them.

Ray, which Flower starts for simulated sites, listens on every interface of the machine and asks
nobody who they are, unless the environment says otherwise before it is imported: whoever reached a
port could run code as the user, beside the tables. So, on import, in this process:

- all sockets of Ray's listen on the loopback interface;
- whoever talks to Ray needs a random token, since the other users of the machine reach that
  interface too. It is in the memory of this process and of Ray's, which inherit it, and ends with
  them; it is never on a command line nor in a file;
- Ray is started anew, never one joined that happens to run here;
- where a simulation starts Ray as Flower pleases, its session files, which Ray leaves open to all
  users, lie in a folder that only this one may enter, until the process ends.

What a user has set for clusters of their own is overruled; `~/.ray` is left as it is.

The ClientApp's module imports this one: in a Flower simulation, whoever starts it, it is ours that
is imported last before Ray.

Source: Ray 2.55, "Ray token authentication", and `get_node_ip_address` in `_private/services.py`.
"""

import atexit
import os
import secrets
import shutil
import sys
import tempfile

from everymode.wgan.errors import StateError
from everymode.wgan.portable import folder_for_sockets

GUARDS = {
    "RAY_AUTH_MODE": "token",
    # Validates tokens with a Kubernetes API server, and refuses one of our own.
    "RAY_ENABLE_K8S_TOKEN_AUTH": "0",
    # Heard on every system: only the loopback interface. The name is from those where it is so
    # by default.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ADDRESS": "local",
}
"""What has to hold, beside a token, as Ray is imported."""

DEFAULTS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise Ray hides GPUs from actors that asked for none, and warns that it does.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""What a user may set otherwise."""

LATE = "ray" in sys.modules
"""Whether Ray was imported before. So it is in Ray's own processes, which inherited all this."""


def session_folder() -> str:
    """A new folder for Ray's session files, below which only this user may look."""
    return tempfile.mkdtemp(prefix="em-", dir=folder_for_sockets())


if not LATE:
    os.environ.update(GUARDS, RAY_AUTH_TOKEN=secrets.token_hex(32))
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
    for _name, _value in DEFAULTS.items():
        os.environ.setdefault(_name, _value)
    if "flwr.simulation" in sys.modules:
        os.environ["RAY_TMPDIR"] = session_folder()
        atexit.register(shutil.rmtree, os.environ["RAY_TMPDIR"], ignore_errors=True)


def require_guards() -> None:
    """Refuses to let Ray start in this process where it would be open.

    Raises:
        StateError: Ray was imported before this module, or a variable has been changed since.
    """
    if LATE:
        raise StateError(
            "Ray was imported before EveryMode, so it would listen on every interface without a "
            "token: import everymode.simulations.flower first, or use `everymode simulate`"
        )
    wanted = GUARDS.items()
    wrong = [f"{name} must be {value!r}" for name, value in wanted if os.environ.get(name) != value]
    if not os.environ.get("RAY_AUTH_TOKEN"):
        wrong.append("RAY_AUTH_TOKEN must be a secret")
    if wrong:
        raise StateError(
            f"Ray would be open to others: {'; '.join(wrong)}. EveryMode sets these environment "
            "variables itself: leave them as they are"
        )
