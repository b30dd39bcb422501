"""The frame of a program that is not a job: it prints failures as plain text on stderr and sets the exit status."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Never

from systemscripts.errors import DISK_TROUBLE, EXIT_FAILED, JobError, WrongCall
from systemscripts.plain_text import say


def run_command(name: str, main: Callable[[list[str]], int]) -> Never:
    """Run `main` with the program's arguments and exit with what it returns, or with the status of its failure."""
    try:
        leave(main(sys.argv[1:]))
    except JobError as failure:
        say(f"{name}: {failure}", to=sys.stderr)
        leave(failure.exit_status)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            _crash()
        say(f"{name}: the disk cannot be written: {error}", to=sys.stderr)
        sys.exit(EXIT_FAILED)
    except Exception:  # noqa: BLE001 — Python would print it as it is, and with it what a name or a row holds
        _crash()


def leave(status: int) -> Never:
    """Exit as sys.exit does, without taking the loaded modules apart, which takes up to 15 ms and is of no use.

    What was registered for the exit is done, and what was printed is passed on. If a thread still works, or the output
    cannot be passed on, it is sys.exit.
    """
    others = threading.enumerate()
    others.remove(threading.current_thread())
    if all(thread.daemon for thread in others):
        atexit._run_exitfuncs()  # there is no public name for this
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):  # None if it was closed when the process began
                stream.flush()
        except (OSError, ValueError):
            sys.exit(status)
        os._exit(status)
    sys.exit(status)


def _crash() -> Never:
    """Print the error that is being dealt with as Python does, and exit."""
    import traceback

    say(*traceback.format_exc().rstrip("\n").split("\n"), to=sys.stderr)
    sys.exit(EXIT_FAILED)


def wrong_call(usage: str | None) -> WrongCall:
    """Print how a program is called, and return what its `main` raises."""
    say(*(usage or "").split("\n"), to=sys.stderr)
    return WrongCall("called wrongly; see the usage above")
