"""The database session of a supervisor. It holds the run's locks; if the server ends it, a new one is opened.

There are two locks: one for the run, which shows others that its supervisor lives, and one for the
job and its arguments, so that two runs never do the same at the same time.
"""

import contextlib
import enum
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from systemscripts import db_config, locks
from systemscripts.errors import JobError
from systemscripts.runs import lost, record
from systemscripts.runs.lost import Fate
from systemscripts.runs.run import Run

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

# How often a waiting run checks whether it may begin, and how often a lost session is tried again.
LOOK_SECONDS = 1.0
# How long a server may take to come back before a run that waits gives up.
PATIENCE_SECONDS = 60.0

T = TypeVar("T")

# Set for the database: a role, or the environment, may have a setting of its own.
_IS_LEFT = """
    SELECT CASE current_setting('default_transaction_read_only') WHEN 'on' THEN (
        SELECT source = 'database' FROM pg_settings WHERE name = 'default_transaction_read_only') ELSE false END
"""


class BeingMoved(db_config.DatabaseUnavailable):
    """The database is being moved to another server, or was moved there."""


class Turn(enum.Enum):
    """Whether a run may begin: yes; no, because another run does the same; or unknown, as that run may be dead."""

    MINE = enum.auto()
    ANOTHERS = enum.auto()
    IN_DOUBT = enum.auto()


class Claim:
    """A run's session and locks.

    Raises NoFreeConnection if the server has no connections for the run and its job within `patience`
    seconds, and DatabaseUnavailable if the database cannot be reached at all.
    """

    def __init__(self, run: Run, patience: float = db_config.PATIENCE_S) -> None:
        self._run = run
        self._has_turn = False
        self._renewing = threading.Lock()
        # Each user of the connection holds this lock: during a COPY another thread's statement would be lost, or wait for ever.
        self.guard = threading.RLock()
        self.connection = _admitted(run, patience)
        # Whether another machine took this run for lost and has started the same.
        self.is_replaced = False

    def ask(self, question: "Callable[[Connection], T]") -> T:
        """Return the answer to a question; if the session ends meanwhile, ask in a new one.

        Raises DatabaseUnavailable if there is no session for PATIENCE_SECONDS.
        """
        import psycopg2

        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self.guard:
                    return question(self.connection)
            except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
                if time.monotonic() > give_up:
                    told = " ".join(str(error).split())
                    raise db_config.DatabaseUnavailable(
                        f"the database went away while the run waited: {told}"
                    ) from error
                time.sleep(LOOK_SECONDS)
                self.renew()

    def take_run(self) -> None:
        """Take the run's own lock; this comes before its row, because a row with a free lock counts as vanished."""
        self.ask(lambda connection: locks.taken(connection, record.run_lock(self._run.run_uuid)))

    def take_turn(self) -> Turn:
        """Return whether the run may begin; if so, no other run can do the same until the session ends."""
        turn = self.ask(self._lock_job)
        self._has_turn = turn is Turn.MINE
        return turn

    def _lock_job(self, connection: "Connection") -> Turn:
        if not locks.taken(connection, self._run.lock_name):
            return Turn.ANOTHERS
        # A run that lost its session takes the lock again in a moment.
        fate = lost.fate_of_others(connection, self._run)
        if fate is Fate.GONE:
            return Turn.MINE
        locks.released(connection, self._run.lock_name)
        return Turn.ANOTHERS if fate is Fate.ALIVE else Turn.IN_DOUBT

    def wait(self, seconds: float) -> None:
        """Wait, and open a new session if this one ends: its locks show others that the run lives."""
        import psycopg2

        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                is_stirred = bool(select.select([self.connection.fileno()], [], [], left)[0])
            except psycopg2.InterfaceError:
                time.sleep(min(left, LOOK_SECONDS))
                is_stirred = True
            if is_stirred:
                self.renew()

    def renew(self) -> bool:
        """If the session is gone, open a new one and take the locks again; return whether all is well again."""
        import psycopg2

        with self._renewing, contextlib.suppress(psycopg2.Error, JobError):
            with self.guard:
                if _answers(self.connection):
                    return True
            connection = _connect(patience=0)
            if self._take_anew(connection):
                self.connection = connection
                return True
            connection.close()
        return False

    def _take_anew(self, connection: "Connection") -> bool:
        """Take the locks in a new session, then note in the row that the run lives; return whether that worked."""
        record.take_place(connection)  # the run continues without it
        locks.taken_together(connection, record.MOVE_LOCK)  # and without this one, as the move sees the run's own lock
        if not locks.taken(connection, record.run_lock(self._run.run_uuid)):
            return False
        if self._has_turn and not locks.taken(connection, self._run.lock_name):
            if not lost.was_given_up(connection, self._run.run_uuid):
                return False
            self._has_turn, self.is_replaced = False, True
            return True
        lost.revive(connection, self._run.run_uuid, "Running" if self._has_turn else "Waiting")
        return True

    @contextlib.contextmanager
    def kept(self, stop: Callable[[], None]) -> Iterator[None]:
        """Renew the session whenever it ends within the block; when the run was replaced, call `stop` repeatedly."""
        end, finish = os.pipe()
        keeper = threading.Thread(target=self._keep, args=(end, stop), name="claim keeper", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            os.close(finish)
            keeper.join(timeout=LOOK_SECONDS)

    def _keep(self, end: int, stop: Callable[[], None]) -> None:
        """Wait for the end of the pipe, and watch the session: data that nobody asked for means that the server is gone."""
        import psycopg2

        while True:
            watched = [end]
            # Code that writes a row or a log record may notice the lost session first.
            with contextlib.suppress(psycopg2.InterfaceError):
                watched.append(self.connection.fileno())
            is_quiet = len(watched) == 2 and not self.is_replaced
            ready: list[int] = []
            with contextlib.suppress(OSError):  # the session was closed at this moment
                ready, _, _ = select.select(watched, [], [], None if is_quiet else LOOK_SECONDS)
            if end in ready:
                os.close(end)
                return
            self.renew()
            if self.is_replaced:
                stop()


def _admitted(run: Run, patience: float) -> "Connection":
    """Return a session when there is a free place for the run; a step of a chain uses the place of its chain."""
    import psycopg2

    give_up = time.monotonic() + patience
    for pause in db_config.pauses():
        connection = _connect(patience)
        try:
            _refuse_while_moved(connection, run)
            if run.parent_run_uuid is not None or record.take_place(connection):
                return connection
        except psycopg2.OperationalError as error:  # the server went down at this moment
            log.info("%s", error)
        connection.close()
        if time.monotonic() + pause > give_up:
            break
        time.sleep(pause)
    raise db_config.NoFreeConnection(
        f"for {patience / 60:g} minutes other runs used all connections of the server; "
        "look at the runs with jobs.py last, then raise max_connections, or start fewer jobs at once"
    )


def _refuse_while_moved(connection: "Connection", run: Run) -> None:
    """Raise BeingMoved if the database is on its way to another server, or has gone there; see systemscripts/moving."""
    if locks.taken_together(connection, record.MOVE_LOCK):
        with connection.cursor() as cursor:
            cursor.execute(_IS_LEFT)
            ((is_left,),) = cursor.fetchall()
        told = (
            "this database is read-only, as move_database.sh leaves the former one: the installation has moved to another "
            "server, which site.env of this machine does not name yet"
        )
    else:
        is_left = run.parent_run_uuid is None  # a chain that runs is waited for, and so are its steps
        told = (
            "the database is being moved to another server by move_database.sh, so nothing begins until that has ended; "
            "its slot is told by etl check"
        )
    if is_left:
        connection.close()
        raise BeingMoved(told)


def _connect(patience: float) -> "Connection":
    connection = db_config.connect(patience=patience)
    connection.autocommit = True
    return connection


def _answers(connection: "Connection") -> bool:
    import psycopg2

    if connection.closed:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        # A session without all of its locks must not keep some of them.
        connection.close()
        return False
    return True
