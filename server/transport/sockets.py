"""Whether others can reach this process and its children over the network."""

import contextlib
import ipaddress

import psutil

from everymode.wgan.errors import StateError


def exposed() -> list[str]:
    """Sockets of this process and its descendants that wait for others beyond this machine.

    Returns:
        One line each, `NAME (PID) listens on ADDRESS port PORT`; a process that has ended or does
        not let itself be looked into has none.
    """
    found: list[str] = []
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            name = process.name()
            for socket in process.net_connections(kind="inet"):
                # TCP that listens, or UDP that takes what anybody sends.
                waits = socket.laddr and not socket.raddr
                if waits and not _loopback(socket.laddr.ip):
                    address, port = socket.laddr
                    found.append(f"{name} ({process.pid}) listens on {address} port {port}")
    return found


def refuse_exposed() -> None:
    """Ends a run that others could reach.

    Raises:
        StateError: A socket waits on an address that is not the loopback interface's.
    """
    if found := exposed():
        raise StateError(
            f"others can reach this run over the network: {'; '.join(found)}. Ray has to keep to "
            "the loopback interface: is RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 in the environment of "
            "the process that started it?"
        )


def _loopback(address: str) -> bool:
    """Whether an address is one of the loopback interface.

    >>> [_loopback(a) for a in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "::", "192.0.2.2")]
    [True, True, True, False, False]
    """
    # A link-local address carries its interface after a percent sign.
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
