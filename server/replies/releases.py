"""Every release of a run: which arrays left which sites, when, under which mechanism, to whom.

A release is a reply that the server accepted. It is identified by task, number and site: a round
that is repeated after a resume gets the same answer (`everymode.clients.gate.ledger`) and counts
once. The number is the round of training; for every other task, how often the task was asked by
then. `releases.json` shows the record (`everymode.server.outputs.releases_file`). It names sites,
not nodes, so it does not depend on how sites are dealt to nodes or on the order of replies.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from everymode.clients.protocol.messages import Task, Train
from everymode.clients.protocol.sums import SiteSums

TO = "the server"
"""Who receives every answer; sites send one another nothing."""


@dataclass
class Numbers:
    """A set of whole numbers that mostly rise, as runs of neighbours.

    >>> numbers = Numbers()
    >>> for n in (1, 2, 3, 5, 10, 15, 20, 2): numbers.add(n)
    >>> str(numbers), numbers.count, (numbers.first, numbers.last)
    ('1-3, 5-20 step 5', 7, (1, 20))
    >>> Numbers.of("1-3, 5-20 step 5") == numbers
    True
    """

    runs: list[tuple[int, int]] = field(default_factory=list)

    @staticmethod
    def of(text: str) -> "Numbers":
        """Reads what `str` gives; raises `ValueError` on anything else."""
        numbers = Numbers()
        for part in text.split(", "):
            span, _, step = part.partition(" step ")
            first, _, last = span.partition("-")
            if step:
                numbers.extend((n, n) for n in range(int(first), int(last) + 1, int(step)))
            else:
                numbers.extend([(int(first), int(last or first))])
        if str(numbers) != text:
            raise ValueError(f"{text!r} is not how a set of numbers is written")
        return numbers

    def add(self, number: int) -> None:
        """Adds a number."""
        if not self.runs or number > self.runs[-1][1] + 1:
            self.runs.append((number, number))
        elif number == self.runs[-1][1] + 1:
            self.runs[-1] = (self.runs[-1][0], number)
        else:
            self.extend([(number, number)])

    def extend(self, runs: Iterable[tuple[int, int]]) -> None:
        """Adds runs of neighbours, first and last."""
        together: list[tuple[int, int]] = []
        for first, last in sorted([*self.runs, *runs]):
            if together and first <= together[-1][1] + 1:
                together[-1] = (together[-1][0], max(together[-1][1], last))
            else:
                together.append((first, last))
        self.runs = together

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(last - first + 1 for first, last in self.runs)

    @property
    def first(self) -> int:
        """The smallest."""
        return self.runs[0][0]

    @property
    def last(self) -> int:
        """The largest."""
        return self.runs[-1][1]

    def __str__(self) -> str:
        """Runs, and single numbers at equal distances, in short."""
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        place = 0
        while place < len(self.runs):
            first, last = self.runs[place]
            stop = place + 1
            while first == last and stop < len(self.runs):
                step = self.runs[place + 1][0] - first
                if self.runs[stop] != (first + (stop - place) * step,) * 2:
                    break
                stop += 1
            if stop - place > 2:
                yield f"{first}-{self.runs[stop - 1][0]} step {self.runs[place + 1][0] - first}"
                place = stop
            else:
                yield str(first) if first == last else f"{first}-{last}"
                place += 1


@dataclass(frozen=True)
class Array:
    """One named array of a release.

    Attributes:
        name: Its name.
        shape: Its shape.
        form: `sum`: an additive array, which the server adds up over sites. `per site`: kept apart
            by site, not a sum.
        kept: Whether a real site could keep it on its own disk between rounds: the server only
            carries it to the site's next round.
    """

    name: str
    shape: tuple[int, ...]
    form: str
    kept: bool = False


@dataclass
class Entry:
    """All releases of a task under the same mechanisms.

    Attributes:
        task: The task's name.
        mechanisms: What the sites' mechanisms state, as JSON; empty: there is none.
        numbers: When it was released by any site.
        arrays: When each array was released.
        sites: When each site released its answer.
    """

    task: str
    mechanisms: tuple[str, ...]
    numbers: Numbers = field(default_factory=Numbers)
    arrays: dict[Array, Numbers] = field(default_factory=dict)
    sites: dict[str, Numbers] = field(default_factory=dict)
    _latest: tuple[int, bool] = (0, False)

    def add(self, number: int, sites: Iterable[str], sums: SiteSums) -> None:
        """Records an accepted reply; see `Releases.add`."""
        for site in sites:
            self.sites.setdefault(site, Numbers()).add(number)
        apart = bool(sums.per_site)
        # All replies to a request have one layout.
        if self._latest == (number, apart):
            return
        self._latest = number, apart
        self.numbers.add(number)
        found = [Array(f.name, f.shape, "sum") for f in sums.layout.fields]
        if apart:
            found += [
                Array(f.name, f.shape, "per site", f.client_state) for f in sums.layout.per_site
            ]
        for array in found:
            self.arrays.setdefault(array, Numbers()).add(number)

    def to_json(self) -> dict[str, Any]:
        """As a plain value; sites that released at the same times are listed together."""
        alike: dict[str, list[str]] = {}
        for site in sorted(self.sites):
            alike.setdefault(str(self.sites[site]), []).append(site)
        return {
            "task": self.task,
            "to": TO,
            "counted_in": "rounds" if self.task == "train" else "questions",
            "first": self.numbers.first,
            "last": self.numbers.last,
            "count": self.numbers.count,
            "mechanisms": [json.loads(text) for text in self.mechanisms],
            "sites": [
                {"numbers": text, "count": self.sites[names[0]].count, "names": names}
                for text, names in alike.items()
            ],
            "arrays": [
                {
                    "name": array.name,
                    "shape": list(array.shape),
                    "form": array.form,
                    "kept": array.kept,
                    "numbers": str(when),
                    "count": when.count,
                }
                for array, when in self.arrays.items()
            ],
        }

    @staticmethod
    def from_json(value: Any) -> "Entry":
        """The inverse; raises `KeyError`, `TypeError` or `ValueError` on anything else."""
        texts = (json.dumps(stated, sort_keys=True) for stated in value["mechanisms"])
        entry = Entry(str(value["task"]), tuple(texts))
        for part in value["sites"]:
            entry.sites |= {str(name): Numbers.of(part["numbers"]) for name in part["names"]}
        for part in value["arrays"]:
            array = Array(part["name"], tuple(part["shape"]), part["form"], part["kept"])
            entry.arrays[array] = Numbers.of(part["numbers"])
        for when in (*entry.sites.values(), *entry.arrays.values()):
            entry.numbers.extend(when.runs)
        if entry.to_json() != value:
            raise ValueError(f"the entry of '{entry.task}' does not add up")
        return entry


@dataclass
class Releases:
    """The record of a run's releases, in the order in which tasks were first answered.

    Attributes:
        entries: By task and mechanisms.
        last_seen: Seconds since 1970 of each site's last accepted reply in this session; for
            display, no part of the record.
    """

    entries: dict[tuple[str, tuple[str, ...]], Entry] = field(default_factory=dict)
    last_seen: dict[str, float] = field(default_factory=dict, compare=False)
    _asked: dict[str, int] = field(default_factory=dict)

    def number(self, order: Task) -> int:
        """The number of the releases that a request brings; called once a request."""
        if isinstance(order, Train):
            return order.round
        self._asked[order.order] = self._asked.get(order.order, 0) + 1
        return self._asked[order.order]

    def add(self, task: str, number: int, sites: Iterable[str], sums: SiteSums) -> None:
        """Records an accepted reply.

        Args:
            task: The task's name.
            number: See `number`.
            sites: Names of the sites whose answers it is the sum of.
            sums: The reply.
        """
        sites = tuple(sites)
        self.last_seen.update(dict.fromkeys(sites, time.time()))
        key = task, sums.mechanisms
        if key not in self.entries:
            self.entries[key] = Entry(task, sums.mechanisms)
        self.entries[key].add(number, sites, sums)

    @property
    def only_sums(self) -> bool:
        """Whether no array was kept apart by site."""
        return all(a.form == "sum" for entry in self.entries.values() for a in entry.arrays)

    def to_json(self) -> list[dict[str, Any]]:
        """The entries as plain values: those of a task together, whoever answered first."""
        tasks = list(dict.fromkeys(task for task, _ in self.entries))
        order = sorted(self.entries, key=lambda key: (tasks.index(key[0]), key[1]))
        return [self.entries[key].to_json() for key in order]

    def load(self, values: Iterable[Any]) -> None:
        """Goes on from what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: It did not give this.
        """
        entries = [Entry.from_json(value) for value in values]
        self.entries = {(entry.task, entry.mechanisms): entry for entry in entries}
