"""`everymode site`: options and help; the work is done in `everymode.simulations.site`."""

from pathlib import Path
from typing import Annotated

import typer

from everymode.simulations.commands.examples import ExamplesOfGroup, WithExamples

site = typer.Typer(
    name="site",
    cls=ExamplesOfGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What a site's administrator needs: see what would leave, what has left, and decide.",
)
policy = typer.Typer(
    name="policy",
    cls=ExamplesOfGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The site's policy file.",
)
site.add_typer(policy)

SERVE = """Serve this site: start its SuperNode and answer with the installed package.

Takes the options of `flower-supernode`, but for `--isolation`, `--host` and `--port`. Code that
comes with a run is not unpacked, and a coordinator of another version is refused. Ends with
the SuperNode's exit status; SIGTERM ends it after the message at hand.
"""

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Workspace = Annotated[
    Path, typer.Argument(metavar="WORKSPACE", help="The site's folder, with its log and ledgers.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@site.command("serve", cls=WithExamples, help=SERVE, context_settings=PASSED_ON)
def serve_site(context: typer.Context) -> None:
    """See SERVE."""
    from everymode.clients.executor import run_site

    raise typer.Exit(run_site(context.args))


@site.command(cls=WithExamples)
def log(workspace: Workspace, json: AsJson = False) -> None:
    """Show what has left a site, and check that no line of its log was changed.

    The exit code is 1 where a line was changed, removed or inserted (the first one is named), and 2
    where the log cannot be read.
    """
    from everymode.simulations.site import show_log

    if not show_log(workspace, json):
        raise typer.Exit(1)


@site.command(cls=WithExamples)
def spent(
    workspace: Workspace,
    delta: Annotated[float, typer.Option(help="The delta at which epsilon is meant.")] = 1e-5,
    json: AsJson = False,
) -> None:
    """Show what answers with noise have spent of a site's privacy, over all runs.

    The policy's `epsilon` bounds it.
    """
    from everymode.simulations.site import show_spent

    show_spent(workspace, delta, json)


@site.command(cls=WithExamples)
def preview(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="The coordinator's file.")],
    data: Annotated[
        str, typer.Option("--data", help="The site's table: a file, or a database's URL.")
    ],
    policy: Annotated[Path | None, typer.Option("--policy", help="The site's policy.")] = None,
    floor: Annotated[
        int, typer.Option("--floor", min=0, help="`floor` of the node's configuration.")
    ] = 0,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what would leave a site in a run, question by question, and send nothing.

    The site answers as the only one, with its own numbers, in the order of a run; training is shown
    for one round. Other sites change the plan, so that a fingerprint shown here is not that of the
    run. The policy's `plans`, `hours` and numbers of releases are not applied. The exit code is 1
    where the policy refuses a question.
    """
    from everymode.simulations.site import show_preview

    if not show_preview(config, data, policy, floor, overrides or [], json):
        raise typer.Exit(1)


@site.command(cls=WithExamples)
def approve(
    workspace: Workspace,
    fingerprint: Annotated[
        str | None,
        typer.Argument(metavar="[FINGERPRINT]", help="The plan; left out: list those that wait."),
    ] = None,
) -> None:
    """Approve a plan that waits because the policy says `plans = "ask"`."""
    from everymode.simulations.site import approve_or_list

    approve_or_list(workspace, fingerprint)


@policy.command(cls=WithExamples)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The policy.")],
    json: AsJson = False,
) -> None:
    """Read a policy, and show what holds: all keys with their values."""
    from everymode.simulations.site import check_policy

    check_policy(file, json)
