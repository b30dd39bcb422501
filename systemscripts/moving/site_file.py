"""The file site.env and the note of a move beside it: which server the jobs use, and which one they used before."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from systemscripts import settings, whole_files
from systemscripts.errors import JobError
from systemscripts.moving.servers import SITE_VARIABLES, Server

SCRIPT = "bash onboarding/sh/move_database.sh"
# The phases of a move. Until site.env is replaced, the former server is used, whatever the note says.
COPYING, SWITCHING, MOVED, UNDONE = "copying", "switching", "moved", "undone"


class Note(NamedTuple):
    """What is known about a move; it is kept in site.env.move, without any secret."""

    uuid: str
    phase: str
    former: dict[str, str]
    site: dict[str, str]
    administrator: dict[str, str]
    comment: str | None = None
    folder: str = ""
    former_file: str = ""
    moved_at: str = ""

    @property
    def target(self) -> Server:
        return Server(self.site, self.administrator)

    @property
    def mark(self) -> str:
        """The comment of a database that nobody uses yet, or any more, and that a further move may make anew."""
        return f"client_etl_workflow: not in use, move {self.uuid}"


def note_file(site_file: Path) -> Path:
    return site_file.with_name(f"{site_file.name}.move")


def read_note(site_file: Path) -> Note | None:
    """Return what is known about the last move; None if there was none."""
    file = note_file(site_file)
    try:
        return Note(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as problem:
        raise JobError(f"{file} cannot be read ({problem}); if no move is to be undone, delete it") from None


def write_note(site_file: Path, note: Note) -> None:
    _replace(note_file(site_file), json.dumps(note._asdict(), indent=1) + "\n", site_file)


def variables_in(text: str) -> dict[str, str]:
    """Return the variables in the text of site.env that name a server, as env.sh reads them: the first line of a name counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, value = _pair(line)
        if name in SITE_VARIABLES and value:
            found.setdefault(name, value)
    return found


def value_in(file: Path, name: str) -> str:
    """Return the value of a variable in a file of settings; "" if it is not there, or this user may not read the file."""
    if not os.access(file, os.R_OK):
        return ""
    return next((value for found, value in map(_pair, read(file).splitlines()) if found == name), "")


def administrator_here(site_file: Path) -> str:
    """Return the administrator of the server in use, if the caller has named one in PGUSER; site.env names the jobs' own role."""
    named = settings.postgres_variable("PGUSER")
    return "" if named == value_in(site_file, "PGUSER") else named


def rewritten(text: str, variables: dict[str, str]) -> str:
    r"""Return the text with these variables in place of those that named a server; all other lines stay as they are.

    >>> rewritten("# ours\nPGHOST=/run\nETL_HOME=/srv\n", {"PGHOST": "db", "PGDATABASE": "feeds"})
    '# ours\nPGHOST=db\nPGDATABASE=feeds\nETL_HOME=/srv\n'
    """
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    places = [number for number, line in enumerate(lines) if _pair(line)[0] in SITE_VARIABLES]
    new = [f"{name}={variables[name]}\n" for name in SITE_VARIABLES if name in variables]
    kept = [(number, line) for number, line in enumerate(lines) if number not in places]
    first = places[0] if places else len(lines)
    before = [line for number, line in kept if number < first]
    return "".join([*before, *new, *(line for number, line in kept if number > first)])


def read(site_file: Path) -> str:
    return site_file.read_text(encoding="utf-8", errors="surrogateescape") if site_file.is_file() else ""


def keep_former(site_file: Path, moment: datetime) -> str:
    """Copy site.env to a name beside it that has the time, and return that name; "" if there is no site.env."""
    if not site_file.exists():
        return ""
    copy = site_file.with_name(f"{site_file.name}.{moment:%Y%m%dT%H%M%S}")
    _replace(copy, read(site_file), site_file)
    return copy.name


def switch(site_file: Path, text: str) -> None:
    """Replace site.env, with the mode and the owner that it has."""
    _replace(site_file, text, site_file)


def refuse_other_places(site_file: Path, secrets: Path, current: dict[str, str]) -> None:
    """Raise JobError if another place than site.env says which server the jobs use, because it would still say so afterwards."""
    for name in (*SITE_VARIABLES, "PGUSER"):
        if value_in(secrets, name):
            raise JobError(
                f"{name} stands in {secrets}, which counts before {site_file}; move that line to {site_file} first"
            )
    for name in SITE_VARIABLES:
        here = settings.postgres_variable(name)
        if here and here != current.get(name, ""):
            raise JobError(
                f"{name} is '{here}' here and '{current.get(name, '')}' in {site_file}, by which the jobs go; type: unset "
                f"{name}, or see /etc/environment"
            )


def _pair(line: str) -> tuple[str, str]:
    """Return the name and the value of a line as env.sh reads it; two empty texts for another line."""
    line = line.strip("\r\n").lstrip()
    if line.startswith("export") and line[6:7].isspace():
        line = line[6:].lstrip()
    name, sign, value = line.partition("=")
    if not sign or line.startswith("#"):
        return "", ""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name, value


def _replace(file: Path, text: str, like: Path) -> None:
    """Write the file whole or not at all, with the mode and the owner of another one, or of its directory if that is not there."""
    owner = like.stat() if like.exists() else file.parent.stat()
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    with part.open("x", encoding="utf-8", errors="surrogateescape") as stream:
        os.fchmod(stream.fileno(), owner.st_mode & 0o777 if like.exists() else 0o644)
        if os.geteuid() == 0:
            os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
        elif owner.st_uid != os.geteuid():
            raise JobError(f"{file} belongs to another user; run this as that user, or as root")
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
    whole_files.sync_directory(file.parent)


def room_below(folder: Path) -> int:
    return shutil.disk_usage(folder).free
