"""The time zone of this machine, by the name that PostgreSQL knows it by as well.

It is what TZ says, as for the C library and Python's local times, or else /etc/localtime. Cron does
not ask TZ: see cron/slots.py.
"""

from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

from systemscripts import settings
from systemscripts.errors import JobError

LOCAL_TIME = Path("/etc/localtime")
DEBIANS_NAME = Path("/etc/timezone")
_FOLDER = "/zoneinfo/"


class NamelessZone(JobError):
    """The machine's time zone has no name, so that nobody can tell the database which one it is."""


def machine_zone() -> str:
    """Return its name, such as Europe/Berlin; raises NamelessZone for what has none, as rules that TZ spells out."""
    wanted = settings.time_zone()
    if name := _name_of_file() if wanted is None else _name_in(wanted.removeprefix(":") or "UTC"):
        return name
    told = f"{LOCAL_TIME} does not say which zone it is" if wanted is None else f"TZ is {wanted!r}"
    raise NamelessZone(
        f"the time zone of this machine has no name such as Europe/Berlin, by which the database could know it: {told}; "
        "set it with timedatectl set-timezone, or TZ to its name"
    )


def _name_of_file() -> str:
    return zone_name(LOCAL_TIME) if LOCAL_TIME.exists() else "UTC"


def _name_in(wanted: str) -> str:
    if wanted.startswith("/"):
        return zone_name(Path(wanted))
    try:
        return ZoneInfo(wanted).key
    except (OSError, ValueError, LookupError):
        return ""


def zone_name(file: Path, debians_name: Path = DEBIANS_NAME) -> str:
    """Return the name of the zone that a file describes, "" where nothing says it.

    The file is a link to one of the time zone database, or a copy of one that Debian names elsewhere.
    """
    _, found, name = str(file.resolve()).rpartition(_FOLDER)
    if found:
        return name.removeprefix("posix/")
    if debians_name.is_file():
        name = debians_name.read_text("utf-8").strip()
        originals = [Path(folder, name) for folder in TZPATH]
        if any(original.is_file() and original.read_bytes() == file.read_bytes() for original in originals):
            return name
    return ""
