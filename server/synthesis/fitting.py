"""Fits of a run's postprocessing: which there are, in which order, and what each reports."""

from collections.abc import Callable
from typing import Any, Protocol

from everymode.clients.protocol.plan import Plan
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.postprocessing.calibration import CategoryMarginals
from everymode.server.synthesis.calibration import CalibrateCategories
from everymode.server.synthesis.critic_trees import FitCriticTrees
from everymode.server.synthesis.forbidden import FitForbidden
from everymode.server.synthesis.number_calibration import CalibrateNumbers
from everymode.server.synthesis.projection import FindDependencies, FitProjection, can_project
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.server.synthesis.trees import FitTrees


class Fit(Protocol):
    """Fits one postprocessing to a trained generator and the sites' sums.

    Attributes:
        name: What its report is called.
        text: What it does, in a few words for people.
    """

    name: str
    text: str

    def __call__(
        self, synthesizer: Synthesizer, progress: Callable[[int, int], None]
    ) -> tuple[Synthesizer, dict[str, Any]]:
        """Returns a synthesizer with the postprocessing, and what that does.

        Args:
            synthesizer: With all postprocessing that comes before.
            progress: Receives the steps done and the most there may be.
        """
        ...


def build_fits(
    plan: Plan,
    marginals: CategoryMarginals | None,
    moments: LevelMoments | None,
    trees: FitTrees | None = None,
    critics: FitCriticTrees | None = None,
    forbidden: FitForbidden | None = None,
    numbers: CalibrateNumbers | None = None,
) -> tuple[Fit, ...]:
    """The fits of a run, in the order in which they are applied.

    Calibrations come first, since they change the rows that the others are fitted on; the
    projection late, since it rejects rows that are otherwise finished. Trees stand between them:
    they are grown on rows of the calibrated generator, and what they draw is projected. What never
    occurs is taken out of what they draw, before it is projected. Trees as
    critics judge finished rows.

    Args:
        plan: What server and sites agreed on.
        marginals: Shares of categories; None where sites were not asked for them.
        moments: Second moments; None where rows are not projected onto them.
        trees: Asks sites for counts in leaves; None where rows stay the generator's.
        critics: Asks for those of trees at random; None where rows are not weighted by them.
        forbidden: Asks for pairs of values that never occur; None where any may be made.
        numbers: Maps numbers to their agreed ranks; None where second moments see to them.
    """
    fits: list[Fit] = []
    if marginals is not None:
        fits.append(CalibrateCategories(marginals))
    if numbers is not None:
        fits.append(numbers)
    if trees is not None:
        fits.append(trees)
    if forbidden is not None:
        fits.append(forbidden)
    if moments is not None and can_project(plan):
        # Noise hides that a pair never occurs: nothing is said to follow from anything.
        fits += [FindDependencies(moments)] if moments.noise is None else []
        fits.append(FitProjection(moments))
    if critics is not None:
        fits.append(critics)
    return tuple(fits)
