"""Arrays in Flower messages, of which no byte is trusted: `numpy.load` reads none of them."""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from everymode.clients.protocol.messages import Tensors
from everymode.clients.protocol.refusal import RefusedError
from everymode.clients.protocol.sums import ReplyError

TENSORS, JOINED, TENSOR_FORMS = "tensors", "joined", "forms"
"""Names of the record with a request's arrays, of the one array in it, and of what it holds.

Flower carries every array of a message in calls of its own, whatever its size: four arrays to three
sites took a quarter of the calls of an exchange.
"""

NUMPY = "numpy.ndarray"
"""What Flower calls arrays that were written by `numpy.save`."""


def read_arrays(
    record: Any, agreed: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], of: str
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a record, each of the agreed type and shape, and finite."""
    if not isinstance(record, ArrayRecord):
        raise ReplyError(f"the record{of or ' of sums'} is missing")
    if set(record) != set(agreed):
        raise ReplyError(f"the arrays{of} are not those that were agreed on")
    found = {}
    for name, (kind, shape) in agreed.items():
        array, expected = record[name], f"{kind} {shape}"
        head, came = _header(kind, shape), f"{array.dtype} {array.shape}"
        length = len(head) + kind.itemsize * math.prod(shape)
        if array.stype != NUMPY or array.data[: len(head)] != head or len(array.data) != length:
            other = f"came as {short(came)}" if came != expected else "came with other bytes"
            raise ReplyError(f"'{name}'{of} {other}, agreed on was {expected}")
        # A copy of our own: the bytes are read-only, and live as long as the message.
        values = np.frombuffer(array.data, kind, offset=len(head)).reshape(shape).copy()
        if kind.kind == "f" and not np.isfinite(values).all():
            raise ReplyError(f"'{name}'{of} is not finite")
        found[name] = values
    return found


def read_tensors(record: ArrayRecord) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a request, of the types and shapes that are claimed.

    `numpy.load` would allocate what a header claims, and parse a spoilt one as Python's source.

    Raises:
        RefusedError: The bytes are not those of such an array.
    """
    found = {}
    for name, array in record.items():
        kind, shape = _form(name, array.dtype, array.shape)
        head = _header(kind, shape)
        length = len(head) + kind.itemsize * math.prod(shape)
        if array.stype != NUMPY or array.data[: len(head)] != head or len(array.data) != length:
            raise RefusedError(f"the array {short(name)} came with other bytes than {kind} {shape}")
        found[name] = np.frombuffer(array.data, kind, offset=len(head)).reshape(shape).copy()
    return found


def _form(name: str, kind: Any, shape: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """The type and shape that a request claims of an array, where it is one of numbers."""
    found, sizes = np.dtype(str(kind)), tuple(map(int, shape))
    if found.kind not in "fiub" or len(sizes) > 32 or any(size < 0 for size in sizes):
        raise RefusedError(f"the array {short(name)} is not one of numbers")
    return found, sizes


def tensor_forms(tensors: Tensors) -> str:
    """Name, type and shape of each array, as JSON."""
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return json.dumps([[name, str(a.dtype), a.shape] for name, a in arrays.items()])


def join_tensors(tensors: Tensors) -> ArrayRecord:
    """Arrays one after another, as bytes."""
    content = b"".join(np.ascontiguousarray(tensor).tobytes() for tensor in tensors.values())
    return ArrayRecord({JOINED: Array(np.frombuffer(content, np.uint8))} if content else {})


def split_tensors(record: ArrayRecord, forms: Any) -> dict[str, npt.NDArray[Any]]:
    """The inverse of `join_tensors`; `forms` are name, type and shape of each.

    Raises:
        RefusedError: The bytes are not those of such arrays.
    """
    whole = read_tensors(record)
    content = whole.pop(JOINED, np.zeros(0, np.uint8))
    if whole or content.dtype != np.uint8 or content.ndim != 1:
        raise RefusedError("arrays that came otherwise than agreed on")
    found: dict[str, npt.NDArray[Any]] = {}
    start = 0
    for name, kind, shape in forms:
        told, sizes = _form(str(name), kind, shape)
        count = math.prod(sizes)
        end = start + told.itemsize * count
        if end > len(content) or name in found:
            raise RefusedError(f"the array {short(str(name))} came otherwise than agreed on")
        # A copy: its bytes may begin anywhere.
        values = np.frombuffer(content, told, count, start) if count else np.zeros(0, told)
        found[str(name)], start = values.reshape(sizes).copy(), end
    if start != len(content):
        raise RefusedError("more bytes came than the arrays have")
    return found


@lru_cache(maxsize=256)
def _header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What the bytes of an array of this type and shape begin with."""
    buffer = BytesIO()
    told = {"descr": dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    write_array_header_1_0(buffer, told)
    return buffer.getvalue()


def short(text: str) -> str:
    """A word of a sender, no longer than a line."""
    return repr(text if len(text) <= 80 else text[:80] + "...")


def pack_arrays(arrays: Tensors) -> ArrayRecord:
    """Arrays by name."""
    return ArrayRecord({name: Array(np.ascontiguousarray(t)) for name, t in arrays.items()})
