"""What waits for a person, each with what to type."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from systemscripts.cron.cron_file import TASK_TABLE
from systemscripts.doctor import Finding, database, look, machine
from systemscripts.importing.waiting import Waiting, all_waiting
from systemscripts.mail.oauth import endings
from systemscripts.schedule import held_datasets
from systemscripts.schedule.incident_mail import local_time, typed
from systemscripts.schedule.promises import FEED_TABLE
from systemscripts.status_page.history import Row, changed_columns
from systemscripts.status_page.words import number

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

_CHECKS = {"backup": database.backups, "disk": machine.disks, "cron": machine.cron}
_INCIDENTS = """
    SELECT i.kind, i.source_table, i.source_id, i.name, coalesce(i.first_slot, i.opened_at), i.occurrences, i.detail,
           i.run_uuid::text, c.config_name
    FROM dba.tincident AS i
    LEFT JOIN dba.tfeed AS f ON i.source_table = 'dba.tfeed' AND f.feedid = i.source_id
    LEFT JOIN dba.timportconfig AS c USING (config_id)
    WHERE i.closed_at IS NULL ORDER BY 5 DESC, i.incidentid
"""
# Kinds of incidents after which something did not happen, the worst first; the others are worth a look.
_BAD_KINDS = ("failed", "missing", "stuck", "missed")


class ToDo(NamedTuple):
    """One thing that waits: its kind, a title, more about it, what to type, and whether something failed.

    Each of `commands` has before it what it is for, "" for a look at the thing.
    """

    kind: str
    title: str
    detail: str
    commands: tuple[tuple[str, str], ...]
    is_bad: bool
    anchor: str = ""


def things(connection: "Connection", refused: list[Row], now: datetime, zone: tzinfo) -> list[ToDo]:
    """Return everything that waits, what failed first; `refused` are the refused files of the page."""
    with connection, connection.cursor() as cursor:
        found = [*_incidents(cursor, zone), *_of_files(cursor, refused, now)]
    found += [
        ToDo(thing.kind, f"{thing.where}: {thing.what}", _reason(thing), tuple(_decisions(thing)), False)
        for thing in all_waiting(connection)
    ]
    found += [ToDo("right", ending.told, ending.cure, (), False) for ending in endings.endings(now)]
    found += [_of_doctor(finding) for finding in look(_CHECKS) if finding.state != "ok"]
    return sorted(found, key=_worst_first)


def _worst_first(thing: ToDo) -> tuple[bool, int]:
    """Return a key to sort by: what failed or did not come is worth more than a fault of the set-up."""
    return not thing.is_bad, _BAD_KINDS.index(thing.kind) if thing.kind in _BAD_KINDS else len(_BAD_KINDS)


def by_kind(found: list[ToDo]) -> list[list[ToDo]]:
    """Return the things of each kind together, the kinds in the order in which they come first."""
    kinds: dict[str, list[ToDo]] = {}
    for thing in found:
        kinds.setdefault(thing.kind, []).append(thing)
    return list(kinds.values())


def _reason(thing: Waiting) -> str:
    return f"It is loaded, and not in use until somebody decides. {thing.reason}" if thing.undo else thing.reason


def _decisions(thing: Waiting) -> Iterator[tuple[str, str]]:
    if thing.command:
        yield "To use it:" if thing.undo else "", thing.command
    if thing.undo:
        yield "To take it back; what is in use now stays so:", thing.undo


def _incidents(cursor: "Cursor", zone: tzinfo) -> Iterator[ToDo]:
    cursor.execute(_INCIDENTS)
    for kind, table, row, name, first, times, detail, run_uuid, import_name in cursor.fetchall():
        if kind == held_datasets.KIND:
            continue  # it waits as a held dataset
        row_name = str(row) if table == TASK_TABLE else f"report:{row}"
        commands = [("", typed("log", row_name))]
        if table == FEED_TABLE:
            commands = [("", typed("imports", import_name, "--last", "5") if import_name else typed("feeds"))]
        elif kind in ("failed", "missed"):
            commands.append(("To run it again:", typed("run", row_name)))
        since = f"due {local_time(first, zone)}" if times == 1 else f"{times} times since {local_time(first, zone)}"
        anchor = f"run-{run_uuid}" if run_uuid else ""
        yield ToDo(kind, name, f"{since}: {detail}", tuple(commands), kind in _BAD_KINDS, anchor)


def _of_files(cursor: "Cursor", refused: list[Row], now: datetime) -> Iterator[ToDo]:
    lines: Counter[str] = Counter()
    for file in refused:
        if file["reject_count"] and (now - file["created_at"]).days < 1:
            lines[file["config_name"]] += file["reject_count"]
    for name, count in lines.items():
        told = f"{number(count, 'line')} rejected within a day; the rest of each file was loaded"
        yield ToDo("rejected lines", name, told, (("", typed("imports", name, "--last", "5")),), False, "files")
    columns: dict[str, list[Row]] = {}
    for change in changed_columns(cursor, now):
        columns.setdefault(change["config_name"], []).append(change)
    for name, changes in columns.items():
        told = ", ".join(f"{change['column_name']} ({change['kind']})" for change in changes[:5])
        more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        yield ToDo("changed columns", name, f"{told}{more}", (("", typed("imports", name, "--last", "5")),), False)


def _of_doctor(finding: Finding) -> ToDo:
    return ToDo(finding.name, finding.told, finding.cure, (), finding.state == "failed")
