"""Configurations on disk: presets, TOML files, overrides, and clear words for what is wrong.

Presets lie beside the command line, under `simulations/presets`; they are read here as files, since
the same configuration serves `everymode simulate` and `flwr run`.
"""

import contextlib
import json
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from everymode.server.config.settings import Settings, decisive, differing, harmless_keys
from everymode.wgan.data.constraints import constraint_to_json
from everymode.wgan.data.database_source import anchored, is_database
from everymode.wgan.data.formats import SUFFIXES
from everymode.wgan.errors import SettingsError, suggest
from everymode.wgan.words import toml_text

BUILTIN = "builtin:"
PACKAGE = Path(__file__).resolve().parents[2] / "simulations"
PRESETS = (PACKAGE / "presets", PACKAGE / "scenarios")
SCENARIO = "scenario:"
WIDTH = 96
"""Characters of a comment's line in a written configuration."""


def presets() -> dict[str, Path]:
    """The built-in configurations, by name."""
    return {path.stem: path for folder in PRESETS for path in sorted(folder.glob("*.toml"))}


def load(source: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads a preset or a file and applies `key=value` overrides.

    Relative paths in a file are relative to the file; those in overrides to the working directory.

    Raises:
        SettingsError: All that is wrong, at once: key, what was given, what is allowed.
    """
    known = presets()
    path = known[str(source)] if str(source) in known else Path(source)
    if path.name.lower().endswith(SUFFIXES):
        raise SettingsError(
            f"{source}: is a table, not a configuration; write one for it with: "
            f"everymode init {source} -o {path.name.partition('.')[0]}.toml"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(
            f"{source}: no such configuration file, and no preset of that name; "
            f"presets are {', '.join(known)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    _anchor(values, path.resolve().parent)
    problems: list[str] = []
    changed: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            problems.append(f"--set {override}: expected key=value, for instance train.rounds=50")
            continue
        _put(changed, _path(key.strip()), _value(text.strip()))
    if problems:
        raise SettingsError(problems)
    _anchor(changed, Path.cwd())
    return parse(_merge(values, changed), str(path), changed)


def resumed(config: Path, overrides: Sequence[str]) -> Settings:
    """The configuration of a run that goes on, with changes that leave its result as it is.

    Raises:
        SettingsError: A change would make the result another one; or as `load`.
    """
    before, settings = load(config), load(config, overrides)
    if changed := differing(decisive(before), decisive(settings)):
        raise SettingsError(
            f"{' '.join(f'--set {o}' for o in overrides)}: would change the result of the run that "
            f"is resumed: {'; '.join(changed)}. Only {', '.join(harmless_keys())} may change. "
            "Start a new run instead"
        )
    return settings


def parse(
    values: Mapping[str, Any],
    where: str = "settings",
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Validates plain values.

    Args:
        values: The configuration.
        where: Its file, for messages.
        overrides: Those of the values that come from `--set`, for messages.

    Raises:
        SettingsError: All that is wrong, at once.
    """
    # Imported here: it needs PyTorch, and help texts need the keys alone.
    from everymode.server.config.compatibility import check_compatibility

    try:
        settings = Settings.model_validate(dict(values))
    except ValidationError as error:
        problems = [_explain(dict(e), where, overrides or {}) for e in error.errors()]
        raise SettingsError(problems) from None
    if problems := check_compatibility(settings):
        raise SettingsError(f"{where}: {problem}" for problem in problems)
    return settings


def resolve(path: str) -> Path:
    """The file that `data.path` or `data.holdout` means; of a table in a database a copy.

    Raises:
        DataError: The database cannot be read.
        SettingsError: No path, that of real sites; or a built-in table that does not lie here:
            bundles for Flower carry no tables.
    """
    if not path:
        raise SettingsError(
            "the configuration names no table: deployment.sites are real sites, reached by flwr "
            "run; for a simulation, leave [deployment] out and name data.path"
        )
    if path.startswith(SCENARIO):
        raise SettingsError(
            f"data.path = '{path}': tables of scenarios are made by everymode simulate and "
            "everymode compare; run one of those, or give the path of a table"
        )
    if is_database(path):
        # Imported here: help texts and messages need no Arrow.
        from everymode.clients.database_copy import copy_for_process

        return copy_for_process(path)
    if not path.startswith(BUILTIN):
        return Path(path)
    name = path.removeprefix(BUILTIN)
    candidates = [PACKAGE / "data" / name]
    with contextlib.suppress(metadata.PackageNotFoundError):
        installed = metadata.distribution("everymode")
        candidates.append(Path(str(installed.locate_file(f"simulations/data/{name}"))))
    for candidate in candidates:
        if candidate.exists():
            return candidate
    tables = sorted(p.name for p in (PACKAGE / "data").glob("*.csv.gz"))
    raise SettingsError(
        f"{path}: there is no such built-in table ({', '.join(tables) or 'none lies here'}); "
        "give the path of a table of your own in data.path"
    )


def commented(settings: Settings) -> str:
    """The configuration as TOML in which every key is explained."""
    values = json.loads(settings.model_dump_json(exclude_none=True))
    lines: list[str] = []
    for name, info in Settings.model_fields.items():
        if isinstance(values.get(name), dict):
            continue
        lines += _entry(name, values, info.description)
    for name in Settings.model_fields:
        section = getattr(settings, name)
        if not isinstance(section, BaseModel):
            continue
        lines += ["", f"# {(type(section).__doc__ or '').splitlines()[0]}", f"[{name}]"]
        for key, info in type(section).model_fields.items():
            if name == "data" and key in ("columns", "constraints"):
                lines += _comment(info.description)
            else:
                lines += _entry(key, values[name], info.description)
        columns = values[name].get("columns", {}) if name == "data" else {}
        for column, declared in columns.items():
            lines += ["", f"[{name}.columns.{_literal(column)}]"]
            lines += (
                tomli_w.dumps({k: v for k, v in declared.items() if v or v == 0})
                .strip()
                .split("\n")
            )
        for constraint in getattr(section, "constraints", ()):
            plain = constraint_to_json(constraint)
            lines += ["", f"[[{name}.constraints]]", *_comment(f"{constraint.words}.")]
            lines += [f"{key} = {_inline(plain[key])}" for key in sorted(plain, key=_kind_first)]
    return toml_text("\n".join(lines) + "\n")


def _kind_first(key: str) -> bool:
    return key != "kind"


def keys() -> list[tuple[str, str, str]]:
    """Every key with its default and meaning, for help texts."""
    rows: list[tuple[str, str, str]] = []
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for key, inner in section.model_fields.items():
                default = "" if inner.is_required() else _shown(inner.default)
                rows.append((f"{name}.{key}", default, inner.description or ""))
        else:
            rows.append((name, _shown(info.default), info.description or ""))
    return rows


def _shown(value: object) -> str:
    return "" if value is None or value == {} else json.dumps(value)


def _entry(key: str, values: Mapping[str, Any], description: str | None) -> list[str]:
    comment = _comment(description)
    if key not in values:
        return [*comment, f"# {key} ="]
    value = values[key]
    return [*comment, f"{key} = {_inline(value)}"]


def _inline(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return _literal(value)


def _comment(description: str | None) -> list[str]:
    lines = textwrap.wrap(description or "", WIDTH, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def _literal(value: object) -> str:
    if isinstance(value, dict):
        inner = (f"{name} = {_literal(entry)}" for name, entry in value.items())
        return f"{{{', '.join(inner)}}}"
    return tomli_w.dumps({"value": value}).partition(" = ")[2].strip()


def _anchor(values: dict[str, Any], folder: Path) -> None:
    data = values.get("data")
    if not isinstance(data, dict):
        return
    for key in ("path", "holdout"):
        value = data.get(key)
        if isinstance(value, str) and is_database(value):
            data[key] = anchored(value, folder)
        elif isinstance(value, str) and value and not value.startswith((BUILTIN, SCENARIO)):
            data[key] = str((folder / Path(value).expanduser()).resolve())


def _path(key: str) -> list[str]:
    """The parts of a dotted key; parts with dots or blanks are quoted, as in TOML."""
    try:
        inner: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return key.split(".")
    parts = []
    while isinstance(inner, dict):
        (part,) = inner
        parts.append(part)
        inner = inner[part]
    return parts


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        inner = values.setdefault(key, {})
        values = inner if isinstance(inner, dict) else values
    values[path[-1]] = value


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old or {}, value) if both else value
    return merged


def _explain(error: dict[str, Any], where: str, overrides: Mapping[str, Any]) -> str:
    if _within(error["loc"], overrides):
        where = "--set"
    key = ".".join(str(part) for part in error["loc"])
    given = f", got {json.dumps(error['input'], default=str)}" if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        names = [*(name for name, _, _ in keys()), *Settings.model_fields]
        hint = suggest(key, names, "see `everymode simulate --help` for all keys", "", 0.5)
        return f"{where}: unknown key {key}; {hint}"
    if error["type"] == "missing":
        return f"{where}: {key} is missing; it must be given"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{where}: {key}: {message}{given}" if key else f"{where}: {message}"


def _within(path: Sequence[str | int], values: object) -> bool:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            # An entry of a list, or of a text that stands for a list of one.
            return isinstance(values, list | str)
        values = values[part]
    return bool(path)
