"""A warm door to the jobs: a process that has imported what they import, and forks where the real door starts Python.

Most of what a small job takes is Python's start, its supervisor's and its own. A job that came in here is two
processes all the same, by the code of supervisor and job from their first line on, with environment, streams, signals
and exit status of their own. What it does not try is the script of the door and the imports: see `Installation.door`.
"""

import atexit
import contextlib
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Never

from systemscripts import settings

LONGEST_CALL = 1 << 18  # bytes
DOOR = "systemscripts.runs.door"
# What jobs import where they use it; without matplotlib, which looks at its environment when it is imported.
HEAVY = """
    bs4 email.mime.text google.auth.transport.requests google.oauth2.credentials google_auth_httplib2
    googleapiclient.discovery imapclient jinja2.sandbox paramiko PIL.Image psycopg2.extras requests smtplib
""".split()

# ---- the test's side -----------------------------------------------------------------------


class WarmDoor:
    """Starts jobs by the server that listens at an address."""

    def __init__(self, address: Path) -> None:
        self._address = address

    def run(
        self, arguments: list[str], environment: dict[str, str], project: Path
    ) -> "subprocess.CompletedProcess[str]":
        """Run a job of the project, or of a copy, as `Installation.real_door` does, and return how it ended."""
        with (
            _text_file() as output,
            _text_file() as errors,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door,
        ):
            door.settimeout(120)
            door.connect(str(self._address))
            call = json.dumps([arguments, environment, str(project)]).encode()
            socket.send_fds(door, [call], [output.fileno(), errors.fileno()])
            status = int(door.recv(100))
            for stream in (output, errors):
                stream.seek(0)
            return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


def _text_file() -> Any:
    return tempfile.TemporaryFile("w+", encoding="utf-8")


@contextlib.contextmanager
def warm_door(address: Path) -> Iterator[WarmDoor]:
    """Yield a door whose server listens at the address and ends with the block."""
    environment = {"PATH": "/usr/bin:/bin"}  # as cron's, for what Python looks at when it starts
    command = [sys.executable, "-P", __file__, str(address)]
    with subprocess.Popen(command, cwd="/", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield WarmDoor(address)


# ---- the server ----------------------------------------------------------------------------


def serve(address: str) -> None:
    """Begin a process for each call, and tell the caller its exit status, until the input ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, selectors.DefaultSelector() as waiting:
        listener.bind(address)
        listener.listen(100)
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        os.write(1, b"ready\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        while True:
            for key, _ in waiting.select():
                if key.fileobj == 0:
                    return
                if key.fileobj is listener:
                    process, caller = begin(listener)
                    waiting.register(os.pidfd_open(process), selectors.EVENT_READ, (process, caller))
                else:
                    process, caller = key.data
                    waiting.unregister(key.fileobj)
                    os.close(key.fd)
                    caller.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())
                    caller.close()


def begin(listener: socket.socket) -> tuple[int, socket.socket]:
    """Take a call and begin its process."""
    caller, _ = listener.accept()
    call, streams, _, _ = socket.recv_fds(caller, LONGEST_CALL, 2)
    arguments, environment, project = json.loads(call)
    process = os.fork()
    if process == 0:
        settings.__file__ = f"{project}/systemscripts/settings.py"  # a copy has the same modules, but jobs of its own
        os.chdir("/")
        become(
            partial(runpy.run_module, DOOR, run_name="__main__", alter_sys=True),
            ["", *arguments], environment, [os.open(os.devnull, os.O_RDONLY), *streams], keep=(),
        )  # fmt: skip
    for stream in streams:
        os.close(stream)
    return process, caller


# ---- a process -----------------------------------------------------------------------------


def become(
    work: Callable[[], object],
    arguments: list[str],
    environment: dict[str, str],
    streams: list[int],
    keep: tuple[int, ...],
) -> Never:
    """Make of this process that was just forked what a new one would be, do its work, and end."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for target, stream in enumerate(streams):
            if stream != -1:
                os.dup2(stream, target)
        close_all_but({0, 1, 2, *keep})
        os.environ.clear()
        os.environ.update({"LC_CTYPE": "C.UTF-8", **environment})  # Python sets it where nothing names a language
        time.tzset()
        sys.argv = arguments
        status = status_of(work)
    except BaseException:  # noqa: BLE001 — it must never go on as the server that it was forked from
        traceback.print_exc()
    finally:
        os._exit(status)


def close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def status_of(work: Callable[[], object]) -> int:
    """Do the work and what Python does at its end; return its exit status."""
    status: object = 0
    try:
        work()
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return int(status or 0)  # type: ignore[call-overload]


class ForkedPython(subprocess.Popen):  # type: ignore[type-arg]
    """Forks where a Python script is started; anything else is started as ever."""

    def _execute_child(self, *values: Any) -> None:
        call = inspect.signature(super()._execute_child).bind(*values).arguments
        if call["args"][:2] != [sys.executable, "-P"] or not call["args"][2].endswith(".py"):
            super()._execute_child(*values)
            return
        self.pid = os.fork()
        if self.pid == 0:
            if call["start_new_session"]:
                os.setsid()
            script, *arguments = call["args"][2:]
            streams = [call["p2cread"], call["c2pwrite"], call["errwrite"]]
            environment = os.environ.copy() if call["env"] is None else call["env"]
            work = partial(runpy.run_path, script, run_name="__main__")
            become(work, [script, *arguments], environment, streams, keep=tuple(call["pass_fds"]))
        self._child_created = True
        ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(call[end] for end in ends))


def import_everything() -> None:
    """Import all modules, and the supervisor's with them; it is run as a program, and must not be there before."""
    for name in HEAVY:
        importlib.import_module(name)
    package = importlib.import_module("systemscripts")
    for module in pkgutil.walk_packages(package.__path__, "systemscripts."):
        importlib.import_module(module.name)
    del sys.modules[DOOR]


if __name__ == "__main__":
    import_everything()
    gc.freeze()  # or each child would copy what its first collection only looks at
    subprocess.Popen = ForkedPython  # type: ignore[misc]
    serve(sys.argv[1])
    os._exit(0)
