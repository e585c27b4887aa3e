"""`releases.json`: every release of a run, for a data protection officer to read.

It is written whole before `schema.json` and before each checkpoint, and when a run ends, stops or
fails. So it never lacks a release that a resumed run does not ask for again. After a crash of the
machine it may lack the rounds since the last checkpoint; `metrics.jsonl` has them.
"""

from pathlib import Path

from everymode.server.replies.releases import Releases
from everymode.wgan.errors import StateError
from everymode.wgan.files import read_json, write_bytes
from everymode.wgan.words import json_text

VERSION = 1

ABOUT = (
    "Every release of this run: the arrays that left the sites, when, to whom, and under which "
    "privacy mechanisms (none: []). An array of form 'sum' is additive, and the server adds it up "
    "over the sites. An array of form 'per site' is not a sum: the server keeps it apart by site. "
    "'kept': a real site could keep the array on its own disk between rounds."
)

_MEND = "put it back as it was, or start a new run"


def save_releases(path: Path, releases: Releases) -> None:
    """Writes the record, one line for each array.

    Raises:
        StateError: The disk refused.
    """
    value = {"version": VERSION, "about": ABOUT, "only_sums": releases.only_sums}
    head = json_text(value, indent=2).removesuffix("\n}")
    entries = []
    for entry in releases.to_json():
        lists = {name: entry.pop(name) for name in ("sites", "arrays")}
        text = json_text(entry, indent=2).removesuffix("\n}").replace("\n", "\n    ")
        for name, items in lists.items():
            lines = ",\n".join(f"        {json_text(item)}" for item in items)
            text += f',\n      "{name}": [\n{lines}\n      ]'
        entries.append(f"    {text}\n    }}")
    listed = "[\n" + ",\n".join(entries) + "\n  ]" if entries else "[]"
    write_bytes(path, f'{head},\n  "releases": {listed}\n}}\n'.encode())


def load_releases(path: Path, releases: Releases) -> None:
    """Has a record go on from a file.

    Raises:
        StateError: It is missing, of another version, or not as `save_releases` left it.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise StateError(f"{path}: is no record of releases of version {VERSION}; {_MEND}")
    try:
        releases.load(value["releases"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path}: not as a run wrote it ({error}); {_MEND}") from None
