"""Stage 2, *encode*: sites encode their tables on their own disks and send the sums of one pass."""

from dataclasses import dataclass

from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.sums import SiteSums
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.matching.suppression import FLOOR
from everymode.fairness.postprocessing.calibration import CategoryMarginals
from everymode.server.evaluation.figures import check_values
from everymode.server.stages.agree import Agreed
from everymode.server.stages.context import RunContext
from everymode.server.synthesis.calibration import category_marginals
from everymode.server.training.penalties import request_moments
from everymode.wgan.errors import StateError


@dataclass(frozen=True)
class Encoded:
    """The sums that sites sent once, when they encoded their tables.

    Attributes:
        agreed: The stage before.
        sums: Rows, sites and what else `EncodeData` asks for.
        moments: Second moments of the encoded rows; None where they were not asked for.
        marginals: Shares of categories; None likewise.
    """

    agreed: Agreed
    sums: SiteSums
    moments: LevelMoments | None
    marginals: CategoryMarginals | None

    @property
    def rows_modelled(self) -> int:
        """Rows of groups that are modelled."""
        return int(self.sums["rows"][0])


def encode(run: RunContext, agreed: Agreed) -> Encoded:
    """Asks sites to encode, and compares what they hold now with what was agreed.

    Raises:
        StateError: Sites hold other rows than the run was started with.
        DataError: Held-out rows do not parse.
    """
    settings, plan, note = run.settings, agreed.plan, run.listener.on_note
    run.begin("encode", "sites encode their tables")
    sums = run.exchange(Request(agreed.order))
    modelled, rows = int(plan.conditions.table.sum()), int(sums["rows"][0])
    if rows != modelled:
        raise StateError(
            f"{run.folder.path}: the run was started with {modelled:,} usable rows, but the sites "
            f"now hold {rows:,}; put the tables back as they were, or start a new run"
        )
    _report_left_out(run, sums)
    if agreed.holdout is not None:
        check_values(plan, agreed.holdout, str(settings.data.holdout))
    moments = None
    if agreed.order.matching == "moments":
        moments, missing = request_moments(run.exchange, plan, agreed.name, sums)
        if missing:
            note(
                f"{missing:.1%} of the second moments rest on fewer than {FLOOR} rows of their "
                "level, or would give such away, and are left out"
            )
    marginals = None
    if agreed.order.marginals:
        marginals = category_marginals(plan, sums["marginals"], settings.groups_moved)
    return Encoded(agreed, sums, moments, marginals)


def _report_left_out(run: RunContext, sums: SiteSums) -> None:
    """Notes rows and sites that take no part."""
    if left_out := int(sums["left_out"][0]):
        run.listener.on_note(
            f"sites leave out {left_out:,} rows of cells of group and label of which "
            "they hold fewer than their floor (site.floor)"
        )
    sites, taking = int(sums["sites"][0]), int(sums["taking"][0])
    if sites != taking:
        run.listener.on_note(
            f"{sites - taking} of {sites} sites hold no row of a group that is "
            "modelled (data.floor), and take no part"
        )
