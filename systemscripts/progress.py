"""Progress bars for a person at a terminal while a large file is read or written; cron sees none."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from systemscripts import settings
from systemscripts.plain_text import on_one_line

# A smaller file is done so soon that it needs no bar.
LARGE_FILE_BYTES = 20_000_000
# Neither does what is done within this time.
SHORT_SECONDS = 1.0
_BUFFER_BYTES = 1 << 16


def open_with_bar(path: Path, label: str) -> BinaryIO:
    """Open the file for reading bytes; a terminal shows with the label how much of a large file has been read."""
    size = path.stat().st_size
    if size < LARGE_FILE_BYTES or not settings.at_terminal():
        return path.open("rb")
    return cast("BinaryIO", io.BufferedReader(_Watched(path, size, label), _BUFFER_BYTES))


@contextlib.contextmanager
def growing(label: str) -> Iterator[Callable[[int], None] | None]:
    """Yield a function that shows the number of bytes on the terminal; None if there is no terminal."""
    if not settings.at_terminal():
        yield None
        return
    with _bar(label, None, delay=SHORT_SECONDS) as bar:
        yield lambda size: cast("None", bar.update(size - bar.n))


class _Watched(io.FileIO):
    def __init__(self, path: Path, size: int, label: str) -> None:
        super().__init__(path)
        self._bar = _bar(label, size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the standard library's stub knows bytes alone
        count = super().readinto(buffer) or 0
        self._bar.update(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._bar.close()
        super().close()


def _bar(label: str, total: int | None, delay: float = 0.0) -> Any:
    from tqdm import tqdm

    # The supervisor's pipe hides the terminal's width.
    return tqdm(
        desc=on_one_line(label)[:40], total=total, unit="B", unit_scale=True, leave=False, ncols=100, delay=delay
    )
