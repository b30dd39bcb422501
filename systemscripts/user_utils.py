"""The user that runs this process."""

import os
import pwd


def current_user() -> str:
    """Return the name of the user this process acts as, or its number where it has no name.

    It asks the password database, because LOGNAME and USER can be wrong under cron, sudo and containers.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def home_directory(uid: int | None = None) -> str:
    """Return the home directory of a user (default: this process's), `/` where the user has none."""
    try:
        return pwd.getpwuid(os.geteuid() if uid is None else uid).pw_dir
    except KeyError:
        return "/"


def get_username() -> str:
    """Return what current_user returns; jobs from older installations know it by this name."""
    return current_user()
