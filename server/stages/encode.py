"""Stage 2, *encode*: sites encode their tables on their own disks and send the sums of one pass."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.accounting import compute_epsilon
from everymode.clients.protocol.messages import Request
from everymode.clients.protocol.plan import Plan
from everymode.clients.protocol.sums import SiteSums
from everymode.fairness.matching.moments import LevelMoments
from everymode.fairness.matching.private_moments import choose_clips
from everymode.fairness.matching.suppression import FLOOR
from everymode.fairness.postprocessing.calibration import CategoryMarginals
from everymode.server.evaluation.figures import check_values
from everymode.server.privacy.budget import SURVIVES, Budget
from everymode.server.privacy.private_moments import (
    PrivateMoments,
    choose_levels,
    level_rows,
    request_private_moments,
)
from everymode.server.stages.agree import Agreed
from everymode.server.stages.context import RunContext
from everymode.server.synthesis.calibration import category_marginals
from everymode.server.training.penalties import request_moments
from everymode.wgan.errors import SettingsError, StateError


@dataclass(frozen=True)
class Encoded:
    """The sums that sites sent once, when they encoded their tables.

    Attributes:
        agreed: The stage before.
        sums: Rows, sites and what else `EncodeData` asks for.
        moments: Second moments of the encoded rows; None where they were not asked for.
        marginals: Shares of categories; None likewise.
        noisy: What is known with noise, of a private run; then `sums` say nothing of rows.
    """

    agreed: Agreed
    sums: SiteSums
    moments: LevelMoments | None
    marginals: CategoryMarginals | None
    noisy: PrivateMoments | None = None

    @property
    def rows_modelled(self) -> int:
        """Rows of groups that are modelled, as far as they are known."""
        if self.noisy is not None:
            return int(self.agreed.plan.conditions.table.sum())
        return int(self.sums["rows"][0])

    @property
    def left_out(self) -> int:
        """Rows that sites leave out by a floor of their own."""
        return 0 if self.noisy is not None else int(self.sums["left_out"][0])

    @property
    def group_sites(self) -> npt.NDArray[np.int64]:
        """Sites that hold rows of each group, `(G,)`; of a private run nobody says so: 0."""
        if self.noisy is not None:
            return np.zeros(len(self.agreed.plan.conditions.groups), dtype=np.int64)
        return self.sums["group_sites"].astype(np.int64)


def encode(run: RunContext, agreed: Agreed) -> Encoded:
    """Asks sites to encode, and compares what they hold now with what was agreed.

    Raises:
        StateError: Sites hold other rows than the run was started with.
        DataError: Held-out rows do not parse.
    """
    settings, plan, note = run.settings, agreed.plan, run.listener.on_note
    run.begin("encode", "sites encode their tables")
    sums = run.exchange(Request(agreed.order))
    if run.budget is not None:
        return _encode_privately(run, agreed, sums, run.budget)
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


def _encode_privately(run: RunContext, agreed: Agreed, sums: SiteSums, budget: Budget) -> Encoded:
    """Asks for moments with noise; nothing else is known of the encoded rows."""
    if agreed.holdout is not None:
        check_values(agreed.plan, agreed.holdout, str(run.settings.data.holdout))
    _check_survival(agreed.plan, budget)
    found = request_private_moments(run.exchange, agreed.plan, agreed.name, budget)
    run.listener.on_note(
        f"second moments have noise of {found.deviation:,.0f} rows (standard deviation), those of "
        f"groups of {found.group_deviation:,.0f}"
    )
    if found.left_out:
        run.listener.on_note(
            f"too few rows for noise of this size, and matched with all rows alone: "
            f"{', '.join(found.left_out)}"
        )
    marginals = found.marginals if agreed.order.marginals else None
    return Encoded(agreed, sums, found.moments, marginals, found)


def _check_survival(plan: Plan, budget: Budget) -> None:
    """Raises `SettingsError` where all rows together are too few for the noise on moments."""
    noise = budget.noise("moments", choose_clips(plan.coordinates))
    _, (_, deviation) = choose_levels(plan, noise)
    rows = float(level_rows(plan)[-1])
    if rows < SURVIVES * deviation:
        factor = SURVIVES * deviation / max(rows, 1.0)
        needed = compute_epsilon(budget.rho * factor**2, budget.delta)
        raise SettingsError(
            f"privacy.epsilon = {budget.epsilon:g}: about {rows:,.0f} rows are fewer than "
            f"{SURVIVES:.0f} times the noise on second moments ({deviation:,.0f} rows), which "
            f"would drown them; epsilon = {needed:.2g} would do, or more rows, or fewer columns"
        )


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
