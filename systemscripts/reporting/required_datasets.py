"""Judge a report whose required datasets are not there: whether it waits, goes as it is, goes as partial, or does not go.

dba.treportmanager.required_datasets names them, wait_until and when_late decide. Nothing stays while a report
waits: the next start of send_reports.py --postponed looks again.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from systemscripts.errors import TemporaryFailure
from systemscripts.reporting.freshness import DatasetState
from systemscripts.reporting.model import Report

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

LOOKS_AGAIN = "send_reports.py --postponed"
# What an operator types so that something looks again at what waits.
CURE = (
    "etl sql --as etl_owner -f onboarding/sql/samples/add_waiting_reports.sql (or etl resume, when it is there and paused), "
    "then etl cron write"
)

_TYPES = "SELECT typename FROM dba.tdatasettype ORDER BY 1"
_IS_LOOKED_AT = """
    SELECT EXISTS (SELECT FROM dba.tscheduler WHERE datastatusid = 1
                   AND concat(scriptpath, ' ', scriptargs) LIKE '%send_reports.py%--postponed%')
"""


class Stale(TemporaryFailure):
    """A dataset that the report needs has not come, and the report is not sent without it."""


class Postponed(TemporaryFailure):
    """The report waits for its datasets, until `until` at most."""

    def __init__(self, told: str, until: datetime) -> None:
        super().__init__(told)
        self.until = until


class NobodyLooks(TemporaryFailure):
    """The report waits, and no task of the schedule looks again."""


def day_of(report: Report, slot: datetime, now: datetime, zone: tzinfo) -> date:
    """Return the date that the required datasets must have.

    A report that may wait past midnight needs those of its planned time. Without the two columns it is the day
    of the start.
    """
    is_plain = report.wait_until is None and report.when_late == "skip"
    return now.date() if is_plain else slot.astimezone(zone).date()


def waits_until(report: Report, slot: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment from the slot on at which the wall clock shows `wait_until`; None if it does not wait.

    In the hour that comes twice it is the first one that is not before the slot; a time in the hour that the clock
    skips is as late as it would have been.
    """
    if report.wait_until is None:
        return None
    day = slot.astimezone(zone).date()
    clock: time = report.wait_until
    candidates = [
        datetime.combine(date_, clock.replace(fold=fold), zone).astimezone(UTC)
        for date_ in (day, day + timedelta(days=1))
        for fold in (0, 1)
    ]
    return next(moment for moment in candidates if moment >= slot.astimezone(UTC)).astimezone(zone)


def plan(report: Report, until: datetime | None) -> str:
    """Say until when it waits and what it does then."""
    does = {"skip": "is not sent", "partial": "is sent, marked as partial", "send": "is sent as it is"}[
        report.when_late
    ]
    return f"it {does}" if until is None else f"it waits until {until:%Y-%m-%d %H:%M %Z}, and then {does}"


def stale(connection: "Connection", report: Report, missing: Sequence[DatasetState], until: datetime | None) -> Stale:
    """Return the failure that tells the owner what is missing and what to type."""
    first = missing[0]
    told = f"there is no active dataset {first.wanted} of {first.day}, which it needs"
    if len(missing) > 1:
        told += f", nor {', '.join(state.wanted for state in missing[1:])}"
    told += "".join(
        f"; dataset {state.held} is held: etl release {state.held} or etl undo {state.held}"
        for state in missing
        if state.held is not None
    )
    told += "".join(f"; {slip}" for slip in unknown_types(connection, [state.wanted for state in missing]))
    if until is not None:
        told += (
            f"; it has waited until {until:%H:%M} (wait_until), and when_late is {report.when_late!r}; "
            f"when it has come, type: etl report {report.report_id}"
        )
    return Stale(told)


def require_somebody_who_looks(connection: "Connection", until: datetime) -> None:
    """Raise NobodyLooks if no active task looks again at what waits: the report would wait for ever."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_IS_LOOKED_AT)
        if cursor.fetchone() != (True,):
            raise NobodyLooks(
                f"it waits until {until:%Y-%m-%d %H:%M}, but no active task of dba.tscheduler runs {LOOKS_AGAIN}; type: {CURE}"
            )


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
