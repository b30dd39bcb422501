"""The files in failed/: what lies there and why, the way back into an import, and the way of a loaded file into it.

The jobs' user may write in these folders and in dba.timportfile, and a person who may do more moves the files. So a
folder is used only if it is where it should be, a path of the ledger only if it is in the archive of its import, and a
file is moved only if it is the one that was looked at (directory_management.carry).
"""

import contextlib
import itertools
import os
import re
import stat
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from systemscripts import directory_management, settings, whole_files
from systemscripts.errors import JobError
from systemscripts.importing import ledger
from systemscripts.importing.config import ImportConfig
from systemscripts.importing.files import TAKEN
from systemscripts.importing.filing import say_why
from systemscripts.log_sinks.entries import storable

_IS_REASON = re.compile(r".+\.error(\.\d+)?\.txt")


class SetAside(NamedTuple):
    """A file in failed/. `file_name` is what it was called when it came; `importfileid` is None if no row is about it.

    `is_undone` says that a person took back a dataset with its content, or with a part of it; `is_decided` that it came
    here by that.
    """

    path: Path
    file_name: str
    reason: str
    importfileid: int | None = None
    since: datetime | None = None
    is_undone: bool = False
    is_decided: bool = False


def files_of(cursor: Cursor, config_id: int, config_name: str) -> list[SetAside]:
    """Return the files of an import in failed/, by name; their reasons are those of the ledger, or else of NAME.error.txt."""
    directory = _folder(config_name)
    names = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode))
    # The same place may have held other files before.
    cursor.execute(
        "SELECT DISTINCT ON (archived_path) archived_path, file_name, error, importfileid, created_at,"
        "   EXISTS (SELECT FROM dba.timportfile AS same LEFT JOIN dba.timportfile AS member"
        "               ON same.status = 'Unpacked' AND member.archive_id = same.importfileid AND member.status = 'Undone'"
        "           WHERE same.sha256 = f.sha256 AND same.config_id = f.config_id"
        "           AND (same.status = 'Undone' OR member.importfileid IS NOT NULL)),"
        "   status = 'Undone', config_id"
        " FROM dba.timportfile AS f WHERE archived_path = ANY (%s) AND status IN ('Failed', 'Undone') AND archive_id IS NULL"
        " ORDER BY archived_path, importfileid DESC",
        ([storable(str(directory / name)) for name in names],),
    )
    rows = {path: row for path, *row in cursor.fetchall()}
    found = []
    for path in (directory / name for name in names):
        row = rows.get(storable(str(path)))
        if row is None and not _IS_REASON.fullmatch(path.name):
            told = next((reason.read_text(errors="replace") for reason in _reasons(path)), "")
            found.append(SetAside(path, path.name, told.strip().split("\n\n")[0] or "nothing is recorded about it"))
        elif row is not None and row.pop() == config_id:
            name, *known = row
            # The name in the ledger has signs written out that PostgreSQL cannot hold.
            name = path.name if storable(path.name) == name else name
            found.append(SetAside(path, name, *known))
    return found


def is_in_folder(config_name: str, path: Path) -> bool:
    """Return whether this is a file of the import's folder in failed/, and is there."""
    return path.parent == _folder(config_name) and path.is_file()


def put_back(cursor: Cursor, config: ImportConfig, file: SetAside) -> Path:
    """Move a file from failed/ to its import's source_directory and return its path there; its reason files go.

    Nothing is replaced: raises JobError if a file of that name waits there. The reason stays in the ledger.
    """
    target = config.source_directory / file.file_name
    if not config.matches(file.file_name):
        raise JobError(
            f"import {config.config_name}: the name {file.file_name!r} does not fit file_pattern {config.file_pattern}"
        )
    for place in (target, target.parent / TAKEN / target.name):
        if os.path.lexists(place):
            raise JobError(f"another file waits as {place}; load that one first, or move it away")
    # The reasons go first: after a crash in between, the ledger has them still.
    for reason in _reasons(file.path):
        if not ledger.is_anothers(cursor, reason):
            reason.unlink(missing_ok=True)
    try:
        _carry(file.path, target)
    except JobError:
        say_why(file.path, file.reason)
        raise
    if file.importfileid is not None:
        ledger.note_moved(cursor, file.importfileid, target)
    return target


def take_away(config_name: str, archive: Path, archived: Path, sha256: str, reason: str) -> Path:
    """Move a loaded file from its import's archive to failed/ with the reason, and return its path there.

    A file that a killed run has moved already is found. Raises JobError if the file is not in the archive, or is not
    the one with this SHA-256.
    """
    directory = directory_management.ensure_directory(_folder(config_name))
    is_there = os.path.lexists(archived)
    place = None if is_there else directory_management.find_numbered(directory / archived.name, sha256)
    if place is None:
        if archived.parent != archive:
            raise JobError(f"{archived} is not in the archive {archive}")
        if not is_there:
            raise JobError(f"{archived} is no longer there")
        names = directory_management.numbered_names(directory / archived.name)
        place = next(name for name in names if not os.path.lexists(name))
        _carry(archived, place, sha256)
    if not _reasons(place):
        say_why(place, reason)
    return place


def _folder(config_name: str) -> Path:
    """Return the import's folder in failed/; raises JobError if a link leads elsewhere."""
    directory = directory_management.failed_dir(config_name)
    if directory.resolve() != settings.file_watcher_dir().resolve() / directory.parent.name / directory.name:
        raise JobError(f"{directory} is a link to {directory.resolve()}; look at it, then remove the link")
    return directory


def _reasons(path: Path) -> list[Path]:
    """Return the files with the reasons of a file in failed/: NAME.error.txt, NAME.error.2.txt and so on."""
    names = directory_management.numbered_names(directory_management.with_ending(path, ".error.txt"))
    return list(itertools.takewhile(lambda name: name.is_file() and not name.is_symlink(), names))


def _carry(source: Path, target: Path, sha256: str | None = None) -> None:
    try:
        directory_management.carry(source, target, sha256)
    except FileNotFoundError:
        missing = (
            f"there is no directory {target.parent}" if os.path.lexists(source) else f"{source} is no longer there"
        )
        raise JobError(missing) from None
    except whole_files.NotPlain as found:
        raise JobError(f"{source} is {found.kind}, which is never moved") from None
    except whole_files.Replaced as reason:
        raise JobError(f"{reason}; it stays where it is") from None
    except OSError as error:
        raise JobError(f"{source} cannot be moved to {target}: {error.strerror}") from None
