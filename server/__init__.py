"""The server of a federated training, and simulations of it from Python.

    from everymode.server import parse, simulate

    settings = parse({"data": {"path": "people.csv", "sensitive": ["sex"], "target": "income"}})
    run = simulate(settings, "runs/people")
    run.table, run.summary["coverage_group_min"]
    run.synthesizer.draw(1000, seed=1, where={"sex": "Female"})

Names are imported when they are first used, so that `import server` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_MODULES = {
    "load": "config.files",
    "parse": "config.files",
    "Settings": "config.settings",
    "FinishedRun": "in_process",
    "simulate": "in_process",
    "MetricsRecord": "outputs.records",
    "SummaryRecord": "outputs.records",
    "json_schema": "outputs.records",
    "RunFolder": "outputs.run_directory",
    "Interrupted": "progress",
    "ProgressListener": "progress",
    "Silent": "progress",
    "Session": "session",
    "SimulatedSites": "simulated_sites",
    "create_simulated_sites": "simulated_sites",
    "load_generator": "synthesis.generator_file",
    "PostprocessingStep": "synthesis.steps",
    "Synthesizer": "synthesis.synthesizer",
    "Exchange": "transport.exchange",
    "InProcess": "transport.exchange",
}

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


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'server' has no attribute '{name}'")
    value = getattr(import_module(f"server.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
