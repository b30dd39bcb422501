"""What Debian's cron accepts, and when it runs it: its verdicts, and a model of its main loop."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from systemscripts.cron.expression import CronExpressionError, fires, never_fires, next_fires, parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")
# The sixth word is the command of a user's crontab, but the user name of a file in /etc/cron.d.
A_SIXTH_FIELD = {"* * * * * -1", "* * * * * 1##1", "* * * * * 1//2", "* * * * * 2/", "* * * * * 61", "* * * * * ¹"}
# Libraries read # as "the n-th of the month"; Debian's cron skips it.
LIBRARIES_READ_MORE = {"0 0 * * 6#3", "0 0 * * sat#1,sun#2"}


def accepts(text: str) -> bool:
    try:
        parse(text)
    except CronExpressionError:
        return False
    return True


def when(text: str, after: str, count: int = 4, zone: str = "America/New_York") -> list[str]:
    found = next_fires(text, datetime.fromisoformat(after), count, ZoneInfo(zone))
    return [time.isoformat(" ", "minutes") for time in found]


# ---- the verdicts of the real cron ---------------------------------------------------------


@pytest.fixture(scope="module")
def collected(corpus_dir: Path) -> list[dict]:
    return json.loads((corpus_dir / "cron" / "expressions.json").read_text())


def test_it_accepts_what_debians_cron_accepts(collected: list[dict]):
    different = {entry["expr"] for entry in collected if accepts(entry["expr"]) != entry["debian_cron_accepts"]}
    comments = {entry["expr"] for entry in collected if entry["expr"].startswith("#")}

    assert different == comments | A_SIXTH_FIELD


def test_it_finds_the_next_runs_that_two_libraries_agree_on(collected: list[dict]):
    compared = 0
    for entry in collected:
        if not accepts(entry["expr"]) or entry["expr"] in LIBRARIES_READ_MORE:
            continue
        for start, zone in (("next_utc", UTC), ("next_ny_spring", NEW_YORK), ("next_ny_autumn", NEW_YORK)):
            agreed = entry.get(start, {})
            if "expected" in agreed:
                found = next_fires(entry["expr"], datetime.fromisoformat(agreed["after"]), 4, zone)
                assert [time.isoformat() for time in found] == agreed["expected"], (entry["expr"], start)
                compared += 1
    assert compared > 200


# ---- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        (" \t ", "it is empty"),
        ("# 0 0 * * *", "takes it for a comment"),
        ("5=1 * * * *", "for the setting of a variable"),
        ("0 5 * *", "it has 4 fields; it needs five: minute, hour, day of the month, month, day of the week"),
        ("0 5 * * * etl_user", "it has 6 fields"),
        ("60 5 * * *", "the minute is '60', and '60' is not allowed; allowed are 0-59"),
        ("0 24 * * *", "the hour is '24', and '24' is not allowed; allowed are 0-23"),
        ("0 0 0 * *", "the day of the month is '0', and '0' is not allowed; allowed are 1-31"),
        ("0 0 * Janvier *", "the month is 'Janvier', and 'Janvier' is not allowed; allowed are 1-12 or jan-dec"),
        ("0 0 * * 1,8", "the day of the week is '1,8', and '8' is not allowed; allowed are 0-7 or sun-sat"),
        ("0,,5 * * * *", "the minute is '0,,5', and a value is missing"),
        ("0/15 * * * *", "a step follows only * or a range, as in 0-59/15"),
        ("*/0 * * * *", "the step after / is '0'; it must be a number from 1 up"),
        ("*/mon * * * *", "the step after / is 'mon'"),
        ("4294967296 * * * *", "'4294967296' is not allowed"),
        ("@Daily", "in lower case: @yearly"),
        ("@daily 5", "only these words"),
        ("0 5 * * *\n", "control character '\\n'"),
        ("0 5 * * *\r", "control character '\\r'"),
        ("\ufeff0 5 * * *", "the minute is '\\ufeff0'"),
    ],
)
def test_it_refuses_with_one_sentence_that_names_the_field(text: str, told: str):
    with pytest.raises(CronExpressionError) as refusal:
        parse(text)

    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_status == 1


# ---- the grammar ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("5 * * * *", "minute", {5}),
        ("005 * * * *", "minute", {5}),
        ("0-10/5,59 * * * *", "minute", {0, 5, 10, 59}),
        ("* */7 * * *", "hour", {0, 7, 14, 21}),
        ("* * */31 * *", "day", {1}),
        ("* * * Jan,MAR-may *", "month", {1, 3, 4, 5}),
        ("* * * * sun,5-7", "weekday", {0, 5, 6, 7}),
        ("* * * * SAT-sun", "weekday", set()),
        ("50-10 * * * *", "minute", set()),
        ("*5 * * * *", "minute", set(range(60))),
        ("\t 7   8\t9 * *  ", "hour", {8}),
    ],
)
def test_it_reads_lists_ranges_steps_and_names(text: str, field: str, values: set[int]):
    assert getattr(parse(text), field).values == values


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("0 5 * * 6#3", ("#3",)),
        ("1.5 5-7-9 * * *", (".5", "-9")),
        ("0 5 * * 1-5", ()),
        ("1-5/2/3 * * * *", ("/3",)),
        ("@daily", ()),
    ],
)
def test_it_names_what_cron_skips_without_a_word(text: str, ignored: tuple[str, ...]):
    assert parse(text).ignored == ignored


@pytest.mark.parametrize(
    "text", ["50-10 * * * *", "0 0 30 2 *", "0 0 31 feb,apr,9 *", "0 0 * * sat-sun", "0 22-2 * * *"]
)
def test_it_knows_what_cron_accepts_but_never_runs(text: str):
    assert never_fires(text)
    assert when(text, "2026-01-01T00:00:00+00:00") == []


@pytest.mark.parametrize("text", ["0 0 29 2 *", "0 0 30 2 1", "0 0 20-10 * 1", "0 0 1 * 5-1", "@reboot", " @reboot\t"])
def test_it_does_not_call_rare_what_never_runs(text: str):
    assert not never_fires(text)


def test_it_gives_no_times_for_reboot():
    assert when("@reboot", "2026-01-01T00:00:00+00:00") == []


# ---- the next runs -------------------------------------------------------------------------


def test_it_takes_either_day_where_both_are_restricted():
    assert when("0 9 1,15 * mon", "2026-09-01T00:00-04:00") == [
        "2026-09-01 09:00-04:00",
        "2026-09-07 09:00-04:00",
        "2026-09-14 09:00-04:00",
        "2026-09-15 09:00-04:00",
    ]


def test_it_takes_only_days_that_match_both_where_one_begins_with_a_star():
    assert when("0 9 */10 * mon", "2026-01-01T00:00-05:00", 2) == ["2026-05-11 09:00-04:00", "2026-06-01 09:00-04:00"]


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("30 2 * * *", "2026-03-08T00:00-05:00", ["2026-03-08 03:00-04:00", "2026-03-09 02:30-04:00"]),
        ("0,30 2 * * *", "2026-03-08T00:00-05:00", ["2026-03-08 03:00-04:00", "2026-03-09 02:00-04:00"]),
        ("30 * * * *", "2026-03-08T01:00-05:00", ["2026-03-08 01:30-05:00", "2026-03-08 03:30-04:00"]),
        ("*/30 2 * * *", "2026-03-08T00:00-05:00", ["2026-03-09 02:00-04:00", "2026-03-09 02:30-04:00"]),
        ("30 1 * * *", "2026-11-01T00:00-04:00", ["2026-11-01 01:30-04:00", "2026-11-02 01:30-05:00"]),
        ("30 1 * * *", "2026-11-01T01:10-05:00", ["2026-11-02 01:30-05:00", "2026-11-03 01:30-05:00"]),
        ("30 * * * *", "2026-11-01T01:00-04:00", ["2026-11-01 01:30-04:00", "2026-11-01 01:30-05:00"]),
        ("@daily", "2026-03-07T12:00-05:00", ["2026-03-08 00:00-05:00", "2026-03-09 00:00-04:00"]),
    ],
)
def test_it_follows_cron_through_the_changes_of_the_clock(text: str, after: str, expected: list[str]):
    assert when(text, after, 2) == expected


def test_it_runs_at_one_what_was_due_at_a_midnight_that_does_not_exist():
    after = "2026-03-07T12:00-05:00"

    assert when("0 0 * * *", after, 1, "America/Havana") == ["2026-03-08 01:00-04:00"]
    assert when("*/20 0 * * *", after, 1, "America/Havana") == ["2026-03-09 00:00-04:00"]


def test_it_counts_from_after_the_given_time():
    assert when("0 5 * * *", "2026-06-01T05:00-04:00", 1) == ["2026-06-02 05:00-04:00"]
    assert when("0 5 * * *", "2026-06-01T08:59:59.999999+00:00", 1) == ["2026-06-01 05:00-04:00"]


def crons_main_loop(text: str, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield when cron starts the job, minute by minute, as the four cases of cron.c decide."""
    parsed = parse(text)
    wild = parsed.minute.star or parsed.hour.star

    def due(clock: int) -> bool:
        time = EPOCH + timedelta(minutes=clock)
        weekday = time.isoweekday() in parsed.weekday.values or time.isoweekday() % 7 in parsed.weekday.values
        day = time.day in parsed.day.values
        days = (weekday and day) if parsed.day.star or parsed.weekday.star else (weekday or day)
        return (
            days
            and time.minute in parsed.minute.values
            and time.hour in parsed.hour.values
            and time.month in parsed.month.values
        )

    def clock_at(moment: datetime) -> int:
        return (moment.astimezone(zone).replace(tzinfo=UTC) - EPOCH) // timedelta(minutes=1)

    virtual = clock_at(start)
    moment = start
    while moment < end:
        moment += timedelta(minutes=1)
        clock = clock_at(moment)
        ahead = clock - virtual
        missed = range(virtual + 1, clock + 1)
        if -180 < ahead <= 0:
            runs = wild and due(clock)
        elif ahead > 5 and ahead <= 180:
            runs = due(clock) if wild else any(map(due, missed))
            virtual = clock
        else:
            assert ahead == 1
            runs = due(clock)
            virtual = clock
        if runs:
            yield moment.astimezone(zone)


CHANGES = [
    (NEW_YORK, datetime(2026, 3, 8, 7, tzinfo=UTC)),
    (NEW_YORK, datetime(2026, 11, 1, 6, tzinfo=UTC)),
    (ZoneInfo("Europe/Dublin"), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    (ZoneInfo("America/Havana"), datetime(2026, 3, 8, 5, tzinfo=UTC)),
    (ZoneInfo("America/Havana"), datetime(2026, 11, 1, 5, tzinfo=UTC)),
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 4, 4, 15, tzinfo=UTC)),
    (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    (ZoneInfo("Asia/Kolkata"), datetime(2026, 3, 8, 7, tzinfo=UTC)),
]


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    """Return fields as people write them: stars, steps, ranges (backwards too) and lists."""
    number = st.integers(low, high).map(str)
    ranges = st.builds("{}-{}".format, number, number)
    steps = st.builds("{}/{}".format, st.just("*") | ranges, st.integers(1, high + 3))
    return st.lists(st.just("*") | number | number | ranges | steps, min_size=1, max_size=3).map(",".join)


expressions = st.builds(
    "{} {} {} {} {}".format,
    fields(0, 59),
    fields(0, 3) | fields(0, 23),
    st.just("*") | fields(1, 31),
    st.just("*") | fields(1, 12),
    st.just("*") | fields(0, 7),
)


@settings(max_examples=150, deadline=None)
@given(text=expressions, change=st.sampled_from(CHANGES), hours=st.integers(-26, 4), seconds=st.integers(0, 3599))
@example(text="*/15 0 * * *", change=CHANGES[3], hours=-2, seconds=0)
@example(text="0,30 0,1,2 * * *", change=CHANGES[6], hours=-2, seconds=30)
@example(text="* 0 * * *", change=CHANGES[5], hours=0, seconds=0)
@example(text="59 1 * * *", change=CHANGES[1], hours=0, seconds=60)
def test_it_agrees_with_crons_main_loop_around_every_change(text, change, hours, seconds):
    zone, moment = change
    after = moment + timedelta(hours=hours, seconds=seconds)
    start, end = min(after, moment).replace(second=0, minute=0) - timedelta(hours=4), moment + timedelta(hours=26)

    modelled = [time for time in crons_main_loop(text, start, end, zone) if time > after]
    found = []
    for time in fires(text, after, zone):
        if time.astimezone(UTC) > end:
            break
        found.append(time)

    assert [time.isoformat() for time in found] == [time.isoformat() for time in modelled]


@settings(max_examples=300, deadline=None)
@given(text=expressions)
def test_an_expression_never_fires_exactly_if_no_time_is_found(text: str):
    assert never_fires(text) == (not when(text, "2026-01-01T00:00:00+00:00", 1))


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="0123456789*/-,#@ \tjanMON=%?L\n", max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused_with_a_sentence(text: str):
    refusal = None
    try:
        parse(text)
    except CronExpressionError as error:
        refusal = error

    assert refusal is None or repr(text) in str(refusal)


def test_importing_it_loads_neither_pandas_nor_cronsim():
    command = "import sys, systemscripts.cron.expression; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout.split()

    assert "systemscripts.cron.grammar" in loaded
    assert not {"cronsim", "pandas", "psycopg2"} & set(loaded)
