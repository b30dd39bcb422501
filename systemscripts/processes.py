"""The identity of a process in a row. Its number is not enough, because a later process may get the same one."""

import os
import time
from pathlib import Path

from systemscripts import settings

# Counted among the fields of /proc/PID/stat after the name; proc(5) counts them as the 3rd and the 22nd.
_STATE, _STARTTIME = 0, 19
# It has ended, and its parent has not asked how.
_ENDED = ("Z", "X")


def identity() -> str:
    """Return a text that names only this process: machine, number, and the clock tick of its start."""
    return f"{_machine()} process {os.getpid()} {_tick_of_start('self')}"


def is_gone(known: str | None) -> bool | None:
    """Return whether the process of that identity has ended; None if only another machine can know.

    One that its parent has not waited for, a zombie, has ended.
    """
    machine, _, process = (known or "").partition(" process ")
    if machine != _machine():
        return None
    number, _, tick = process.partition(" ")
    if not _sees_its_own_processes():
        return not _is_there(int(number))
    try:
        found = _fields(number)
        return found[_STARTTIME] != tick or found[_STATE] in _ENDED
    except FileNotFoundError:
        return not _is_there(int(number))  # /proc with hidepid hides processes of other users
    except OSError:
        return False


def age() -> float:
    """Return how many seconds ago this process began, by a clock that cannot be set."""
    began = int(_tick_of_start("self")) / os.sysconf("SC_CLK_TCK")
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 0.0)


def _sees_its_own_processes() -> bool:
    """Return whether /proc shows this process's own namespace; a container may see the numbers outside of it."""
    return str(Path("/proc/self").readlink()) == str(os.getpid())


def _is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    """Return host, boot and container: several machines may have one name, and each numbers its processes anew."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{settings.host_name()} {boot} {Path('/proc/self/ns/pid').readlink()}"


def _tick_of_start(process: object) -> str:
    return _fields(process)[_STARTTIME]


def _fields(process: object) -> list[str]:
    # The name stands in parentheses and may hold any character.
    return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
