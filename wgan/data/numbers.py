"""Numbers in text, read and written in a notation of `notation`."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from everymode.wgan.data.notation import BOUNDS, PLAIN, Notation, number_pattern, parse_notation

Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def read_numbers(texts: Sequence[str] | pa.Array, pattern: str = "") -> tuple[Numbers, Mask, Mask]:
    """Numbers in a notation, whatever their digits and however those below zero are written.

    Args:
        texts: What is written, `(n,)`.
        pattern: The pattern of the notation.

    Returns:
        Numbers `(n,)`, NaN where there is none; whether there is none `(n,)`; and whether a number
        is a bound alone `(n,)`, such as `≤5`.

    >>> numbers, wrong, bounds = read_numbers(["$1,234.50", "($2)", "<5", "Total"], "$#,##0.00")
    >>> numbers.tolist(), wrong.tolist(), bounds.tolist()
    ([1234.5, -2.0, 5.0, nan], [False, False, False, True], [False, False, True, False])
    """
    notation = parse_notation(pattern)
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    plain = pattern in ("", "0") and len(array) > 0
    # Nearly all columns are plain: read at once.
    if plain and pc.all(pc.match_substring_regex(array, f"^{PLAIN}$")).as_py():
        cast = pc.cast(pc.utf8_ltrim(array, "+"), pa.float64())
        none = np.zeros(len(array), dtype=np.bool_)
        return cast.to_numpy(zero_copy_only=False), none, none
    return _read_each(array, notation)


def _read_each(array: pa.Array, notation: Notation) -> tuple[Numbers, Mask, Mask]:
    core, negative, bound = undressed(array, notation.prefix, notation.suffix)
    fits = pc.match_substring_regex(core, f"^{number_pattern(notation)}$")
    plain = pc.if_else(fits, core, "nan")
    if notation.thousands:
        plain = pc.replace_substring(plain, notation.thousands, "")
    if notation.decimal != ".":
        plain = pc.replace_substring(plain, notation.decimal, ".")
    numbers = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False)
    right = fits.to_numpy(zero_copy_only=False).astype(bool)
    numbers = np.where(negative, -numbers, numbers)
    return numbers, ~right, bound & right


def undressed(array: pa.Array, prefix: str, suffix: str) -> tuple[pa.Array, Mask, Mask]:
    """Texts without signs, brackets and affixes; which were below zero, and which were bounds.

    A text without the affix is left as it is: `5` among `$5`.
    """
    bound = pc.match_substring_regex(array, f"^[{BOUNDS}]=? ?[0-9$(]")
    core = pc.replace_substring_regex(array, f"^[{BOUNDS}]=? ?([0-9$(])", r"\1")
    negative = pc.match_substring_regex(core, r"^\(.*[0-9].*\)$")
    core = pc.replace_substring_regex(core, r"^\((.*[0-9].*)\)$", r"\1")
    for place in (r"^[-\x{2212}]", r"-$"):
        below = pc.match_substring_regex(core, place)
        core = pc.replace_substring_regex(core, place, "")
        negative = pc.or_(negative, below)
    core = pc.replace_substring_regex(core, r"^\+", "")
    if prefix:
        core = pc.replace_substring_regex(core, f"^{re.escape(prefix.strip())}[ \u00a0]?", "")
        # -$5 and $-5 are the same.
        below = pc.match_substring_regex(core, "^-")
        core = pc.replace_substring_regex(core, "^-", "")
        negative = pc.or_(negative, below)
    if suffix:
        core = pc.replace_substring_regex(core, f"[ \u00a0]?{re.escape(suffix.strip())}$", "")
    flags = [m.to_numpy(zero_copy_only=False).astype(bool) for m in (negative, bound)]
    return core, flags[0], flags[1]


def write_numbers(numbers: Numbers, pattern: str, decimals: int = 15) -> npt.NDArray[np.object_]:
    """Numbers written in a notation, None where NaN.

    Args:
        numbers: What to write, `(n,)`.
        pattern: The pattern of the notation.
        decimals: Digits behind the mark where the pattern leaves them open.

    >>> write_numbers(np.array([1234.5, -0.25, np.nan]), "#.##0,00 €").tolist()
    ['1.234,50 €', '-0,25 €', None]
    """
    notation = parse_notation(pattern)
    values, places = np.unique(numbers, return_inverse=True)
    spelled = [None if np.isnan(v) else _write(float(v), notation, decimals) for v in values]
    return np.array([*spelled, None], dtype=object)[places.reshape(-1)]


def _write(value: float, notation: Notation, decimals: int) -> str:
    size = abs(value)
    if notation.exponent:
        text = _scientific(size, notation)
    elif notation.digits is not None:
        text = f"{size:,.{notation.digits}f}"
    else:
        # As short as it can be while it is read back the same, never with an exponent.
        short = np.format_float_positional(size, trim="-")
        whole, _, rest = short.partition(".")
        text = f"{int(whole):,}" + (f".{rest}" if rest else "")
    swap = {",": notation.thousands, ".": notation.decimal}
    text = "".join(swap.get(character, character) for character in text)
    text = f"{notation.prefix}{text}{notation.suffix}"
    zero = not any(c in "123456789" for c in text)
    return text if value >= 0 or zero else notation.negative.replace("0", text, 1)


def _scientific(size: float, notation: Notation) -> str:
    digits = notation.digits
    text = np.format_float_scientific(size, trim="-") if digits is None else f"{size:.{digits}e}"
    mantissa, _, power = text.partition("e")
    shown = f"{int(power):+03d}" if "+" in notation.exponent else str(int(power))
    return f"{mantissa}{notation.exponent[0]}{shown}"
