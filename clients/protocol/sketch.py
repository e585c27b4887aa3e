"""What a column holds, learnt from sums alone.

Three fixed-length additive summaries:

- A *value sketch* lists the distinct values of a column without anybody sending a list: an
  invertible Bloom lookup table (Goodrich and Mitzenmacher, "Invertible Bloom Lookup Tables", 2011)
  whose cells hold the number of rows, the value's bytes and a check, each multiplied by the number
  of rows. Cells add; from the total over sites the values are peeled off one by one. It carries the
  vocabulary of categories.
- A *vote* finds the numbers that many rows share, and no others: cells count rows and, of each bit
  of the number, the rows that have it set. A number that holds the majority of a cell can be read
  off its bits (Cormode and Muthukrishnan, "What's Hot and What's Not: Tracking Most Frequent Items
  Dynamically", 2003, combinatorial group testing). It carries the candidates for atoms, and
  depends on the rows of all sites together alone, however they are split.
- A *signed logarithmic histogram* counts numbers in bins whose relative width is 2^(1/64) - 1,
  about 1.1 %, from 2^-30 to 2^50 and the same below zero: that is the error with which ranges and
  quantiles can be read from it.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from everymode.wgan.errors import DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TABLES = 3
CELLS = 256
LIMBS = 30
BYTES = 4 * LIMBS
"""Longest value, in bytes of UTF-8, that a sketch can carry."""

PAD = b"\xff"
"""Fills a value up to `BYTES`; UTF-8 never holds this byte."""

SKETCH = (TABLES, CELLS, LIMBS + 2)
CAPACITY = 500
"""Distinct values up to which a sketch of 3 x 256 cells is read with near certainty."""

STYLES = 12
"""Cells of a table of the sketch in which sites name types and time zones: a dozen names."""

LARGEST_SKETCH = 12_288
"""Cells of the largest table: about 24,000 distinct values, 9 MB a site and column."""

LEVELS, BUCKETS = 20, 64
"""Shape of a distinct count: values thinned by halves, level by level, each in 64 buckets."""

MAGNITUDES = 70
"""Ranges of 32 powers of two, from 2^-1088 on, in which a site's largest number may lie."""

VOTES = (TABLES, CELLS, 1 + 64)
"""Shape of a vote: rows, then rows with each bit set. Shares from about 1 % are found."""

_PIECE = 1 << 15
"""Numbers whose bits are held at once."""

STEPS = 64
LOWEST = -30
HIGHEST = 50
HALF = (HIGHEST - LOWEST) * STEPS
BINS = 2 * HALF + 1


def sketch_shape(cells: int = CELLS) -> tuple[int, int, int]:
    """The shape of a sketch whose tables have some number of cells."""
    return TABLES, cells, LIMBS + 2


def sketch(
    counts: Mapping[str, int], column: str, where: str = "the table", cells: int = CELLS
) -> Ints:
    """The sketch of a column's values with their numbers of rows, `sketch_shape(cells)`.

    Raises:
        DataError: A value is too long.
    """
    table = np.zeros(sketch_shape(cells), dtype=np.int64)
    for value, rows in counts.items():
        key = value.encode()
        if len(key) > BYTES:
            raise DataError(
                f"{where}: column '{column}' holds a value of {len(key)} bytes; at most {BYTES} "
                "can be agreed on. Shorten the values, or leave the column out with "
                f'data.drop = ["{column}"]'
            )
        limbs, check, places = _hashes(key, cells)
        content = np.concatenate([[1], limbs, [check]]).astype(np.int64) * rows
        for i, cell in enumerate(places):
            table[i, cell] += content
    return table


def peel(total: Ints, column: str) -> dict[str, int]:
    """The values in a total of sketches, each with its number of rows.

    Raises:
        DataError: There are more distinct values than a sketch can carry.
    """
    table = total.copy()
    found: dict[str, int] = {}
    progress = True
    while progress and table[..., 0].any():
        progress = False
        for i, cell in zip(*np.nonzero(table[..., 0] > 0), strict=True):
            content = table[i, cell]
            rows = int(content[0])
            if rows <= 0 or (content % rows).any():
                continue
            limbs, check = content[1:-1] // rows, content[-1] // rows
            if ((limbs < 0) | (limbs >= 2**32)).any():
                continue
            key = limbs.astype("<u4").tobytes().rstrip(PAD)
            again, expected, cells = _hashes(key, table.shape[1])
            if check != expected or not np.array_equal(again, limbs) or cells[i] != cell:
                continue
            found[key.decode(errors="replace")] = rows
            taken = content.copy()
            for j, other in enumerate(cells):
                table[j, other] -= taken
            progress = True
    if table.any():
        raise DataError(
            f"column '{column}' has more than about {capacity(table.shape[1]):,} distinct values "
            "over all sites: that is text or an identifier, not a category. Leave it out with "
            f'data.drop = ["{column}"], or declare data.columns.{column}.categories or, for a '
            f'column of unique codes, data.columns.{column}.kind = "id"'
        )
    return found


def capacity(cells: int) -> int:
    """Distinct values that a sketch is read up to with near certainty."""
    return CAPACITY * cells // CELLS


def cells_for(distinct: float) -> int:
    """Cells that the tables of a sketch need for about so many distinct values."""
    wanted = CELLS
    while capacity(wanted) < 1.5 * distinct and wanted < LARGEST_SKETCH:
        wanted = min(2 * wanted, LARGEST_SKETCH)
    return wanted


def distinct(counts: Mapping[str, int]) -> Ints:
    """Rows by level and bucket of their values' hashes, `(LEVELS, BUCKETS)`; see `estimate`."""
    table = np.zeros((LEVELS, BUCKETS), dtype=np.int64)
    for value, rows in counts.items():
        number = int.from_bytes(hashlib.sha256(value.encode()).digest()[16:24], "little")
        bits = number >> 8
        level = min((bits & -bits).bit_length() - 1 if bits else LEVELS - 1, LEVELS - 1)
        table[level, number % BUCKETS] += rows
    return table


def estimate(total: Ints) -> float:
    """About how many distinct values a column has, from the sum of the sites' `distinct`.

    Linear counting (Whang et al., "A linear-time probabilistic counting algorithm", 1990) at the
    first level whose buckets are not nearly all taken. The error is about a fifth.

    >>> round(estimate(distinct({str(i): 1 for i in range(20)})))
    21
    """
    filled = np.minimum((total > 0).sum(1), BUCKETS - 1)
    sizes = -BUCKETS * np.log1p(-filled / BUCKETS)
    full = np.flatnonzero(filled > 0.7 * BUCKETS)
    # This level and those after it hold a share of 2^-level of all values.
    level = int(full[-1]) + 1 if len(full) else 0
    return float(2**level * sizes[level:].sum())


def magnitude(numbers: Floats) -> Ints:
    """One at the range of the largest number's size, `(MAGNITUDES,)`; none where there is none."""
    found = np.zeros(MAGNITUDES, dtype=np.int64)
    size = np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0)
    if size > 0:
        found[(int(np.frexp(size)[1]) + 1088) // 32] = 1
    return found


def shift_for(total: Ints) -> int:
    """The power of two by which numbers are scaled for `log_bin`, from a sum of magnitudes.

    It is 0 for the numbers of every day: up to 2^32, and not all below 2^-32.
    """
    found = np.flatnonzero(total)
    if not len(found):
        return 0
    top = 32 * (int(found[-1]) + 1) - 1088
    return top - HIGHEST if top > HIGHEST or top <= -32 else 0


def vote(numbers: Floats, rows: Ints) -> Ints:
    """The vote of distinct numbers `(n,)`, each with its number of rows `(n,)`; `VOTES`."""
    # Adding zero turns -0.0 into 0.0, which has other bits.
    bits = (numbers + 0.0).view(np.uint64)
    cells = _cells(bits)
    weights = rows.astype(np.int64)
    table = np.zeros((TABLES * CELLS, 65), dtype=np.int64)
    places = (cells + CELLS * np.arange(TABLES)[:, None]).T
    for start in range(0, len(bits), _PIECE):
        piece = slice(start, start + _PIECE)
        some = bits[piece].astype("<u8")
        size = len(some)
        held = np.ones((size, 65), dtype=np.int64)
        held[:, 1:] = np.unpackbits(some.view(np.uint8).reshape(size, 8), 1, bitorder="little")
        # Of each cell the rows of its numbers, and those in which a bit is set.
        spread = csc_array(
            (
                np.repeat(weights[piece], TABLES),
                places[piece].reshape(-1),
                np.arange(0, TABLES * size + 1, TABLES),
            ),
            shape=(TABLES * CELLS, size),
        )
        table += spread @ held
    return table.reshape(VOTES)


def frequent(total: Ints, least: float) -> tuple[float, ...]:
    """Numbers that may hold more than `least` rows in a total of votes, ascending.

    All that do are found as long as none shares each of its cells with as many other rows; some
    found may hold fewer, so they are candidates that have to be counted.
    """
    found: set[float] = set()
    for i, cell in zip(*np.nonzero(total[..., 0] > least), strict=True):
        content = total[i, cell]
        ones = np.flatnonzero(2 * content[1:] > content[0])
        bits = np.array([sum(1 << int(bit) for bit in ones)], dtype=np.uint64)
        number = float(bits.view(np.float64)[0])
        cells = _cells(bits)[:, 0]
        crowded = (total[np.arange(TABLES), cells, 0] > least).all()
        if cells[i] == cell and crowded and np.isfinite(number):
            found.add(number)
    return tuple(sorted(found))


def log_bin(values: Floats, shift: int = 0) -> Ints:
    """The bin of each number in the signed logarithmic grid, `(n,)` in 0..BINS-1.

    Args:
        values: The numbers, `(n,)`.
        shift: The grid is scaled by 2^shift.
    """
    size = np.ldexp(np.abs(values), -shift)
    with np.errstate(divide="ignore"):
        step = np.floor((np.log2(size) - LOWEST) * STEPS)
    step = np.clip(step, -1, HALF - 1).astype(np.int64) + 1
    bins: Ints = np.where(values < 0, HALF - step, HALF + step)
    return bins


def log_edges(shift: int = 0) -> Floats:
    """The edges of the grid, ascending, `(BINS + 1,)`, scaled by 2^shift."""
    sizes = 2.0 ** (LOWEST + np.arange(HALF + 1) / STEPS)
    with np.errstate(over="ignore"):
        sizes = np.minimum(np.ldexp(sizes, shift), np.finfo(np.float64).max)
    return np.concatenate([-sizes[::-1], sizes])


def _cells(bits: npt.NDArray[np.uint64]) -> Ints:
    """The cell of each number in each table, `(TABLES, n)`: the finaliser of SplitMix64."""
    salts = np.arange(1, TABLES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = bits + salts[:, None]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    cells: Ints = ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(CELLS)).astype(np.int64)
    return cells


def _hashes(key: bytes, size: int = CELLS) -> tuple[Ints, int, tuple[int, ...]]:
    limbs = np.frombuffer(key.ljust(BYTES, PAD), dtype="<u4").astype(np.int64)
    digest = hashlib.sha256(key).digest()
    check = int.from_bytes(digest[:4], "little")
    cells = tuple(
        int.from_bytes(digest[4 * (i + 1) : 4 * (i + 2)], "little") % size for i in range(TABLES)
    )
    return limbs, check, cells
