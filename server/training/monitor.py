"""How training goes: observations of evaluation rounds, and the rules that follow them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everymode.clients.protocol.parts.arrays import SCORES
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.sums import SiteSums
from everymode.server.federation.recipe import TrainingRecipe
from everymode.wgan.diagnostics import Finding, Observation, diagnose
from everymode.wgan.slopes import slope_quantiles
from everymode.wgan.stopping import Plateau, PlateauState, calibrated
from everymode.wgan.strength import held_out_statistic, sign_statistic


@dataclass(frozen=True)
class Monitor:
    """What is read from the sums of evaluation rounds, and the rules that follow it.

    Attributes:
        recipe: When to evaluate and when to stop.
        plan: What server and sites agreed on.
    """

    recipe: TrainingRecipe
    plan: Plan

    def is_evaluation_round(self, number: int) -> bool:
        """Whether the sites are asked to evaluate their critics in round `number`."""
        recipe = self.plan.recipe
        # Views that follow the critic's overfitting read it in every round.
        follows = bool(recipe.augmentations) and recipe.strength.reads != "nothing"
        every = self.recipe.evaluate_every
        return follows or number % every == 0 or number == self.recipe.rounds

    def findings(self, observations: Sequence[Observation]) -> tuple[Finding, ...]:
        """What the evaluations so far show, with advice."""
        kind = self.plan.recipe.lipschitz.kind
        return diagnose(list(observations), bounded=kind in ("penalised", "spectral_norm"))

    def has_plateaued(self, state: dict[str, float] | None) -> bool:
        """Whether the estimate has stopped falling."""
        return state is not None and self._plateau.has_plateaued(PlateauState.from_dict(state))

    @property
    def _plateau(self) -> Plateau:
        return Plateau(patience=max(self.recipe.patience, 1))

    def observe(self, metrics: Mapping[str, Any], sums: SiteSums, strength: float) -> Observation:
        """What a round has shown, under views of a strength."""
        scores = _scores(sums)
        counts = sums["slopes"]
        return Observation(
            step=metrics["round"],
            estimate=metrics["estimate"],
            penalty=metrics["penalty"],
            generator_loss=metrics["generator_loss"],
            slopes=slope_quantiles(counts) if counts.any() else None,
            train_score=scores["train"],
            held_score=scores["held"] if self.plan.held_out and scores["scored"] else None,
            fake_score=scores["fake"],
            strength=strength if self.plan.recipe.augmentations else 0.0,
        )

    def next_strength(self, number: int, strength: float, sums: SiteSums | None) -> float:
        """The strength of the views in the next round, by the rule of the recipe.

        Args:
            number: The round that is finished.
            strength: What it was in that round.
            sums: Of that round, if the critics were evaluated; else None.
        """
        recipe = self.plan.recipe
        if not recipe.augmentations:
            return strength
        statistic = None
        scores = _scores(sums) if sums is not None else {"scored": 0.0}
        if scores["scored"] and recipe.strength.reads == "sign":
            statistic = sign_statistic(scores["sign"])
        elif scores["scored"] and recipe.strength.reads == "held_out":
            statistic = held_out_statistic(scores["train"], scores["held"], scores["fake"])
        return recipe.strength.next(strength, number / self.recipe.rounds, statistic)

    def patience(
        self, state: dict[str, float] | None, last: Observation
    ) -> dict[str, float] | None:
        """The plateau's state after an observation; None where no rule stops training."""
        if not self.recipe.patience:
            return None
        slope = last.slopes[-1] if last.slopes else math.nan
        before = PlateauState.from_dict(state) if state else PlateauState()
        return self._plateau.update(before, calibrated(last.estimate, slope)).to_dict()


def read_observations(history: Sequence[Mapping[str, Any]]) -> tuple[Observation, ...]:
    """The observations in the metrics of rounds before."""
    seen = (metrics.get("evaluation") for metrics in history)
    return tuple(Observation.from_dict(values) for values in seen if values)


def _scores(sums: SiteSums) -> dict[str, float]:
    """Mean scores over the sites that gave them, by name; `scored` is the weight of those sites."""
    weight = float(sums["scored"][0])
    means = sums["scores"] / weight if weight else np.zeros(len(SCORES))
    return {"scored": weight} | dict(zip(SCORES, means.tolist(), strict=True))
