"""The SQL of a report in a file: `file:sales.sql` in place of a query.

A site's own files lie in own/reports/ of the checkout, the system's in onboarding/sql/reports/. The query runs as etl_report, as
any other. What names no file of these two folders is refused, because a row of a table must not read files elsewhere.
"""

import os
import pwd
import re
import shlex
import stat
from pathlib import Path

from systemscripts import settings, whole_files
from systemscripts.reporting.model import ReportError

PREFIX = "file:"
FOLDERS = ("own/reports", "onboarding/sql/reports")  # the first one that has the file counts
MOST_BYTES = 1_000_000

_NAME = re.compile(r"\w[\w.-]{0,99}\.sql", re.ASCII)


def file_of(query: str) -> str:
    """Return the name of the file that stands in place of a query, "" if the query is SQL."""
    text = query.strip()
    return text.removeprefix(PREFIX).strip() if text.startswith(PREFIX) else ""


def sql_of(query: str) -> str:
    """Return the SQL of a query, from its file if it names one; raises ReportError if the file cannot be had."""
    if not query.strip().startswith(PREFIX):
        return query
    name = file_of(query)
    if not _NAME.fullmatch(name):
        raise ReportError(
            f"{PREFIX}{name[:60]!r} is not the name of a file such as sales.sql in {' or '.join(FOLDERS)}"
        )
    project = settings.project_dir()
    for folder in FOLDERS:
        if os.path.lexists(project / folder / name):
            return _content(project, folder, name)
    raise ReportError(f"there is no file {name} in {' or '.join(FOLDERS)} of {project}")


def _content(project: Path, folder: str, name: str) -> str:
    told = f"the file {folder}/{name}"
    if (project / folder).resolve() != project / folder:
        raise ReportError(f"{told} is reached by a link; make {folder} a directory of {project}")
    try:
        with open(whole_files.open_plain(project / folder / name), "rb") as stream:
            _require_trusted(os.fstat(stream.fileno()), project, f"{folder}/{name}")
            content = stream.read(MOST_BYTES + 1)
    except whole_files.NotPlain as found:
        raise ReportError(f"{told} is {found.kind}; put the file itself there") from None
    except OSError as error:
        raise ReportError(f"{told} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise ReportError(f"{told} has more than {MOST_BYTES:,} bytes; make a view of the query")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReportError(f"{told} is not in UTF-8: {error.reason} at byte {error.start}") from None
    if "\0" in text or not text.strip():
        raise ReportError(f"{told} is {'no text' if text.strip() else 'empty'}; it must be one single SELECT")
    return text


def _require_trusted(status: os.stat_result, project: Path, name: str) -> None:
    """Refuse what others than root and the checkout's owner, who may change programs, have written or may write."""
    owner = project.stat().st_uid
    if status.st_uid not in (0, owner):
        give = shlex.join(["sudo", "chown", _user(owner), str(project / name)])
        raise ReportError(
            f"the file {name} belongs to {_user(status.st_uid)}, who may not change programs; read it, then: {give}"
        )
    if status.st_mode & stat.S_IWOTH:
        close = shlex.join(["chmod", "o-w", str(project / name)])
        raise ReportError(f"the file {name} can be written by everybody; read it, then: {close}")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
