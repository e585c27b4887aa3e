"""One spelling for equal values: 1, 1.0 and 1.00 are one, and so is True beside 0 and 1.

A column of 0 and 1 comes back from many a tool as 0.0 and 1.0, most often because it held a missing
value and was read as floating-point numbers; or as True and False. Spelled otherwise, groups would
be invented and categories unseen, and no row would equal another. All tables are therefore brought
to the spelling of the real one, and what was changed is told. Columns of numbers that make no
groups need none of it: they are compared as numbers. Text that merely looks like a number stays
what it is: `007` is a code.
"""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from everymode.wgan.data.schema import Kind, Schema
from everymode.wgan.data.values import describe, parse_column

_NUMBER = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.([0-9]*))?")

_TRUTH = {"false": "0", "true": "1"}

Frames = list[tuple[str, pd.DataFrame]]

Spellings = Mapping[str, int]


def spelled_alike(
    frames: Frames,
    columns: Sequence[str],
    grouping: Sequence[str],
    schema: Schema | None,
    kinds: Mapping[str, Kind] | None = None,
) -> tuple[Frames, tuple[str, ...]]:
    """Tables whose equal values are spelled alike, and what was changed, in words.

    Args:
        frames: Names and tables that all hold the columns; the first holds the real rows.
        columns: The columns to look at.
        grouping: Those whose values make groups or classes, numbers or not.
        schema: Its categories are the spelling where it is known; None: the real rows' most
            frequent one is.
        kinds: Kinds of columns, where they are not to be read off the real rows.

    >>> real, made = pd.DataFrame({"a": ["1", "0"]}), pd.DataFrame({"a": [1.0, None]})
    >>> spelled_alike([("real", real), ("made", made)], ["a"], ["a"], None)[1]
    ()
    >>> made = pd.DataFrame({"a": ["1.0", "0.0"]})
    >>> frames, notes = spelled_alike([("real", real), ("made", made)], ["a"], ["a"], None)
    >>> list(frames[1][1]["a"]), notes
    (['1', '0'], ("made: column 'a' is read as in real: 1.0 as 1, 0.0 as 0 (2 cells)",))
    """
    notes = []
    changed = [(name, frame.copy(deep=False)) for name, frame in frames]
    for column in columns:
        kind = schema[column].kind if schema else (kinds or {}).get(column)
        kind = kind or describe(frames[0][1][column]).kind
        numbers = kind in ("integer", "float", "datetime") and column not in grouping
        if numbers and all(_typed(frame[column]) for _, frame in frames):
            continue
        held = [_spellings(frame[column], column, name) for name, frame in frames]
        known = () if schema is None else schema[column].categories
        truth = _truth(set(known).union(*held))
        if numbers and not truth:
            continue
        meant = _meant(held, known, truth)
        for (name, frame), own in zip(changed, held, strict=True):
            other = {value: meant[value] for value in own if meant.get(value, value) != value}
            if not other:
                continue
            texts = parse_column(frame[column], "category", column, name)
            frame[column] = pd.Series(
                [None if text is None else other.get(text, text) for text in texts],
                index=frame.index,
                dtype=object,
            )
            cells = sum(own[value] for value in other)
            some = [f"{value} as {text}" for value, text in other.items()][:3]
            more = f" and {len(other) - 3} more" if len(other) > 3 else ""
            notes.append(
                f"{name}: column '{column}' is read as in {frames[0][0]}: {', '.join(some)}{more} "
                f"({cells:,} cells)"
            )
    return changed, tuple(notes)


def _meant(held: Sequence[Spellings], known: Sequence[str], truth: bool) -> dict[str, str]:
    """By spelling: how it is to be spelled; those that are alone are left out."""
    alike: dict[str, set[str]] = {}
    for text in set(known).union(*held):
        alike.setdefault(_value(text, truth), set()).add(text)
    return {
        text: _chosen(texts, held, known)
        for texts in alike.values()
        if len(texts) > 1
        for text in texts
    }


def _chosen(texts: set[str], held: Sequence[Spellings], known: Sequence[str]) -> str:
    """The schema's spelling, or the real rows' most frequent one, or that of the next table."""
    agreed = sorted(texts & set(known))
    if agreed:
        return agreed[0]
    for own in held:
        here = [text for text in texts if text in own]
        if here:
            return min(here, key=lambda text: (-own[text], len(text), text))
    raise AssertionError("a spelling is from somewhere")


def _truth(every: set[str]) -> bool:
    """Whether numbers stand for truth values: there are both, and no other number or text."""
    words = {text for text in every if text.lower() in _TRUTH}
    numbers = every - words
    return bool(words and numbers) and {_value(text, False) for text in numbers} <= {"0", "1"}


def common_spelling(text: str) -> str:
    """One text for all spellings of a number or a truth value.

    >>> [common_spelling(text) for text in ("1.0", "TRUE", "007")]
    ['1', '1', '007']
    """
    return _value(text, truth=True)


def equal_spellings(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The known values that a text stands for: itself, else those that it is a spelling of.

    >>> equal_spellings("1", ["1.0", "007"]), equal_spellings("TRUE", ["False", "True"])
    (('1.0',), ('True',))
    >>> equal_spellings("7", ["007", "7.5"]), equal_spellings("1.0", ["1", "1.0"])
    ((), ('1.0',))
    """
    if text in known:
        return (text,)
    meant = common_spelling(text)
    return tuple(value for value in known if common_spelling(value) == meant)


def as_number(text: str) -> float | None:
    """The number that a text spells; None for a code, such as `007`, and for other text."""
    return float(text) if _NUMBER.fullmatch(text) else None


def _value(text: str, truth: bool) -> str:
    """What a text says, the same for all spellings of one number.

    >>> [_value(text, False) for text in ("1.0", "+1", "-0.", "1.50", "007", "1.0.0")]
    ['1', '1', '0', '1.5', '007', '1.0.0']
    """
    if truth and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    sign, whole, part = found.groups()
    part = (part or "").rstrip("0")
    number = f"{whole}.{part}" if part else whole
    return f"-{number}" if sign == "-" and number != "0" else number


def _typed(series: "pd.Series") -> bool:
    types = pd.api.types
    return types.is_integer_dtype(series.dtype) or types.is_float_dtype(series.dtype)


def _spellings(series: "pd.Series", column: str, where: str) -> Spellings:
    counts = pd.Series(parse_column(series, "category", column, where), dtype=object).value_counts()
    return {str(text): int(count) for text, count in counts.items()}
