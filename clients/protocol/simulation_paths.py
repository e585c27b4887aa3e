"""Where a simulated node finds its sites; part of every message of a simulation."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SimulationPaths:
    """Where a simulated node finds its sites; empty in deployment.

    Attributes:
        folder: The simulation's own folder, which holds the marker.
        token: What the marker holds.
    """

    folder: str = ""
    token: str = field(default="", repr=False)
