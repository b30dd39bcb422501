"""Incidents of datasets that are held: each begins when its file is loaded, and ends when a person, or a later file, decides."""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from systemscripts.schedule import incidents
from systemscripts.schedule.incidents import Incident, Latest

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

KIND, TABLE = "held", "dba.tdataset"

_HELD = """
    SELECT d.datasetid, concat_ws(', ', t.typename, d.label, d.datasetdate), coalesce(e.createddate, d.createddate),
           coalesce(e.reason, 'somebody has set its status'), e.run_uuid::text
    FROM dba.tdataset AS d JOIN dba.tdatastatus AS s USING (datastatusid) JOIN dba.tdatasettype AS t USING (datasettypeid)
    LEFT JOIN LATERAL (SELECT * FROM dba.tdatasetevent WHERE datasetid = d.datasetid AND event = 'held'
                       ORDER BY dataseteventid DESC LIMIT 1) AS e ON true
    WHERE s.statusname = 'Held' ORDER BY d.datasetid
"""
_DECIDED = """
    SELECT coalesce((SELECT concat(event, ': ', reason) FROM dba.tdatasetevent WHERE datasetid = %s ORDER BY dataseteventid DESC LIMIT 1),
                    'it is no longer held')
"""


def check(cursor: "Cursor", latest: Latest, now: datetime) -> set[tuple[str, int]]:
    """Begin and end the incidents of held datasets; return the keys of all of them, so that nothing else ends them."""
    cursor.execute(_HELD)
    held = {datasetid: row for datasetid, *row in cursor.fetchall()}
    known = {incident.row_id: incident for (kind, *_), incident in latest.items() if kind == KIND}
    for datasetid, (name, since, reason, run_uuid) in held.items():
        if datasetid not in known or not known[datasetid].is_open:
            incident = Incident(KIND, TABLE, datasetid, name, since, since, 1, reason, run_uuid)
            incidents.write(cursor, incident, now)
    for datasetid, incident in known.items():
        if incident.is_open and datasetid not in held:
            cursor.execute(_DECIDED, (datasetid,))
            ((decided,),) = cursor.fetchall()
            incidents.write(cursor, replace(incident, detail=decided, is_open=False), now)
    return {(TABLE, datasetid) for datasetid in known}
