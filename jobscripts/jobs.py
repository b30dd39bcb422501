"""Show the schedule and its runs; run, pause or resume one of its rows.

Reads   dba.tscheduler, dba.treportmanager, dba.tjobrun; dba.tfeed for pause and resume
Writes  datastatusid of the row that is paused or resumed, as etl_owner
Run by  hand

A row is named by its whole name, in any case, by its number in dba.tscheduler, or by report:NUMBER. The promise of a
feed is paused and resumed in the same way, by its name or feed:NUMBER: while it is paused, nothing of it is missing.

  etl jobs                     every task and report: when, its next run by cron, its last run
  etl jobs --json              the same with timeout, retries and the like; next and last have it too
  etl next 5                   the next 5 runs (else 10); times are the machine's
  etl next "MeetMax URL Check"  the next runs of one row; with a number before it so many
  etl runs --failed            the last runs that failed, timed out, were killed or vanished
  etl runs 5 --last 3 --tail   the last 3 runs of task 5 (else 20), with the end of what they printed
  etl runs run_import_job.py   the last runs of a script; of an import by its name
  etl run report:1             run it now, once, even if paused; without retries and dependencies
  etl pause "meetmax url check"
  etl pause "Sales of the branches" --reason "they move until March"
  etl resume 2
"""

import argparse
import json
import logging
import os
import shlex

from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import connection as Connection

from systemscripts import db_config
from systemscripts.cron import cron_file
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_runner import run_job
from systemscripts.plain_text import as_words, say, say_table
from systemscripts.schedule.promises import FEED_TABLE
from systemscripts.schedule.rows import (
    STATES,
    Row,
    feed_rows,
    find,
    last_runs,
    next_slots,
    rows_of,
    short_time,
    that_run,
)
from systemscripts.schedule.timetable import ACTIVE
from systemscripts.user_utils import current_user

log = logging.getLogger(__name__)

Shown = tuple[list[Row], list[list[str]]]  # as JSON; as texts for the columns, and a note that goes below
COLUMNS = {  # with two blanks between them a line has 100 characters
    "list": {"id": 9, "name": 27, "when": 16, "next run": 11, "last run": 29},
    "next": {"when": 26, "id": 9, "name": 61},
    "last": {"began": 19, "job": 43, "status": 9, "exit": 4, "took": 8, "attempt": 7},
}
EFFECTS = {
    ("pause", False): "it does not run until it is resumed",
    ("resume", False): "it runs again when it is due",
    ("pause", True): "nothing of it is missing until it is resumed",
    ("resume", True): "what is due from now on is missing when it does not come",
}
KEYS = {cron_file.TASK_TABLE: "schedulerid", cron_file.REPORT_TABLE: "reportid", FEED_TABLE: "feedid"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|next|last|run|pause|resume")
    looks = {name: commands.add_parser(name) for name in COLUMNS}
    looks["next"].add_argument("what", nargs="*", metavar="[N] [NAME]")
    looks["last"].add_argument("row", nargs="?", metavar="NAME")
    looks["last"].add_argument("--last", dest="count", type=int, default=20)
    for names, option in ((["last"], "--failed"), (["last"], "--tail"), (looks, "--json")):
        for name in names:
            looks[name].add_argument(option, action="store_true")
    for name in ("run", "pause", "resume"):
        commands.add_parser(name).add_argument("row")
    commands.choices["pause"].add_argument("--reason", default="", help="why; it is kept with the promise of a feed")
    for command in commands.choices.values():
        command.description, command.formatter_class = __doc__, parser.formatter_class


def show_rows(connection: Connection, rows: list[Row], _args: argparse.Namespace) -> Shown:
    lines = []
    for row in rows:
        row["last_run"] = run = next(iter(last_runs(connection, [row], 1)), None)
        due = short_time(row["next_run"]) if row["state"] == "active" else row["state"]
        last = f"{run['status']:<9} {short_time(run['started_at']):<11} {run['took'].removeprefix('0')}" if run else "-"
        lines.append([row["id"], row["name"], row["frequency"], due, last, row["problem"] or row["where"]])
    return rows, lines


def show_next(_connection: Connection, rows: list[Row], args: argparse.Namespace) -> Shown:
    rows = [find(rows, args.row)] if args.row else rows
    runs = [
        {"time": time, "id": row["id"], "name": row["name"], "where": row["where"]}
        for time, row in next_slots(rows, args.count)
    ]
    lines = [[f"{run['time']:%a %Y-%m-%d %H:%M %Z}", run["id"], run["name"], run["where"]] for run in runs]
    bad = [row for row in rows if row["problem"] and row["state"] == "active"]
    return runs, lines + [["not by cron", row["id"], row["name"], row["problem"]] for row in bad]


def show_last(connection: Connection, _rows: list[Row], args: argparse.Namespace) -> Shown:
    runs = last_runs(connection, [] if args.row is None else that_run(connection, args.row), args.count, args.failed)
    lines = []
    for run in runs:
        began, job = f"{run['started_at']:%Y-%m-%d %H:%M:%S}", shlex.join([run["job"], *run["arguments"]])
        code = "-" if run["exit_code"] is None else str(run["exit_code"])
        note = "\n".join(filter(None, (run["reason"], args.tail and run["output_tail"])))
        lines.append([began, job, run["status"], code, run["took"].removeprefix("0"), str(run["attempt"]), note])
    return runs, lines


def run_now(row: Row) -> None:
    """Replace this process by the door, so that output, signals and exit status are those of the run."""
    words = cron_file.door_arguments(row["job"])
    if "jobs.py" in words:  # it might wait for this very run
        raise WrongCall(f"{row['job']} is a call of jobs.py itself; type that call instead")
    log.info("%s: %s", row["job"], shlex.join(words))
    logging.shutdown()
    os.execv("/bin/bash", ["bash", str(cron_file.door()), *words])


def switch(row: Row, command: str, reason: str = "") -> None:
    """Pause or resume the row, and say what that does."""
    status, is_feed = (2 if command == "pause" else ACTIVE), row["table"] == FEED_TABLE
    if reason and not is_feed:
        raise WrongCall(f"--reason is kept with the promise of a feed only, and this is {row['job']}")
    if (row["state"] == "active") == (status == ACTIVE):
        log.info("%s is %s already", row["job"], row["state"])
        return
    if command == "resume" and row["problem"]:
        change = f"UPDATE {row['table']} SET … WHERE {KEYS[row['table']]} = {row['row_id']}"  # noqa: S608 — to be read and typed
        raise JobError(
            f"{row['job']} stays paused: {row['problem']}; with it no cron file could be written. Correct that, in its row by "
            f'{cron_file.typed("sql", "--as", "etl_owner")} -c "{change}", and type the same again'
        )
    values: dict[str, int | str | None] = {"datastatusid": status}
    if is_feed and command == "pause":
        values |= {"paused_by": current_user(), "paused_reason": as_words(reason) or None}
    try:
        with db_config.session(db_config.OWNER_ROLE) as connection, connection, connection.cursor() as cursor:
            changes = ", ".join(f"{column} = %s" for column in values)
            statement = f"UPDATE {row['table']} SET {changes} WHERE {KEYS[row['table']]} = %s"  # noqa: S608 — our own names
            cursor.execute(statement, (*values.values(), row["row_id"]))
    except InsufficientPrivilege as error:
        raise JobError(f"{error.diag.message_primary}; change it as the owner, with PGUSER=etl_owner") from None
    effect = EFFECTS[command, is_feed]
    log.info("%s is %s: %s", row["job"], STATES[status], effect)
    if not is_feed:
        log.info("To update the cron file too, type: %s", cron_file.command_for_root())


def main(args: argparse.Namespace) -> int:
    """Return 0; `run` ends with the status of what it runs instead."""
    if args.command == "next":
        has_count = bool(args.what) and args.what[0].isdecimal()
        args.count, args.row = int(args.what[0]) if has_count else 10, " ".join(args.what[has_count:])
    if not 1 <= getattr(args, "count", 1) <= 1000:
        raise WrongCall(f"{args.count} runs cannot be shown; it must be a number from 1 to 1000")
    with db_config.session() as connection:
        rows = rows_of(connection)
        if args.command in ("pause", "resume"):
            rows += feed_rows(connection)
        if look := {"list": show_rows, "next": show_next, "last": show_last}.get(args.command):
            found, lines = look(connection, rows, args)
            say(json.dumps(found, default=str)) if args.json else say_table(COLUMNS[args.command], lines)
    if args.command == "run":
        run_now(find(rows, args.row))
    elif not look:
        switch(find(rows, args.row), args.command, getattr(args, "reason", ""))
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
