"""A program of ours in a process of its own, with limits: for bytes and texts that nobody vouches for.

`start` is the parent's side; the program itself begins with `limit_this_process`.
"""

import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

from systemscripts import settings

# How a child ends whose processor time is over.
OUT_OF_TIME = -signal.SIGXCPU


def start(
    module: str, *arguments: str, stdin: IO[bytes], stdout: "IO[bytes] | int", pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a module as a program; it ends with this process, however this one ends."""
    return subprocess.Popen(
        ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-P", "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        # Nothing of this process's environment: it holds secrets, and such a program needs none of it.
        env={"PYTHONPATH": str(settings.project_dir()), "PYTHONUTF8": "1"},
    )


def limit_this_process(memory_mb: int, seconds: int, file_bytes: int) -> None:
    """Limit the memory, the processor time and the size of a file that is written, below what is set already."""
    for kind, value in (
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
