"""What a server's folder looked like to the runs before, by this machine's own clock.

A server elsewhere does not tell who has a file open, and its clock may be wrong. So a file counts as
complete when this machine has seen it unchanged for ETL_SFTP_SETTLE_SECONDS, mostly since the run before:
nobody has to sleep for that. The memory is a small file; lost, it only costs one run more.
"""

import contextlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.exchange.config import SftpConfig
from systemscripts.exchange.folder import FoundFile


def _memory_file(config: SftpConfig) -> Path:
    return directory_management.temp_dir() / f"sftp_{config.config_id}_seen.json"


class Memory:
    """For each name the size, the time of change, and since when this machine has seen it with these."""

    def __init__(self, config: SftpConfig) -> None:
        self._file = _memory_file(config)
        self._since: dict[str, tuple[int, int, float]] = {}
        # Whatever is wrong with it, it is written anew.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            self._since = {name: (int(size), int(ns), float(at)) for name, (size, ns, at) in stored.items()}

    def look(self, found: Iterable[FoundFile]) -> None:
        """Take in how the folder looks now; what is no longer there is forgotten."""
        now = time.time()
        since = {}
        for file in found:
            size, changed_ns, at = self._since.get(file.name, (-1, 0, now))
            # Seen in the future: this machine's clock was set back.
            same = (size, changed_ns) == (file.size, file.changed_ns) and at <= now
            since[file.name] = (file.size, file.changed_ns, at if same else now)
        self._since = since

    def is_settled(self, file: FoundFile) -> bool:
        """Tell whether the file has been seen like this for long enough."""
        size, changed_ns, at = self._since.get(file.name, (-1, 0, 0.0))
        same = (size, changed_ns) == (file.size, file.changed_ns)
        return same and time.time() - at >= settings.sftp_settle_seconds()

    def save(self) -> None:
        directory_management.ensure_directory(self._file.parent)
        with directory_management.new_file(self._file) as stream:
            stream.write(json.dumps(self._since).encode())
