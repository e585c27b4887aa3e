"""The audit of a synthetic table against real rows: which groups it covers, with intervals.

    found = audit(real, synthetic, sensitive_features=["sex", "race"], target="income")
    found.verdict, found.coverage_group_min

Every figure of a group is measured in the same way and with an interval; groups too small to judge
are `insufficient`. Thresholds turn figures into checks (`everymode.fairness.audit.checks`), and
checks into a verdict (`everymode.fairness.audit.verdict`).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from everymode.fairness.audit.checks import evaluate_thresholds
from everymode.fairness.audit.copies import Copies, Nearness
from everymode.fairness.audit.findings import Audit
from everymode.fairness.audit.limits import SamplingLimits
from everymode.fairness.audit.membership import Membership
from everymode.fairness.audit.strata import coverage_summary, stratum_findings
from everymode.fairness.audit.tables import Tables, parsed
from everymode.fairness.audit.thresholds import Limits, Thresholds
from everymode.fairness.audit.verdict import with_verdict
from everymode.fairness.groups.spellings import spelled_alike
from everymode.fairness.groups.strata import group_codes, keys, strata
from everymode.fairness.metrics.group_utility import group_utility
from everymode.fairness.metrics.image_features import ImageFeatures
from everymode.fairness.metrics.marginals import Marginals, compare, lost_share
from everymode.wgan.data.fit import fit_schema
from everymode.wgan.data.restored import broken_rows
from everymode.wgan.data.schema import Kind, Schema
from everymode.wgan.errors import DataError, suggest
from everymode.wgan.versions import package_versions

GROUPS = 500
"""Most groups of one stratum: a feature with more values is no group feature."""

PACKAGES = ("everymode", "numpy", "pandas", "scikit-learn", "fairlearn")


def audit(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    *,
    sensitive_features: Sequence[str],
    target: str | None = None,
    holdout: pd.DataFrame | None = None,
    thresholds: Limits | None = None,
    effort: SamplingLimits | None = None,
    kinds: Mapping[str, Kind] | None = None,
    schema: Schema | None = None,
    image: tuple[int, int, int] | None = None,
    drop: Sequence[str] = (),
    given: Sequence[str] = (),
    seed: int = 0,
    names: tuple[str, str] = ("the real table", "the synthetic table"),
    training: Sequence[Mapping[str, Any]] = (),
    federated: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Audit:
    """Audits a synthetic table against a real one.

    Args:
        real: The rows that the generator was trained on.
        synthetic: The rows to judge, with the same columns in any order.
        sensitive_features: Columns whose values, and whose joint values, are the groups; none: all
            rows are one group.
        target: The column that users will predict; None: no utility is measured.
        holdout: Real rows of the same distribution that the generator did not see. With them,
            coverage is measured on these rows; without them, neither models nor copies are judged:
            models are not tested, and copies cannot be distinguished from coincidences.
        thresholds: The limits of the checks.
        effort: How much is compared.
        kinds: Kinds of columns, where they are not to be read off the real rows.
        schema: The columns as a run has agreed on them, so that its table can have no other
            categories; None: read off the real rows.
        image: Channels, height and width, where all columns but sensitive features and target are
            the pixels of an image: rows are then compared by features of a random network.
        drop: Columns to leave out, of whichever tables have them: identifiers, say.
        given: Columns that the generator is conditioned on: sizes of their groups are then `given`,
            not judged.
        seed: Of the rows that are drawn.
        names: What messages call the two tables.
        training: The metrics of each round of a run, for its curves.
        federated: What was summed over sites at the end of a run, for the report.
        progress: Called with what is measured next.

    Raises:
        DataError: The tables cannot be audited; all problems at once.
    """
    started = time.perf_counter()
    limits, effort = thresholds or Thresholds(), effort or SamplingLimits()
    features = tuple(dict.fromkeys(sensitive_features))
    grouping = (*features, *([target] if target else []))
    tables, notes = prepared(real, synthetic, holdout, schema, kinds, tuple(drop), grouping, names)
    _check(tables, features, target, effort, names)
    if image is not None:
        features_of = ImageFeatures.of(tables.real, tables.schema, grouping, image)
        tables = replace(tables, image=features_of)
    progress("copies")
    copies, unseen = Copies.of(tables), tables
    if copies.overlap is not None:
        # What was trained on is no test, of copies or of models.
        notes += (f"held-out rows are not taken for such: {copies.overlap}",)
        unseen = replace(tables, holdout=None)
        copies = Copies.of(unseen)
    nearness = Nearness.of(unseen)
    progress("membership")
    membership = None
    if unseen.holdout is not None:
        finest, _ = group_codes((unseen.real, unseen.holdout), unseen.schema, features)
        membership = Membership.of(nearness, finest, effort.rows, seed)
    groups = []
    for stratum in strata(features):
        groups += stratum_findings(
            tables, stratum, effort, seed, copies, nearness, membership, progress
        )
    utility = None
    if target is not None:
        progress("utility")
        utility = group_utility(
            unseen.real,
            unseen.synthetic,
            unseen.holdout,
            unseen.schema,
            target,
            features,
            seed,
            minimum=effort.minimum,
        )
    least, gap = coverage_summary(groups)
    found = Audit(
        verdict="insufficient",
        real=names[0],
        synthetic=names[1],
        sensitive_features=features,
        rows_real=len(real),
        rows_synthetic=len(synthetic),
        groups=tuple(groups),
        columns=_columns(tables),
        utility=utility,
        checks=(),
        coverage_group_min=least,
        coverage_difference=gap,
        constraints=_constraints(tables),
        given=tuple(given),
        vocabulary_given=schema is not None,
        notes=notes,
        settings={
            "thresholds": limits.model_dump(),
            "effort": asdict(effort),
            "seed": seed,
            "image": None if image is None else " x ".join(map(str, image)),
            "rows_holdout": None if holdout is None else len(holdout),
        },
        training=tuple(training),
        federated=federated or {},
        versions=package_versions(PACKAGES),
    )
    found = with_verdict(found, evaluate_thresholds(found, limits, effort.least))
    return replace(found, seconds=round(time.perf_counter() - started, 2))


def prepared(
    real: pd.DataFrame,
    synthetic: pd.DataFrame,
    holdout: pd.DataFrame | None,
    schema: Schema | None,
    kinds: Mapping[str, Kind] | None,
    drop: tuple[str, ...],
    grouping: tuple[str, ...],
    names: tuple[str, ...],
) -> tuple[Tables, tuple[str, ...]]:
    """Tables with the same columns, equal values spelled alike; and what was changed, in words.

    Args:
        real: Rows that were trained on.
        synthetic: Rows to judge.
        holdout: Other real rows; None: there are none.
        schema: Their columns; None: read off the real rows.
        kinds: Kinds of columns, where they are not to be read off the real rows.
        drop: Columns to leave out.
        grouping: Columns whose values make groups or classes.
        names: What messages call the tables; the held-out one needs no name.

    Raises:
        DataError: Tables that cannot be compared; all problems at once.
    """
    # Pairs, for both tables may be one file.
    frames = [(names[0], real), (names[1], synthetic)]
    if holdout is not None:
        frames.append((names[2] if len(names) > 2 else "the held-out table", holdout))
    problems = [f"{name}: holds no rows" for name, frame in frames if not len(frame)]
    held = list(dict.fromkeys(str(column) for _, frame in frames for column in frame.columns))
    problems += [
        f"drop: no table has a column '{name}'{_hint(name, held)}"
        for name in drop
        if name not in held
    ]
    frames = [(name, frame.drop(columns=list(drop), errors="ignore")) for name, frame in frames]
    if schema is None:
        wanted = [str(name) for name in frames[0][1].columns]
    else:
        schema = schema.without(drop)
        wanted = list(schema.names)
    for name, frame in frames:
        twice = frame.columns[frame.columns.duplicated()]
        problems += [f"{name}: column '{again}' is there twice" for again in twice]
        for lacking in [c for c in wanted if c not in frame.columns]:
            hint = _hint(lacking, frame.columns) or "; add it, or leave it out: drop (--drop)"
            problems.append(f"{name}: lacks the column '{lacking}'{hint}")
        more = [] if schema is not None else [c for c in frame.columns if c not in wanted]
        problems += [
            f"{name}: has a column '{extra}' that {names[0]} lacks; leave it out: drop (--drop)"
            for extra in more
        ]
    if problems:
        raise DataError(problems)
    frames, notes = spelled_alike(frames, wanted, grouping, schema, kinds)
    if schema is None:
        schema = fit_schema(frames[0][1], kinds=kinds)
    kept = []
    for name, frame in frames:
        try:
            kept.append(parsed(frame, schema, name))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return Tables(schema, kept[0], kept[1], kept[2] if holdout is not None else None), notes


def _check(
    tables: Tables,
    features: tuple[str, ...],
    target: str | None,
    effort: SamplingLimits,
    names: tuple[str, str],
) -> None:
    known = tables.schema.names
    problems = [
        f"sensitive feature '{name}': {names[0]} has no such column{_hint(name, known)}"
        for name in features
        if name not in known
    ]
    if target is not None and target not in known:
        problems.append(f"target '{target}': {names[0]} has no such column{_hint(target, known)}")
    if problems:
        raise DataError(problems)
    if target is not None and tables.real[target].dropna().nunique() < 2:
        problems.append(
            f"target '{target}': {names[0]} has fewer than two values of it, so nothing can be "
            "predicted; name another target, or none"
        )
    largest = 0 if features else len(tables.real)
    for stratum in strata(features)[1:]:
        counts = keys(tables.real, tables.schema, stratum, names[0]).value_counts()
        if len(counts) > GROUPS:
            problems.append(
                f"sensitive features {', '.join(stratum)}: {len(counts):,} groups are more than "
                f"{GROUPS}; group their values first (age into bands, say), or name fewer features"
            )
            break
        largest = max(largest, int(counts.max()))
    else:
        if largest < effort.least:
            problems.append(
                f"every group has fewer than {effort.least} real rows (the largest {largest}): "
                "nothing can be said of any; name fewer features, or more rows"
                if features
                else f"{names[0]} has fewer than {effort.least} rows ({largest}): nothing can be "
                "said of them; name a table with more rows"
            )
    if problems:
        raise DataError(problems)


def _columns(tables: Tables) -> dict[str, dict[str, float | None]]:
    marginals = Marginals.of(tables.schema, tables.synthetic)
    frames = (tables.reference, tables.synthetic)
    real, synthetic = (
        marginals.count(frame, np.zeros(len(frame), dtype=np.int64), 1) for frame in frames
    )
    comparison = compare(real, synthetic, marginals)
    found: dict[str, dict[str, float | None]] = {}
    for column in marginals.columns:
        name = column.name
        if column.numeric:
            found[name] = {"ks": comparison.ks[name], "missing": comparison.missing[name]}
        else:
            # Rare values of either side are none of the categories: no more of them are unseen.
            shares = [
                counts[name][0, -2] / max(counts[name].sum(), 1) for counts in (real, synthetic)
            ]
            found[name] = {
                "tv": comparison.tv[name],
                "unseen": max(float(shares[1] - shares[0]), 0.0),
                "rare": lost_share(real[name][0], synthetic[name][0]),
            }
    return found


def _constraints(tables: Tables) -> dict[str, dict[str, float]]:
    """Shares of rows that break what the schema demands of them."""
    if not tables.schema.constraints:
        return {}
    real, made = (
        broken_rows(frame, tables.schema) for frame in (tables.reference, tables.synthetic)
    )
    return {
        words: {"real": float(real[words].mean()), "synthetic": float(made[words].mean())}
        for words in made
    }


def _hint(name: object, known: Iterable[object]) -> str:
    hint = suggest(str(name), map(str, known), "")
    return f"; {hint}" if hint else ""
