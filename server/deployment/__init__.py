"""A deployment between real sites: the folders for its coordinator and its sites, and checks.

- `address`: the server's address and the names of sites.
- `certificates`: the certificate authority and the server's certificate.
- `keys`: the key that a site makes.
- `kit`: the folders, written from `templates`.
- `peers`: the public keys of the other sites, for masks.
- `connection`: what can be seen of the server from outside.
- `peer_check`: what is to be said of those.
- `checks`: what `everymode deploy check` looks at.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.deployment.address import Address, parse_address, parse_sites
    from everymode.server.deployment.checks import check_folder
    from everymode.server.deployment.keys import make_key
    from everymode.server.deployment.kit import Kit, Role, read_role, renew_certificate, write_kit
    from everymode.server.deployment.peers import gather_keys, take_keys
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.deployment.address": ("Address", "parse_address", "parse_sites"),
            "everymode.server.deployment.checks": ("check_folder",),
            "everymode.server.deployment.keys": ("make_key",),
            "everymode.server.deployment.kit": (
                "Kit",
                "Role",
                "read_role",
                "renew_certificate",
                "write_kit",
            ),
            "everymode.server.deployment.peers": ("gather_keys", "take_keys"),
        },
    )

__all__ = [
    "Address",
    "Kit",
    "Role",
    "check_folder",
    "gather_keys",
    "make_key",
    "parse_address",
    "parse_sites",
    "read_role",
    "renew_certificate",
    "take_keys",
    "write_kit",
]
