"""A bar for whoever waits at a terminal while a large file is read."""

import io
from pathlib import Path
from typing import BinaryIO, cast

from systemscripts import settings

# Below this a file is read before anybody wonders.
LARGE_FILE_BYTES = 20_000_000
_BUFFER_BYTES = 1 << 16


def open_with_bar(path: Path) -> BinaryIO:
    """Open the file for reading bytes; a person at a terminal sees how much of a large one has been read."""
    size = path.stat().st_size
    if size < LARGE_FILE_BYTES or not settings.at_terminal():
        return path.open("rb")
    return cast("BinaryIO", io.BufferedReader(_Watched(path, size), _BUFFER_BYTES))


class _Watched(io.FileIO):
    def __init__(self, path: Path, size: int) -> None:
        from tqdm import tqdm

        super().__init__(path)
        # The terminal's width is out of sight behind the supervisor's pipe.
        self._bar = tqdm(desc=path.name[:40], total=size, unit="B", unit_scale=True, leave=False, ncols=100)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the standard library's stub knows bytes alone
        count = super().readinto(buffer) or 0
        self._bar.update(count)
        return count

    def close(self) -> None:
        if not self.closed:
            self._bar.close()
        super().close()
