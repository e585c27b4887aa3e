"""What the server's generator pays for besides the critic, from its terms and the sums."""

import numpy as np
import numpy.typing as npt

from everymode.clients.protocol.messages import Matched, Request, SumMoments
from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.clients.protocol.sums import SiteSums
from everymode.fairness.groups.conditions import MISSING, ConditionSpace
from everymode.fairness.matching.features import FeatureMap, build_matching
from everymode.fairness.matching.moments import LevelMoments, MomentMatching, eligible_strata
from everymode.fairness.matching.suppression import publishable, to_text
from everymode.fairness.parity.adversary import GroupAdversary, GroupAdversarySpec
from everymode.fairness.parity.penalty import ParityPenalty
from everymode.server.federation.terms import GeneratorTerms, ParityTerm
from everymode.server.transport.exchange import Exchange
from everymode.wgan.errors import EveryModeError, SettingsError
from everymode.wgan.penalties import GeneratorPenalty


def build_penalties(
    terms: GeneratorTerms,
    plan: Plan,
    kind: Matched,
    sums: SiteSums,
    moments: LevelMoments | None,
    device: str,
) -> tuple[GeneratorPenalty, ...]:
    """Matching, parity and the group adversary, where they are asked for.

    Args:
        terms: What is asked for.
        plan: What server and sites agreed on.
        kind: What the sites have described their rows by.
        sums: What `EncodeData` brought.
        moments: Second moments, where the rows were described by these.
        device: Where the generator lives.
    """
    matching: GeneratorPenalty | None = None
    matched: MomentMatching | None = None
    if moments is not None:
        # Which bin a number lies in has no slope, so the generator is matched without.
        first = plan.shape.width
        narrow = moments.without(first, first + plan.binning.width)
        matching = matched = MomentMatching.of(narrow, terms.matching, device)
    if kind in ("kernel", "sliced"):
        seed = derive_seed(plan.seed, "description")
        description = FeatureMap.of(kind, plan.shape.blocks, plan.conditions.width, seed)
        matching = build_matching(description, sums["description"], terms.matching, device)
    parity = build_parity(terms.parity, plan, matched, device) if terms.parity else None
    head = build_adversary(terms.adversary, plan, device) if terms.adversary else None
    return tuple(term for term in (matching, parity, head) if term is not None)


def request_moments(
    exchange: Exchange, plan: Plan, plan_name: str, sums: SiteSums
) -> tuple[LevelMoments, float]:
    """Asks the sites once for the second moments that rest on enough rows.

    Args:
        exchange: The way to the sites.
        plan: What server and sites agreed on.
        plan_name: Its fingerprint.
        sums: What `EncodeData` brought: counts and shares of coordinates in every level.

    Returns:
        The moments, of rows with their numbers' bins behind them; and the share of those products
        of coordinates that some row has which were left out.
    """
    counts = sums.units("counts")
    _, levels = eligible_strata(plan.conditions)
    active = np.append(levels, True)
    published = publishable(counts, active, plan.conditions.blocks, plan.spans)
    found = exchange(Request(SumMoments(plan_name, to_text(published))))
    moments = LevelMoments.of(found["moments"], published, sums["marginals"], plan.choices)
    held = ((counts > 0) & active[:, None]).sum(1)
    kept = ((counts > 0) & published).sum(1)
    return moments, 1 - float((kept**2).sum()) / max(float((held**2).sum()), 1.0)


def build_parity(
    term: ParityTerm, plan: Plan, matching: MomentMatching | None, device: str
) -> ParityPenalty:
    """The penalty that parity takes.

    Raises:
        SettingsError: A level above 0 without moments of the label.
    """
    label = None
    if term.kind == "equal_opportunity":
        label = advantage(plan.conditions, term.label)
    try:
        return ParityPenalty.of(
            plan.conditions,
            plan.schema,
            term.weight,
            term.level,
            term.features,
            term.shape,
            label,
            matching,
            device,
        )
    except EveryModeError:
        raise
    except ValueError as error:
        raise SettingsError(
            f"fairness.parity = '{term.kind}': {error}; write data.condition = "
            "'group_and_label', or fairness.parity_level = 0"
        ) from None


def build_adversary(spec: GroupAdversarySpec, plan: Plan, device: str) -> GroupAdversary:
    """The group adversary.

    Raises:
        SettingsError: There is one group only, or no column to tell groups from.
    """
    seed = derive_seed(plan.seed, "bias head")
    try:
        return spec.build(plan.conditions, plan.schema, seed, device)
    except EveryModeError:
        raise
    except ValueError as error:
        raise SettingsError(f"fairness.bias_head: {error}; write 0") from None


def advantage(conditions: ConditionSpace, label: str | None) -> str:
    """The label that is the advantage: the one named, else the rarest, of a number the highest bin.

    Raises:
        SettingsError: The target has no such label.
    """
    rows = conditions.plain.table.sum(0)
    known = [name for name, count in zip(conditions.labels, rows, strict=True) if count]
    if label is None:
        if conditions.label_edges:
            return [name for name in known if name != MISSING or len(known) == 1][-1]
        return conditions.labels[_rarest(rows)]
    if label not in known:
        raise SettingsError(
            f"fairness.parity_label = '{label}': '{conditions.target}' has no such label with "
            f"enough rows; write one of {', '.join(known)}"
        )
    return label


def _rarest(rows: npt.NDArray[np.int64]) -> int:
    return int(np.where(rows > 0, rows, rows.max(initial=0) + 1).argmin())
