"""What a comparison consists of: one run a strategy and seed, all with the same budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from everymode.server.config.federation import FederationSettings
from everymode.server.config.files import load, parse
from everymode.server.config.settings import Settings
from everymode.server.config.strategies import BASELINES, SHARED_KEYS
from everymode.server.outputs.locks import is_own
from everymode.server.outputs.run_directory import RunFolder
from everymode.simulations.compare.checks import differences, parse_names, parse_seeds, unfit
from everymode.simulations.compare.entries import ENTRIES, WITHOUT_TRAINING, Baseline
from everymode.wgan.errors import SettingsError

POINTS = 10
"""Checkpoints that the curve of a run is drawn through, about."""

OWN = {
    "seed": "every run has a seed of its own; name them with --seeds 0,1,2",
    "strategy": "every run has a strategy of its own; name them with --strategies fedgan,everymode",
    "output.keep": "all checkpoints are kept, for the curves; leave it out",
}
"""Keys that the command sets itself, and what to write instead."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        strategy: The strategy's name.
        seed: The seed.
        settings: The configuration, as `simulate` would get it.
        folder: Its run directory.
    """

    strategy: str
    seed: int
    settings: Settings
    folder: RunFolder

    @property
    def baseline(self) -> Baseline | None:
        """What makes its table without training; None where it trains."""
        return WITHOUT_TRAINING.get(self.strategy)

    @property
    def finished(self) -> bool:
        """Whether it was trained to the end."""
        return self.folder.summary.exists()

    @property
    def failure(self) -> Path:
        """Where it says why it failed, if it did."""
        return self.folder.path / "failed.json"

    @property
    def curve(self) -> Path:
        """Figures of its checkpoints."""
        return self.folder.path / "curve.json"

    @property
    def grid(self) -> list[int]:
        """The rounds whose checkpoints are looked at; none without training."""
        if self.baseline is not None:
            return []
        rounds, every = self.settings.train.rounds, self.settings.output.checkpoint_every
        return sorted({*range(every, rounds + 1, every), rounds})


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison.

    Attributes:
        config: The preset or file that all runs share.
        overrides: Changes to it, `key=value`.
        out: The folder of everything.
        base: The shared configuration; strategy and seed in it mean nothing.
        strategies: Names, in the order asked for.
        seeds: Seeds, in the order asked for.
        runs: A seed's runs beside one another, so that a part of them is a comparison already.
        notes: What the person should know before it begins.
    """

    config: str
    overrides: tuple[str, ...]
    out: Path
    base: Settings
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    notes: tuple[str, ...]


def planned(
    config: str,
    strategies: str,
    seeds: str,
    out: Path,
    overrides: Sequence[str] = (),
    jobs: int = 1,
    backend: str = "inline",
) -> Comparison:
    """Reads what was asked for and looks at what lies in `out`.

    Args:
        config: A preset or a file.
        strategies: Names with commas between them, or `all`.
        seeds: Whole numbers with commas between them.
        out: The folder; new, empty, or with runs of this very comparison.
        overrides: `key=value`, for all runs.
        jobs: Runs at once.
        backend: `inline` or `ray`.

    Raises:
        SettingsError: All that is wrong, at once.
    """
    problems: list[str] = []
    names = parse_names(strategies, problems)
    numbers = parse_seeds(seeds, problems)
    if jobs < 1:
        problems.append(f"--jobs {jobs}: expected 1 or more runs at once")
    if jobs > 1 and backend == "ray":
        problems.append(
            f"--jobs {jobs}: Ray takes all cores for one run; write --backend inline, or --jobs 1"
        )
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in OWN:
            problems.append(f"--set {override}: {OWN[key]}")
    base = None
    try:
        base = _base(config, overrides)
    except SettingsError as error:
        problems += error.problems
    runs: list[Run] = []
    if base is not None:
        problems += unfit(base)
        runs = _runs(base, names, numbers, config, out, problems)
    problems += _occupied(base, config, out)
    if problems or base is None:
        raise SettingsError(problems)
    notes = tuple(_notes(base, names, numbers, jobs))
    return Comparison(config, tuple(overrides), out, base, names, numbers, tuple(runs), notes)


def build_settings(base: Settings, strategy: str, seed: int, where: str) -> Settings:
    """The configuration of one run.

    [federation] is EveryMode's own: a rival keeps those keys only that every strategy leaves to
    the configuration, and one site with all rows needs nobody to choose sites. What makes a table
    without training has the configuration of the strategy whose sites it has.

    Raises:
        SettingsError: The strategy and the configuration do not go together.
    """
    values = base.model_dump(mode="json", exclude_unset=True)
    name = strategy
    if (baseline := WITHOUT_TRAINING.get(strategy)) is not None:
        strategy = baseline.sites
    values |= {"strategy": strategy, "seed": seed}
    kept = values.get("federation", {})
    if strategy in BASELINES:
        kept = {key: value for key, value in kept.items() if key in SHARED_KEYS}
    if strategy == "pooled":
        absent = ("sites_per_round", "selection", "away")
        kept = {key: value for key, value in kept.items() if key not in absent}
    return parse(values | {"federation": kept}, f"{where}, strategy {name}")


def _base(config: str, overrides: Sequence[str]) -> Settings:
    """The configuration with checkpoints for the curves; as EveryMode's, for whom every key is.

    Critics of all strategies see as many rows a step, unless `train.exact_batch` says otherwise.
    """
    asked = [o for o in overrides if o.partition("=")[0].strip() not in OWN]
    base = load(config, ["train.exact_batch=true", *asked, "strategy=everymode"])
    rounds, output = base.train.rounds, base.output
    every = output.checkpoint_every
    if not any(o.partition("=")[0].strip() == "output.checkpoint_every" for o in asked):
        every = -(-rounds // POINTS)
    # An interrupted run has checkpoints between those of the curve: never more than rounds.
    changed = {"checkpoint_every": min(every, rounds), "keep": rounds}
    return base.model_copy(update={"output": output.model_copy(update=changed)})


def _runs(
    base: Settings,
    names: Sequence[str],
    seeds: Sequence[int],
    config: str,
    out: Path,
    problems: list[str],
) -> list[Run]:
    found = []
    for name in names:
        try:
            settings = build_settings(base, name, 0, config)
        except SettingsError as error:
            problems += error.problems
            continue
        if settings.train != base.train:
            changed = "; ".join(differences(base, settings))
            problems.append(f"strategy {name}: would train on another budget: {changed}")
        found += [
            Run(name, s, settings.model_copy(update={"seed": s}), build_run_folder(out, name, s))
            for s in seeds
        ]
    return sorted(found, key=lambda run: seeds.index(run.seed))


def build_run_folder(out: Path, strategy: str, seed: int) -> RunFolder:
    """Where a run lies."""
    return RunFolder(out / strategy / f"seed-{seed}")


def _notes(base: Settings, names: Sequence[str], seeds: Sequence[int], jobs: int) -> Iterator[str]:
    if len(seeds) < 3:
        yield (
            "one seed has no spread: differences may be chance; --seeds 0,1,2 would tell"
            if len(seeds) == 1
            else f"spread of {len(seeds)} seeds: too few to trust; --seeds 0,1,2 would be better"
        )
    if jobs > 1:
        yield f"{jobs} runs at once: seconds include waiting for one another"
    # A configuration that `init` wrote names every key, most of them with their defaults.
    kept = [
        f"federation.{key}"
        for key, info in FederationSettings.model_fields.items()
        if key not in SHARED_KEYS and getattr(base.federation, key) != info.default
    ]
    rivals = [name for name in names if name in BASELINES]
    if kept and rivals:
        yield f"{', '.join(kept)}: for everymode and pooled only; others do as their papers say"


def _occupied(base: Settings | None, config: str, out: Path) -> list[str]:
    """What lies in the folder and is not of this comparison."""
    if not out.exists():
        return []
    if not out.is_dir():
        return [f"--out {out}: is a file; name a folder"]
    kept = [*_kept(out)]
    there = [entry for entry in out.iterdir() if not is_own(entry.name)]
    if not kept and there and not (out / "compare.json").exists():
        return [f"--out {out}: is not empty and holds no comparison; name another folder"]
    if base is None:
        return []
    where: dict[str, list[Path]] = {}
    for path, name, seed in kept:
        try:
            before = load(path / "config.toml")
            now = build_settings(base, name, seed, config)
            changed = "; ".join(differences(before, now))
        except SettingsError as error:
            changed = "; ".join(error.problems)
        if changed:
            where.setdefault(changed, []).append(path)
    return [
        f"--out {out}: holds another comparison: {text} "
        f"({paths[0]}{f' and {len(paths) - 1} more runs' if len(paths) > 1 else ''}); name another "
        "folder, or ask for the same as before"
        for text, paths in where.items()
    ]


def _kept(out: Path) -> Iterator[tuple[Path, str, int]]:
    for config in sorted(out.glob("*/seed-*/config.toml")):
        name, number = config.parent.parent.name, config.parent.name.removeprefix("seed-")
        if name in ENTRIES and number.isdigit():
            yield config.parent, name, int(number)
