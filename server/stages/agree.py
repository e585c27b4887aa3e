"""Stage 1, *agree*: server and sites settle on one schema, one set of cells and one recipe."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pandas as pd
from torch import Tensor

from everymode.clients.protocol.messages import EncodeData, Matched
from everymode.clients.protocol.plan import Plan, fingerprint
from everymode.fairness.matching.moments import width_of_moments
from everymode.fairness.weighting.group_weights import group_mass
from everymode.server.config.arrays import check_for_arrays
from everymode.server.config.files import resolve
from everymode.server.config.private_runs import undeclared_columns
from everymode.server.config.recipe import build_recipe, convolutional
from everymode.server.config.settings import Settings, settings_digest
from everymode.server.config.tables import build_table_spec
from everymode.server.config.training import build_participation
from everymode.server.datasets.choice import build_modality
from everymode.server.evaluation.figures import check_holdout
from everymode.server.privacy.budget import Budget
from everymode.server.schema.agreement import Agreement
from everymode.server.schema.declared import agree_privately
from everymode.server.stages.context import RunContext
from everymode.server.synthesis.calibration import has_categories
from everymode.server.synthesis.projection import build_binning
from everymode.server.training.participation import ClientSampler
from everymode.server.training.state import TrainingState
from everymode.wgan.data.arrays import SampleLayout
from everymode.wgan.data.frame import read_table
from everymode.wgan.errors import SettingsError

MAX_MOMENTS = 16_000_000
"""Most sums of second moments that a site is asked for: 128 MB."""


@dataclass(frozen=True)
class Agreed:
    """What server and sites agreed on before any row was encoded.

    Attributes:
        order: Everything a site must know for training.
        rows: Rows of all sites.
        checkpoint: Tensors and progress of the newest checkpoint, when the run is resumed.
        holdout: Rows that no site trains on, in the columns' order, where the user named some.
        plan: The order, ready for use.
        name: The plan's fingerprint.
    """

    order: EncodeData
    rows: int
    checkpoint: tuple[dict[str, Tensor], TrainingState] | None = None
    holdout: pd.DataFrame | None = None
    plan: Plan = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        """Reads the order."""
        object.__setattr__(self, "plan", Plan.of(self.order))
        object.__setattr__(self, "name", fingerprint(self.order))


def agree(run: RunContext) -> Agreed:
    """Checks what can be checked at once, then agrees with the sites, or reads what was agreed.

    Raises:
        DataError: The tables cannot be used; the problems of all sites.
        SettingsError: Keys do not fit the sites or the machine.
        StateError: The run cannot be resumed as it stands.
    """
    settings, folder = run.settings, run.folder
    _ = run.device
    if run.samples is not None:
        check_for_arrays(settings)
    participation = build_participation(settings.federation)
    names, last = run.exchange.names, settings.train.rounds
    ClientSampler(names, participation, settings.seed, rounds=last).check()
    holdout = _read_holdout(run)
    if run.resume and folder.planned:
        folder.check_settings(settings)
        order, rows = folder.read_plan()
    else:
        order, rows = _negotiate(run)
    checkpoint = None
    if run.resume:
        digest = settings_digest(settings)
        checkpoint = folder.load(fingerprint(order), digest, run.listener.on_note)
    return Agreed(order, rows, checkpoint, holdout)


def _check_private(run: RunContext) -> None:
    """Raises `SettingsError` where a private run is asked of arrays or of undeclared columns."""
    if run.samples is not None:
        raise SettingsError(
            "privacy.epsilon: sums of arrays have no known sensitivity; leave [privacy] out, or "
            "use tables"
        )
    if problems := undeclared_columns(run.settings, run.columns):
        raise SettingsError(problems)


def _check_sizes(run: RunContext, agreed: Agreement, budget: Budget) -> None:
    """Raises `SettingsError` where the sites hold too few rows for delta."""
    rows = agreed.rows
    if budget.delta > 1 / max(rows, 1):
        raise SettingsError(
            f"privacy.delta = {budget.delta:g} is above 1 / rows (about {rows:,}): it would allow "
            f"to publish one whole row; write privacy.delta = {0.1 / max(rows, 1):.0e}, say"
        )


def count_of_moments(agreed: Agreement) -> int:
    """How many sums the second moments of a schema take."""
    conditions = agreed.conditions
    width = agreed.codec.width
    return (conditions.width + 1) * width_of_moments(width, conditions.width)


def _read_holdout(run: RunContext) -> pd.DataFrame | None:
    data = run.settings.data
    if data.holdout is None:
        return None
    path = resolve(data.holdout)
    holdout = read_table(path, data.missing, data.form)
    codes = [name for name, column in data.columns.items() if column.kind == "id"]
    columns = [name for name in run.columns if name not in codes]
    check_holdout(holdout, tuple(columns), str(path))
    return holdout[columns]


def _left_out(settings: Settings, samples: SampleLayout) -> Iterator[str]:
    """What a run over arrays does without, in sentences."""
    left = ["calibration of categories", "projection onto second moments"]
    if settings.model.matching > 0:
        left.insert(0, "matching of rows (model.matching)")
    yield f"arrays have no columns: {', '.join(left)} are left out"
    if convolutional(samples):
        yield (
            "images get convolutional networks: model.generator_hidden and model.critic_hidden are "
            "not used"
        )


def _negotiate(run: RunContext) -> tuple[EncodeData, int]:
    """Asks the sites, writes `schema.json`, and returns the order and the number of rows."""
    settings, model, note = run.settings, run.settings.model, run.listener.on_note
    run.begin("agree", "sites agree on a schema")
    spec = replace(build_table_spec(settings.data), form=run.form)
    modality = build_modality(run.samples)
    if (budget := run.budget) is not None:
        _check_private(run)
        agreed = agree_privately(
            run.exchange, run.columns, spec, budget.noise("counts"), settings.seed
        )
        _check_sizes(run, agreed, budget)
    else:
        agreed = modality.agree(run.exchange, run.columns, spec, settings.seed)
    counts = agreed.conditions.group_counts
    mass = group_mass(counts, settings.groups.weights, settings.groups.exponent)
    wanted = model.matching > 0 and settings.federation.generator == "server"
    matching: Matched = model.matching_by if wanted else "none"
    if matching == "moments" and (entries := count_of_moments(agreed)) > MAX_MOMENTS:
        matching = "none"
        note(
            f"second moments are left out: {entries:,} sums a site are more than {MAX_MOMENTS:,}; "
            "leave columns of many categories out with data.drop to have them, or set "
            "model.matching_by = 'kernel'"
        )
    recipe = build_recipe(settings, run.samples)
    if run.samples is not None:
        # Moments and features of rows are laid out by columns.
        matching = "none"
        for text in _left_out(settings, run.samples):
            note(text)
        recipe.check(agreed.codec.shape(agreed.conditions.width))
    order = EncodeData(
        schema=agreed.schema.to_json(),
        conditions=agreed.conditions.to_json(),
        mass=tuple(mass.tolist()),
        recipe=recipe.to_json(),
        seed=settings.seed,
        matching=matching,
        marginals=model.marginals
        and settings.federation.generator != "own"
        and has_categories(agreed.codec),
        missing=settings.data.missing,
        held_out=settings.data.held_out,
        form=run.form,
        noised=run.budget is not None,
        bins=build_binning(model.bins, agreed.codec, agreed.conditions, note)
        if matching == "moments" and settings.projected
        else 0,
    )
    for text in agreed.notes:
        note(text)
    run.folder.write_releases(run.exchange.releases)
    run.folder.write_plan(order, agreed.rows, settings, agreed.notes)
    return order, agreed.rows
