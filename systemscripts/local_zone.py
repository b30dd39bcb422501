"""The time zone of this machine, by a name that PostgreSQL knows too.

It comes from TZ, as for the C library and Python's local times, or else from /etc/localtime. Cron
ignores TZ: see cron/slots.py.
"""

from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

from systemscripts import settings
from systemscripts.errors import JobError

LOCAL_TIME = Path("/etc/localtime")
DEBIANS_NAME = Path("/etc/timezone")
_FOLDER = "/zoneinfo/"


class NamelessZone(JobError):
    """The machine's time zone has no name that the database could be told."""


def machine_zone() -> str:
    """Return the zone's name, such as Europe/Berlin; raises NamelessZone if it has none, as when TZ holds rules."""
    wanted = settings.time_zone()
    if name := _name_of_file() if wanted is None else _name_in(wanted.removeprefix(":") or "UTC"):
        return name
    told = f"{LOCAL_TIME} does not say which zone it is" if wanted is None else f"TZ is {wanted!r}"
    raise NamelessZone(
        f"the time zone of this machine has no name such as Europe/Berlin, which the database needs: {told}; "
        "set it with timedatectl set-timezone, or set TZ to a name"
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
    """Return the name of the zone that a file describes, "" if it cannot be found.

    The file is a link into the time zone database, or a copy whose name stands in a file of Debian's.
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
