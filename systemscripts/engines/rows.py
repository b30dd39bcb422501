"""The active rows of the schedule with the rules of their runs, as every engine gets them."""

from dataclasses import dataclass
from typing import NamedTuple

from systemscripts import db_config, settings
from systemscripts.cron.cron_file import TASK_TABLE, ScheduledJob, command_to_pause, door_arguments
from systemscripts.errors import JobError
from systemscripts.plain_text import on_one_line
from systemscripts.runs.policy import RunPolicy, of_report, of_task
from systemscripts.schedule import timetable

# What stands in each file that this program wrote; a file without it is never replaced or removed.
MARK = "written by update_cron_jobs.py from the tables of the schedule; do not edit"


@dataclass(frozen=True)
class PlannedJob:
    """A row, and when and how often it may run."""

    job: ScheduledJob
    policy: RunPolicy

    @property
    def unit(self) -> str:
        """The name of its unit or DAG. It is made of the row's number, so it stays when the row gets another name."""
        return f"etl-{'task' if self.job.table == TASK_TABLE else 'report'}-{self.job.row_id}"

    @property
    def title(self) -> str:
        """The row's name on one line, and its place."""
        return f"{on_one_line(self.job.name)} ({self.job.table} {self.job.row_id})"

    @property
    def arguments(self) -> list[str]:
        """The words for the door; raises JobError if the row's script or arguments are not right."""
        return door_arguments(self.job)

    @property
    def longest_seconds(self) -> int | None:
        """How long a start can last with its waits and all its attempts, None without a time limit.

        An engine that ends it earlier would end a run that the row still allows.
        """
        policy = self.policy
        if policy.timeout is None:
            return None
        waits = policy.jitter + policy.longest_wait * (1 if policy.depends_on is None else 2) + db_config.PATIENCE_S
        return round(waits + policy.timeout * (policy.retries + 1) + policy.retry_delay * policy.retries)


class Rendered(NamedTuple):
    """The files for an engine by their names, and a sentence for each row that it cannot have."""

    files: dict[str, str]
    refused: list[str]


def planned_jobs() -> list[PlannedJob]:
    """Return the active rows: tasks first, each kind in the order of ids."""
    with db_config.session() as connection, connection, connection.cursor() as cursor:
        return [
            PlannedJob(job, (of_task if job.table == TASK_TABLE else of_report)(connection, job.row_id))
            for job in timetable.active_jobs_of(cursor)
        ]


def refusal(row: PlannedJob, problem: JobError, engine: str) -> str:
    """Return the sentence for a row that an engine cannot have."""
    return f"{row.job}: {engine} does not get it: {problem}; to pause it until that is corrected, type: {command_to_pause(row.job)}"


def data_places() -> list[str]:
    """Return the directories that every job may write into."""
    places = (
        settings.etl_home(),
        settings.logs_dir(),
        settings.archive_dir(),
        settings.file_watcher_dir(),
        settings.backup_dir(),
    )
    return list(dict.fromkeys(map(str, places)))
