"""Decompresses files, recognised by their first bytes, within a bound on what they become."""

import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from everymode.wgan.data.formats import COMPRESSED
from everymode.wgan.errors import DataError

RATIO: Final = 300
"""Times its size that a compressed file may become; tables become 3 to 50 times their size."""

ALWAYS: Final = 1 << 28
"""Bytes that a compressed file may become whatever its size."""

_MAGIC: Final = (
    (b"\x1f\x8b", "gz"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)


def unpack(content: bytes, path: Path) -> tuple[bytes, str]:
    """What a file holds, and how it was compressed: `gz`, `zip`, `xz`, `zst` or not, "".

    Raises:
        DataError: It is damaged, a zip file of several files, or would become too large.
    """
    kind = next((k for magic, k in _MAGIC if content.startswith(magic)), "")
    if not kind:
        named = next((e for e in COMPRESSED if path.name.lower().endswith(e)), "")
        if named and b"\0" in content[:1024] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(
                f"{path}: not a whole {_LONG[named[1:]]} file; copy it again, or drop {named} "
                "from its name"
            )
        return content, ""
    limit = max(ALWAYS, RATIO * len(content))
    try:
        with _opened(content, kind, path) as file:
            plain = file.read(limit + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException):
        raise DataError(
            f"{path}: not a whole {_LONG[kind]} file; copy it again, or save the table uncompressed"
        ) from None
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path}: cannot be decompressed ({error}); save the table uncompressed"
        ) from None
    if len(plain) > limit:
        raise DataError(
            f"{path}: decompresses to more than {limit >> 20:,} MiB, over {RATIO} times its size; "
            "decompress it yourself if that is right"
        )
    return plain, kind


_LONG: Final = {"gz": "gzip", "zip": "zip", "xz": "xz", "zst": "zstd"}


def _opened(content: bytes, kind: str, path: Path) -> BinaryIO:
    raw = io.BytesIO(content)
    if kind == "gz":
        return gzip.open(raw)  # type: ignore[return-value]
    if kind == "xz":
        return lzma.open(raw)  # type: ignore[return-value]
    if kind == "zst":
        stream: BinaryIO = pa.CompressedInputStream(pa.BufferReader(content), "zstd")
        return stream
    archive = zipfile.ZipFile(raw)
    names = [
        i.filename
        for i in archive.infolist()
        if not i.is_dir() and not i.filename.startswith("__MACOSX/")
    ]
    if len(names) != 1:
        raise DataError(
            f"{path}: holds {len(names)} files ({', '.join(names[:5])}); expected one table in it"
        )
    return archive.open(names[0])  # type: ignore[return-value]


def pack(content: bytes, name: str) -> bytes:
    """`content`, compressed as the name says; equal content makes equal files."""
    low = name.lower()
    if low.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    if low.endswith(".xz"):
        return lzma.compress(content)
    if low.endswith(".zst"):
        packed: bytes = pa.Codec("zstd").compress(content, asbytes=True)
        return packed
    if low.endswith(".zip"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(name[: -len(".zip")]), content, zipfile.ZIP_DEFLATED)
        return out.getvalue()
    return content
