"""The server of a federated training, and simulations of it from Python.

    from everymode.server import parse, simulate

    settings = parse({"data": {"path": "people.csv", "sensitive": ["sex"], "target": "income"}})
    run = simulate(settings, "runs/people")
    run.table, run.summary["coverage_group_min"]
    run.synthesizer.draw(1000, seed=1, where={"sex": "Female"})

Names are imported when they are first used, so that the import is cheap.
"""

from typing import TYPE_CHECKING

from everymode.wgan.lazy import lazy_exports

if TYPE_CHECKING:
    from everymode.server.config.files import load, parse
    from everymode.server.config.settings import Settings
    from everymode.server.in_process import FinishedRun, simulate
    from everymode.server.outputs.records import MetricsRecord, SummaryRecord, json_schema
    from everymode.server.outputs.run_directory import RunFolder
    from everymode.server.progress import Interrupted, ProgressListener, Silent
    from everymode.server.session import Session
    from everymode.server.simulated_sites import SimulatedSites, create_simulated_sites
    from everymode.server.synthesis.generator_file import load_generator
    from everymode.server.synthesis.steps import PostprocessingStep
    from everymode.server.synthesis.synthesizer import Synthesizer
    from everymode.server.transport.exchange import Exchange, InProcess
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "everymode.server.config.files": (
                "load",
                "parse",
            ),
            "everymode.server.config.settings": ("Settings",),
            "everymode.server.in_process": (
                "FinishedRun",
                "simulate",
            ),
            "everymode.server.outputs.records": (
                "MetricsRecord",
                "SummaryRecord",
                "json_schema",
            ),
            "everymode.server.outputs.run_directory": ("RunFolder",),
            "everymode.server.progress": (
                "Interrupted",
                "ProgressListener",
                "Silent",
            ),
            "everymode.server.session": ("Session",),
            "everymode.server.simulated_sites": (
                "SimulatedSites",
                "create_simulated_sites",
            ),
            "everymode.server.synthesis.generator_file": ("load_generator",),
            "everymode.server.synthesis.steps": ("PostprocessingStep",),
            "everymode.server.synthesis.synthesizer": ("Synthesizer",),
            "everymode.server.transport.exchange": (
                "Exchange",
                "InProcess",
            ),
        },
    )

__all__ = [
    "Exchange",
    "FinishedRun",
    "InProcess",
    "Interrupted",
    "MetricsRecord",
    "PostprocessingStep",
    "ProgressListener",
    "RunFolder",
    "Session",
    "Settings",
    "Silent",
    "SimulatedSites",
    "SummaryRecord",
    "Synthesizer",
    "create_simulated_sites",
    "json_schema",
    "load",
    "load_generator",
    "parse",
    "simulate",
]
