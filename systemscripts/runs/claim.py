"""The database session of a supervisor. It holds the run's locks, and is taken anew when the server ends it.

Two locks: one for the run, by which others see that its supervisor lives, and one for the job and
its arguments, so that no two runs do the same at the same time.
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
from systemscripts.runs.record import Run

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

# How often a waiting run looks whether its turn has come, and a lost session is tried anew.
LOOK_SECONDS = 1.0
# How long a server may take to come back before a run that waits gives up.
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


class Turn(enum.Enum):
    """Whether a run may begin: yes, no as another one does the same, or not before it is known whether that one lives."""

    MINE = enum.auto()
    ANOTHERS = enum.auto()
    IN_DOUBT = enum.auto()


class Claim:
    """A run's session and locks.

    Raises NoFreeConnection where the server has none for the run and its job within `patience`
    seconds, and DatabaseUnavailable where there is no database to begin with.
    """

    def __init__(self, run: Run, patience: float = db_config.PATIENCE_S) -> None:
        self._run = run
        self._has_turn = False
        self._renewing = threading.Lock()
        # Whoever uses the connection holds this: in the midst of a COPY another thread's statement would be lost, or wait for ever.
        self.guard = threading.RLock()
        self.connection = _admitted(run, patience)
        # Whether another machine gave this run up, and does the same by now.
        self.is_replaced = False

    def ask(self, question: "Callable[[Connection], T]") -> T:
        """Return the answer to a question; where the session ends meanwhile, that of a new one.

        Raises DatabaseUnavailable where there is none for PATIENCE_SECONDS.
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
        """Take the run's own lock: before its row is there, as a row whose lock is free is one that vanished."""
        self.ask(lambda connection: locks.taken(connection, record.run_lock(self._run.run_uuid)))

    def take_turn(self) -> Turn:
        """Return whether the run may begin, as no other does the same; then none can until the session ends."""
        turn = self.ask(self._lock_job)
        self._has_turn = turn is Turn.MINE
        return turn

    def _lock_job(self, connection: "Connection") -> Turn:
        if not locks.taken(connection, self._run.lock_name):
            return Turn.ANOTHERS
        # One that lost its session takes the lock again in a moment.
        fate = lost.fate_of_others(connection, self._run)
        if fate is Fate.GONE:
            return Turn.MINE
        locks.released(connection, self._run.lock_name)
        return Turn.ANOTHERS if fate is Fate.ALIVE else Turn.IN_DOUBT

    def wait(self, seconds: float) -> None:
        """Let the time pass, and take the session anew where it ends meanwhile: others see by its locks that the run lives."""
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
        """Take session and locks anew where the session is gone; return whether all is as it was."""
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
        """Take the locks in a new session, then say in the row that the run lives; return whether they could be had."""
        record.take_place(connection)  # it goes on as well without
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
        """Renew the session whenever it ends within the block; call `stop` again and again once the run is replaced."""
        end, finish = os.pipe()
        keeper = threading.Thread(target=self._keep, args=(end, stop), name="claim keeper", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            os.close(finish)
            keeper.join(timeout=LOOK_SECONDS)

    def _keep(self, end: int, stop: Callable[[], None]) -> None:
        """Wait for the end of the pipe, and for a session that stirs without having been asked: the server is gone."""
        import psycopg2

        while True:
            watched = [end]
            # Whoever writes a row or a log record may find the session gone first.
            with contextlib.suppress(psycopg2.InterfaceError):
                watched.append(self.connection.fileno())
            is_quiet = len(watched) == 2 and not self.is_replaced
            ready: list[int] = []
            with contextlib.suppress(OSError):  # closed at this very moment
                ready, _, _ = select.select(watched, [], [], None if is_quiet else LOOK_SECONDS)
            if end in ready:
                os.close(end)
                return
            self.renew()
            if self.is_replaced:
                stop()


def _admitted(run: Run, patience: float) -> "Connection":
    """Return a session, once there is a place for the run among the others; a step of a chain has its chain's."""
    import psycopg2

    give_up = time.monotonic() + patience
    for pause in db_config.pauses():
        connection = _connect(patience)
        try:
            if run.parent_run_uuid is not None or record.take_place(connection):
                return connection
        except psycopg2.OperationalError as error:  # the server went down at this very moment
            log.info("%s", error)
        connection.close()
        if time.monotonic() + pause > give_up:
            break
        time.sleep(pause)
    raise db_config.NoFreeConnection(
        f"as many runs as the server has connections for went on for {patience / 60:g} minutes; "
        "see jobs.py, and raise max_connections, or let fewer jobs begin at once"
    )


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
        # Half a session must not keep its locks.
        connection.close()
        return False
    return True
