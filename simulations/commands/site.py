"""`everymode site ...`: what the administrator of a site runs."""

import typer

SERVE = """Serve this site: start its SuperNode and answer with the installed package.

Takes the options of `flower-supernode`, but for `--isolation`, `--host` and `--port`. Code that
comes with a run is not unpacked, and a coordinator of another version is refused. Ends with
the SuperNode's exit status; SIGTERM ends it after the message at hand.
"""

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(no_args_is_help=True, help="Serve a site of a federation.")


@app.command("serve", help=SERVE, context_settings=PASSED_ON)
def serve_site(context: typer.Context) -> None:
    """See SERVE."""
    from everymode.clients.executor import run_site

    raise typer.Exit(run_site(context.args))
