"""One run from tables to figures: query, prepare, rounds, and `server.evaluation.conclusion`.

The same for every exchange: in process, Flower's simulation, real sites.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
import torch

from clients.protocol.messages import EncodeData, Matched, Request
from clients.protocol.plan import Plan, fingerprint
from fairness.matching.moments import width_of_moments
from fairness.matching.suppression import FLOOR
from fairness.weighting.group_weights import group_mass
from server.config.files import resolve
from server.config.recipe import build_recipe
from server.config.settings import Settings, settings_digest
from server.evaluation.conclusion import TrainingResult, conclude
from server.evaluation.figures import check_holdout, check_values
from server.outputs.run_directory import RunFolder
from server.schema.agreement import Agreement, agree
from server.synthesis.calibration import category_marginals, has_categories
from server.synthesis.projection import build_binning, projects
from server.training.participation import ClientSampler, uniform
from server.training.penalties import build_penalties, request_moments
from server.training.rounds import Metrics, Rounds
from server.transport.exchange import Exchange
from server.transport.run_identity import Named
from wgan.data.frame import read_table
from wgan.errors import EveryModeError, SettingsError, StateError

MOMENTS = 16_000_000
"""Most sums of second moments that a site is asked for: 128 MB."""


class Interrupted(EveryModeError):
    """The user asked to stop; a checkpoint was written."""


class Reporter(Protocol):
    """Who shows what goes on."""

    def phase(self, text: str) -> None:
        """A new part of the run begins."""
        ...

    def begin(self, done: int, rounds: int, groups: Sequence[str]) -> None:
        """Rounds begin; `done` are behind already."""
        ...

    def round(self, metrics: Metrics) -> None:
        """A round is finished."""
        ...

    def step(self, done: int, of: int) -> None:
        """Of the part at hand, so many steps are done, of at most so many."""
        ...

    def finish(self, summary: dict[str, Any], run: RunFolder) -> None:
        """The run is finished."""
        ...


@dataclass(frozen=True)
class Session:
    """What a run needs besides its configuration.

    Attributes:
        settings: The configuration.
        run: Where results go.
        exchange: The way to the sites.
        columns: Headers of the sites' tables, in order.
        reporter: Who shows what goes on.
        real: Gives all real rows, where one machine has them; None in deployment.
        resume: Whether to go on from the newest checkpoint.
        stop: Says whether the user asked to stop.
    """

    settings: Settings
    run: RunFolder
    exchange: Exchange
    columns: tuple[str, ...]
    reporter: Reporter
    real: Callable[[], pd.DataFrame] | None = None
    resume: bool = False
    stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        """Has every request say of which run it is."""
        named = Named(self.exchange, settings_digest(self.settings)[:16])
        object.__setattr__(self, "exchange", named)

    def __call__(self) -> dict[str, Any]:
        """Runs to the end and returns the summary.

        Raises:
            EveryModeError: Anything the user can mend; `Interrupted` where `stop` said so.
        """
        started = time.perf_counter()
        settings, run, report = self.settings, self.run, self.reporter
        device = choose_device(settings)
        names, seed, last = self.exchange.names, settings.seed, settings.train.rounds
        ClientSampler(names, settings.federation, seed, uniform, last).check()
        holdout = self._holdout()
        prepare, rows = self._plan()
        name = fingerprint(prepare)
        saved = run.load(name, settings_digest(settings), report.phase) if self.resume else None
        report.phase("sites encode their tables")
        ready = self.exchange(Request(prepare))
        plan = Plan.of(prepare)
        modelled = int(plan.conditions.table.sum())
        if int(ready["rows"][0]) != modelled:
            raise StateError(
                f"{run.path}: the run was started with {modelled:,} usable rows, but the sites now "
                f"hold {int(ready['rows'][0]):,}; put the tables back as they were, or start a new "
                "run"
            )
        if left_out := int(ready["left_out"][0]):
            report.phase(
                f"note: sites leave out {left_out:,} rows of cells of group and label of which "
                "they hold fewer than their floor (site.floor)"
            )
        idle = int(ready["sites"][0]) - int(ready["taking"][0])
        if idle:
            report.phase(
                f"note: {idle} of {int(ready['sites'][0])} sites hold no row of a group that is "
                "modelled (data.floor), and take no part"
            )
        if holdout is not None:
            check_values(plan, holdout, str(settings.data.holdout))
        moments = None
        if prepare.matching == "moments":
            moments, missing = request_moments(self.exchange, plan, name, ready)
            if missing:
                report.phase(
                    f"note: {missing:.1%} of the second moments rest on fewer than {FLOOR} rows "
                    "of their level, or would give such away, and are left out"
                )
        penalties = build_penalties(settings, plan, prepare.matching, ready, moments, device)
        rounds = Rounds(settings, plan, name, self.exchange, penalties, device)
        shares = (
            category_marginals(settings, plan, ready["marginals"]) if prepare.marginals else None
        )
        if not projects(settings, plan):
            moments = None
        for warning in plan.recipe.warnings():
            report.phase(f"note: {warning}")
        history = run.read_history(saved[1].round) if saved else []
        if saved:
            rounds.resume(*saved, history)
        rounds.introduce()
        run.rewrite_metrics(history)
        self._train(rounds, name, history)
        trained = TrainingResult(rounds, name, rows, ready, shares, moments, history)
        summary = conclude(
            settings,
            run,
            self.exchange,
            trained,
            holdout,
            self.real,
            self._phase,
            self._step,
            started,
        )
        report.finish(summary, run)
        return summary

    def _phase(self, phase: str) -> None:
        """Tells of a part of the work after the last round, unless the user asked to stop."""
        self._unstopped(f"before: {phase}")
        self.reporter.phase(phase)

    def _step(self, done: int, of: int) -> None:
        """Tells of a step within such a part, likewise."""
        self._unstopped(f"in step {done} of at most {of} of its end")
        self.reporter.step(done, of)

    def _unstopped(self, place: str) -> None:
        if self.stop():
            raise Interrupted(
                f"stopped after the last round, {place}; continue with: {self.run.resume}"
            )

    def _holdout(self) -> pd.DataFrame | None:
        data = self.settings.data
        if data.holdout is None:
            return None
        path = resolve(data.holdout)
        holdout = read_table(path, data.missing)
        check_holdout(holdout, self.columns, str(path))
        return holdout[list(self.columns)]

    def _plan(self) -> tuple[EncodeData, int]:
        if self.resume and self.run.planned:
            self.run.check_settings(self.settings)
            return self.run.read_plan()
        settings = self.settings
        self.reporter.phase("sites agree on a schema")
        agreed = agree(self.exchange, self.columns, settings.data, settings.seed)
        counts = agreed.conditions.group_counts
        mass = group_mass(counts, settings.groups.weights, settings.groups.exponent)
        wanted = settings.model.matching > 0 and settings.federation.generator == "server"
        matching: Matched = settings.model.matching_by if wanted else "none"
        if matching == "moments" and (entries := count_of_moments(agreed)) > MOMENTS:
            matching = "none"
            self.reporter.phase(
                f"second moments are left out: {entries:,} sums a site are more than {MOMENTS:,}; "
                "leave columns of many categories out with data.drop to have them, or set "
                "model.matching_by = 'kernel'"
            )
        codec = agreed.codec
        order = EncodeData(
            schema=agreed.schema.to_json(),
            conditions=agreed.conditions.to_json(),
            mass=tuple(mass.tolist()),
            recipe=build_recipe(settings).to_json(),
            seed=settings.seed,
            matching=matching,
            marginals=settings.model.marginals
            and settings.federation.generator != "own"
            and has_categories(agreed.schema.without(agreed.conditions.given)),
            missing=settings.data.missing,
            held_out=settings.data.held_out,
            bins=build_binning(settings, codec, agreed.conditions, self.reporter.phase)
            if matching == "moments"
            else 0,
        )
        for note in agreed.notes:
            self.reporter.phase(f"note: {note}")
        self.run.write_plan(order, agreed.rows, settings)
        return order, agreed.rows

    def _train(self, rounds: Rounds, name: str, history: list[Metrics]) -> None:
        output, digest = self.settings.output, settings_digest(self.settings)
        self.reporter.phase("training")
        self.reporter.begin(
            rounds.progress.round, self.settings.train.rounds, rounds.plan.conditions.names
        )
        for metrics in rounds.run(self.stop):
            self.run.append(metrics)
            history.append(metrics)
            number = rounds.progress.round
            if number % output.checkpoint_every == 0 or rounds.finished:
                self.run.save(rounds.tensors(), rounds.progress, name, digest, output.keep)
            self.reporter.round(metrics)
        if not rounds.finished:
            self.run.save(rounds.tensors(), rounds.progress, name, digest, output.keep)
            raise Interrupted(
                f"stopped after round {rounds.progress.round} of {self.settings.train.rounds}; "
                f"continue with: {self.run.resume}"
            )


def count_of_moments(agreed: Agreement) -> int:
    """How many sums the second moments of a schema take."""
    conditions = agreed.conditions
    width = agreed.codec.width
    return (conditions.width + 1) * width_of_moments(width, conditions.width)


def choose_device(settings: Settings) -> str:
    """`cpu` or `cuda`, from the configuration and what the machine has.

    Raises:
        SettingsError: A GPU is asked for and there is none.
    """
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            "device = 'cuda': PyTorch sees no GPU here; install a CUDA build of torch, or set "
            "device = 'auto' or 'cpu'"
        )
    return settings.device
