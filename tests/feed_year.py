"""A year of 60 feeds with planted faults, and how many of them the watch finds: for a test and a benchmark.

The feeds come daily, weekly and monthly, in the morning or the evening before, with labels and without, from
their first day to their last. Senders rest on free days, or do not; they are late within their grace; refused files
come once more. The faults: nothing came, one label did not, it came hours late, a label had another name, the list of
the time before came again, a refused file was not corrected.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple
from unittest import mock
from zoneinfo import ZoneInfo

from quick_slots import slots_worked_out_once

from systemscripts.schedule import alerts, promises, watch

ZONE = ZoneInfo("Europe/Berlin")
START, END = date(2026, 1, 5), date(2027, 1, 5)
FEEDS = 60
SOURCES = 6
FAULTS = ("nothing", "a label", "hours late", "another label", "known content", "refused")
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
GRACE = timedelta(minutes=30)

_ADD_FEED = """
    WITH source AS (INSERT INTO dba.tdatasource (sourcename) VALUES (%(source)s)
                    ON CONFLICT (sourcename) DO UPDATE SET sourcename = excluded.sourcename RETURNING sourcename),
         kind AS (INSERT INTO dba.tdatasettype (typename) VALUES (%(name)s) RETURNING typename),
         config AS (INSERT INTO dba.timportconfig (config_name, datasource, datasettype, source_directory, archive_directory, file_pattern,
                        file_type, metadata_label_source, dateconfig, metadata_label_location, datelocation, target_table)
                    SELECT typename, sourcename, typename, '/in/x', '/archive/x', '*.csv', 'CSV', 'static', 'filename', 'x', '0',
                           'public.t' || typename FROM kind, source RETURNING config_id)
    INSERT INTO dba.tfeed (feedname, config_id, labels, due_by, business_days_only, for_date, active_since)
    SELECT %(name)s, config_id, %(labels)s, %(due_by)s, %(business_days_only)s, %(for_date)s, %(since)s FROM config
    RETURNING feedid, config_id
"""
_DATASETS = """
    INSERT INTO dba.tdataset (datasetid, datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive, effthrudate)
    SELECT f.datasetid, f.day, f.label, t.datasettypeid, 1, 1, true, '9999-01-01'
    FROM unnest(%s::integer[], %s::integer[], %s::date[], %s::text[]) AS f (datasetid, config_id, day, label)
    JOIN dba.timportconfig USING (config_id) JOIN dba.tdatasettype AS t ON typename = datasettype
"""
_FILES = """
    INSERT INTO dba.timportfile (datasetid, config_id, status, created_at, file_name, sha256, error)
    SELECT datasetid, config_id, status, created_at, 'list.csv', encode(sha256(number::text::bytea), 'hex'), 'line 3: it has 1 field'
    FROM unnest(%s::integer[], %s::integer[], %s::text[], %s::timestamptz[]) WITH ORDINALITY
         AS f (datasetid, config_id, status, created_at, number)
"""


@dataclass
class PlannedFeed:
    """A feed with its days, and how its sender works."""

    name: str
    source: str
    due_by: str
    labels: list[str] | None
    for_date: str | None
    business_days_only: bool
    first: date
    last: date
    comes_before: timedelta
    sends_on_free_days: bool
    id: int = 0
    config_id: int = 0
    slots: list[datetime] = field(default_factory=list)


class File(NamedTuple):
    """A row of the ledger; a file without a label was not loaded."""

    time: datetime
    config_id: int
    status: str
    label: str | None
    day: date


class Figures(NamedTuple):
    """What came of a year."""

    faults: int
    found: int
    false_alarms: int
    incidents: int
    most_mails: int
    slots: int

    @property
    def share(self) -> float:
        return self.found / self.faults


def planned_feeds(chance: random.Random) -> list[PlannedFeed]:
    feeds = []
    for number in range(FEEDS):
        hour, minute = chance.randrange(6, 10), chance.choice((0, 15, 30, 45))
        days, for_date = "* * 1-5", chance.choice(("same day", "same day", "previous business day"))
        if number >= 54:
            days, for_date = "1 * *", "previous business day"
        elif number >= 48:
            days, for_date = f"* * {chance.randrange(1, 6)}", "same day"
        labels = [f"{number}-{label}" for label in range(chance.randrange(2, 6))] if number % 2 else None
        begins, ends = number in range(5), number in range(5, 10)
        feeds.append(
            PlannedFeed(
                name=f"feed{number}",
                source=f"source {number % SOURCES}",
                due_by=f"{minute} {hour} {days}",
                labels=labels,
                for_date=None if number in range(40, 48) else for_date,
                business_days_only=number not in (38, 39),
                first=START + chance.randrange(60, 300) * DAY if begins else START,
                last=START + chance.randrange(60, 300) * DAY if ends else END,
                comes_before=timedelta(minutes=chance.choice((20, 60, 90, 600))),
                sends_on_free_days=number % 10 == 3,
            )
        )
    return feeds


class Year:
    """The plan, put into a database by a connection of its superuser, and what a watch by another one finds."""

    def __init__(self, superuser: Any, faults: int, seed: int = 24) -> None:
        self._chance = random.Random(seed)
        self.feeds = planned_feeds(self._chance)
        self.planted: dict[tuple[int, datetime], str] = {}
        around = (datetime.combine(day, time(), ZONE) for day in (START - 60 * DAY, END + 60 * DAY))
        self._once = slots_worked_out_once(*around)
        with superuser.cursor() as cursor:
            cursor.execute("UPDATE dba.tscheduler SET datastatusid = 2; UPDATE dba.treportmanager SET datastatusid = 2")
            for feed in self.feeds:
                since = datetime.combine(feed.first, time(12), ZONE)
                cursor.execute(_ADD_FEED, {**vars(feed), "since": since})
                feed.id, feed.config_id = cursor.fetchone()
            calendar = promises.Calendar(cursor, datetime.combine(START, time(), ZONE), ZONE)
            with mock.patch.object(promises, "expected_slots", self._once):
                self._looks = self._due(cursor, calendar)
            chosen = self._chance.sample(sorted(self._looks), faults)
            self.planted = {key: self._chance.choice(FAULTS) for key in chosen}
            self._load(cursor, self._files(calendar))

    def _due(self, cursor: Any, calendar: promises.Calendar) -> dict[tuple[int, datetime], promises.Look]:
        """Return every time at which one of the feeds is due."""
        known = {feed.id: feed for feed in promises.feeds_of(cursor)}
        looks = {}
        for feed in self.feeds:
            window = promises.Window(*(datetime.combine(day, time(12), ZONE) for day in (feed.first, feed.last - DAY)))
            feed.slots = calendar.due(known[feed.id], window)
            looks |= {(feed.id, slot): calendar.look(known[feed.id], slot) for slot in feed.slots}
        return looks

    def _files(self, calendar: promises.Calendar) -> list[File]:
        """Return the files of the year in order; one for each label and date."""
        files: list[File] = []
        for feed in self.feeds:
            for slot in feed.slots:
                files += self._come(feed, slot)
            if feed.sends_on_free_days:
                day = feed.first
                while day < feed.last:
                    if calendar.is_free(day):
                        noon = datetime.combine(day, time(12), ZONE)
                        files += [File(noon, feed.config_id, "Loaded", label, day) for label in feed.labels or ["all"]]
                    day += DAY
        files.sort(key=lambda file: file.time)
        loaded = {(file.config_id, file.label, file.day): file for file in reversed(files) if file.label}
        return [file for file in files if not file.label or loaded[file.config_id, file.label, file.day] is file]

    def _come(self, feed: PlannedFeed, slot: datetime) -> list[File]:
        chance, fault = self._chance, self.planted.get((feed.id, slot))
        day = self._looks[feed.id, slot].day or slot.astimezone(ZONE).date()
        labels = list(feed.labels or ["all"])
        came = slot - feed.comes_before + timedelta(minutes=chance.randrange(-15, 16))
        if chance.random() < 0.05:
            came = slot + chance.randrange(1, 28) * MINUTE  # late, and within its grace
        noise = [File(came - MINUTE, feed.config_id, "Failed", None, day)] if chance.random() < 0.02 else []
        if fault in ("nothing", "known content", "refused"):
            status = {"known content": "Duplicate", "refused": "Failed"}.get(fault)
            return noise + ([File(came, feed.config_id, status, None, day)] if status else [])
        if fault == "hours late":
            came = datetime.combine(slot.astimezone(ZONE).date(), time(11), ZONE) + chance.randrange(360) * MINUTE
        if fault in ("a label", "another label"):
            gone = labels.pop(chance.randrange(len(labels)))
            labels += [f"{gone} "] if fault == "another label" and feed.labels else []
        return noise + [File(came, feed.config_id, "Loaded", label, day) for label in labels]

    @staticmethod
    def _load(cursor: Any, files: list[File]) -> None:
        cursor.execute(
            "SET session_replication_role = replica"
        )  # no triggers and no foreign keys, for the sake of time
        numbers = [1000 + number if file.label else None for number, file in enumerate(files)]
        loaded = [(number, *file[1:]) for number, file in zip(numbers, files, strict=True) if number]
        ids, configs, _, labels, days = map(list, zip(*loaded, strict=True))
        cursor.execute(_DATASETS, (ids, configs, days, labels))
        times, all_configs, states = ([file[place] for file in files] for place in range(3))
        cursor.execute(_FILES, (numbers, all_configs, states, times))
        cursor.execute("RESET session_replication_role; ANALYZE dba.tdataset, dba.timportfile")

    def watched(self, connection: Any, superuser: Any, checks: Callable[[date], list[datetime]]) -> Figures:
        """Let the watch look at the times that `checks` gives for each day, and count what it found."""
        mails: Counter[tuple[int, bool]] = Counter()
        ends = {feed.last: feed for feed in self.feeds if feed.last != END}
        with (
            mock.patch.object(promises, "expected_slots", self._once),
            mock.patch.object(alerts, "hand_over", lambda _subject, _text, note, *_: note()),
        ):
            day = START
            while day < END:
                if day in ends:
                    with superuser.cursor() as cursor:
                        cursor.execute("UPDATE dba.tfeed SET datastatusid = 2 WHERE feedid = %s", (ends[day].id,))
                for now in checks(day):
                    with connection, connection.cursor() as cursor:
                        watch.check(cursor, now, ZONE)
                    mails.update((notice.id, notice.is_new) for notice in alerts.tell(connection, now, ZONE))
                day += DAY
        with superuser.cursor() as cursor:
            cursor.execute(
                "SELECT source_id, first_slot, last_slot, told_at, occurrences FROM dba.tincident WHERE kind = 'missing'"
            )
            incidents = cursor.fetchall()
        found = sum(
            any(
                row[0] == feed
                and row[1] <= slot <= row[2]
                and row[3].astimezone(ZONE).date() <= slot.astimezone(ZONE).date()
                for row in incidents
            )
            for feed, slot in self.planted
        )
        false_alarms = sum((row[0], row[1]) not in self.planted for row in incidents)
        return Figures(
            len(self.planted), found, false_alarms, len(incidents), max(mails.values(), default=0), len(self._looks)
        )
