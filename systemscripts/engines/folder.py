"""Put the files for an engine into a directory: each whole, nothing of others replaced, what is gone removed."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from systemscripts import whole_files
from systemscripts.directory_management import new_file
from systemscripts.errors import JobError

MODE = 0o644


class Changes(NamedTuple):
    """The names of the files that were written, removed, and left because they were right."""

    written: list[str]
    removed: list[str]
    unchanged: list[str]


def put(directory: Path, files: Mapping[str, str], ours: re.Pattern[str], mark: str) -> Changes:
    """Make the directory hold these files; a file whose name is like `ours` and that has the mark is removed if it is gone.

    Raises JobError, before anything is changed, if somebody else wrote a file with one of the names.
    """
    try:
        directory.mkdir(exist_ok=True)
        there = {
            name: _content(directory / name)
            for name in sorted(path.name for path in directory.iterdir())
            if name in files or ours.fullmatch(name)
        }
        foreign = [name for name in there if name in files and mark not in there[name]]
        if foreign:
            raise JobError(
                f"{directory / foreign[0]} was not written by update_cron_jobs.py, so it is not replaced; "
                "move it away, or name another directory; nothing was changed"
            )
        written = [name for name, text in files.items() if there.get(name) != text]
        for name in written:
            _write(directory / name, files[name])
        removed = [name for name, text in there.items() if name not in files and mark in text]
        for name in removed:
            (directory / name).unlink()
    except OSError as error:
        raise JobError(f"{error.filename or directory} cannot be written: {error.strerror}") from None
    return Changes(written, removed, [name for name in files if name not in written])


def _content(path: Path) -> str:
    """Return the text of a plain file; what is no plain file was not written by us, and has none."""
    try:
        handle = whole_files.open_plain(path)
    except whole_files.NotPlain:
        return ""
    with open(handle, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def _write(path: Path, text: str) -> None:
    with new_file(path) as stream:
        os.fchmod(stream.fileno(), MODE)
        stream.write(text.encode())
