"""Partitions one table over sites, for simulations.

`everymode.server.simulated_sites` writes one file a site with it, and `everymode split` does so for
a user. `assign` is a pure function of the table, the split and the seed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everymode.wgan.data.dealing import deal, dealt_suffix
from everymode.wgan.data.file_form import RECOGNISED, FileForm
from everymode.wgan.errors import DataError, StateError, suggest
from everymode.wgan.files import make_folder, remove_tree, temporary_beside, write_bytes

By = Literal["iid", "dirichlet", "group", "quantity", "column"]
MOST = 1000
"""Sites that a column may name."""

Sites = NDArray[np.int64]
"""The site of each row, `(n,)`."""


@dataclass(frozen=True)
class Split:
    """How rows are partitioned over sites.

    Attributes:
        by: `iid`: equal sizes, rows at random. `quantity`: sizes from Dirichlet(alpha), rows at
            random. `dirichlet`: the rows of every cell are spread over sites with shares from
            Dirichlet(alpha), so sites differ in groups, labels and size (Hsu et al. 2019,
            arXiv:1909.06335; Li et al. 2022, arXiv:2102.02079). `group`: every cell lives on as
            few sites as possible (McMahan et al. 2017, arXiv:1602.05629). `column`: every cell is
            a site, in the order of values.
        sites: How many sites; `column` does not read it.
        alpha: Concentration of the Dirichlet distribution; smaller means more different sites.
        columns: Columns whose joint values are the cells of `dirichlet` and `group`.
        minimum: Rows that every site should hold at least; a site with fewer is topped up with
            rows drawn from the largest site. With fewer than `sites * minimum` rows in the table,
            `rows // sites` takes its place.
        group_columns: Those of `columns` whose joint values are the groups of `isolate_below`.
        isolate_below: Every group holding less than this share of all rows goes to one site only.
        largest: With `quantity`, the share of the rows that one site holds, drawn at random, while
            the others are equal; 0: Dirichlet's sizes.

    `alpha` is read by `dirichlet` and `quantity`, `columns` by `dirichlet` and `group`,
    `group_columns` and `isolate_below` by `dirichlet`; elsewhere they are ignored, so that splits
    can be compared by changing `by` alone.
    """

    by: By
    sites: int
    alpha: float = 0.3
    columns: tuple[str, ...] = ()
    minimum: int = 20
    group_columns: tuple[str, ...] = ()
    isolate_below: float = 0.0
    largest: float = 0.0


def assign(keys: pd.DataFrame, split: Split, seed: int) -> Sites:
    """The site of each row.

    Every row is dealt once and no site is empty. The result depends on the table, the split and
    the seed only.

    Args:
        keys: `(n, c)`, the columns to split on as text, missing values as "".
        split: How.
        seed: Seed of a generator of its own.

    Returns:
        `(n,)` integers from 0 to `split.sites - 1`.

    Raises:
        DataError: Naming every setting that does not fit the table.

    >>> keys = pd.DataFrame({"sex": ["f", "m", "m", "f"]})
    >>> sites = assign(keys, Split("group", sites=2, columns=("sex",), minimum=1), seed=0)
    >>> bool(sites[0] == sites[3] != sites[1] == sites[2])
    True
    """
    if problems := list(_problems(keys, split)):
        raise DataError(problems)
    rng = np.random.default_rng(seed)
    rows = len(keys)
    free = np.ones(rows, dtype=bool)
    match split.by:
        case "iid":
            sites = rng.permutation(np.arange(rows, dtype=np.int64) % split.sites)
        case "column":
            return _cells(keys, split.columns)
        case "quantity":
            sizes = rng.multinomial(rows, _sizes(split, rng))
            sites = rng.permutation(np.repeat(np.arange(split.sites, dtype=np.int64), sizes))
        case "group":
            sites = _by_group(_cells(keys, split.columns), split.sites, rng)
        case "dirichlet":
            sites = _by_dirichlet(_cells(keys, split.columns), split, rng)
            if split.isolate_below > 0:
                free = _isolate(_cells(keys, split.group_columns), sites, split, rng)
    _top_up(sites, free, split, rng)
    return sites


def write_sites(
    frame: pd.DataFrame,
    sites: Sites,
    folder: Path,
    suffix: str = ".csv",
    disposable: bool = False,
) -> list[Path]:
    """Writes one file a site: all of them or, where something fails, none.

    Args:
        frame: `(n, c)`, the table. Text cells are written as they are, missing ones empty.
        sites: `(n,)`, the site of each row.
        folder: Where `site-00.csv`, `site-01.csv` ... go; it must be empty or not exist.
        suffix: `.csv` or `.parquet`.
        disposable: Whether they are a simulation's: then they are for their owner's eyes only,
            whatever the umask says, and nobody waits for the disk.

    Returns:
        The files, in the order of sites.

    Raises:
        DataError: Where `suffix` is another one.
        StateError: Where `folder` holds something already or cannot be written.
    """
    if suffix not in (".csv", ".parquet"):
        raise DataError(f"files of sites cannot be written as '{suffix}'; use '.csv' or '.parquet'")
    if len(sites) != len(frame):
        raise ValueError(f"{len(sites)} sites for {len(frame)} rows")

    def contents(names: Sequence[str]) -> Iterator[bytes]:
        for site in range(len(names)):
            part = frame[sites == site]
            if suffix == ".csv":
                # csv quotes a lone carriage return only where it is part of the line terminator.
                yield part.to_csv(index=False, lineterminator="\r\n").encode()
            else:
                yield part.to_parquet(index=False)

    return _write(contents, sites, folder, suffix, disposable)


def deal_sites(
    source: Path,
    sites: Sites,
    folder: Path,
    disposable: bool = False,
    form: FileForm = RECOGNISED,
) -> list[Path]:
    """Writes the rows of a file to one file a site, as they are written there: all files or none.

    Args:
        source: The file; see `everymode.wgan.data.dealing`.
        sites: `(n,)`, the site of each of its rows.
        folder: Where `site-00`, `site-01` ... go, with the ending of `source` (Parquet for
            workbooks, JSON lines, SAS and Stata); it must be empty or not exist.
        disposable: As in `write_sites`; then text is in UTF-8, not compressed, has headers and
            says its separator.
        form: How text is declared to be written.

    Returns:
        The files, in the order of sites.

    Raises:
        DataError: The file cannot be read.
        StateError: Where `folder` holds something already or cannot be written.
    """
    suffix = dealt_suffix(source)
    if disposable:
        suffix = suffix.lower()
        suffix = next((stem for stem in (".csv", ".tsv") if suffix.startswith(stem)), suffix)
    return _write(
        lambda names: deal(source, sites, names, disposable, form),
        sites,
        folder,
        suffix,
        disposable,
    )


def _write(
    contents: Callable[[Sequence[str]], Iterator[bytes]],
    sites: Sites,
    folder: Path,
    suffix: str,
    disposable: bool,
) -> list[Path]:
    final = folder.resolve()
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        what = "is not empty" if final.is_dir() else "is not a folder"
        raise StateError(f"{folder} {what}; name a new folder for the files of the sites")
    count = int(sites.max()) + 1 if len(sites) else 0
    width = max(2, len(str(count - 1)))
    names = [f"site-{site:0{width}d}{suffix}" for site in range(count)]
    partial = temporary_beside(final)
    try:
        make_folder(final.parent, private=disposable)
        partial.mkdir(0o700 if disposable else 0o777)
        for name, content in zip(names, contents(names), strict=True):
            write_bytes(partial / name, content, durable=not disposable, private=disposable)
        # Replaces an empty folder and nothing else: a folder filled meanwhile is left alone.
        os.rename(partial, final)
    except (OSError, StateError) as error:
        cause = error.__cause__ or error
        said = cause.strerror if isinstance(cause, OSError) else None
        raise StateError(f"{folder} cannot be written: {said or cause}") from error
    finally:
        if partial.exists():
            remove_tree(partial)
    return [folder / name for name in names]


def minimum_note(sites: Sites, split: Split) -> str:
    """That sites hold fewer rows than `split.minimum`, with numbers; empty where none does."""
    sizes = np.bincount(sites, minlength=split.sites if split.by != "column" else 0)
    few = int((sizes < split.minimum).sum())
    if not few or not split.minimum:
        return ""
    which = "every site holds" if few == len(sizes) else f"{few} of {len(sizes)} sites hold"
    return (
        f"{which} fewer rows than the minimum of {split.minimum}: the smallest holds "
        f"{int(sizes.min())}, of {len(sites):,} rows in all; use fewer sites or a smaller minimum"
    )


def site_table(keys: pd.DataFrame, sites: Sites) -> pd.DataFrame:
    """How many rows of each joint value every site holds.

    Args:
        keys: `(n, c)`, columns as text, missing values as ""; without columns, all rows count as
            one value called `rows`.
        sites: `(n,)`, the site of each row.

    Returns:
        Rows: sites. Columns: joint values as "v1, v2", most frequent first.

    >>> site_table(pd.DataFrame({"sex": ["f", "m", "m"]}), np.array([0, 0, 1])).to_dict("index")
    {0: {'m': 1, 'f': 1}, 1: {'m': 1, 'f': 0}}
    """
    text = keys.fillna("").astype(str).replace("", "(missing)")
    values = [", ".join(cells) for cells in text.to_numpy()] if len(text.columns) else "rows"
    frame = pd.DataFrame({"site": sites, "value": values}, index=keys.index)
    order = frame["value"].value_counts(sort=False).sort_index()
    order = order.sort_values(ascending=False, kind="stable")
    table = frame.groupby(["site", "value"]).size().unstack(fill_value=0)
    index = pd.RangeIndex(int(sites.max()) + 1 if len(sites) else 0, name="site")
    return table.reindex(index=index, columns=pd.Index(order.index.tolist()), fill_value=0)


def _problems(keys: pd.DataFrame, split: Split) -> Iterator[str]:
    rows = len(keys)
    if split.by not in get_args(By):
        yield f"split.by = '{split.by}' is unknown; use one of {', '.join(get_args(By))}"
    if split.sites < 1:
        yield f"split.sites = {split.sites}; use 1 or more"
    elif rows < split.sites and split.by != "column":
        yield f"split.sites = {split.sites} but the table has {rows} rows; at most {rows}"
    if split.minimum < 0:
        yield f"split.minimum = {split.minimum}; use 0 or more rows"
    if split.by in ("dirichlet", "quantity") and not 0 < split.alpha < np.inf:
        yield f"split.alpha = {split.alpha}; use a number above 0, such as 0.3"
    if not 0 <= split.largest < 1:
        yield f"split.largest = {split.largest}; use a share from 0 to below 1"
    if split.by not in ("dirichlet", "group", "column"):
        return
    if not split.columns and split.by == "column":
        yield ("split.by = 'column' needs the column that names each row's site: set split.column")
    elif not split.columns:
        yield (
            f"split.by = '{split.by}' needs a column to split on: set split.column, "
            "data.sensitive or data.target, or split.by = 'iid'"
        )
    known = [str(name) for name in keys.columns]
    for name in dict.fromkeys(split.columns):
        if name not in known:
            yield _unknown(name, known)
    if split.by == "column" and split.columns and set(split.columns) <= set(known):
        count = int(_cells(keys, split.columns).max(initial=-1)) + 1
        if count > MOST:
            yield (
                f"split.column = {', '.join(split.columns)}: {count} different values would make "
                f"as many sites, at most {MOST} are allowed; name a column of sites"
            )
    if split.by != "dirichlet":
        return
    if not 0 <= split.isolate_below < 1:
        yield f"split.isolate_below = {split.isolate_below}; use a share from 0 to below 1"
    elif split.isolate_below > 0 and not split.group_columns:
        yield (
            f"split.isolate_below = {split.isolate_below} needs groups: set data.sensitive, "
            "or split.isolate_below = 0"
        )
    for name in split.group_columns:
        if name not in split.columns:
            yield f"group column '{name}' is not among the columns to split on"


def _unknown(name: str, known: Sequence[str]) -> str:
    hint = " ".join(["", suggest(name, known, "")]).rstrip()
    listed = f"columns: {', '.join(known)}" if known else "it has no columns to split on"
    return f"the split names column '{name}', which the table does not have;{hint} {listed}"


def _cells(keys: pd.DataFrame, columns: Sequence[str]) -> Sites:
    """`(n,)`, the number of each row's joint value, in the order of values."""
    names = list(dict.fromkeys(columns))
    text = keys[names].fillna("").astype(str)
    return np.asarray(text.groupby(names, sort=True).ngroup(), dtype=np.int64)


def _shares(split: Split, rng: np.random.Generator) -> NDArray[np.float64]:
    """`(sites,)`, one draw from a symmetric Dirichlet distribution."""
    # Beyond the bound the shares are equal to nine digits, and far beyond it they overflow to 0.
    return rng.dirichlet(np.full(split.sites, min(split.alpha, 1e18)))


def _sizes(split: Split, rng: np.random.Generator) -> NDArray[np.float64]:
    """`(sites,)`, the share of the rows that each site holds."""
    if not split.largest or split.sites == 1:
        return _shares(split, rng)
    shares = np.full(split.sites, (1 - split.largest) / (split.sites - 1))
    shares[rng.integers(split.sites)] = split.largest
    return shares


def _by_dirichlet(cells: Sites, split: Split, rng: np.random.Generator) -> Sites:
    sites = np.empty(len(cells), dtype=np.int64)
    for cell in range(int(cells.max()) + 1):
        members = np.flatnonzero(cells == cell)
        # One draw a row: cutting at rounded shares would favour some sites in small cells.
        sites[members] = rng.choice(split.sites, size=len(members), p=_shares(split, rng))
    return sites


def _isolate(
    groups: Sites, sites: Sites, split: Split, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Moves every small group to one site, in place; returns `(n,)`, the rows of other groups."""
    sizes = np.bincount(groups)
    small = np.flatnonzero(sizes < split.isolate_below * len(groups))
    order = rng.permutation(split.sites)
    for turn, group in enumerate(small):
        sites[groups == group] = order[turn % split.sites]
    return ~np.isin(groups, small)


def _by_group(cells: Sites, count: int, rng: np.random.Generator) -> Sites:
    sizes = np.bincount(cells)
    order = np.argsort(-sizes, kind="stable")
    names = rng.permutation(count).astype(np.int64)
    sites = np.empty(len(cells), dtype=np.int64)
    if len(sizes) >= count:
        load = np.zeros(count, dtype=np.int64)
        for cell in order:
            site = int(load.argmin())
            sites[cells == cell] = names[site]
            load[site] += sizes[cell]
        return sites
    parts = np.ones(len(sizes), dtype=np.int64)
    for _ in range(count - len(sizes)):
        # The next site goes to the value with most rows a site; never more sites than rows.
        parts[np.where(parts < sizes, sizes / parts, 0).argmax()] += 1
    ends = np.cumsum(parts)
    for cell, end in enumerate(ends):
        members = np.flatnonzero(cells == cell)
        own = names[end - parts[cell] : end]
        for site, share in zip(own, np.array_split(members, len(own)), strict=True):
            sites[share] = site
    return sites


def _top_up(sites: Sites, free: NDArray[np.bool_], split: Split, rng: np.random.Generator) -> None:
    """Fills sites below the minimum from the largest ones with free rows, in place."""
    rows, count = len(sites), split.sites
    # First the wish, then the need: where groups are isolated the wish may be out of reach.
    for target in (min(split.minimum, rows // count), 1):
        while True:
            sizes = np.bincount(sites, minlength=count)
            spare = np.minimum(np.bincount(sites[free], minlength=count), sizes - target)
            poor = int(sizes.argmin())
            if sizes[poor] >= target or spare.max() <= 0:
                break
            donor = int(np.where(spare > 0, sizes, -1).argmax())
            moved = min(target - int(sizes[poor]), int(spare[donor]))
            sites[rng.choice(np.flatnonzero(free & (sites == donor)), moved, replace=False)] = poor
    empty = int((np.bincount(sites, minlength=count) == 0).sum())
    if empty:
        raise DataError(
            f"split.isolate_below = {split.isolate_below} leaves {empty} of {count} sites without "
            "rows; use a smaller share, or fewer split.sites"
        )
