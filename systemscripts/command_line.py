"""The frame of a program that is not a job: it prints failures as plain text on stderr and sets the exit status."""

import sys
from collections.abc import Callable
from typing import Never

from systemscripts.errors import DISK_TROUBLE, EXIT_FAILED, JobError, WrongCall
from systemscripts.plain_text import say


def run_command(name: str, main: Callable[[list[str]], int]) -> Never:
    """Run `main` with the program's arguments and exit with what it returns, or with the status of its failure."""
    try:
        sys.exit(main(sys.argv[1:]))
    except JobError as failure:
        say(f"{name}: {failure}", to=sys.stderr)
        sys.exit(failure.exit_status)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            _crash()
        say(f"{name}: the disk cannot be written: {error}", to=sys.stderr)
        sys.exit(EXIT_FAILED)
    except Exception:  # noqa: BLE001 — Python would print it as it is, and with it what a name or a row holds
        _crash()


def _crash() -> Never:
    """Print the error that is being dealt with as Python does, and exit."""
    import traceback

    say(*traceback.format_exc().rstrip("\n").split("\n"), to=sys.stderr)
    sys.exit(EXIT_FAILED)


def wrong_call(usage: str | None) -> WrongCall:
    """Print how a program is called, and return what its `main` raises."""
    say(*(usage or "").split("\n"), to=sys.stderr)
    return WrongCall("called wrongly; see the usage above")
