"""The door as a program: it reads the call, starts the job as a child process that waits, and lets the supervisor decide.

    python -m systemscripts.runs.door [--due | --scheduled-at TIME] [--task ID | --report ID] <script> [arguments]

`--due` says that a schedule starts it for the slot of its row that is due now (cron/slots.py). What the supervisor needs
is imported when the child has begun, so that both import at the same time.
"""

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from systemscripts import job_catalog, processes, settings
from systemscripts.command_line import run_command
from systemscripts.errors import JobError, WrongCall
from systemscripts.plain_text import say
from systemscripts.runs.child_process import WaitingChild
from systemscripts.runs.run import Call, Run

# A start may seem this much too early: our clock shows whole seconds, and the kernel counts age in ticks.
_CUT_OFF = timedelta(seconds=1.01)

USAGE = (
    "usage: run_python_etl_script.sh [--due | --scheduled-at TIME] [--task ID | --report ID] <script> [arguments]; "
    "without a script it lists the jobs"
)


def parse_call(arguments: list[str]) -> Run:
    """Read the door's own options, which stand before the script; everything after the script belongs to the job."""
    call, rest = Call(), list(arguments)
    while rest and rest[0].startswith("-"):
        option, rest = rest[0], rest[1:]
        if option == "--due":
            call = call._replace(scheduled_at=_minute_of_start())
            continue
        value, rest = rest[0] if rest else "", rest[1:]
        if option in ("--task", "--report", "--attempt") and value.isascii() and value.isdigit():
            call = Call(**{**call._asdict(), option.removeprefix("--"): int(value)})
        elif option == "--scheduled-at":
            call = call._replace(scheduled_at=_parse_time(value))
        elif option == "--slot":
            call = call._replace(slot=value)
        else:
            raise WrongCall(f"{option} {value}".strip() + f" is not understood; {USAGE}")
    if not rest:
        raise WrongCall(f"no script named; {USAGE}")
    # The kernel makes the uuid, because importing uuid costs more than a small job's work.
    run_uuid = Path("/proc/sys/kernel/random/uuid").read_text().strip()
    return Run(
        job_catalog.find_script(rest[0]), rest[1:], call, run_uuid, settings.run_uuid() or None, datetime.now(UTC)
    )


def _minute_of_start() -> datetime:
    """Return the minute in which the process was started by cron or a person; Python may start much later."""
    began = settings.now().astimezone(UTC) - timedelta(seconds=processes.age()) + _CUT_OFF
    return began.replace(second=0, microsecond=0)


def _parse_time(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise WrongCall(f"--scheduled-at is {value!r}; it must be a time such as 2026-03-02T05:00:00+00:00") from None


def main(arguments: list[str]) -> int:
    """List the jobs, show a job's help, or run one; return the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        say(USAGE, "", *job_catalog.listing())
        return 0
    run = parse_call(arguments)
    if {"-h", "--help"} & set(run.arguments):
        return job_catalog.show_help(run.script, run.arguments)
    if not os.path.isdir(settings.etl_home()):  # noqa: PTH112 — says no also where it may not look
        raise JobError(
            f"ETL_HOME is {settings.etl_home()}, but this directory does not exist, or this user may not see it"
        )
    job_catalog.refuse_other_users(run.script, run.arguments)
    environment = settings.child_environment(
        ETL_RUN_UUID=run.run_uuid,
        ETL_TERMINAL="1" if settings.at_terminal() else "0",
        ETL_PRINTS_TO_TERMINAL="1" if settings.prints_to_terminal() else "0",
        ETL_SCHEDULED_AT="",
    )
    child = WaitingChild(job_catalog.command(run.script, run.arguments), environment)
    from systemscripts.runs.supervisor import supervise

    return supervise(run, child)


if __name__ == "__main__":
    os.umask(0o007)
    # A reader that is gone (`… | head`) must not end the supervisor before the row is closed.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    run_command("run_python_etl_script.sh", main)
