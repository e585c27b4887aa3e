"""Trees as tables of jumps, so that many rows find their leaves in few passes.

Splits on one column that follow each other are one jump: what a row's code of the column leads to
is looked up. A row thus takes as many steps as columns change on its way, not as there are splits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from everymode.fairness.matching.codes import Codes

Places = npt.NDArray[np.intp]

NO_SPLIT = -1
"""Column of a node that does not split."""


@dataclass(frozen=True)
class Descent:
    """Jumps of one tree.

    Attributes:
        limits: Highest code of each of the first columns that is told apart, `(columns,)`: higher
            ones go where it goes.
        column: The column that each knot looks at, `(K,)`; at a leaf `NO_SPLIT`.
        start: Where each knot's jumps begin in `jumps`, `(K,)`; of a leaf its number.
        jumps: The knot that each code leads to, of one knot after another.
    """

    limits: Codes
    column: Places
    start: Places
    jumps: Places

    @staticmethod
    def of(
        column: npt.NDArray[np.int32],
        cut: npt.NDArray[np.int32],
        equal: npt.NDArray[np.bool_],
        left: npt.NDArray[np.int32],
    ) -> "Descent":
        """From the nodes of a tree; see `everymode.fairness.matching.trees.Tree`."""
        inner = column != NO_SPLIT
        limits = np.zeros(int(column.max(initial=0)) + 1, dtype=np.int16)
        np.maximum.at(limits, column[inner], cut[inner].astype(np.int16) + 1)
        knots = {0: 0}
        queue, jumps, starts, columns = [0], [], [], []
        total = 0
        for node in queue:
            own = int(column[node])
            columns.append(own)
            if own == NO_SPLIT:
                starts.append(int(left[node]))
                continue
            codes = np.arange(int(limits[own]) + 1)
            at = np.full(len(codes), node)
            while (moving := column[at] == own).any():
                here = at[moving]
                goes = np.where(equal[here], codes[moving] == cut[here], codes[moving] <= cut[here])
                at[moving] = left[here] + ~goes
            for reached in np.unique(at).tolist():
                if reached not in knots:
                    knots[reached] = len(queue)
                    queue.append(reached)
            jumps.append(np.array([knots[each] for each in at.tolist()], dtype=np.intp))
            starts.append(total)
            total += len(codes)
        none = np.zeros(0, dtype=np.intp)
        return Descent(
            limits,
            np.array(columns, dtype=np.intp),
            np.array(starts, dtype=np.intp),
            np.concatenate([none, *jumps]),
        )

    def __call__(self, codes: Codes) -> npt.NDArray[np.int64]:
        """The leaf of each row `(n,)`, by codes `(n, columns)`."""
        width = len(self.limits)
        flat = np.minimum(codes[:, :width], self.limits).reshape(-1)
        knot = np.zeros(len(codes), dtype=np.intp)
        moving = np.arange(len(codes)) if self.column[0] != NO_SPLIT else np.zeros(0, dtype=np.intp)
        at = knot[moving]
        while len(moving):
            code = flat.take(moving * width + self.column.take(at))
            at = self.jumps.take(self.start.take(at) + code)
            left = self.column.take(at) != NO_SPLIT
            if left.all():
                continue
            knot[moving] = at
            moving, at = moving[left], at[left]
        leaf: npt.NDArray[np.int64] = self.start.take(knot)
        return leaf
