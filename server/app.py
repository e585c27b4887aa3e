"""The ServerApp: what `flwr run` starts."""

import shlex
from datetime import datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from clients.wire import Ground
from server.configuration import load
from server.display import Display
from server.grid import GridExchange, deal
from server.outputs import RunFolder, default_folder
from server.session import Session
from server.stage import set_up
from wgan.errors import DataError, SettingsError

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Under `flwr run`: everything comes from the run configuration."""
    run_config = context.run_config
    source = str(run_config.get("config", "quick"))
    settings = load(source, shlex.split(str(run_config.get("set", ""))))
    out = str(run_config.get("out", ""))
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = RunFolder(Path(out) if out else default_folder(f"{Path(source).stem}-{stamp}"))
    made = folder.create(settings)
    try:
        stage = set_up(settings, folder.sites)
        nodes = min(len(list(grid.get_node_ids())), len(stage.sites))
        first, train = stage.sites[0], settings.train
        with Display(None) as display:
            exchange = GridExchange(
                grid,
                deal([s.name for s in stage.sites], stage.loads, nodes),
                Ground(str(first.table.parent.resolve()), str(first.workspace.parent.resolve())),
                train.retries,
                train.on_failure == "skip",
                train.timeout,
                tell=display.phase,
            )
            Session(
                settings,
                folder,
                exchange,
                stage.columns,
                display,
                lambda: stage.frame(settings.data.missing),
            )()
    except (DataError, SettingsError):
        if not folder.metrics.exists():
            folder.discard(made)
        raise
    finally:
        folder.clear_sites()
