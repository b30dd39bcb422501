"""One run of a job: how the door was called for it, and its columns in dba.tjobrun."""

import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from systemscripts import job_catalog, processes, settings
from systemscripts.log_sinks.entries import storable
from systemscripts.runs.child_process import LONGEST_REASON, Outcome


class Call(NamedTuple):
    """The door's own options: the row of the schedule, and the slot (see cron/slots.py)."""

    task: int | None = None
    report: int | None = None
    scheduled_at: datetime | None = None
    slot: str | None = None
    attempt: int = 1


class Run(NamedTuple):
    """One row of dba.tjobrun."""

    script: Path
    arguments: list[str]
    call: "Call"
    run_uuid: str
    parent_run_uuid: str | None
    started_at: datetime

    @property
    def job(self) -> str:
        return self.script.name

    @property
    def stored_arguments(self) -> list[str]:
        """The arguments as they are stored in the row, without secrets."""
        return [storable(settings.mask(argument)) for argument in self.arguments]

    @property
    def lock_name(self) -> str:
        """The name of the lock, which is the same for all runs that must not overlap."""
        return f"etl job {shlex.join([self.job, *self.arguments])}"

    def row(self, **values: Any) -> dict[str, Any]:
        """Return the columns of dba.tjobrun by name; the caller gives the values that change during a run."""
        return {
            "run_uuid": self.run_uuid,
            "parent_run_uuid": self.parent_run_uuid,
            "job": self.job,
            "arguments": self.stored_arguments,
            "schedulerid": self.call.task,
            "scheduled_at": self.call.scheduled_at.isoformat() if self.call.scheduled_at else None,
            "slot": self.call.slot,
            "attempt": self.call.attempt,
            "started_at": self.started_at.isoformat(),
            "ended_at": None,
            "host": settings.host_name(),
            "pid": os.getpid(),
            "process_identity": processes.identity(),
            "code_version": job_catalog.code_version(),
            **values,
        }

    def ended(self, outcome: Outcome) -> dict[str, Any]:
        """Return the whole row of a run that is over."""
        return self.row(
            ended_at=datetime.now(UTC).isoformat(),
            status=outcome.status,
            exit_code=outcome.exit_code,
            reason=storable(settings.mask(outcome.reason)[:LONGEST_REASON]) or None,
            output_tail=storable(settings.mask(outcome.output_tail)) or None,
        )
