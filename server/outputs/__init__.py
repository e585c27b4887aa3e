"""Files of a run directory, and what a user sees of a run.

- `run_directory`: the folder of a run, with `checkpoint_file`, `metrics_file`, `plan_file`
  and `releases_file`.
- `records`: types and JSON Schemas of `metrics.jsonl`, `summary.json` and `audit.json`.
- `locks`, `leftovers`: one process a folder; private files that a killed one left.
- `console`, `terminal`: progress and tables, with control characters escaped.
- `plots`, `plot_style`: `curves.png` and `groups.png`.
"""

from typing import TYPE_CHECKING

from wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from server.outputs.checkpoint_file import load_checkpoint
    from server.outputs.console import Display
    from server.outputs.leftovers import Leftover, Scratch
    from server.outputs.locks import InUseError, is_own, locked
    from server.outputs.plot_style import DASHED, PALETTE, dress, save, short, write
    from server.outputs.plots import Floats
    from server.outputs.records import SUMMARY_VERSION, SummaryRecord
    from server.outputs.run_directory import RunFolder, default_folder
    from server.outputs.terminal import Terminal, assembled, named, say, say_traceback, told
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "server.outputs.checkpoint_file": ("load_checkpoint",),
            "server.outputs.console": ("Display",),
            "server.outputs.leftovers": ("Leftover", "Scratch"),
            "server.outputs.locks": ("InUseError", "is_own", "locked"),
            "server.outputs.plot_style": ("DASHED", "PALETTE", "dress", "save", "short", "write"),
            "server.outputs.plots": ("Floats",),
            "server.outputs.records": ("SUMMARY_VERSION", "SummaryRecord"),
            "server.outputs.run_directory": ("RunFolder", "default_folder"),
            "server.outputs.terminal": (
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
