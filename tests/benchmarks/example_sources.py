"""Example tables that ship inside packages, as data frames, for `example_tables.py`.

Nothing is downloaded. A package that is not installed has no tables here; `pydataset` is read from
its archive, because an import of it unpacks into the home directory.
"""

import io
import pkgutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

SCIKIT_LEARN = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")

RDATASETS = (
    "COUNT/titanic",
    "MASS/Aids2",
    "MASS/Cars93",
    "MASS/anorexia",
    "MASS/birthwt",
    "MASS/quine",
    "MASS/survey",
    "car/Cowles",
    "car/Salaries",
    "datasets/AirPassengers",
    "datasets/ToothGrowth",
    "datasets/airquality",
    "datasets/anscombe",
    "datasets/esoph",
    "datasets/faithful",
    "datasets/infert",
    "datasets/mtcars",
    "ggplot2/diamonds",
    "ggplot2/economics",
    "ggplot2/mpg",
    "ggplot2/msleep",
    "lme4/sleepstudy",
    "reshape2/french_fries",
    "reshape2/tips",
)
"""Tables of `pydataset` that seaborn offers too, under these names or others, and neighbours."""


@dataclass(frozen=True)
class Example:
    """A table of a package.

    Attributes:
        package: The distribution that ships it.
        name: Its name there.
        load: Makes the frame.
        target: What the package calls the response; empty where it says nothing.
    """

    package: str
    name: str
    load: Callable[[], pd.DataFrame]
    target: str = ""

    @property
    def key(self) -> str:
        """Package and name."""
        return f"{self.package}/{self.name}"


def examples() -> Iterator[Example]:
    """All tables of the packages that are installed."""
    yield from _scikit_learn()
    yield from _statsmodels()
    yield from _files("palmerpenguins", "data", ("*.csv",))
    yield from _files("plotly", "package_data/datasets", ("*.csv.gz",))
    yield from _files("vega_datasets", "_data", ("*.csv", "*.json"))
    yield from _pydataset()


def _scikit_learn() -> Iterator[Example]:
    from sklearn import datasets

    for name in SCIKIT_LEARN:

        def load(name: str = name) -> pd.DataFrame:
            return getattr(datasets, f"load_{name}")(as_frame=True).frame

        yield Example("scikit-learn", name, load, "target" if name != "linnerud" else "")
    yield Example(
        "scikit-learn",
        "diabetes, not scaled",
        lambda: datasets.load_diabetes(as_frame=True, scaled=False).frame,
        "target",
    )


def _statsmodels() -> Iterator[Example]:
    if find_spec("statsmodels") is None:
        return
    import importlib

    import statsmodels.datasets as home

    for module in sorted(m.name for m in pkgutil.iter_modules(home.__path__) if m.ispkg):
        found = importlib.import_module(f"statsmodels.datasets.{module}")
        if not hasattr(found, "load_pandas"):
            continue
        given = found.load_pandas()
        target = getattr(given, "endog_name", None)

        def load(frame: pd.DataFrame = given.data) -> pd.DataFrame:
            return frame

        yield Example("statsmodels", module, load, target if isinstance(target, str) else "")


def _home(package: str) -> Path | None:
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _files(package: str, folder: str, patterns: tuple[str, ...]) -> Iterator[Example]:
    home = _home(package)
    for pattern in patterns if home else ():
        for path in sorted((home / folder).glob(pattern)):  # type: ignore[operator]

            def load(path: Path = path) -> pd.DataFrame:
                read = pd.read_json if path.suffix == ".json" else pd.read_csv
                return read(path)

            yield Example(package, path.name.partition(".")[0], load)


def _pydataset() -> Iterator[Example]:
    home = _home("pydataset")
    if home is None:
        return
    for name in RDATASETS:

        def load(name: str = name) -> pd.DataFrame:
            with tarfile.open(home / "resources.tar.gz") as archive:
                held = archive.extractfile(f"resources/rdata/csv/{name}.csv")
                assert held is not None
                # The first column is R's row names, which pydataset makes the index.
                return pd.read_csv(io.BytesIO(held.read()), index_col=0).reset_index(drop=True)

        yield Example("pydataset", name, load)
