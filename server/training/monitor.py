"""What the rounds show of how training goes: observations, and the rules that follow them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clients.protocol.messages import SCORES
from clients.protocol.plan import Plan
from clients.protocol.sums import SiteSums
from server.config.sections import TrainSettings
from wgan.diagnostics import Finding, Observation, diagnose
from wgan.players import Players
from wgan.slopes import slope_quantiles
from wgan.stopping import Plateau, PlateauState, calibrated
from wgan.strength import held_out_statistic, sign_statistic


class Monitor:
    """Looks at the sums of rounds that were inspected.

    Attributes:
        observations: What every evaluation so far has shown.
    """

    def __init__(self, train: TrainSettings, plan: Plan, players: Players) -> None:
        """Watches `players`; nothing has been seen yet."""
        self.train = train
        self.plan = plan
        self.players = players
        self.observations: list[Observation] = []

    def looks(self, number: int) -> bool:
        """Whether the sites are asked to look at their critics in round `number`."""
        recipe = self.plan.recipe
        # Views that follow the critic's overfitting are told of it in every round.
        follows = bool(recipe.augmentations) and recipe.strength.reads != "nothing"
        return follows or number % self.train.evaluate_every == 0 or number == self.train.rounds

    def resume(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Takes in the observations of rounds before."""
        seen = (metrics.get("evaluation") for metrics in history)
        self.observations = [Observation.from_dict(values) for values in seen if values]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the evaluations so far show, with advice."""
        kind = self.plan.recipe.lipschitz.kind
        return diagnose(self.observations, bounded=kind in ("penalised", "spectral_norm"))

    def fired(self, state: dict[str, float] | None) -> bool:
        """Whether the estimate has stopped falling."""
        return state is not None and self._plateau.fired(PlateauState.from_dict(state))

    @property
    def _plateau(self) -> Plateau:
        return Plateau(patience=max(self.train.patience, 1))

    def observe(self, metrics: Mapping[str, Any], sums: SiteSums) -> Observation:
        """Takes in what a round has shown."""
        scores = _scores(sums)
        counts = sums["slopes"]
        observation = Observation(
            step=metrics["round"],
            estimate=metrics["estimate"],
            penalty=metrics["penalty"],
            generator_loss=metrics["generator_loss"],
            slopes=slope_quantiles(counts) if counts.any() else None,
            train_score=scores["train"],
            held_score=scores["held"] if self.plan.held_out and scores["scored"] else None,
            fake_score=scores["fake"],
            strength=self.players.strength if self.plan.recipe.augmentations else 0.0,
        )
        self.observations.append(observation)
        return observation

    def strengthen(self, number: int, sums: SiteSums | None) -> None:
        """Updates the augmentations' strength for the next round."""
        recipe = self.plan.recipe
        if not recipe.augmentations:
            return
        statistic = None
        scores = _scores(sums) if sums is not None else {"scored": 0.0}
        if scores["scored"] and recipe.strength.reads == "sign":
            statistic = sign_statistic(scores["sign"])
        elif scores["scored"] and recipe.strength.reads == "held_out":
            statistic = held_out_statistic(scores["train"], scores["held"], scores["fake"])
        progress = number / self.train.rounds
        self.players.strength = recipe.strength.next(self.players.strength, progress, statistic)

    def patience(self, state: dict[str, float] | None) -> dict[str, float] | None:
        """The plateau's state after the last observation; None where no rule stops training."""
        if not self.train.patience:
            return None
        last = self.observations[-1]
        slope = last.slopes[-1] if last.slopes else math.nan
        before = PlateauState.from_dict(state) if state else PlateauState()
        return self._plateau.update(before, calibrated(last.estimate, slope)).to_dict()


def _scores(sums: SiteSums) -> dict[str, float]:
    """Mean scores over the sites that gave them, by name; `scored` is the weight of those sites."""
    weight = float(sums["scored"][0])
    means = sums["scores"] / weight if weight else np.zeros(len(SCORES))
    return {"scored": weight} | dict(zip(SCORES, means.tolist(), strict=True))
