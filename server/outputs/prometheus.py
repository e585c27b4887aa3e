"""`metrics.prom`: the state of a run in Prometheus' text format.

The textfile collector of node_exporter reads it from the run directory, or from a folder that
holds a link to it. Format: "Prometheus exposition formats", text format 0.0.4.
"""

from collections.abc import Iterable, Mapping

from everymode.server.outputs.status import Status

FILE = "metrics.prom"

Sample = tuple[Mapping[str, str], float]


def prometheus_text(status: Status) -> str:
    r"""The metrics of a run; each sample carries the label `run`.

    >>> "everymode_rounds_done{run=\"a\"} 3\n" in prometheus_text(Status(run="a", done=3))
    True
    """
    states = [({"state": s}, float(s == status.state)) for s in _STATES]
    groups = [({"group": g}, c[-1][1]) for g, c in status.estimate_by_group.items() if c]
    seen = [({"site": name}, when) for name, when in sorted(status.last_seen.items())]
    traffic = [
        ({"direction": "up"}, float(status.bytes_up)),
        ({"direction": "down"}, float(status.bytes_down)),
    ]
    families: list[tuple[str, str, str, Iterable[Sample]]] = [
        ("state", "gauge", "1 for the state that the run is in.", states),
        ("rounds_done", "gauge", "Rounds finished, over all sessions.", _one(status.done)),
        ("rounds_planned", "gauge", "All rounds of the run.", _one(status.total)),
        ("round_seconds", "gauge", "Median of recent rounds.", _one(status.round_seconds)),
        ("seconds_left", "gauge", "Predicted time of rounds left.", _one(status.seconds_left)),
        ("traffic_bytes_total", "counter", "Bytes from (up) and to (down) sites.", traffic),
        ("site_last_seen_timestamp_seconds", "gauge", "Last accepted reply of a site.", seen),
        (
            "estimate",
            "gauge",
            "The critic's estimate of the distance over all groups.",
            _one(status.estimate[-1][1] if status.estimate else None),
        ),
        ("group_estimate", "gauge", "The critic's estimate of a group's distance.", groups),
        ("notes_total", "counter", "Notes of this session.", _one(status.notes_total)),
        ("updated_timestamp_seconds", "gauge", "When this was written.", _one(status.updated)),
    ]
    lines: list[str] = []
    for name, kind, text, samples in families:
        found = list(samples)
        if found:
            lines += [f"# HELP everymode_{name} {text}", f"# TYPE everymode_{name} {kind}"]
        for labels, value in found:
            inner = ",".join(
                f'{k}="{escaped(v)}"' for k, v in {"run": status.run, **labels}.items()
            )
            lines.append(f"everymode_{name}{{{inner}}} {value:.16g}")
    return "\n".join(lines) + "\n"


def escaped(value: str) -> str:
    r"""A label's value, as the format asks for it.

    >>> print(escaped('a"b\\c'))
    a\"b\\c
    """
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


_STATES = ("running", "finished", "stopped", "failed")


def _one(value: float | None) -> list[Sample]:
    return [] if value is None else [({}, float(value))]
