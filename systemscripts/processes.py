"""Which process a row speaks of. Its number alone does not say: after its end the next one may have it."""

import os
import time
from pathlib import Path

from systemscripts import settings

_STARTTIME = 19  # of the fields of /proc/PID/stat that follow the name; proc(5) counts it as the 22nd


def identity() -> str:
    """Return what names this process and no other: its machine, number and the tick in which it began."""
    return f"{_machine()} process {os.getpid()} {_tick_of_start('self')}"


def is_gone(known: str | None) -> bool | None:
    """Tell whether the process of that identity has ended; None where only another machine could say."""
    machine, _, process = (known or "").partition(" process ")
    if machine != _machine():
        return None
    number, _, tick = process.partition(" ")
    if not _sees_its_own_processes():
        return not _is_there(int(number))
    try:
        return _tick_of_start(number) != tick
    except FileNotFoundError:
        return not _is_there(int(number))  # one of another user is hidden by /proc's hidepid
    except OSError:
        return False


def age() -> float:
    """Return how many seconds ago this process began, by a clock that nobody sets."""
    began = int(_tick_of_start("self")) / os.sysconf("SC_CLK_TCK")
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - began, 0.0)


def _sees_its_own_processes() -> bool:
    """Tell whether /proc numbers processes as this one does: in a namespace of its own it may show those outside."""
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
    """Return host, boot and container: a name alone may belong to several, and process numbers begin anew in each."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{settings.host_name()} {boot} {Path('/proc/self/ns/pid').readlink()}"


def _tick_of_start(process: object) -> str:
    # The name, in parentheses, may hold anything.
    return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[_STARTTIME]
