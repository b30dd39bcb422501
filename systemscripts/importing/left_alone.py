"""What lies in the directories of imports and is not imported, each with the reason: for a person who looks for a file."""

import contextlib
import os
import pwd
import shlex
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from systemscripts import directory_management, settings, whole_files
from systemscripts.importing import leases
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.files import TAKEN, TRIES, PendingFile, is_unfinished

_LONGEST_UPLOAD_S = 86_400
# It keeps an empty directory in a checkout.
_PLACEHOLDER = ".gitkeep"
_MOST_PATTERNS = 5


class LeftAlone(NamedTuple):
    """An entry of a directory that is not imported; `may_pass` if it may be taken without anybody's doing."""

    name: str
    reason: str
    may_pass: bool = False


def left_alone(directory: Path, configs: Iterable[ImportConfig]) -> list[LeftAlone]:
    """Return what none of the imports of a directory takes now, by name. Directories in it are nobody's.

    A pattern that cannot be used counts as fitting: its import says so itself.
    """
    here = [config for config in configs if config.source_directory == directory]
    found = []
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name == _PLACEHOLDER:
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode) and (reason := _reason(entry.name, status, here)):
                    found.append(reason)
    return found


def why_unsettled(path: Path, changed: float) -> str:
    """Return why a file that changed at this time of this machine's clock is not taken for whole."""
    if leases.is_written(path):
        return "somebody has it open for writing"
    return f"it changed {max(0, time.time() - changed):.0f} s ago, and must rest for {settings.settle_seconds():g} s"


def whose(path: Path) -> str:
    """Return in words whose a file is, and its mode."""
    try:
        status = path.lstat()
        owner = pwd.getpwuid(status.st_uid).pw_name
    except OSError:
        return "it is gone"
    except KeyError:
        owner = str(status.st_uid)
    return f"it belongs to {owner}, with mode {stat.S_IMODE(status.st_mode):o}"


def taken_before(config: ImportConfig) -> list[PendingFile]:
    """Return the files of an import that runs took out of their place and did not archive.

    Raises PermissionError if only the jobs' user may look.
    """
    directory, found = config.source_directory / TAKEN, []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.startswith(TRIES) and _may_fit(config, entry.name):
                now = entry.stat(follow_symlinks=False)
                path = config.source_directory / entry.name
                times = now.st_mtime_ns, now.st_ctime_ns
                found.append(PendingFile(path, now.st_size, *times, now.st_dev, now.st_ino, is_taken=True))
    return found


def _reason(name: str, status: os.stat_result, configs: list[ImportConfig]) -> LeftAlone | None:
    if not stat.S_ISREG(status.st_mode):
        return LeftAlone(name, f"it is {whole_files.kind_of(status.st_mode)}, which is never followed or opened")
    if is_unfinished(name):
        may_pass = name.startswith(".") or time.time() - status.st_mtime < _LONGEST_UPLOAD_S
        return LeftAlone(name, "its name is that of a file that is not finished; rename it when it is whole", may_pass)
    fitting = [config for config in configs if _may_fit(config, name)]
    if not fitting:
        patterns = ", ".join(config.file_pattern for config in configs[:_MOST_PATTERNS])
        more = f", and {len(configs) - _MOST_PATTERNS} more" if len(configs) > _MOST_PATTERNS else ""
        return LeftAlone(name, f"its name does not fit file_pattern {patterns}{more}")
    path = fitting[0].source_directory / name
    if time.time() - status.st_ctime < settings.settle_seconds() or leases.is_written(path):
        return LeftAlone(name, why_unsettled(path, status.st_ctime), may_pass=True)
    if not directory_management.jobs_may_read(path, status):
        return LeftAlone(
            name,
            f"the jobs' user may not read it: {whose(path)}; let its owner type: chmod g+r {shlex.quote(str(path))}",
        )
    return None


def _may_fit(config: ImportConfig, name: str) -> bool:
    try:
        return config.matches(name)
    except ConfigurationError:
        return True
