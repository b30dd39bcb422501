"""Tell packed files by their first bytes, and unpack compressed ones as a stream, with limits.

A packed file is compressed (gzip, bzip2, xz), or it is an archive (zip, tar; see archives). What is unpacked goes into
files without a name, and never further than the limits.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from systemscripts import settings
from systemscripts.errors import JobError

ARCHIVES = ("zip", "tar")

CHUNK_BYTES = 1 << 20
# A small file may compress as far as it likes.
RATIO_COUNTS_FROM = 16 << 20

_HEAD_BYTES = 512
_PACKED = re.compile(
    rb"(?P<gzip>\x1f\x8b\x08)|(?P<bzip2>BZh[1-9](?:1AY&SY|\x17rE8P\x90))|(?P<xz>\xfd7zXZ\x00)|(?P<zip>PK(?:\x03\x04|\x05\x06))"
    rb"|(?P<tar>.{257}ustar(?:\x0000|  \x00))",
    re.DOTALL,
)
# The first part of a document that is a zip archive by itself: a workbook, an OpenDocument file.
_DOCUMENT = re.compile(rb"PK\x03\x04.{26}(?:\[Content_Types\]\.xml|_rels/|xl/|docProps/|mimetype)", re.DOTALL)
_NOT_READ = (
    (b"\x1f\x9d", "compressed with Unix compress (.Z)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard (.zst)"),
)


class Damaged(JobError):
    """A packed file cannot be unpacked whole."""


def kind_of(path: Path) -> str | None:
    """Return gzip, bzip2, xz, zip or tar, and None for a file that is not packed; raises JobError for kinds that are not read."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for mark, what in _NOT_READ:
        if head.startswith(mark):
            raise JobError(f"it is {what}, which is not read; ask the sender for a CSV, which may be a .gz or a .zip")
    found = _PACKED.match(head)
    return None if found is None or _DOCUMENT.match(head) else found.lastgroup


def decompress(path: Path, kind: str, output: IO[bytes]) -> None:
    """Write what the compressed file holds; raises JobError for a damaged file, and for one beyond the limits."""
    with refusing_damage(kind):
        write(_decompressed(path, kind), path.stat().st_size, output)


def write(chunks: Iterator[bytes], packed_bytes: int, output: IO[bytes]) -> int:
    """Write the chunks, as far as the limits allow for a file of that size; return the number of bytes."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        check_size(size, packed_bytes)
        output.write(chunk)
    output.flush()
    return size


def check_size(size: int, packed_bytes: int) -> None:
    """Raise JobError if a packed file of so many bytes must not become so large."""
    most_mb, most_ratio = settings.unpacked_max_mb(), settings.unpacked_max_ratio()
    if size > most_mb << 20:
        raise JobError(
            f"unpacked it is more than {most_mb:,} MiB; look at the file before you raise ETL_UNPACKED_MAX_MB"
        )
    if size > RATIO_COUNTS_FROM and size > most_ratio * packed_bytes:
        raise JobError(
            f"unpacked it is more than {most_ratio:,} times its size, as a file made to harm is; look at the file before you "
            "raise ETL_UNPACKED_MAX_RATIO"
        )


@contextlib.contextmanager
def refusing_damage(kind: str) -> Iterator[None]:
    """Raise Damaged, in one sentence, for whatever the readers raise."""
    try:
        yield
    except JobError:
        raise
    except EOFError:
        raise Damaged(f"it is cut off: its {kind} data has no end; ask the sender for it again") from None
    except Exception as error:  # readers raise anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:  # the disk's fault
            raise
        raise Damaged(
            f"it is damaged, or not of the usual kind: its {kind} data cannot be unpacked ({error}); ask the sender for it again"
        ) from None


def _decompressed(path: Path, kind: str) -> Iterator[bytes]:
    if kind == "gzip":
        import gzip

        with gzip.open(path) as stream:  # it checks length and checksum at the end of each part
            yield from iter(lambda: stream.read(CHUNK_BYTES), b"")
    else:
        import bz2
        import lzma

        new = bz2.BZ2Decompressor if kind == "bzip2" else lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ)
        with path.open("rb") as packed:
            yield from _parts(packed, new)


def _parts(packed: IO[bytes], new: Callable[[], Any]) -> Iterator[bytes]:
    """Yield what all parts of the file hold; the library's own file objects take a damaged later part for the end."""
    decompressor, data = new(), b""
    while True:
        if decompressor.needs_input and not data and not (data := packed.read(CHUNK_BYTES)):
            raise EOFError
        yield decompressor.decompress(data, CHUNK_BYTES)
        data = b""
        if decompressor.eof:
            # Between the parts of an xz file may be zeros.
            data = decompressor.unused_data.lstrip(b"\0")
            while not data:
                if not (chunk := packed.read(CHUNK_BYTES)):
                    return
                data = chunk.lstrip(b"\0")
            decompressor = new()
