"""Scores of membership attacks on rows trained on and held out, without using any row twice.

An attack may know the synthetic rows and other real rows of the same distribution, its reference.
Held-out rows serve as both: rows of both kinds are dealt to two halves; those of one are scored
with the held-out rows of the other as reference. Members and non-members are treated alike, so
that, if the table's maker learnt no more than the distribution, their scores are exchangeable.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from everymode.fairness.attacks.density_ratio import DensityRatio
from everymode.fairness.attacks.nearest_row import NearestRow
from everymode.fairness.attacks.rows import (
    Floats,
    MembershipAttack,
    Places,
    Points,
    Rows,
    kth_distance,
)

Build = Callable[[Points, Points], MembershipAttack]
"""An attack that knows synthetic and reference points."""

ATTACKS: Mapping[str, Build] = {
    "nearest row": lambda synthetic, reference: NearestRow(synthetic),
    "density ratio": DensityRatio,
}
"""Attacks that need nothing but rows; to add one, write its file and list it here."""

ISOLATION = "isolation"
"""Name of the distance to the reference, which says how isolated a row is; no attack."""

NEIGHBOUR = 5
"""Which neighbour says how isolated a row is."""

LEAST = 4 * NEIGHBOUR
"""Rows of each table without which there is no reference."""


@dataclass(frozen=True)
class Isolation:
    """How far rows are from other real rows: the distance to the fifth nearest.

    Attributes:
        reference: Points of rows that are not scored, `(h, d)`.
    """

    reference: Points

    def score(self, rows: Rows) -> Floats:
        """See `everymode.fairness.attacks.rows.MembershipAttack`."""
        return kth_distance(rows.points, self.reference, NEIGHBOUR)


@dataclass(frozen=True)
class Scores:
    """Scores of rows, NaN where a row was not scored.

    Attributes:
        members: By attack: `(n,)`.
        nonmembers: By attack: `(m,)`.
        order: Places of both kinds in the order in which they are taken, `(n,)` and `(m,)`.
    """

    members: Mapping[str, Floats]
    nonmembers: Mapping[str, Floats]
    order: tuple[Places, Places]

    def of(
        self, attack: str, members: Places, nonmembers: Places, rows: int
    ) -> tuple[Floats, Floats]:
        """Scores of the first `rows` of either kind among the rows of a group, in the order."""
        found = []
        for scores, own, order in zip(
            (self.members[attack], self.nonmembers[attack]),
            (members, nonmembers),
            self.order,
            strict=True,
        ):
            found.append(scores[first(own, order, rows)])
        return found[0], found[1]


def first(places: Places, order: Places, rows: int) -> Places:
    """The first `rows` of some places in an order of all.

    >>> first(np.array([0, 2, 3]), np.array([3, 1, 0, 2]), 2).tolist()
    [3, 0]
    """
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return places[np.argsort(rank[places], kind="stable")[:rows]]


def score_all(
    members: Rows,
    nonmembers: Rows,
    synthetic: Points,
    groups: Sequence[Places],
    rows: int,
    rng: np.random.Generator,
    attacks: Mapping[str, Build] = ATTACKS,
    progress: Callable[[str], None] = lambda text: None,
) -> Scores:
    """Scores of the first `rows` rows of every group, and of both kinds.

    The order of rows is drawn once. The first rows of a union of groups are then among the first
    rows of each of them, and none is scored twice.

    Args:
        members: Rows trained on.
        nonmembers: Rows held out, at least `LEAST`.
        synthetic: Points of the synthetic rows, at least one.
        groups: The group of each member `(n,)` and of each non-member `(m,)`, the finest there is.
        rows: How many are scored of each group and kind at most.
        rng: Draws the order, and deals rows to halves.
        attacks: What scores them.
        progress: Called with what is scored next.

    Raises:
        ValueError: Too few rows are held out, or made.
    """
    if len(nonmembers) < LEAST or not len(synthetic):
        raise ValueError(
            f"expected {LEAST} held-out rows and a synthetic one at least, got "
            f"{len(nonmembers)} and {len(synthetic)}"
        )
    kinds = (members, nonmembers)
    order = (rng.permutation(len(members)), rng.permutation(len(nonmembers)))
    half = [rng.permutation(len(kind)) % 2 for kind in kinds]
    taken = [
        np.concatenate([first(np.flatnonzero(of == g), o, rows) for g in np.unique(of)])
        for of, o in zip(groups, order, strict=True)
    ]
    known: Mapping[str, Build] = {**attacks, ISOLATION: lambda _, reference: Isolation(reference)}
    found = [{name: np.full(len(kind), np.nan) for name in known} for kind in kinds]
    for side in range(2):
        reference = nonmembers.points[half[1] != side]
        for name, build in known.items():
            progress(name)
            attack = build(synthetic, reference)
            for kind, own, of_half, scores in zip(kinds, taken, half, found, strict=True):
                places = own[of_half[own] == side]
                scores[name][places] = attack.score(kind.take(places))
    return Scores(found[0], found[1], order)
