"""What is said of a finished synthetic table: marginals from sums, and figures on held-out rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from everymode.clients.protocol.messages import CountMarginals, CountNeighbours, Request
from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.strata import coverage_summary, stratum_coverage
from everymode.fairness.audit.tables import Tables, parsed
from everymode.fairness.groups.strata import strata
from everymode.fairness.metrics.codebook import Codebook, alike, recall_by_group
from everymode.fairness.metrics.marginals import Marginals, compare
from everymode.fairness.metrics.results import GroupFinding
from everymode.fairness.metrics.utility import train_and_test
from everymode.server.datasets.base import Synthetic
from everymode.server.datasets.choice import choose_modality
from everymode.server.transport.exchange import Exchange
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.data.values import parse_values
from everymode.wgan.errors import DataError


@dataclass(frozen=True)
class Counted:
    """Counts of all rows, real ones summed over sites, in the bins of every column, by group.

    The last row of each is that of no known group, where no real row is. A generator that makes
    the sensitive features itself may make such rows.

    Attributes:
        marginals: The bins.
        real: Counts `(G + 1, bins)` by column.
        made: The same of the synthetic rows.
    """

    marginals: Marginals
    real: dict[str, npt.NDArray[np.int64]]
    made: dict[str, npt.NDArray[np.int64]]


def counted(
    plan: Plan,
    plan_name: str,
    synthetic: pd.DataFrame,
    exchange: Exchange,
    missing: tuple[str, ...],
    form: FileForm = RECOGNISED,
) -> Counted:
    """Asks the sites once for counts of their rows."""
    marginals = Marginals.of(plan.schema, synthetic)
    groups = len(plan.conditions.groups)
    order = CountMarginals(plan_name, marginals.to_json(), groups, missing, form)
    sums = exchange(Request(order))
    names = [field.name for field in sums.layout.fields]
    real = {name: np.pad(sums.units(name), ((0, 1), (0, 0))) for name in names}
    made = marginals.count(synthetic, group_of_rows(plan, synthetic), groups + 1)
    return Counted(marginals, real, made)


def request_marginals(counts: Counted) -> dict[str, Any]:
    """Distances of all marginals; per group too. Rows of no known group count in those of all."""
    found = compare(counts.real, counts.made, counts.marginals)
    rows = next(iter(counts.made.values())).sum(axis=1).tolist()
    groups = len(rows) - 1
    return {
        "tv": found.tv,
        "ks": found.ks,
        "missing": found.missing,
        "tv_mean": found.tv_mean,
        "ks_mean": found.ks_mean,
        "tv_groups": list(found.tv_groups)[:groups],
        "ks_groups": list(found.ks_groups)[:groups],
        "rows_synthetic": rows[:groups],
        "rows_of_no_group": rows[groups],
    }


BALLS = 500
"""Synthetic rows of a group around which sites look for real ones, and as many to compare with."""

CELLS = 16
"""Cells of a group's codebook."""


def request_recall(
    plan: Plan, plan_name: str, synthetic: Synthetic, exchange: Exchange
) -> list[dict[str, Any]]:
    """Recall of each group from counts that sites add up.

    What is counted: `everymode.fairness.metrics.codebook`.
    Where sites hold rows out of training, those are counted. One half of a group's synthetic rows
    gives the balls and the codebook, the other shows what to expect of rows of the same law.
    """
    modality = choose_modality(plan.schema)
    rng = np.random.default_rng(derive_seed(plan.seed, "recall"))
    made = group_of_rows(plan, synthetic.rows)
    own: list[npt.NDArray[np.float32]] = []
    fresh: list[npt.NDArray[np.float32]] = []
    for g in range(len(plan.conditions.groups)):
        pool = rng.permutation(np.flatnonzero(made == g))
        half = min(BALLS, len(pool) // 2)
        rows = modality.encode(plan, synthetic, pool[: 2 * half], rng)
        # Sites refuse balls that are crowded around one point.
        own.append(rows[:half][~alike(rows[:half], plan.codec.blocks)])
        fresh.append(rows[half:])
    book = Codebook.of(own, CELLS, seed=derive_seed(plan.seed, "codebook") % 2**31)
    order = CountNeighbours(plan_name, book.sizes, CELLS, plan.held_out > 0)
    sums = exchange(Request(order, book.tensors()))
    groups = np.repeat(np.arange(len(fresh)), [len(rows) for rows in fresh])
    real = {field.name: sums.units(field.name) for field in sums.layout.fields}
    return recall_by_group(real, book.count(np.concatenate(fresh), groups))


def compute_coverage(
    plan: Plan,
    reference: pd.DataFrame,
    synthetic: pd.DataFrame,
    seed: int,
    where: str,
    real: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Standardised coverage of groups, as the audit measures it.

    How: `everymode.fairness.audit.strata`.
    `everymode audit --run` draws the same rows and finds the same figures. Groups are the values of
    each sensitive feature and their joint values; without sensitive features, all rows are one. A
    group without a row that was trained on is none, though reference rows may be of it.

    Args:
        plan: The run's plan.
        reference: Real rows, held-out ones where there are any.
        synthetic: The table that is measured.
        seed: Of the rows that are drawn: the run's.
        where: What messages call the reference rows.
        real: The rows trained on, where reference rows are others; None: not at hand, and known
            groups of the reference rows stand for those of the rows trained on.

    Returns:
        `groups`: value, interval and verdict of each joint group, in the plan's order;
        `coverage_group_min` and `coverage_difference`, over these and the features' values.
    """
    conditions, schema = plan.conditions, plan.schema
    if real is None:
        real = reference.loc[conditions.group_index(reference, schema, where) >= 0]
    tables = Tables(
        schema,
        real,
        parsed(synthetic, schema, "the synthetic table"),
        parsed(reference, schema, where),
    )
    wanted = strata(conditions.sensitive)
    found = [
        stratum_coverage(tables, features, SamplingLimits(), seed)
        for features in (wanted[1:] or wanted)
    ]
    joint = {tuple(group.sensitive.values()): group for group in found[-1]}
    everyone = [group for groups in found for group in groups]
    least, difference = coverage_summary(everyone)
    if not conditions.sensitive:
        least, difference = found[-1][0].standardised_coverage.value, None
    lacking = GroupFinding("", {}, 0, 0, 0.0, 0.0, "insufficient")
    records = [joint.get(group, lacking) for group in conditions.groups]
    return {
        "groups": [
            {**asdict(record.standardised_coverage), "verdict": record.state} for record in records
        ],
        "coverage_group_min": least,
        "coverage_difference": difference,
    }


def compute_utility(
    plan: Plan,
    synthetic: pd.DataFrame,
    holdout: pd.DataFrame,
    real: pd.DataFrame | None,
    seed: int,
) -> dict[str, Any] | None:
    """AUC or R2 on held-out rows after training on synthetic and, where at hand, on real rows.

    The audit's AUC (`everymode.fairness.metrics.group_utility`) is the same figure.
    """
    target = plan.conditions.target
    if target is None:
        return None
    tables = {"synthetic": synthetic} | ({} if real is None else {"real": real})
    return {
        name: asdict(
            train_and_test(
                table, holdout, plan.schema, target, derive_seed(seed, "utility") % 2**31
            )
        )
        for name, table in tables.items()
    }


def group_of_rows(plan: Plan, synthetic: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The group of each synthetic row, `(m,)`; those of no known group are one group more, G."""
    made = plan.conditions.group_index(synthetic, plan.schema, "the synthetic table")
    return np.where(made < 0, len(plan.conditions.groups), made)


def check_holdout(holdout: pd.DataFrame, columns: tuple[str, ...], where: str) -> None:
    """Raises `DataError` where held-out rows lack a column, before any training."""
    lacking = [name for name in columns if name not in holdout.columns]
    if lacking:
        names = ", ".join(f"'{name}'" for name in lacking)
        raise DataError(
            f"{where} (data.holdout): lacks the columns {names} of the training tables; name a "
            "table with the same columns"
        )


def check_values(plan: Plan, holdout: pd.DataFrame, where: str) -> None:
    """Raises `DataError` where held-out cells do not parse, before any training."""
    problems: list[str] = []
    for column in plan.schema.columns:
        try:
            parse_values(holdout, column, where)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)


def by_group(
    plan: Plan,
    measured: Mapping[str, Any],
    coverage: Mapping[str, Any] | None,
    sites: npt.NDArray[np.int64],
    recall: Sequence[Mapping[str, Any]] = (),
) -> dict[str, dict[str, Any]]:
    """One record a group, for `summary.json` and the picture."""
    conditions = plan.conditions
    real = conditions.group_counts
    made = np.array(measured["rows_synthetic"])
    total = max(int(made.sum()) + measured["rows_of_no_group"], 1)
    records = {}
    for i, name in enumerate(conditions.names):
        cover = coverage["groups"][i] if coverage else {}
        records[name] = {
            "sensitive": dict(zip(conditions.sensitive, conditions.groups[i], strict=True)),
            "sites": int(sites[i]),
            "rows_real": int(real[i]),
            "rows_synthetic": int(made[i]),
            "share_real": float(real[i] / real.sum()),
            "share_synthetic": float(made[i] / total),
            "tv": measured["tv_groups"][i],
            "ks": measured["ks_groups"][i],
            "coverage": cover.get("value"),
            "coverage_low": cover.get("low"),
            "coverage_high": cover.get("high"),
            "coverage_verdict": cover.get("verdict", "not measured"),
            "recall_federated": dict(recall[i]) if recall else None,
        }
    return records
