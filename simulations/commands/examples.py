"""Two examples for each command, at the end of its help."""

import click
from typer.core import TyperCommand, TyperGroup

from everymode.server.outputs.terminal import say

EXAMPLES = {
    "simulate": (
        "everymode simulate quick --backend inline",
        "everymode simulate people.toml --set train.rounds=600 --out runs/longer",
    ),
    "sample": (
        "everymode sample runs/people -n 1000 -o women.csv --where sex=Female",
        "everymode sample runs/people -n 500 -o old.csv --where age=60..90 --groups uniform",
    ),
    "split": (
        "everymode split people.csv --out sites --sites 5 --by iid",
        "everymode split people.csv --out sites --by dirichlet --column sex --alpha 0.1",
    ),
    "init": (
        "everymode init people.csv --sensitive sex --target income -o people.toml",
        "everymode init sites --sensitive region -o sites.toml --force",
    ),
    "claims": (
        "everymode claims --list",
        "everymode claims --only point_masses --seeds 1 --out claims",
    ),
    "compare": (
        "everymode compare ring --strategies pooled,md_gan,everymode --seeds 0,1 --out compared",
        "everymode compare people.toml --out compared --set train.rounds=100 --retry-failed",
    ),
    "clean": ("everymode clean runs", "everymode clean runs/people --yes"),
    "audit": (
        "everymode audit --run runs/people --holdout later.csv --out audit",
        "everymode audit --real a.csv --synthetic b.csv --sensitive sex --out audit "
        "--set coverage_group_min=0.9",
    ),
    "attack": (
        "everymode attack runs/people --nonmembers later.csv",
        "everymode attack --members a.csv --nonmembers b.csv --synthetic c.csv --sensitive sex "
        "--secret income --claimed-epsilon 3 --out attacked",
    ),
    "watch": ("everymode watch runs/people", "everymode watch runs/people --once"),
    "doctor": ("everymode doctor", "everymode doctor --ray --json"),
    "site": (
        "everymode site preview people.toml --data north.csv --policy policy.toml",
        "everymode site log /var/everymode/north",
    ),
    "site serve": (
        "everymode site serve --superlink coordinator:8000 --root-certificates ca.crt "
        "--auth-supernode-private-key north --node-config site.toml",
        "everymode site serve --superlink coordinator:8000 --root-certificates ca.crt "
        "--auth-supernode-private-key north --node-config 'data=\"north.csv\"'",
    ),
    "site log": (
        "everymode site log /var/everymode/north",
        "everymode site log /var/everymode/north --json",
    ),
    "site spent": (
        "everymode site spent /var/everymode/north",
        "everymode site spent /var/everymode/north --delta 1e-6 --json",
    ),
    "site preview": (
        "everymode site preview people.toml --data north.csv",
        "everymode site preview people.toml --data north.csv --policy policy.toml --floor 10",
    ),
    "site approve": (
        "everymode site approve /var/everymode/north",
        "everymode site approve /var/everymode/north 0123456789abcdef",
    ),
    "site policy": (
        "everymode site policy check policy.toml",
        "everymode site policy check /etc/everymode/policy.toml --json",
    ),
    "site policy check": (
        "everymode site policy check policy.toml",
        "everymode site policy check /etc/everymode/policy.toml --json",
    ),
    "privacy": (
        "everymode privacy private.toml",
        "everymode privacy private.toml --rows 30000 --set privacy.epsilon=1 --json",
    ),
    "deploy": (
        "everymode deploy init kit --sites north,south --server fl.example.org:443",
        "everymode deploy check kit/coordinator",
    ),
    "deploy init": (
        "everymode deploy init kit --sites north,south --server fl.example.org:443",
        "everymode deploy init kit --sites a,b,c --server 10.0.0.5:8443 --days 90 --force",
    ),
    "deploy check": (
        "everymode deploy check kit/coordinator",
        "everymode deploy check north --config config.toml --json",
    ),
    "deploy key": ("everymode deploy key .", "everymode deploy key /opt/everymode/north"),
    "deploy add": (
        "everymode deploy add kit --site west",
        "everymode deploy add /opt/everymode/coordinator --site west",
    ),
    "deploy peers": (
        "everymode deploy peers kit/coordinator",
        "everymode deploy peers /opt/everymode/north --keys peers.txt",
    ),
    "deploy renew": (
        "everymode deploy renew kit/coordinator",
        "everymode deploy renew kit/coordinator --days 90",
    ),
}
"""By command, those of a group by both names; a test runs the options of each past the command's
own."""


def _say_examples(context: click.Context) -> None:
    """The examples of a command, which may be one of a group's."""
    names, place = list[str](), context
    while place.parent is not None:
        names, place = [str(place.command.name), *names], place.parent
    say("Examples")
    for example in EXAMPLES[" ".join(names)]:
        say(f"  {example}")
    say("")


class ExamplesOfGroup(TyperGroup):
    """A group of commands whose help ends with examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the usual help and the examples."""
        super().format_help(ctx, formatter)
        _say_examples(ctx)


class WithExamples(TyperCommand):
    """A command whose help ends with its examples."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the usual help, what else the command has to say, and the examples."""
        super().format_help(ctx, formatter)
        self.format_more()
        _say_examples(ctx)

    def format_more(self) -> None:
        """What comes between help and examples: nothing."""
