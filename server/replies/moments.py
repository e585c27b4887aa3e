"""What must hold of the second moments of one reply, whoever sent it."""

import numpy as np

from everymode.clients.protocol.messages import SumMoments
from everymode.fairness.matching.suppression import of_text
from everymode.server.replies.invariants import CODE, Problems, Reply


def moments(order: SumMoments, reply: Reply) -> Problems:
    """They are those of rows that are one-hot in part, and of as much weight as was told before."""
    plan, published, found = reply.plan, of_text(order.published), reply.sums["moments"]
    if plan is None:
        return
    prepared = reply.known.prepared.get(order.plan)
    first = None if prepared is None else prepared.first
    start = 0
    for level, coordinates in enumerate(published):
        rows, columns = np.triu_indices(int(coordinates.sum()))
        own, start = found[start : start + len(rows)], start + len(rows)
        if not len(own):
            continue
        choice = plan.choices[coordinates]
        diagonal = own[rows == columns]
        weight = float("inf") if first is None else float(first[level, -1])
        slack = reply.slack("moments", 0.0 if first is None else weight)
        where = f"of level {level + 1}"
        ceiling = np.where(choice, 1.0, CODE**2) * weight
        if (diagonal < -slack).any() or (diagonal > ceiling + slack).any():
            yield f"'moments' {where} holds squares that are not those of its rows"
            continue
        if first is not None:
            shares = first[level, :-1][coordinates][choice]
            gap = diagonal[choice] - shares
            if ((np.abs(gap) if reply.exact else gap) > 2 * slack).any():
                yield f"'moments' {where} holds other shares of categories than were told before"
                continue
        # Cauchy and Schwarz: no product of two coordinates is larger than their squares allow.
        size = np.sqrt(diagonal.clip(0) + slack)
        both = choice[rows] & choice[columns]
        if (np.abs(own) > size[rows] * size[columns] + slack).any() or (own[both] < -slack).any():
            yield f"'moments' {where} holds products that its squares do not allow"
