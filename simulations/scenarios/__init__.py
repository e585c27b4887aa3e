"""Sites that differ on purpose: small tables whose modes are known, and what counts as covered."""

from everymode.simulations.scenarios.catalogue import SCENARIOS, find_scenario, place
from everymode.simulations.scenarios.scenario import Scenario

__all__ = ["SCENARIOS", "Scenario", "find_scenario", "place"]
