"""Run one of our modules in a process of its own, with limits, to read untrusted data.

The parent calls `start`; the child first calls `limit_this_process`.
"""

import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from systemscripts import settings

# The exit status of a child whose processor time is over.
OUT_OF_TIME = -signal.SIGXCPU


def start(
    module: str, *arguments: str, stdin: IO[bytes], stdout: "IO[bytes] | int", pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a module as a program; it ends when this process ends, even by a kill."""
    return subprocess.Popen(
        ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-P", "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        # The child gets nothing of this environment, because it holds secrets. Arrow's own memory pools reserve a
        # gigabyte of addresses as it is imported, and those count towards the limit.
        env={
            "PYTHONPATH": str(settings.project_dir()),
            "PYTHONUTF8": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
        },
    )


def limit_this_process(memory_mb: int, seconds: int, file_bytes: int) -> None:
    """Limit this process's memory, processor time and size of written files, within the limits that are set already."""
    for kind, value in (
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
