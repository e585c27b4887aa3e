"""Updates that are far out of line with the other sites': who made training diverge."""

from collections.abc import Iterator, Mapping

import numpy as np

from everymode.clients.protocol.messages import Train
from everymode.clients.protocol.sums import SiteSums

FAR = 100.0
"""How many times as large as the others' median an update has to be to be told of."""

Sizes = Mapping[str, float]


def update_norms(order: Train, sums: SiteSums, who: str) -> dict[str, dict[str, float]]:
    """The largest entry of each update per unit of weight, by field and who sent it."""
    found: dict[str, dict[str, float]] = {}
    if order.training.per_site_updates:
        # Payloads are not weighted: each is a site's change as such.
        for name in order.updates():
            per_site = sums.per_site.items()
            found[name] = {f"site '{s}'": _largest(letter[name]) for s, letter in per_site}
        return found
    weight = float(sums["weight"][0])
    if weight > 0:
        bits = {field.name: field.bits for field in sums.layout.fields}
        for name in order.updates():
            found[name] = {who: _largest(sums.units(name)) * 2.0 ** -bits[name] / weight}
    return found


def _largest(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    # Twice a pass without a copy: this is done for every site in every round.
    return max(float(values.max()), -float(values.min())) if values.size else 0.0


def outliers(sizes: Mapping[str, Sizes]) -> Iterator[tuple[str, str, float]]:
    """Who sent an update out of line, its field, and how many times the others' median it is.

    Args:
        sizes: Of every field, by who sent it.

    >>> list(outliers({"critic": {"site 'a'": 1.0, "site 'b'": 2.0, "site 'c'": 4e6}}))
    [("site 'c'", 'critic', 2666666.6666666665)]
    """
    for field, own in sizes.items():
        # From the largest on, each is held against those that are not out of line themselves.
        ranking = sorted(own.items(), key=lambda item: (-item[1], item[0]))
        for i, (who, size) in enumerate(ranking[:-1]):
            others = float(np.median([other for _, other in ranking[i + 1 :]]))
            # Second moments are squares.
            ratio = size / others if others > 0 else np.inf if size > 0 else 1.0
            if (np.sqrt(ratio) if field.endswith("_second") else ratio) <= FAR:
                break
            if np.isfinite(ratio):
                yield who, field, ratio
