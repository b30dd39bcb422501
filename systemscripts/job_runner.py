"""The frame of every Python job: arguments, logging, one ladder of failures, the exit status.

A job ends with

    if __name__ == "__main__":
        run_job(main, doc=__doc__)

Such a job that is started by hand goes through the same door: `run_job` restarts it through
jobscripts/run_python_etl_script.sh. The supervisor there writes the run's row and takes the lock.

Any other Python script in jobscripts/ is run by this module as a program, which waits for its turn in its place:

    python -m systemscripts.job_runner <script> [arguments]

Exit status of a job that ends with run_job: 0 done, 1 failed, 64 called wrongly, 75 skipped or temporary.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Never

from systemscripts import log_utils, settings
from systemscripts.command_line import leave
from systemscripts.errors import DISK_TROUBLE, EXIT_FAILED, EXIT_TEMPORARY, JobError, WrongCall

log = logging.getLogger(__name__)


_PASSING_CLASSES = {
    "57P0": "the connection to the database was lost",
    "53": "the database is short of resources",
    "58": "the database's disk has trouble",
    "40": "the database rolled the work back because of another transaction",
    "55P03": "a table is locked by another session",
}


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises WrongCall instead of exiting with 2."""

    def error(self, message: str) -> Never:
        raise WrongCall(f"called wrongly: {message}; see {self.prog} --help")


def run_job(
    main: Callable[[argparse.Namespace], int],
    doc: str | None,
    arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> Never:
    """Run the job and exit with its status; never returns, and no `finally` around it is done: clean up in `main`.

    `main` returns the number of things that failed. `doc` becomes the text of --help. `arguments`
    adds the job's own arguments to the parser.
    """
    script = Path(sys.argv[0]).resolve()
    asks_for_help = bool({"-h", "--help"} & set(sys.argv[1:]))
    # To find the terminal's width, argparse imports modules that no run needs.
    formatter = partial(argparse.RawDescriptionHelpFormatter, width=None if asks_for_help else 80)
    parser = _Parser(prog=script.name, description=doc, formatter_class=formatter)
    if arguments is not None:
        arguments(parser)
    if asks_for_help:
        with contextlib.suppress(WrongCall):
            parser.parse_args()  # a sub-command's --help ends here
        parser.print_help()
        sys.exit(0)
    if not settings.run_uuid():
        door = settings.project_dir() / "jobscripts" / "run_python_etl_script.sh"
        os.execv("/bin/bash", ["bash", str(door), str(script), *sys.argv[1:]])
    _wait_for_gate()
    # By default SIGTERM ends Python at once, and the last log records would be lost.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    log_utils.start_logging(script.stem, settings.run_uuid())
    status = _status_of(lambda: main(parser.parse_args()))
    log_utils.flush()
    leave(status)


def run_script(script: str, *arguments: str) -> None:
    """Wait at the gate, then run the script as `python SCRIPT ARGUMENTS` does."""
    import runpy

    _wait_for_gate()
    sys.argv = [script, *arguments]
    # The scripts beside it come last, and not first: one may be named like a module of the standard library.
    sys.path += [os.path.dirname(place) for place in (script, os.path.realpath(script))]  # noqa: PTH120
    runpy.run_path(script, run_name="__main__")


def _wait_for_gate() -> None:
    """Wait until the supervisor has the run's row and lock; exit silently if it does not get them."""
    gate = settings.gate_fd()
    if gate is None:
        return
    if "systemscripts.db_config" in sys.modules:
        import systemscripts.driver  # noqa: F401 — the job will need it, and now is time
    slot = os.read(gate, 100)
    if not slot:
        os._exit(EXIT_TEMPORARY)
    os.close(gate)
    settings.set_scheduled_at(slot.decode().strip())


def _status_of(work: Callable[[], int]) -> int:
    """Run the job's work, log how it ended, and return the exit status."""
    try:
        return EXIT_FAILED if work() else 0
    except JobError as failure:
        log.error("%s", failure, extra={"step": "end"})
        return failure.exit_status
    except KeyboardInterrupt:
        log.error("interrupted", extra={"step": "end"})
        return 128 + signal.SIGINT
    except Exception as crash:
        told = " ".join(str(crash).split())
        if reason := _passing_trouble(crash):
            log.error("%s: %s; try again later", reason, told, extra={"step": "end"})
            return EXIT_TEMPORARY
        log.exception("crashed: %s: %s%s", type(crash).__name__, told, _advice(crash), extra={"step": "end"})
        return EXIT_FAILED


def _advice(error: Exception) -> str:
    """Return advice about a missing table, column or function: the database may be older than the code."""
    if getattr(error, "pgcode", None) in ("42P01", "42703", "42883"):
        return " (the database may be older than this program; type: bash onboarding/sh/sql_setupscripts.sh)"
    return ""


def _passing_trouble(error: Exception) -> str | None:
    """Return the passing trouble that the error comes from, None for an error in the work itself."""
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        return "the disk cannot be written"
    if "psycopg2" not in sys.modules:
        return None
    import psycopg2

    if not isinstance(error, psycopg2.Error):
        return None
    code = error.pgcode or ""
    # Classes of PostgreSQL's errors (manual, appendix A); an error of the connection itself has no code.
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and (not code or code.startswith("08")):
        return "the connection to the database was lost"
    return next((reason for start, reason in _PASSING_CLASSES.items() if code.startswith(start)), None)


if __name__ == "__main__":
    run_script(*sys.argv[1:])
