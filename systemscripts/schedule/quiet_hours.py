"""The quiet hours (ETL_QUIET_HOURS): what is not urgent is mailed when they are over."""

import logging
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from systemscripts import settings

log = logging.getLogger(__name__)


def end_of(now: datetime, zone: tzinfo) -> datetime | None:
    """Return when the quiet hours end in which this moment lies, in UTC; None if it lies in none.

    They are one span in every night: where the clock shows a time twice, they begin at the first and end at the second.
    A time that the clock skips counts as so much later.
    """
    try:
        hours = settings.quiet_hours()
    except settings.SettingError as wrong:  # a slip in it must keep no mail back
        log.error("%s; until then there are no quiet hours", wrong)
        return None
    if hours is None:
        return None
    begin, end = hours
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        ends_on = day if begin < end else day + timedelta(days=1)
        last = max(_moment(ends_on, end.replace(fold=fold), zone) for fold in (0, 1))
        if _moment(day, begin, zone) <= now < last:
            return last
    return None


def _moment(day: date, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)
