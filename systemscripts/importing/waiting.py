"""What waits for a person: held datasets, refused files, files that no import takes, files of runs that died, mails that failed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.errors import JobError
from systemscripts.importing import ledger, quarantine
from systemscripts.importing.config import ImportConfig, active_configs
from systemscripts.importing.left_alone import left_alone, taken_before
from systemscripts.job_catalog import typed

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

ALL_CONFIGS = "SELECT config_id, config_name FROM dba.timportconfig ORDER BY config_id"
HELD = """
    SELECT d.datasetid, t.typename, d.label, d.datasetdate, coalesce(f.file_name, ''), coalesce(e.reason, '')
    FROM dba.tdataset AS d JOIN dba.tdatastatus AS s USING (datastatusid) JOIN dba.tdatasettype AS t USING (datasettypeid)
    LEFT JOIN LATERAL (SELECT file_name FROM dba.timportfile WHERE datasetid = d.datasetid ORDER BY importfileid DESC LIMIT 1) AS f ON true
    LEFT JOIN LATERAL (SELECT reason FROM dba.tdatasetevent WHERE datasetid = d.datasetid AND event = 'held'
                       ORDER BY dataseteventid DESC LIMIT 1) AS e ON true
    WHERE s.statusname = 'Held' ORDER BY d.datasetid
"""
# Nobody tells the database that a person has dealt with a mail, so old ones are not named for ever.
FAILED_MAIL = """
    SELECT coalesce(sender, '(no sender)'), coalesce(subject, '(no subject)'), coalesce(received_at, created_at), reason, mailbox_label
    FROM dba.tinboxmessage WHERE status = 'Failed' AND created_at > now() - interval '14 days' ORDER BY messageid
"""


class Waiting(NamedTuple):
    """One thing that waits: its kind, where it belongs, what it is, why it waits, and what to type (None: to do by hand).

    `undo` takes a held dataset back; `command` uses it.
    """

    kind: str
    where: str
    what: str
    reason: str
    command: str | None
    undo: str | None = None


def all_waiting(connection: "Connection") -> Iterator[Waiting]:
    """Yield everything that waits, what is held first."""
    with connection, connection.cursor() as cursor:
        cursor.execute(HELD)
        for datasetid, typename, label, day, file_name, reason in cursor.fetchall():
            use, undo = (typed(job, str(datasetid)) for job in ("release_dataset.py", "undo_dataset.py"))
            yield Waiting("held", typename, f"dataset {datasetid}, {label}, {day}, {file_name}", reason, use, undo)
        cursor.execute(ALL_CONFIGS)
        for config_id, name in cursor.fetchall():
            yield from _refused(cursor, config_id, name)
        cursor.execute(FAILED_MAIL)
        mails = cursor.fetchall()
    configs = active_configs(connection)
    yield from _without_import(configs)
    for config in configs:
        yield from _taken(connection, config)
    for sender, subject, received, reason, label in mails:
        where = f"label {label}" if label else "mailbox"
        yield Waiting("mail", where, f"{subject!r} from {sender}, {received.astimezone():%Y-%m-%d %H:%M}", reason, None)


def _refused(cursor: "Cursor", config_id: int, name: str) -> Iterator[Waiting]:
    try:
        found = quarantine.files_of(cursor, config_id, name)
    except (JobError, OSError) as trouble:
        yield Waiting("refused", name, "its folder in failed/", str(trouble), None)
        return
    names = [file.path.name for file in found]
    for file in (file for file in found if not file.is_decided):
        since = f", {file.since.astimezone():%Y-%m-%d %H:%M}" if file.since else ""
        argument = (
            file.path.name if names.count(file.file_name) <= 1 and file.path.name == file.file_name else str(file.path)
        )
        yield Waiting("refused", name, f"{file.path}{since}", file.reason, typed("retry_files.py", argument))


def _without_import(configs: list[ImportConfig]) -> Iterator[Waiting]:
    for directory in sorted({config.source_directory for config in configs}):
        try:
            found = left_alone(directory, configs)
        except OSError as trouble:
            yield Waiting("no import", str(directory), "the directory", f"it cannot be read: {trouble.strerror}", None)
            continue
        for entry in found:
            if not entry.may_pass:
                yield Waiting("no import", str(directory), entry.name, entry.reason, None)


def _taken(connection: "Connection", config: ImportConfig) -> Iterator[Waiting]:
    command = typed("run_import_job.py", config.config_name)
    try:
        found = taken_before(config)
    except PermissionError:
        told = "only the jobs' user may look whether files of runs that died are there"
        yield Waiting("taken", config.config_name, str(config.source_directory / ".taken"), told, None)
        return
    for file in found:
        with ledger.claimed(connection, file) as is_free:
            if is_free and Path(file.place).exists():
                reason = "a run took it and died, or the archive cannot be reached; the next run goes on with it"
                yield Waiting("taken", config.config_name, str(file.place), reason, command)
