"""Trees that do not tell small groups apart.

A leaf that only rows of a small group reach hands on what a large part of the group has together,
column after column, and rows near to real ones would come of it. So a split that sets so few rows
apart is taken out, and the rows of the small group go the way of the others. What is a small
group's own it has by its second moments and its shares of categories.
"""

import numpy as np
import numpy.typing as npt

from everymode.fairness.matching.codes import Coding
from everymode.fairness.matching.trees import LEAF, Tree

Ints = npt.NDArray[np.int64]


def reachable_rows(tree: Tree, coding: Coding) -> Ints:
    """Rows of all the groups of which some can reach each node, `(N,)`.

    Args:
        tree: The tree.
        coding: Its columns, and the groups with their rows.
    """
    conditions = coding.conditions
    table = conditions.table.reshape(len(conditions.group_counts), -1)
    cells = np.arange(table.size)
    codes, group = coding.given_codes(cells), conditions.split(cells)[0]
    reaches = np.zeros((len(tree.column), table.size), dtype=np.bool_)
    reaches[0] = table.reshape(-1) > 0
    for nodes in tree.inner:
        left, column, cut = tree.left[nodes], tree.column[nodes], tree.cut[nodes]
        given = column < coding.given
        goes = np.ones((len(nodes), table.size), dtype=np.bool_)
        own = codes[:, column[given]].T
        same = own == cut[given, None]
        goes[given] = np.where(tree.equal[nodes][given, None], same, own <= cut[given, None])
        reaches[left] = reaches[nodes] & goes
        reaches[left + 1] = reaches[nodes] & (~goes | ~given[:, None])
    there = np.stack([reaches[:, group == k].any(1) for k in range(len(table))], 1)
    found: Ints = there @ table.sum(1)
    return found


def without_small_groups(tree: Tree, coding: Coding, least: int) -> Tree:
    """The tree without splits that set groups of fewer than `least` rows apart from others.

    Args:
        tree: The tree.
        coding: Its columns, and the groups with their rows.
        least: Rows that groups must have together to be set apart.
    """
    rows = reachable_rows(tree, coding)

    def kept(node: int) -> int:
        """The node, or the first one below it that does not set too few rows apart."""
        while tree.column[node] != LEAF:
            one = int(tree.left[node])
            fewest = min(rows[one], rows[one + 1])
            if fewest >= min(least, rows[node]):
                break
            node = one if rows[one] >= rows[one + 1] else one + 1
        return node

    queue = [kept(0)]
    left: list[int] = []
    leaves = 0
    for node in queue:
        if tree.column[node] == LEAF:
            left.append(leaves)
            leaves += 1
        else:
            left.append(len(queue))
            queue += [kept(int(tree.left[node])), kept(int(tree.left[node]) + 1)]
    own = np.array(queue)
    return Tree(
        tree.target,
        tree.column[own],
        tree.cut[own],
        tree.equal[own],
        np.array(left, dtype=np.int32),
    )
