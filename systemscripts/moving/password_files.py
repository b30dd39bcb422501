"""The files with passwords that a move may use."""

import pwd
from pathlib import Path

from systemscripts import directory_management, settings
from systemscripts.errors import WrongCall
from systemscripts.moving import site_file
from systemscripts.moving.servers import Server
from systemscripts.user_utils import home_directory


def of_jobs(site: Path, secrets: Path) -> Path:
    """Return the file in which the jobs find their passwords, also those that cron starts: a terminal's setting is none of theirs."""
    named = site_file.value_in(secrets, "PGPASSFILE") or site_file.value_in(site, "PGPASSFILE")
    if named:
        return Path(named)
    user = directory_management.other_user_of_the_jobs()
    return Path(home_directory(pwd.getpwnam(user).pw_uid if user else None)) / ".pgpass"


def of_administrator(to: Server) -> Path:
    """Return the file with the administrator's password: the one of the call, or else this user's own."""
    named = to.administrator.get("PGPASSFILE", "")
    if named and not Path(named).is_file():
        raise WrongCall(f"PGPASSFILE={named}: there is no such file")
    own = named or settings.postgres_variable("PGPASSFILE")
    return Path(own).absolute() if own else Path(home_directory()) / ".pgpass"
