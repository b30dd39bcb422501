"""Incidents, the rows of dba.tincident: the findings about the slots begin, continue and end them.

A row of the schedule has at most one open incident of each kind. It begins with a slot that was
wrong, continues with each further one, and ends with the next slot that was right. Each slot is
counted only once. When a row is paused, its incidents end and nothing is mailed.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from systemscripts.cron.cron_file import ScheduledJob
from systemscripts.schedule.verdicts import Finding

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

_LATEST = """
    SELECT DISTINCT ON (kind, source_table, source_id)
           kind, source_table, source_id, name, first_slot, last_slot, occurrences, detail, run_uuid::text, incidentid,
           closed_at IS NULL, labels
    FROM dba.tincident ORDER BY kind, source_table, source_id, incidentid DESC
"""
_OPEN = """
    INSERT INTO dba.tincident (kind, source_table, source_id, name, first_slot, last_slot, occurrences, detail, run_uuid,
                               opened_at, closed_at, labels)
    VALUES (%(kind)s, %(table)s, %(row_id)s, %(name)s, %(first_slot)s, %(last_slot)s, %(occurrences)s, %(detail)s,
            %(run_uuid)s, %(now)s, %(closed_at)s, %(labels)s)
    RETURNING incidentid
"""
_GO_ON = """
    UPDATE dba.tincident SET last_slot = %(last_slot)s, occurrences = %(occurrences)s, detail = %(detail)s,
                             run_uuid = %(run_uuid)s, closed_at = %(closed_at)s, labels = %(labels)s
    WHERE incidentid = %(id)s
    RETURNING incidentid
"""
_END_QUIETLY = """
    UPDATE dba.tincident SET closed_at = %(now)s, told_at = coalesce(told_at, %(now)s), recovery_told_at = %(now)s
    WHERE incidentid = ANY (%(ids)s)
"""


@dataclass(frozen=True)
class Incident:
    """A row of dba.tincident; `id` is None until it is written."""

    kind: str
    table: str
    row_id: int
    name: str
    first_slot: datetime
    last_slot: datetime
    occurrences: int
    detail: str
    run_uuid: str | None
    id: int | None = None
    is_open: bool = True
    labels: list[str] | None = None


# Keyed by the kind and the row of the schedule, or of dba.tfeed.
Latest = dict[tuple[str, str, int], Incident]


def follow(kind: str, job: ScheduledJob, latest: Incident | None, findings: Iterable[Finding]) -> list[Incident]:
    """Return the incidents of a kind that the findings begin, continue or end, in their new state.

    `latest` is the newest existing one, open or not; slots up to its last slot are already counted.
    """
    changed: dict[datetime, Incident] = {}
    for slot, is_wrong, detail, run_uuid in sorted(findings, key=lambda finding: finding.slot):
        if not is_wrong:
            if latest is None or not latest.is_open or slot < latest.last_slot:
                continue
            latest = replace(latest, is_open=False, detail=detail or latest.detail)
        elif latest is not None and slot <= latest.last_slot:
            continue
        elif latest is not None and latest.is_open:
            more = latest.occurrences + 1
            latest = replace(latest, last_slot=slot, occurrences=more, detail=detail, run_uuid=run_uuid)
        else:
            latest = Incident(kind, job.table, job.row_id, job.name, slot, slot, 1, detail, run_uuid)
        changed[latest.first_slot] = latest
    return list(changed.values())


def latest_incidents(cursor: "Cursor") -> Latest:
    cursor.execute(_LATEST)
    incidents = [Incident(*row) for row in cursor.fetchall()]
    return {(incident.kind, incident.table, incident.row_id): incident for incident in incidents}


def write(cursor: "Cursor", incident: Incident, now: datetime) -> Incident:
    """Insert or update its row, and return it with its id."""
    values = {**vars(incident), "now": now, "closed_at": None if incident.is_open else now}
    cursor.execute(_OPEN if incident.id is None else _GO_ON, values)
    return replace(incident, id=cursor.fetchall()[0][0])


def end_others(cursor: "Cursor", latest: Latest, active: Container[tuple[str, int]], now: datetime) -> None:
    """End the open incidents of all rows except the active ones, which are given by table and id."""
    gone = [incident.id for (_, *row), incident in latest.items() if incident.is_open and tuple(row) not in active]
    if gone:
        cursor.execute(_END_QUIETLY, {"now": now, "ids": gone})
