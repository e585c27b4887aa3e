"""CPU seconds and memory of one site that holds a million rows, from its file to encoded rows.

    python tests/benchmarks/one_large_site.py measure NAME [--rows 1000000] [--clusters 0]

The table is `simulations/data/adult-train.csv.gz`, drawn with replacement, as one CSV file. The
phase is all that happens before training: three questions from which the schema is made, and
encoding. After it the marginals are counted once, as the audit does. CPU seconds are those of this
process (user and system), which other work on the machine changes little; memory is the largest
resident set. `one_large_site.json` gets the figures under NAME, so that two commits can be
compared.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RECORD = HERE / "one_large_site.json"
TABLE = HERE.parents[1] / "simulations" / "data" / "adult-train.csv.gz"


def write_sample(path: Path, rows: int) -> None:
    """Lines of the built-in table, drawn with replacement."""
    import gzip

    header, *lines = gzip.decompress(TABLE.read_bytes()).decode().splitlines()
    drawn = np.random.default_rng(0).integers(0, len(lines), rows)
    path.write_text("\n".join([header, *(lines[i] for i in drawn)]) + "\n", encoding="utf-8")


def cpu_seconds() -> float:
    """What this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_megabytes() -> float:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(rows: int, clusters: int) -> dict[str, Any]:
    """The figures of one run."""
    from everymode.clients.protocol.messages import CountMarginals, EncodeData, Request
    from everymode.clients.protocol.plan import fingerprint
    from everymode.clients.site import Site
    from everymode.fairness.metrics.marginals import Marginals
    from everymode.fairness.weighting.group_weights import group_mass
    from everymode.server.config.files import load
    from everymode.server.config.recipe import build_recipe
    from everymode.server.config.tables import build_table_spec
    from everymode.server.schema.agreement import agree
    from everymode.server.transport.exchange import InProcess
    from everymode.wgan.data.frame import read_table

    settings = load("adult", (f"data.clusters={clusters}",))
    few = read_table(TABLE, settings.data.missing)
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "site.csv"
        write_sample(table, rows)
        exchange = InProcess((Site("site", table, Path(folder) / "work"),))
        before = peak_megabytes()

        def timed(request: Request) -> Any:
            start = cpu_seconds()
            answer = exchange(request)
            name = request.order.order
            spent[name] = round(spent.get(name, 0.0) + cpu_seconds() - start, 2)
            return answer

        ask: Callable[[Request], Any] = timed
        start = cpu_seconds()
        agreed = agree(ask, tuple(map(str, few.columns)), build_table_spec(settings.data))  # type: ignore[arg-type]
        mass = group_mass(np.array(agreed.conditions.group_counts), "tempered")
        order = EncodeData(
            schema=agreed.schema.to_json(),
            conditions=agreed.conditions.to_json(),
            mass=tuple(mass.tolist()),
            recipe=build_recipe(settings).to_json(),
            seed=0,
            matching="none",
            missing=settings.data.missing,
        )
        ask(Request(order))
        total = round(cpu_seconds() - start, 2)
        marginals = Marginals.of(agreed.schema, few)
        groups = len(agreed.conditions.groups)
        ask(
            Request(
                CountMarginals(
                    fingerprint(order), marginals.to_json(), groups, settings.data.missing
                )
            )
        )
        size = round(table.stat().st_size / 2**20, 1)
    return {
        "rows": rows,
        "clusters": clusters,
        "file_megabytes": size,
        "cpu_seconds": {**spent, "schema_and_encoding": total},
        "megabytes_before": round(before),
        "megabytes_at_most": round(peak_megabytes()),
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["measure"])
    parser.add_argument("name")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=0)
    options = parser.parse_args()
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    known[options.name] = measured(options.rows, options.clusters)
    RECORD.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(known[options.name], indent=2))


if __name__ == "__main__":
    main()
