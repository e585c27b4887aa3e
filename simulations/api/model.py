"""`everymode.fit` and `everymode.load`: a generator from data frames, and rows from it."""

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from everymode.server.config.files import load as load_settings
from everymode.server.config.files import parse
from everymode.server.config.settings import Settings
from everymode.server.in_process import run_in_process
from everymode.server.outputs.leftovers import Scratch
from everymode.server.outputs.run_directory import RunFolder
from everymode.server.simulated_sites import create_simulated_sites
from everymode.server.synthesis.completion import complete
from everymode.server.synthesis.drawing import PATIENCE, Search
from everymode.server.synthesis.generator_file import load_generator
from everymode.server.synthesis.synthesizer import Synthesizer
from everymode.simulations.api.frames import (
    ColumnType,
    check_columns,
    check_frame,
    common_types,
    named_sites,
    restore,
    write_frame,
)
from everymode.simulations.api.notebook import picture, summary_table
from everymode.simulations.api.progress import in_notebook, listening
from everymode.simulations.sample import searching
from everymode.wgan.errors import SettingsError, StateError
from everymode.wgan.files import read_json, remove_tree, temporary_beside, write_bytes, write_json

Sites = int | Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame]

FILE = "model.json"
"""What a saved model has beyond a run directory: the types of the columns."""

VERSION = 1

OWN = ("path", "holdout", "sensitive", "target", "drop", "columns")
"""Keys of [data] that belong to a preset's table, not to the user's."""


class Model:
    """A synthetic-data generator trained across sites, in the manner of scikit-learn.

    >>> import pandas as pd
    >>> from everymode import DataError, Model
    >>> model = Model(sites=3, config="quick", random_state=1)
    >>> model.get_params()["sites"]
    3
    >>> try:
    ...     model.sample(10)
    ... except ValueError as error:
    ...     print(error)
    this model is not fitted; call fit first
    """

    def __init__(
        self,
        *,
        sites: Sites = 10,
        site_column: str | None = None,
        config: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        progress: bool = True,
    ) -> None:
        """Nothing is trained yet.

        Args:
            sites: How many simulated sites the table is split over; or the table of each site, in
                a list or by name.
            site_column: A column that says which site a row is from; it is not modelled.
            config: A preset ("adult", "adult-long", "quick") or a TOML file, for everything that
                is not said here; None: the defaults.
            overrides: Keys of the configuration, such as `{"train.rounds": 100}`;
                `everymode simulate --help` lists them.
            random_state: The seed. The same seed on the same machine gives the same rows.
            n_jobs: Processes that train, through Flower and Ray; -1: one a core. None or 1: this
                process alone. The result is the same.
            progress: Whether to show the progress, on standard error or in the notebook.
        """
        self.sites = sites
        self.site_column = site_column
        self.config = config
        self.overrides = overrides
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.progress = progress
        self._folder: Path | None = None
        # Removes the folder, at the latest when the process ends.
        self._goes: Callable[[], object] | None = None
        self._types: dict[str, ColumnType] = {}
        self._synthesizer: Synthesizer | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, by name."""
        names = ("sites", "site_column", "config", "overrides", "random_state", "n_jobs")
        return {name: getattr(self, name) for name in (*names, "progress")}

    def set_params(self, **parameters: Any) -> "Model":
        """Changes parameters; a model that is fitted stays as it is until it is fitted again.

        Raises:
            SettingsError: A parameter is unknown.
        """
        known = self.get_params()
        if unknown := [name for name in parameters if name not in known]:
            raise SettingsError(
                f"{', '.join(unknown)}: no parameter of a model; there are {', '.join(known)}"
            )
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def fit(
        self,
        data: pd.DataFrame | None = None,
        *,
        sensitive_features: Sequence[str] = (),
        target: str | None = None,
        holdout: pd.DataFrame | None = None,
        drop: Sequence[str] = (),
    ) -> "Model":
        """Trains the generator.

        Args:
            data: The table; None where `sites` holds the tables.
            sensitive_features: Columns whose joint values are the groups.
            target: The column that users of the synthetic rows will want to predict.
            holdout: Real rows that are not trained on, for the figures of utility.
            drop: Columns to leave out: identifiers, free text.

        Returns:
            This model.

        Raises:
            DataError: Tables that cannot be modelled as they are.
            SettingsError: Parameters that cannot be used as they are.
        """
        if isinstance(sensitive_features, str):
            raise SettingsError(
                f"sensitive_features: expected a list; write ['{sensitive_features}']"
            )
        frames = self._frames(data)
        wanted = dict.fromkeys(sensitive_features, "sensitive_features")
        wanted |= dict.fromkeys(drop, "drop") | ({target: "target"} if target else {})
        if self.site_column is not None:
            wanted[self.site_column] = "site_column"
        check_columns(next(iter(frames.values())), wanted)
        if holdout is not None:
            check_columns(check_frame(holdout, "holdout"), wanted, "holdout")
        with Scratch() as tables:
            named = tables / "sites" if len(frames) > 1 or data is None else tables / "data.parquet"
            for name, frame in frames.items():
                write_frame(frame, named / f"{name}.parquet" if named.suffix == "" else named)
            values: dict[str, Any] = {
                "path": str(named),
                "sensitive": list(sensitive_features),
                "target": target,
                "drop": list(drop),
            }
            if holdout is not None:
                write_frame(holdout, tables / "holdout.parquet")
                values["holdout"] = str(tables / "holdout.parquet")
            self._train(self._settings(values))
        self._types = common_types(list(frames.values()))
        return self

    def _frames(self, data: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
        """Checked tables by site; one that is to be dealt out is called "data"."""
        if isinstance(self.sites, int):
            if data is None:
                raise SettingsError(
                    "fit: name the table, or give sites=[...] the table of each site"
                )
            return {"data": check_frame(data)}
        if data is not None:
            raise SettingsError(
                "sites holds tables, and fit was given another; give one or the other"
            )
        if self.site_column is not None:
            raise SettingsError(
                "site_column says whose a row is, and sites holds the tables already; "
                "give one or the other"
            )
        return named_sites(self.sites)

    def _settings(self, data: dict[str, Any]) -> Settings:
        """The configuration; of a preset all that is not of its own table."""
        values: dict[str, Any] = {}
        if self.config is not None:
            values = load_settings(self.config).model_dump(mode="json", exclude_unset=True)
            values["data"] = {k: v for k, v in values["data"].items() if k not in OWN}
        values["data"] = {**values.get("data", {}), **data}
        values["seed"] = self.random_state
        if isinstance(self.sites, int):
            split = {**values.get("split", {}), "sites": self.sites}
            if self.site_column is not None:
                split |= {"by": "column", "column": [self.site_column]}
            elif not (data["sensitive"] or data["target"]):
                # There is nothing that a Dirichlet distribution could spread.
                split["by"] = "iid"
            values["split"] = split
        if self.n_jobs == 0:
            raise SettingsError("n_jobs = 0: write a number of processes, or -1 for one a core")
        if self.n_jobs is not None:
            values["simulation"] = {**values.get("simulation", {}), "actors": max(self.n_jobs, 0)}
        for key, value in (self.overrides or {}).items():
            section, _, name = key.rpartition(".")
            if section:
                values[section] = {**values.get(section, {}), name: value}
            else:
                values[key] = value
        return parse(values, "the model's configuration")

    def _train(self, settings: Settings) -> None:
        kept = tempfile.mkdtemp(prefix="everymode-model-")
        goes = weakref.finalize(self, shutil.rmtree, kept, ignore_errors=True)
        folder = RunFolder(Path(kept) / "run")
        with folder.locked(), listening(self.progress) as listener:
            folder.create(settings)
            try:
                sites = create_simulated_sites(settings, folder.fresh_sites())
                if self.n_jobs in (None, 1):
                    run_in_process(settings, folder, sites, listener=listener)
                else:
                    from everymode.simulations.flower import run_flower

                    # Standard error is Flower's during the run; a notebook's cell is not.
                    cell = listener if in_notebook() else None
                    run_flower(settings, folder, sites, False, not self.progress, cell)
            except BaseException:
                goes()
                raise
            folder.clear_sites()
        if self._goes is not None:
            self._goes()
        self._goes, self._folder, self._synthesizer = goes, folder.path, None

    def sample(
        self,
        rows: int | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        groups: Literal["data", "uniform"] = "data",
        random_state: int | None = None,
        patience: float = PATIENCE,
    ) -> pd.DataFrame:
        """Random synthetic rows, in the types of the table that was modelled.

        Conditions by column in `where` must all be met: a value, such as `{"sex": "Female"}`; a
        list or set for any of several values; a tuple of two or a slice for a range of numbers or
        dates, ends included, None for an open end; None for no value. A list may hold ranges.
        Sensitive features and a target with classes cost nothing; conditions on other columns are
        met by drawing until enough rows fit.

        Args:
            rows: How many; None: as many as the table had.
            where: Wanted values by column, such as
                `{"age": (60, 90), "country": ["DE", "FR"], "born": slice("1950-01-01", None)}`.
            groups: Mixture of groups: as in the data, or uniform.
            random_state: The seed of the rows; None: the model's.
            patience: Seconds that drawing may take; a condition so rare that it would take longer
                is refused with an estimate.

        Raises:
            DataError: A column or a value is unknown, or occurs too rarely.
            SettingsError: The model is not fitted, or the number of rows is not one.
        """
        synthesizer, count = self.synthesizer, self._rows(rows)
        with searching(patience, self._shows) as search:
            drawn = synthesizer.draw(count, self._seed(random_state), groups, where, search)
        return restore(drawn, self._types, synthesizer.plan.schema)

    def sample_batches(
        self,
        rows: int | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        groups: Literal["data", "uniform"] = "data",
        random_state: int | None = None,
        patience: float = PATIENCE,
    ) -> Iterator[pd.DataFrame]:
        """The rows of `sample` in tables of 65,536 rows, the last one shorter.

        Each is drawn when it is asked for, so that any number of rows takes little memory.
        Arguments and errors are those of `sample`.
        """
        synthesizer, count = self.synthesizer, self._rows(rows)
        seed = self._seed(random_state)
        search = Search(patience)
        for piece in synthesizer.draw_pieces(count, seed, groups, where, search):
            yield restore(piece, self._types, synthesizer.plan.schema)

    def _rows(self, rows: int | None) -> int:
        """How many rows to draw; None: as many as the table had."""
        if rows is None:
            return int(self.summary["rows"])
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise SettingsError(f"rows = {rows!r}: expected a whole number above 0")
        return rows

    def complete(
        self,
        rows: pd.DataFrame,
        *,
        groups: Literal["data", "uniform"] = "data",
        random_state: int | None = None,
        patience: float = PATIENCE,
    ) -> pd.DataFrame:
        """Partial rows with their missing cells filled in; cells that are given stay.

        Given categories are met exactly where rows drawn allow it, given numbers approximately: the
        rest of a row comes from one of the nearest rows drawn. A warning counts the rows without an
        exact match. See `everymode.server.synthesis.completion`.

        Args:
            rows: Some of the table's columns. Missing cells are filled in; a cell `"(missing)"`
                stays without a value.
            groups: Mixture of groups where they are not given: as in the data, or uniform.
            random_state: The seed; None: the model's.
            patience: Seconds that it may take; what would take longer is refused.

        Returns:
            All columns of the table, one row for each given one, with its index.

        Raises:
            DataError: A column or a value is unknown; all of them at once.
            SettingsError: The model is not fitted.
        """
        synthesizer = self.synthesizer
        frame = check_frame(rows.reset_index(drop=True), "the partial rows")
        seed = self._seed(random_state)
        with searching(patience, self._shows) as search:
            found = complete(synthesizer, frame, seed, groups, search, "the partial rows")
        for text in found.sentences():
            warnings.warn(text, UserWarning, stacklevel=2)
        return restore(found.rows, self._types, synthesizer.plan.schema).set_axis(rows.index)

    def _seed(self, random_state: int | None) -> int:
        return self.random_state if random_state is None else random_state

    @property
    def _shows(self) -> bool:
        return self.progress and not in_notebook()

    @property
    def synthesizer(self) -> Synthesizer:
        """The trained generator with its postprocessing steps.

        Raises:
            SettingsError: The model is not fitted.
        """
        if self._synthesizer is None:
            self._synthesizer = load_generator(RunFolder(self.folder))
        return self._synthesizer

    @property
    def folder(self) -> Path:
        """The run directory, with figures, pictures and the audit of the sites' sums.

        It goes with the model unless it is saved.

        Raises:
            SettingsError: The model is not fitted.
        """
        if self._folder is None:
            raise SettingsError("this model is not fitted; call fit first")
        return self._folder

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of the training: the content of `summary.json`."""
        return RunFolder(self.folder).read_summary()

    def save(self, path: str | Path) -> Path:
        """Writes the model to a new folder, whole or not at all; `everymode sample` reads it too.

        Raises:
            SettingsError: The model is not fitted.
            StateError: The folder exists, or cannot be written.
        """
        source, target = self.folder, Path(path)
        if target.exists():
            raise StateError(f"{target}: exists; name a new folder")
        types = {name: column.to_json() for name, column in self._types.items()}
        record = {"version": VERSION, "random_state": self.random_state, "columns": types}
        partial = temporary_beside(target.resolve())
        try:
            for file in sorted(p for p in source.rglob("*") if p.is_file()):
                if file.parent.name != "checkpoints":
                    write_bytes(partial / file.relative_to(source), file.read_bytes())
            write_json(partial / FILE, record)
            os.rename(partial, target)
        except StateError:
            raise
        except OSError as error:
            raise StateError(f"{target}: cannot be written: {error.strerror or error}") from error
        finally:
            if partial.exists():
                remove_tree(partial)
        return target

    def __repr__(self) -> str:
        """The parameters that differ from their defaults."""
        shown = {**self.get_params()}
        if not isinstance(self.sites, int):
            shown["sites"] = f"<{len(self.sites)} tables>"
        defaults = Model().get_params()
        told = ", ".join(f"{k}={v!r}" for k, v in shown.items() if v != defaults[k])
        return f"Model({told})"

    def _repr_html_(self) -> str:
        """Figures and the picture of the groups, for a notebook."""
        if self._folder is None:
            return f"<pre>{self!r}, not fitted</pre>"
        return summary_table(self.summary) + picture(self._folder / "groups.png")


def fit(
    data: pd.DataFrame | None = None,
    *,
    sensitive_features: Sequence[str] = (),
    target: str | None = None,
    sites: Sites = 10,
    site_column: str | None = None,
    config: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    holdout: pd.DataFrame | None = None,
    drop: Sequence[str] = (),
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: bool = True,
) -> Model:
    """Trains one generator across sites and returns it; arguments as of `Model` and `Model.fit`.

    >>> import numpy as np, pandas as pd, everymode
    >>> rng = np.random.default_rng(0)
    >>> sex = rng.choice(["Female", "Male"], 600)
    >>> frame = pd.DataFrame({"sex": sex, "age": rng.integers(18, 90, 600)})
    >>> brief = {"train.rounds": 2, "model.projection": False}
    >>> model = everymode.fit(
    ...     frame, sensitive_features=["sex"], sites=3, overrides=brief, progress=False
    ... )
    >>> table = model.sample(5, where={"sex": "Female"})
    >>> table["sex"].tolist(), str(table["age"].dtype)
    (['Female', 'Female', 'Female', 'Female', 'Female'], 'int64')
    """
    model = Model(
        sites=sites,
        site_column=site_column,
        config=config,
        overrides=overrides,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
    )
    return model.fit(
        data, sensitive_features=sensitive_features, target=target, holdout=holdout, drop=drop
    )


def load(path: str | Path) -> Model:
    """A model that was saved, or the generator of a run of `everymode simulate`.

    Columns have the types that they had when the model was fitted; of a run, those that its schema
    implies.

    Raises:
        StateError: There is none, or it is of another version of EveryMode.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise StateError(f"{folder}: no such folder; name one that save wrote, or a run directory")
    model = Model(progress=False)
    file = folder / FILE
    if file.exists():
        record = read_json(file)
        version = record.get("version") if isinstance(record, dict) else None
        if version != VERSION:
            raise StateError(
                f"{file}: is of version {version}, and this EveryMode reads {VERSION}; load it "
                "with the one that wrote it, or fit anew"
            )
        try:
            model._types = {k: ColumnType.from_json(v) for k, v in record["columns"].items()}
            model.random_state = int(record["random_state"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StateError(f"{file}: is not as save wrote it ({error}); fit anew") from None
    model._folder = folder
    model._synthesizer = load_generator(RunFolder(folder))
    return model
