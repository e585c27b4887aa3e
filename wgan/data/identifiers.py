"""Identifiers: columns of unique codes, made anew in their pattern instead of being modelled.

A pattern is a text in which `9` stands for a digit, `A` and `a` for a letter, `h` for a hexadecimal
digit, and `#` for a running number of as many digits as it needs; a backslash takes such a meaning
away. `P-999999` is P-004217. A UUID is a pattern of its own.

No site says its codes. New ones cannot be real ones where they continue running numbers beyond the
largest, and are so by chance alone, which `Identifier.chance` bounds, where they are drawn.
"""

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

UUID = "uuid"

LONGEST = 64
"""Characters of a code that a pattern is made of."""

PATTERNS = 8
"""Patterns that a site names at most; a column of more is free text."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-f]{12,}")
_RUN = re.compile(r"([1-9][0-9]{0,17}|0)$|([0-9]{2,18})$")
_PLACE = re.compile(r"\\(.)|([9Aah#])|(.)", re.DOTALL)
_SIZES = {"9": 10, "A": 26, "a": 26, "h": 16}
_LETTERS = {
    "9": "0123456789",
    "A": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "a": "abcdefghijklmnopqrstuvwxyz",
    "h": "0123456789abcdef",
}


@dataclass(frozen=True)
class Identifier:
    """How new codes of a column are made.

    Attributes:
        name: The column's header.
        place: Which column of the table it is, from 0.
        patterns: The patterns of its codes, commonest first.
        shares: Of each pattern its share of the codes.
        start: Running numbers begin here: it lies beyond all that sites hold.
        whole: Whether codes are whole numbers, in typed files too.
    """

    name: str
    place: int
    patterns: tuple[str, ...]
    shares: tuple[float, ...]
    start: int = 1
    whole: bool = False

    def make(self, count: int, rng: np.random.Generator) -> list[str]:
        """New codes, `count` of them, no two alike.

        Raises:
            ValueError: The patterns have no room for as many.

        >>> Identifier("id", 0, ("P-999999",), (1.0,), 4218).make(2, np.random.default_rng(0))
        ['P-004218', 'P-004219']
        """
        chosen = rng.choice(len(self.patterns), count, p=self.shares)
        made: dict[str, None] = {}
        runs = [self.start] * len(self.patterns)
        for pattern in chosen:
            for _ in range(1000):
                code, runs[pattern] = _code(self.patterns[pattern], runs[pattern], rng)
                if code not in made:
                    break
            else:
                raise ValueError(f"no room for {count:,} codes of the column {self.name!r}")
            made[code] = None
        return list(made)

    def chance(self, held: int) -> float:
        """The largest probability that a new code is one of `held` real ones."""
        return max((min(held / room(p), 1.0) if not _runs(p) else 0.0) for p in self.patterns)


def find_patterns(codes: Iterable[str]) -> dict[str, int]:
    """The patterns of a site's codes, each with its number of codes.

    What all codes begin with stays, but for its last digits.

    >>> find_patterns(["P-004217", "P-004218", "P-011000"])
    {'P-999999': 3}
    >>> find_patterns(["7", "19", "230"]), find_patterns(["x-12", "x-305"])
    ({'#': 3}, {'x-#': 2})
    """
    texts = list(codes)
    if not texts:
        return {}
    start = re.sub(r"[0-9]+$", "", _common(texts))
    if all(_UUID.fullmatch(text) for text in texts):
        return {UUID: len(texts)}
    if all(_HEX.fullmatch(text) for text in texts) and any(re.search("[a-f]", t) for t in texts):
        return dict(Counter("h" * len(text) for text in texts).most_common(PATTERNS))
    rests = [text[len(start) :] for text in texts]
    widths = {len(rest) for rest in rests if rest.isascii() and rest.isdigit()}
    padded = len(widths) == 1 and any(rest.startswith("0") for rest in rests)
    digits = all(rest.isascii() and rest.isdigit() and len(rest) <= 18 for rest in rests)
    if digits and not padded and not any(r.startswith("0") and len(r) > 1 for r in rests):
        return {f"{_escaped(start)}#": len(texts)}
    masks = Counter(f"{_escaped(start)}{_mask(rest)}" for rest in rests)
    return dict(masks.most_common(PATTERNS))


def running_numbers(codes: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The numbers that codes end in, those that end in one, `(n,)`."""
    found = [float(m.group()) for m in map(_RUN.search, codes) if m]
    return np.array(found, dtype=np.float64)


def room(pattern: str) -> float:
    """How many codes a pattern has.

    >>> room("P-99A"), room("uuid") > 1e36
    (2600.0, True)
    """
    if pattern == UUID:
        return 2.0**122
    size = 1.0
    for match in _PLACE.finditer(pattern):
        size *= 1e18 if match.group(2) == "#" else _SIZES.get(match.group(2) or "", 1)
    return size


def pattern_problem(pattern: str) -> str | None:
    """Why a text cannot be a pattern; None if it can."""
    if not 0 < len(pattern) <= 2 * LONGEST:
        return f"has {len(pattern)} characters; expected 1 to {2 * LONGEST}"
    if pattern != UUID and pattern.count("#") - pattern.count("\\#") > 1:
        return "has two running numbers"
    return None


def read_identifiers(value: Iterable[Mapping[str, object]]) -> tuple[Identifier, ...]:
    """Identifiers from plain values."""
    return tuple(
        Identifier(**{k: tuple(v) if isinstance(v, list) else v for k, v in each.items()})  # type: ignore[arg-type]
        for each in value
    )


def _runs(pattern: str) -> bool:
    """Whether codes of a pattern continue a running number."""
    return pattern != UUID and re.search(r"(^|[^\\])(#|9+)$", pattern) is not None


def _code(pattern: str, number: int, rng: np.random.Generator) -> tuple[str, int]:
    """A code, and the next running number."""
    if pattern == UUID:
        return str(uuid.UUID(bytes=rng.bytes(16), version=4)), number
    width = len(pattern) - len(pattern.rstrip("9"))
    if width and len(str(number)) <= width and pattern[:1] != "":
        head, tail, number = pattern[: len(pattern) - width], f"{number:0{width}d}", number + 1
    elif pattern.endswith("#") and not pattern.endswith("\\#"):
        head, tail, number = pattern[:-1], str(number), number + 1
    else:
        # Beyond the largest number there is no room: numbers are drawn like letters.
        head, tail = pattern, ""
    return _PLACE.sub(lambda m: _letter(m, rng), head) + tail, number


def _letter(match: "re.Match[str]", rng: np.random.Generator) -> str:
    if match.group(1) is not None:
        return match.group(1)
    if match.group(2) is None:
        return match.group(3)
    letters = _LETTERS.get(match.group(2), "0123456789")
    return letters[int(rng.integers(len(letters)))]


def _common(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    size = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first if size is None else first[:size]


def _mask(text: str) -> str:
    return "".join(next((m for m in "9Aa" if c in _LETTERS[m]), _escaped(c)) for c in text)


def _escaped(text: str) -> str:
    return re.sub(r"([9Aah#\\])", r"\\\1", text)
