"""`everymode doctor`: whether this machine can run the main job."""

from typing import Annotated

import typer

HELP = """Look whether this machine can run the main job, and say what to do where it cannot.

Each line names what was looked at, what was found, and `ok` or what to do about it. The exit code
is 1 where `everymode simulate` would fail.
"""


def doctor(
    ray: Annotated[
        bool, typer.Option("--ray", help="Start Ray and stop it again, which takes seconds.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """See HELP."""
    from everymode.simulations.doctor import examine, show

    findings = examine(start_ray=ray)
    show(findings, as_json=json)
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)
