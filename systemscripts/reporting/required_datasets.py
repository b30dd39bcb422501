"""Check that a report's required datasets have come, as dba.treportmanager.required_datasets names them."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from systemscripts.errors import TemporaryFailure
from systemscripts.reporting.model import Report

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

# Finds an active dataset of the day by type, or by type:label.
_IS_THERE = """
    SELECT EXISTS (
        SELECT FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid)
        WHERE d.isactive AND d.datasetdate = %s AND (t.typename = %s OR t.typename || ':' || d.label = %s))
"""
_TYPES = "SELECT typename FROM dba.tdatasettype ORDER BY 1"


class Stale(TemporaryFailure):
    """A dataset that the report needs has not come today."""


def require_datasets(connection: "Connection", report: Report, day: date) -> None:
    """Raise Stale if one of the required datasets has no active dataset of that day."""
    for wanted in report.required_datasets:
        with connection, connection.cursor() as cursor:
            cursor.execute(_IS_THERE, (day, wanted, wanted))
            found = cursor.fetchone() == (True,)
        if not found:
            slips = [f"; {told}" for told in unknown_types(connection, [wanted])]
            raise Stale(f"there is no active dataset {wanted} of {day:%Y-%m-%d}, which it needs{''.join(slips)}")


def unknown_types(connection: "Connection", required: Sequence[str]) -> list[str]:
    """Return a clause for each required dataset of an unknown type, because it may be mistyped."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_TYPES)
        types = [name for (name,) in cursor.fetchall()]
    there_are = ", ".join(types) or "none yet"
    return [
        f"required_datasets has {wanted}, but there is no such dataset type; there are: {there_are}"
        for wanted in required
        if not any(wanted == name or wanted.startswith(f"{name}:") for name in types)
    ]
