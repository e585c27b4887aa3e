"""Files of a run directory, and what a user sees of a run.

- `run_directory`: the folder of a run, with `checkpoint_file`, `metrics_file`, `plan_file`
  and `releases_file`.
- `records`: types and JSON Schemas of `metrics.jsonl`, `summary.json` and `audit.json`.
- `locks`, `leftovers`: one process a folder; private files that a killed one left.
- `console`, `terminal`: progress and tables, with control characters escaped.
- `watching`, `status`, `watch_page`, `prometheus`: files for those who watch a run.
- `plots`, `plot_style`: `curves.png` and `groups.png`.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.outputs.checkpoint_file import load_checkpoint
    from everymode.server.outputs.console import Display
    from everymode.server.outputs.leftovers import Leftover, Scratch
    from everymode.server.outputs.locks import InUseError, is_own, locked
    from everymode.server.outputs.plot_style import DASHED, PALETTE, dress, save, short, write
    from everymode.server.outputs.plots import Floats
    from everymode.server.outputs.records import SUMMARY_VERSION, SummaryRecord
    from everymode.server.outputs.run_directory import RunFolder, default_folder
    from everymode.server.outputs.terminal import (
        Terminal,
        assembled,
        named,
        say,
        say_traceback,
        told,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.outputs.checkpoint_file": ("load_checkpoint",),
            "everymode.server.outputs.console": ("Display",),
            "everymode.server.outputs.leftovers": ("Leftover", "Scratch"),
            "everymode.server.outputs.locks": ("InUseError", "is_own", "locked"),
            "everymode.server.outputs.plot_style": (
                "DASHED",
                "PALETTE",
                "dress",
                "save",
                "short",
                "write",
            ),
            "everymode.server.outputs.plots": ("Floats",),
            "everymode.server.outputs.records": ("SUMMARY_VERSION", "SummaryRecord"),
            "everymode.server.outputs.run_directory": ("RunFolder", "default_folder"),
            "everymode.server.outputs.terminal": (
                "Terminal",
                "assembled",
                "named",
                "say",
                "say_traceback",
                "told",
            ),
        },
    )

__all__ = [
    "DASHED",
    "PALETTE",
    "SUMMARY_VERSION",
    "Display",
    "Floats",
    "InUseError",
    "Leftover",
    "RunFolder",
    "Scratch",
    "SummaryRecord",
    "Terminal",
    "assembled",
    "default_folder",
    "dress",
    "is_own",
    "load_checkpoint",
    "locked",
    "named",
    "save",
    "say",
    "say_traceback",
    "short",
    "told",
    "write",
]
