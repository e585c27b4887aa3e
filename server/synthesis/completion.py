"""Partial rows completed by a trained generator: cells that are given stay, the rest is drawn.

Cells of columns that the generator is conditioned on choose its cells, which is exact. The other
given cells are met by sampling-importance resampling (Rubin, "Using the SIR algorithm to simulate
posterior distributions", 1988): rows are drawn, and a partial row takes its missing cells from one
of those that agree with it.

- Categories, missing values and atoms (single values that many rows have) must agree exactly.
- Of the rows that agree in these, the partial row takes one of the `NEAREST` nearest in the given
  numbers, at random. Distances are Euclidean between normal scores of ranks
  (`everymode.wgan.data.ranks`), as the generator makes them, so that no unit counts more.
- Given cells are then written over those of the row that was taken.

So without given numbers the rest of a row has the generator's conditional distribution. With given
numbers it has the one of a neighbourhood, whose width depends on how many rows are drawn
(`POOL` at most for all rows that give the same columns and the same cells of the generator): it is
approximate, most of all where several numbers are given or they are extreme, and a relation between
a given number and a drawn one holds only as exactly as the neighbour is near. A partial row whose
categories no row drawn has takes one that agrees in most of them. `Completed` counts all of these.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import KDTree

from everymode.clients.protocol.plan import Plan, derive_seed
from everymode.fairness.groups.conditions import MISSING
from everymode.server.datasets.choice import choose_modality
from everymode.server.synthesis.conditions import Condition
from everymode.server.synthesis.drawing import (
    Groups,
    RowSource,
    Search,
    cell_shares,
    decoded,
    piece_rows,
    time_span,
)
from everymode.server.synthesis.partial_rows import (
    PROBLEMS,
    CellStates,
    overwritten,
    parse_partial_rows,
    text_as_given,
    values_in,
)
from everymode.wgan.data.restored import contradictory, moved
from everymode.wgan.data.schema import Column
from everymode.wgan.errors import DataError

NEAREST = 16
"""Rows nearest in the given numbers, one of which is taken."""

CANDIDATES = 4096
"""Rows with the given categories that are collected, beyond one for each partial row, before the
nearest in numbers are looked for."""

POOL = 262_144
"""Rows drawn at most for partial rows that give the same columns and the same cells."""

TIES = 1e-6
"""Deviation of the noise on scores that decides at random between equally near rows."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Texts = Mapping[str, npt.NDArray[np.object_]]


@dataclass(frozen=True)
class Completed:
    """Completed rows, and how well they could be met.

    Attributes:
        rows: The rows, typed, with the columns of the run.
        cells: Given cells as text, `None` where a cell was drawn; for files of text.
        near: Rows of which some given number is not that of the row drawn, but near it.
        unlike: Rows of which some given category is not that of the row drawn.
    """

    rows: pd.DataFrame
    cells: pd.DataFrame
    near: int = 0
    unlike: int = 0

    def sentences(self) -> list[str]:
        """What was met approximately, in words."""
        found = []
        count = f"of {len(self.rows):,} rows"
        if self.near:
            found.append(
                f"{count}, {self.near:,} had no exact match in their given numbers and took one of "
                f"the {NEAREST} nearest rows drawn"
            )
        if self.unlike:
            found.append(
                f"{count}, {self.unlike:,} give categories that no row drawn has together and took "
                "one that agrees in most of them: what was filled in may not go with the rest"
            )
        return found


def complete(
    synthesizer: RowSource,
    given: pd.DataFrame,
    seed: int,
    groups: Groups = "data",
    search: Search | None = None,
    where: str = "the table",
) -> Completed:
    """Partial rows with their missing cells filled in.

    Args:
        synthesizer: Makes the rows.
        given: The partial rows: some of the run's columns, as text or typed. A missing cell is
            filled in, and `(missing)` stays without a value.
        seed: The seed. Equal seeds and tables give equal rows.
        groups: Mixture of groups, where they are not given: as in the data, or uniform.
        search: How long rows are drawn for.
        where: The table's file, for messages.

    Raises:
        DataError: Columns or values that the run does not know, all at once; or it takes too long.
        SettingsError: The rows are arrays.
    """
    synthesizer.check_table()
    search = search or Search()
    plan = synthesizer.plan
    texts = parse_partial_rows(plan, given, where)
    if plan.schema.constraints:
        _check_given(plan, texts, where)
    strata = _strata(synthesizer, texts, groups, where)
    names = [name for name in texts if name not in plan.conditions.given]
    known = {name: values_in(plan.schema[name], texts[name]) for name in names}
    encoded = np.zeros((len(given), plan.shape.width), dtype=np.float32)
    cells = np.zeros(len(given), dtype=np.int64)
    near = unlike = done = 0
    started = search.clock()
    for number, (index, share) in enumerate(strata):
        part = _Stratum(
            synthesizer,
            share,
            {n: known[n][index] for n in names if (known[n].state[index] >= 0).all()},
            derive_seed(seed, "complete", number),
        )
        encoded[index], cells[index], (close, other) = part.fill(len(index))
        near, unlike, done = near + close, unlike + other, done + len(index)
        seconds = search.clock() - started
        expected = seconds * len(strata) / (number + 1)
        search.progress(done, len(given), expected - seconds)
        if number + 1 < len(strata) and expected > search.patience < seconds * 4:
            raise DataError(
                f"{where}: completing {len(given):,} rows would take about {time_span(expected)}; "
                "give fewer rows, or fewer different combinations of given cells, or allow it with "
                f"--patience {1.5 * expected:.0f}"
            )
    draws = np.random.default_rng(derive_seed(seed, "decode"))
    rows = choose_modality(plan.schema).decode(plan, encoded, cells, draws).rows
    for name in names:
        rows[name] = overwritten(rows[name], plan.schema[name], texts[name])
    if plan.schema.constraints:
        rows = _constrained(rows, plan, texts, where)
    shown = {name: text_as_given(given[name], texts[name]) for name in texts}
    return Completed(rows, pd.DataFrame(shown, rows.index, dtype=object), near, unlike)


def _check_given(plan: Plan, texts: Texts, where: str) -> None:
    """Refuse partial rows that no row can complete, before any is drawn.

    Raises:
        DataError: Given cells that break a constraint by themselves.
    """
    wrong: list[int] = []
    for rows, names in _patterns(texts):
        cells = {name: pd.Series(texts[name][rows], dtype=object) for name in names}
        frame = pd.DataFrame({name: own.mask(own == MISSING, None) for name, own in cells.items()})
        wrong += rows[contradictory(frame, plan.schema)].tolist()
    if wrong:
        raise DataError(_contradictions(plan, wrong, where))


def _constrained(rows: pd.DataFrame, plan: Plan, texts: Texts, where: str) -> pd.DataFrame:
    """Completed rows whose drawn cells are moved so that all constraints hold with the given ones.

    Raises:
        DataError: Given cells with which no row fulfils them.
    """
    parts: list[pd.DataFrame] = []
    wrong: list[int] = []
    for places, names in _patterns(texts):
        own = rows.iloc[places]
        found, broken = moved(own, plan.schema, (*names, *plan.conditions.given))
        rest = own.drop(columns=list(found.columns))
        parts.append(pd.concat([found, rest], axis=1)[list(own.columns)])
        wrong += places[broken].tolist()
    if wrong:
        raise DataError(_contradictions(plan, wrong, where))
    joined: pd.DataFrame = pd.concat(parts).sort_index()
    return joined


def _patterns(texts: Texts) -> Iterator[tuple[Ints, list[str]]]:
    """Rows that give the same columns, and these columns."""
    given = np.stack([pd.notna(own) for own in texts.values()], axis=1)
    kinds, kind_of = np.unique(given, axis=0, return_inverse=True)
    for kind, pattern in enumerate(kinds):
        names = [name for name, there in zip(texts, pattern, strict=True) if there]
        yield np.flatnonzero(kind_of.reshape(-1) == kind), names


def _contradictions(plan: Plan, rows: list[int], where: str) -> list[str]:
    words = "; ".join(constraint.words for constraint in plan.schema.constraints)
    problems = [
        f"{where}: row {row + 1:,}: no row with these cells fulfils data.constraints ({words}); "
        "correct them"
        for row in sorted(rows)[:PROBLEMS]
    ]
    if len(rows) > PROBLEMS:
        problems.append(f"{where}: {len(rows) - PROBLEMS:,} more such rows")
    return problems


def _strata(
    synthesizer: RowSource,
    texts: Texts,
    groups: Groups,
    where: str,
) -> list[tuple[Ints, Floats]]:
    """Rows that give the same columns and the same cells of the generator: places and shares."""
    plan = synthesizer.plan
    given = plan.conditions.given
    columns = {n: own if n in given else pd.notna(own) for n, own in texts.items()}
    places: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*columns.values(), strict=True)):
        places.setdefault(key, []).append(row)
    problems, found = [], []
    for key, own in places.items():
        wanted = [
            Condition(plan.schema[n], f"{n}={v}", (v,) if v != MISSING else (), (), v == MISSING)
            for n, v in zip(columns, key, strict=True)
            if n in given and v is not None
        ]
        try:
            found.append((np.array(own), cell_shares(synthesizer, wanted, groups)))
        except DataError as error:
            problems += [f"{where}: row {own[0] + 1:,}: {text}" for text in error.problems]
    if problems:
        raise DataError(problems)
    return found


@dataclass(frozen=True)
class _Stratum:
    """Partial rows that give the same columns and the same cells of the generator.

    Attributes:
        synthesizer: Makes the rows.
        share: Share of each cell, `(cells,)`.
        given: Given values of generated columns, by name.
        seed: The seed.
    """

    synthesizer: RowSource
    share: Floats
    given: Mapping[str, CellStates]
    seed: int

    def fill(self, rows: int) -> tuple[Rows, Ints, tuple[int, int]]:
        """A drawn row for each partial one, `(rows, D)`, their cells, and counts (near, unlike)."""
        rng = np.random.default_rng(derive_seed(self.seed, "cells"))
        if not self.given:
            cells = rng.choice(len(self.share), rows, p=self.share)
            return self.synthesizer.encoded(cells, self.seed), cells, (0, 0)
        states = np.stack([own.state for own in self.given.values()], axis=1)
        kinds, kind_of = np.unique(states, axis=0, return_inverse=True)
        kind_of = kind_of.reshape(-1)
        numeric = np.array([self._column(name).numeric for name in self.given])
        dense = (kinds == 0) & numeric
        wanted = np.bincount(kind_of, minlength=len(kinds))
        needed = wanted + CANDIDATES * dense.any(1)
        pool = self._draw(kinds, needed, rng)
        chosen = np.zeros(rows, dtype=np.int64)
        exact = np.zeros(rows, dtype=bool)
        unlike = 0
        for kind in range(len(kinds)):
            own = np.flatnonzero(kind_of == kind)
            candidates = np.flatnonzero(pool.kind == kind)
            if not len(candidates):
                unlike += len(own)
                candidates = _most_alike(pool, kinds[kind])
                exact[own] = True
            pick, equal = self._choose(pool, candidates, own, dense[kind], rng)
            chosen[own] = pick
            exact[own] |= equal
        return pool.rows[chosen], pool.cells[chosen], (int((~exact).sum()), unlike)

    def _column(self, name: str) -> Column:
        return self.synthesizer.plan.schema[name]

    def _draw(self, kinds: Ints, needed: Ints, rng: np.random.Generator) -> "_Pool":
        """Rows that agree with some kind of partial row, and the first piece, whatever they are."""
        plan = self.synthesizer.plan
        lookup = {tuple(kind): i for i, kind in enumerate(kinds.tolist())}
        parts: list[_Pool] = []
        held = np.zeros(len(kinds), dtype=np.int64)
        drawn = piece = 0
        while (held < needed).any() and drawn < POOL:
            size = piece_rows(piece, plan.shape.width)
            cells = rng.choice(len(self.share), size, p=self.share)
            rows = self.synthesizer.encoded(cells, derive_seed(self.seed, piece))
            table = decoded(plan, list(self.given), rows, cells)
            columns = [values_in(self._column(n), table[n]) for n in self.given]
            states = np.stack([own.state for own in columns], axis=1)
            found = np.array([lookup.get(tuple(s), -1) for s in states.tolist()])
            # Rows of kinds of which there are enough are not kept: the memory is bounded.
            open_ = np.append(held < needed, piece == 0)
            kept = np.flatnonzero(open_[found])
            held += np.bincount(found[found >= 0], minlength=len(kinds))
            scores, values = (
                np.stack([getattr(own, part) for own in columns], axis=1)[kept]
                for part in ("score", "value")
            )
            parts.append(_Pool(rows[kept], cells[kept], found[kept], states[kept], scores, values))
            drawn, piece = drawn + size, piece + 1
        return _Pool.joined(parts)

    def _choose(
        self,
        pool: "_Pool",
        candidates: Ints,
        own: Ints,
        dense: Mask,
        rng: np.random.Generator,
    ) -> tuple[Ints, Mask]:
        """A candidate for each partial row `own`, and whether its numbers are equal, `(n,)` both.

        No candidate is taken twice while another one would do.
        """
        if not dense.any():
            order = np.concatenate(
                [rng.permutation(candidates) for _ in range(-(-len(own) // len(candidates)))]
            )
            return order[: len(own)], np.ones(len(own), dtype=bool)
        given = list(self.given.values())
        scores = np.stack([part.score[own] for part in given], axis=1)[:, dense]
        values = np.stack([part.value[own] for part in given], axis=1)[:, dense]
        points = pool.scores[candidates][:, dense]
        noise = rng.normal(0, TIES, points.shape)
        tree = KDTree(points + noise)
        count = min(NEAREST, len(candidates))
        _, near = tree.query(scores + rng.normal(0, TIES, scores.shape), k=count)
        near = candidates[near.reshape(len(own), count)]
        near = rng.permuted(near, axis=1)
        taken: set[int] = set()
        chosen = np.zeros(len(own), dtype=np.int64)
        for row, options in enumerate(near.tolist()):
            pick = next((option for option in options if option not in taken), options[0])
            taken.add(pick)
            chosen[row] = pick
        equal = (pool.values[chosen][:, dense] == values).all(1)
        return chosen, equal


@dataclass(frozen=True)
class _Pool:
    """Drawn rows.

    Attributes:
        rows: Encoded, `(n, D)`.
        cells: Their cells, `(n,)`.
        kind: Which kind of partial row each agrees with, `(n,)`; -1: none.
        states: States of the given columns, `(n, m)`; scores and values likewise.
    """

    rows: Rows
    cells: Ints
    kind: Ints
    states: Ints
    scores: Floats
    values: Floats

    @staticmethod
    def joined(parts: Sequence["_Pool"]) -> "_Pool":
        return _Pool(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("rows", "cells", "kind", "states", "scores", "values")
            )
        )


def _most_alike(pool: _Pool, kind: Ints) -> Ints:
    """The drawn rows that agree in most states with a kind of partial row."""
    agree = (pool.states == kind).sum(1)
    return np.flatnonzero(agree == agree.max())
