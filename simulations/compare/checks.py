"""What is wrong with what was asked for; each check returns problems, none raises."""

from everymode.server.config.files import resolve
from everymode.server.config.settings import Settings, decisive, differing
from everymode.simulations.compare.entries import ENTRIES
from everymode.simulations.scenarios import find_scenario
from everymode.wgan.errors import SettingsError, suggest


def parse_names(text: str, problems: list[str]) -> tuple[str, ...]:
    """The known strategies in a list with commas, or all; what is wrong goes to `problems`."""
    if text.strip() == "all":
        return tuple(ENTRIES)
    names = _parts(text)
    if not names:
        problems.append(
            f"--strategies: is empty; expected names with commas between them, or all; there are "
            f"{', '.join(ENTRIES)}"
        )
    for name in dict.fromkeys(names):
        if name not in ENTRIES:
            hint = suggest(name, ENTRIES, "", "", 0.5)
            problems.append(
                f"--strategies: there is no strategy '{name}'; {hint}{' ' if hint else ''}there "
                f"are {', '.join(ENTRIES)}"
            )
        if names.count(name) > 1:
            problems.append(f"--strategies: names {name} {names.count(name)} times; once is enough")
    return tuple(dict.fromkeys(name for name in names if name in ENTRIES))


def parse_seeds(text: str, problems: list[str]) -> tuple[int, ...]:
    """The seeds in a list with commas; what is wrong goes to `problems`."""
    parts = _parts(text)
    if not parts:
        problems.append("--seeds: is empty; expected whole numbers, for instance 0,1,2")
    seeds = []
    for part in parts:
        if not (part.isascii() and part.isdigit()) or int(part) >= 2**31:
            problems.append(
                f"--seeds: '{part}' is no whole number from 0 to {2**31 - 1}; expected a list such "
                "as 0,1,2"
            )
        else:
            seeds.append(int(part))
    problems += [
        f"--seeds: {seed} occurs {seeds.count(seed)} times; a seed twice gives the same run twice"
        for seed in sorted(set(seeds))
        if seeds.count(seed) > 1
    ]
    return tuple(dict.fromkeys(seeds))


def unfit(base: Settings) -> list[str]:
    """What makes a configuration no basis of a comparison."""
    problems = []
    if base.train.patience:
        problems.append(
            f"train.patience = {base.train.patience}: runs that stop early have unequal budgets; "
            "write --set train.patience=0"
        )
    for key, value in (("data.path", base.data.path), ("data.holdout", base.data.holdout)):
        try:
            known = key == "data.path" and find_scenario(base)
            if value is not None and not known and not resolve(value).exists():
                problems.append(f"{key}: {value}: no such file or folder")
        except SettingsError as error:
            problems += error.problems
    return problems


def differences(before: Settings, now: Settings) -> list[str]:
    """Keys that differ, with both values; those that change no result are passed over.

    >>> one = Settings.model_validate({"data": {"path": "a.csv"}})
    >>> two = Settings.model_validate({"data": {"path": "a.csv"}, "train": {"rounds": 7}})
    >>> differences(one, two)
    ['train.rounds is 300 there and 7 now']
    """
    # Between two parts of a comparison, checkpoints are points of its curves.
    old, new = (
        decisive(s) | {"output.checkpoint_every": s.output.checkpoint_every} for s in (before, now)
    )
    return differing(old, new)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
