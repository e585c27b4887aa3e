"""CPU seconds and bytes of secure summation, at a site and at the server.

    python tests/benchmarks/secure_summation.py [--sites 20] [--entries 500000] [--questions 5]

Sites answer with a vector that is there, so that masks alone are measured: the driver, the files
that a site keeps, keys, shares and masks are those of a run. The first question is left out, in
which keys are made. A second block has as many sites with a graph of neighbours. Results go to
`secure_summation.json`. Run it alone.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from everymode.clients.protocol.messages import CountBatchRows, Request, Train
from everymode.clients.protocol.sums import SiteSums
from everymode.clients.secure import answering
from everymode.clients.secure.steps import Step
from everymode.clients.site import Site
from everymode.server.replies.replies import Checker
from everymode.server.secure.exchange import MaskedExchange, Masking

RESULTS = Path(__file__).with_suffix(".json")


class Unchecked(Checker):
    """Holds nothing against anything: the vectors are no counts."""

    def check(self, *_: Any) -> None:
        """Lets all pass."""


class Timed:
    """A channel that counts the CPU seconds of each site."""

    def __init__(self, sites: list[Site]) -> None:
        self.sites = {site.name: site for site in sites}
        self.seconds = dict.fromkeys(self.sites, 0.0)

    def send(self, steps: Mapping[str, Step], request: Request) -> dict[str, Any]:
        outcomes = {}
        for name, step in steps.items():
            started = time.process_time()
            outcomes[name] = answering.take_step(step, self.sites[name], request.only((name,)))
            self.seconds[name] += time.process_time() - started
        return outcomes

    def part(self, steps: Mapping[str, Step], request: Request) -> None:
        """The end is not measured."""

    def rest(self, seconds: float) -> None:
        """Nothing fails here."""


def measured(count: int, entries: int, questions: int) -> dict[str, Any]:
    """The figures of so many sites."""
    train = Train("0" * 16, 1, 1, 0, 1, 1, 1.0, 0, 0, "cpu", (1, 1), 1)
    order = CountBatchRows(train, entries)
    layout = order.layout()
    rng = np.random.default_rng(0)
    own = {f"site-{k:03d}": rng.integers(0, 1000, entries) for k in range(count)}

    def served(request: Request, site: Site, admit: object, mask: Any) -> SiteSums:
        return SiteSums(layout, mask(layout, own[site.name]))

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sites = [Site(name, work / name, work / name, False, 0, True) for name in own]
        channel = Timed(sites)
        exchange = MaskedExchange(tuple(own), channel, Unchecked(), Masking(retries=0))
        with mock.patch.object(answering, "served", served):
            started = time.process_time()
            exchange(Request(order, run="a" * 16))
            first = sum(channel.seconds.values()) / count
            up_first = exchange.traffic.up
            channel.seconds = dict.fromkeys(own, 0.0)
            started = time.process_time()
            for number in range(questions):
                # Another question each time, of the same length.
                answering_run = Request(CountBatchRows(train, entries), run="a" * 16)
                total = exchange(answering_run)
                assert (total.vector == sum(own.values())).all(), number
            whole = time.process_time() - started
    at_sites = sum(channel.seconds.values())
    plain = 8 * entries * count
    return {
        "sites": count,
        "entries": entries,
        "questions": questions,
        "threshold_neighbours": "defaults",
        "cpu_seconds_a_site_and_question": round(at_sites / count / questions, 4),
        "cpu_seconds_of_the_server_a_question": round((whole - at_sites) / questions, 4),
        "bytes_up_over_plain": round((exchange.traffic.up - up_first) / questions / plain, 4),
        "first_question": {
            "cpu_seconds_a_site": round(first, 4),
            "bytes_up_over_plain": round(up_first / plain, 4),
        },
    }


def main() -> None:
    """Measures a complete graph, and one of neighbours."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sites", type=int, default=20)
    parser.add_argument("--entries", type=int, default=500_000)
    parser.add_argument("--questions", type=int, default=5)
    options = parser.parse_args()
    result = {
        "cores": os.cpu_count(),
        "complete": measured(options.sites, options.entries, options.questions),
        "neighbours": measured(100, 50_000, options.questions),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
