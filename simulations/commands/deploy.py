"""`everymode deploy`: the folders of a deployment between real sites, and checks of them."""

from pathlib import Path
from typing import Annotated

import typer

from everymode.server.outputs.terminal import say
from everymode.simulations.commands.examples import ExamplesOfGroup, WithExamples

INIT = """Write the folders of a deployment: one for the coordinator, one for each site.

They hold certificates, start scripts, systemd units, a compose file, the proxy's configuration, the
site's policy, and a page (README.md) for the person there. A site makes its own key: no folder of a
site holds a secret.
"""

CHECK = """Look whether a folder of a deployment, and the machine around it, is ready.

Each line names what was looked at, what was found, and `ok` or what to do about it. The exit code
is 0 where all is well, 1 where something is to be done, 2 where the folder cannot be checked. It
sends no data.
"""

PEERS = """Hand on the public keys of the sites, which masked sums need (`secure.summation`).

At the coordinator: gather them in `peers.txt`. At a site: take them from that file, and print their
fingerprints. Administrators compare these with one another: whoever hands out keys could hand out
others.
"""

deploy = typer.Typer(
    name="deploy",
    cls=ExamplesOfGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Set up runs between real sites on Flower's own engine, and check them.",
)

FolderArgument = Annotated[Path, typer.Argument(help="The coordinator's folder, or a site's.")]


@deploy.command("init", help=INIT, cls=WithExamples)
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    sites: Annotated[str, typer.Option(help="Names of the sites, separated by commas.")],
    server: Annotated[
        str, typer.Option(help="Where sites reach the server, HOST:PORT; HOST is a name or an IP.")
    ],
    days: Annotated[int, typer.Option(help="How long the server's certificate is valid.")] = 397,
    place: Annotated[
        str, typer.Option(help="Where the folders will lie, for units, containers and nginx.")
    ] = "/opt/everymode",
    link_port: Annotated[
        int, typer.Option(help="The SuperLink's own port behind the proxy; 0: 8000, or 8001.")
    ] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Rename a kit that is there, to make room.")
    ] = False,
) -> None:
    """See INIT."""
    from everymode.server.deployment.address import parse_address, parse_sites
    from everymode.server.deployment.kit import Kit, write_kit
    from everymode.wgan.errors import SettingsError

    problems: list[str] = []
    try:
        names = parse_sites(sites)
    except SettingsError as error:
        problems += error.problems
    try:
        address = parse_address(server)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(problems)
    kept = write_kit(folder, Kit(address, names, days, place, link_port), force)
    if kept is not None:
        say(f"the kit that was there is now {kept}; its certificates do not fit the new one")
    say(f"wrote {folder}; next: {folder / 'coordinator' / 'README.md'}")


@deploy.command("add", cls=WithExamples)
def add(
    folder: Annotated[Path, typer.Argument(help="The kit, or the coordinator's folder.")],
    site: Annotated[str, typer.Option(help="Name of the site that joins.")],
) -> None:
    """Write the folder of a site that joins a deployment that is there.

    Certificates, keys and the configuration of runs stay as they are. Other sites need nothing new,
    but for its public key where sums are masked.
    """
    from everymode.server.deployment.addition import add_site

    own = add_site(folder, site)
    say(
        f"wrote {own}; next: send it to the site, register its key with register.sh, and add "
        f"'{site}' to deployment.sites of config.toml. Where sums are masked, all sites need its "
        "key: everymode deploy peers"
    )


@deploy.command("check", help=CHECK, cls=WithExamples)
def check(
    folder: FolderArgument,
    data: Annotated[
        str, typer.Option(help="A site's table, in place of the one that site.toml names.")
    ] = "",
    config: Annotated[
        str, typer.Option(help="A run's configuration, which the site's table has to fit.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """See CHECK."""
    from everymode.server.deployment.checks import check_folder
    from everymode.server.outputs.findings import show_findings

    findings = check_folder(folder, data, config)
    left = sum(bool(finding.advice) for finding in findings)
    conclusion = f"{left} of {len(findings)} things need attention" if left else "all is ready"
    show_findings(findings, conclusion, as_json=json)
    if left:
        raise typer.Exit(1)


@deploy.command("key", cls=WithExamples)
def key(folder: Annotated[Path, typer.Argument(help="The site's folder.")]) -> None:
    """Make the key of a site, on the site's own machine, as make_key.sh does."""
    from everymode.server.deployment.keys import key_shown, make_key
    from everymode.server.deployment.kit import read_role
    from everymode.wgan.errors import StateError

    role = read_role(folder)
    if role.site is None:
        raise StateError(f"{folder}: is the coordinator's; name a site's folder")
    public = make_key(folder, role.site)
    say(f"send {public} to the coordinator; {public.with_suffix('')} stays here")
    say(f"its fingerprint, for the coordinator and for other sites to confirm: {key_shown(public)}")


@deploy.command("peers", help=PEERS, cls=WithExamples)
def peers(
    folder: FolderArgument,
    keys: Annotated[
        Path | None, typer.Option(help="At a site: the file of keys that the coordinator sent.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a site's new key take the place of its old one.")
    ] = False,
) -> None:
    """See PEERS."""
    from everymode.server.deployment.kit import read_role
    from everymode.server.deployment.peers import gather_keys, take_keys
    from everymode.wgan.errors import SettingsError

    role = read_role(folder)
    if role.site is None:
        if keys is not None or replace:
            raise SettingsError("--keys and --replace: for sites; the coordinator only gathers")
        path, missing = gather_keys(role)
        without = f", without {', '.join(missing)}, whose key is not there" if missing else ""
        say(f"wrote {path}{without}; next: send it to every site")
        return
    if keys is None:
        raise SettingsError("--keys: name the file peers.txt that the coordinator sent")
    shown = take_keys(role, keys, replace)
    for site, text in sorted(shown.items()):
        say(f"{site}: {text}")
    say(
        f"{len(shown)} keys are in {folder / 'peers'}; next: have each of these sites read you its "
        "fingerprint by telephone. The coordinator's word is not enough"
    )


@deploy.command("renew", cls=WithExamples)
def renew(
    folder: Annotated[Path, typer.Argument(help="The coordinator's folder, with ca.key in it.")],
    days: Annotated[int, typer.Option(help="How long the certificate is valid.")] = 397,
) -> None:
    """Make a new certificate for the server; the sites need nothing new."""
    from everymode.server.deployment.kit import renew_certificate

    renew_certificate(folder, days)
    say(f"wrote {folder / 'server.crt'}; next: restart nginx and the SuperLink")
