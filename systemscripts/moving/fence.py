"""The fence around a database that is moved: jobs that run are waited for, none begins, and nobody writes to its tables.

It is made of locks of one session, so it falls with that session: when the move is killed, the jobs go on. Runs hold the
lock of `runs.claim` together, and the fence has it alone. Other sessions, such as psql, are kept from writing by a lock
on each table.
"""

import contextlib
import select
import sys
import threading
import time
from typing import TYPE_CHECKING

from systemscripts import db_config, locks
from systemscripts.db_config import ADMINISTRATOR_ROLE
from systemscripts.errors import TemporaryFailure
from systemscripts.plain_text import say
from systemscripts.runs import lost
from systemscripts.runs.record import MOVE_LOCK

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# What the process that began the fence waits for.
HELD = "held"
PATIENCE_S = 600.0
LOOK_SECONDS = 0.2
TELL_SECONDS = 60.0
_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 1
"""
_WRITERS = """
    SELECT DISTINCT format('%%s of %%s (session %%s)', coalesce(nullif(a.application_name, ''), 'somebody'), a.usename, a.pid)
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.locktype = 'relation' AND l.granted
      AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND l.relation >= 16384 AND a.pid <> ALL (%s) AND a.usename IS NOT NULL ORDER BY 1
"""


def hold() -> int:
    """Raise the fence, say so, and keep it until standard input ends, which also the death of the move does."""
    with (
        contextlib.closing(db_config.connect(ADMINISTRATOR_ROLE, patience=0)) as fencing,
        contextlib.closing(db_config.connect(ADMINISTRATOR_ROLE, patience=0)) as watching,
    ):
        watching.autocommit = True
        raise_fence(fencing, watching)
        say(HELD)
        while sys.stdin not in select.select([sys.stdin, fencing], [], [])[0]:
            with fencing.cursor() as cursor:  # data that nobody asked for: the server ended the session
                cursor.execute("SELECT 1")
    return 0


def raise_fence(fencing: "Connection", watching: "Connection") -> None:
    """Take the lock of the runs, then those of the tables; tell once a minute who is waited for."""
    problems: list[BaseException] = []

    def take() -> None:
        try:
            with fencing.cursor() as cursor:
                cursor.execute("SET idle_in_transaction_session_timeout = 0")
                cursor.execute(f"SET lock_timeout = '{PATIENCE_S * 1000:.0f}ms'")
                locks.wait_in_session(cursor, MOVE_LOCK)
                _wait_for_runs(watching)
                cursor.execute(_TABLES)
                if tables := [name for (name,) in cursor.fetchall()]:
                    cursor.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE MODE")
        except BaseException as problem:  # noqa: BLE001 — raised by the thread that waits
            problems.append(problem)

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    told_at = None
    while taking.is_alive():
        taking.join(LOOK_SECONDS)
        if taking.is_alive() and (told_at is None or time.monotonic() > told_at + TELL_SECONDS):
            if waited_for := _in_the_way(fencing, watching):
                say(f"waits for {', '.join(waited_for)}")
            told_at = time.monotonic()
    if problems:
        names = ", ".join(_in_the_way(fencing, watching)) or "a session that is gone by now"
        told = " ".join(str(problems[0]).split())
        if "lock timeout" not in told:
            raise problems[0]
        raise TemporaryFailure(
            f"for {PATIENCE_S / 60:g} minutes it waited for {names}; let that end, or end it, then start the move again"
        )


def _wait_for_runs(watching: "Connection") -> None:
    """Wait for runs that do not hold the lock: of a machine whose programs are older, or whose session was ended."""
    until = time.monotonic() + PATIENCE_S
    while runs_in_words(watching) and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    if still := runs_in_words(watching):
        raise TemporaryFailure(
            f"for {PATIENCE_S / 60:g} minutes it waited for {', '.join(still)}; start the move again later"
        )


def _in_the_way(fencing: "Connection", watching: "Connection") -> list[str]:
    runs = runs_in_words(watching)
    if runs:
        return runs
    with watching.cursor() as cursor:
        cursor.execute(_WRITERS, ([fencing.info.backend_pid, watching.info.backend_pid],))
        return [told for (told,) in cursor.fetchall()]


def runs_in_words(connection: "Connection") -> list[str]:
    """Return the runs that live, in words."""
    return [
        f"{run.job} (run {run.run_uuid}, since {run.started_at.astimezone():%Y-%m-%d %H:%M:%S})"
        for run in lost.living_runs(connection)
    ]
