"""f_get_event_changes compares the lists of two business days, by the calendar of the schema."""

from datetime import date, timedelta
from typing import Any

import pytest
from schema_helpers import (
    DATASET,
    FRIDAY,
    MONDAY,
    NAME_TICKER,
    TUESDAY,
    add_lists,
    become,
    business_days,
    one,
    refusal,
    rows,
)

pytest_plugins = ["schema_fixtures"]

CHANGES = "SELECT company_name, ticker, scenario FROM dba.f_get_event_changes(%s) ORDER BY 3, 1, 2"


@pytest.mark.parametrize(
    ("columns", "before", "now", "changes"),
    [
        pytest.param(NAME_TICKER, [("Old", "OLD"), ("Acme", "ACME")], [("Acme", "ACME"), ("New", "NEW")],
                     [("NEW", "NEW", "added"), ("OLD", "OLD", "removed")], id="added and removed"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [("Acme", "ACME")], [], id="unchanged"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [(" acme ", "Acme")], [], id="upper case and trimmed"),
        pytest.param(NAME_TICKER, [], [("Acme", "ACME"), ("Acme", "ACME")], [("ACME", "ACME", "added")], id="equal rows twice"),
        pytest.param(NAME_TICKER, [("Acme", "ACME"), ("Acme", "ACME")], [("Acme", "ACME")], [], id="one of two equal rows gone"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [("Acme", "ACM US")],
                     [("ACME", "ACM US", "added"), ("ACME", "ACME", "removed")], id="ticker changed"),
        pytest.param(NAME_TICKER, [], [("Acme", None), (None, "TXG"), (None, None), (" ", "")],
                     [("ACME", None, "added"), (None, "TXG", "added")], id="blanks"),
        pytest.param(NAME_TICKER, [("Acme", "ACME")], [], [("ACME", "ACME", "removed")], id="an empty list"),
        pytest.param('"company/organization" text, company_name text, company_ticker text, ticker text',
                     [], [("B", "A", "TB", "TA"), ("C", None, "TC", " ")], [("A", "TA", "added"), ("C", "TC", "added")],
                     id="the first column that is filled"),
        pytest.param('"company/organization" text', [], [("Acme",)], [("ACME", None, "added")], id="no ticker column"),
        pytest.param("ticker text", [("TXG",)], [], [(None, "TXG", "removed")], id="no name column"),
        pytest.param("name text, symbol text", [], [("Acme", "ACME")], [], id="none of the columns"),
    ],
)  # fmt: skip
def test_f_get_event_changes_compares_two_lists(
    cursor: Any, columns: str, before: list[tuple], now: list[tuple], changes: list[tuple]
):
    add_lists(become(cursor, "etl_user"), columns, (MONDAY, before), (TUESDAY, now))

    assert rows(cursor, CHANGES, TUESDAY) == changes
    become(cursor, "etl_report")
    assert rows(cursor, CHANGES, TUESDAY) == changes


def test_f_get_event_changes_is_empty_before_the_first_import(cursor: Any):
    assert rows(become(cursor, "etl_report"), CHANGES, TUESDAY) == []


@pytest.mark.parametrize(
    ("asked", "day", "before"),
    [
        pytest.param("2026-03-03", "2026-03-03", "2026-03-02", id="Tuesday and Monday"),
        pytest.param("2026-03-02", "2026-03-02", "2026-02-27", id="Monday and Friday"),
        pytest.param("2026-03-01", "2026-02-27", "2026-02-26", id="asked on a Sunday"),
        pytest.param("2026-07-06", "2026-07-06", "2026-07-02", id="after a holiday and a weekend"),
        pytest.param("2026-07-03", "2026-07-02", "2026-07-01", id="asked on a holiday"),
        pytest.param("2026-01-02", "2026-01-02", "2025-12-31", id="after New Year"),
    ],
)
def test_f_get_event_changes_skips_holidays_and_weekends(cursor: Any, asked: str, day: str, before: str):
    first, last = date.fromisoformat(before), date.fromisoformat(day)
    every_day = [first + timedelta(days=number) for number in range(-7, 12)]
    add_lists(cursor, NAME_TICKER, *((each, [(f"Of {each}", None)]) for each in every_day))

    found = rows(cursor, "SELECT company_name, mindate, maxdate, scenario FROM dba.f_get_event_changes(%s)", asked)

    assert found == [(f"OF {day}", last, last, "added"), (f"OF {before}", first, first, "removed")]


def test_f_get_event_changes_takes_today_when_no_day_is_given(cursor: Any):
    day, before = business_days(cursor)
    add_lists(cursor, NAME_TICKER, (before, [("Former", None)]), (day, [("Acme", None)]))

    found = rows(cursor, "SELECT company_name, mindate, scenario FROM dba.f_get_event_changes() ORDER BY 1")
    assert found == [("ACME", day, "added"), ("FORMER", before, "removed")]


def test_f_get_event_changes_keeps_events_apart_and_counts_active_datasets_only(cursor: Any):
    add_lists(
        cursor, NAME_TICKER, (MONDAY, [("Acme", None)]), (TUESDAY, [("Withdrawn", None)]), (TUESDAY, [("Acme", None)])
    )
    add_lists(cursor, NAME_TICKER, (TUESDAY, [("Acme", None)]), label="119244")

    found = rows(cursor, "SELECT eventid, company_name, scenario FROM dba.f_get_event_changes(%s)", TUESDAY)

    assert found == [("119244", "ACME", "added")]


def test_f_get_event_changes_names_the_page_of_the_newest_scan(cursor: Any):
    add_lists(cursor, NAME_TICKER, (TUESDAY, [("Acme", None)]))
    add_lists(cursor, NAME_TICKER, (TUESDAY, [("Other", None)]), label="119244")
    cursor.execute("CREATE TABLE public.tmeetmaxurlcheck (datasetid integer, eventid text, url text)")
    for day, status, url in ((FRIDAY, "Active", "/old"), (MONDAY, "Active", "/new"), (TUESDAY, "Failed", "/failed")):
        scan = one(cursor, DATASET, None, day, "MeetMaxURL", "MeetMax", "MeetMaxURLCheck", status, None)
        cursor.execute(
            "INSERT INTO public.tmeetmaxurlcheck VALUES (%s, '119243', %s), (%s, '7', '/7')", (scan, url, scan)
        )

    found = rows(cursor, "SELECT eventid, url FROM dba.f_get_event_changes(%s) ORDER BY 1", TUESDAY)

    assert found == [("119243", "/new"), ("119244", None)]


@pytest.mark.parametrize("day", ["1999-12-31", "2040-01-02", "2020-01-01"])
def test_f_get_event_changes_says_where_the_calendar_ends(cursor: Any, day: str):
    cursor.execute("UPDATE dba.tcalendardays SET previous_business_date = NULL WHERE fulldate = '2020-01-01'")

    assert f"dba.tcalendardays does not reach {day}" in str(refusal(cursor, CHANGES, day))


def test_f_refresh_calendar_follows_the_holidays(cursor: Any):
    become(cursor, "etl_owner").execute("INSERT INTO dba.tholidays VALUES ('2026-03-02', 'The office is closed')")

    changed = one(cursor, "SELECT dba.f_refresh_calendar()")

    assert changed == 2
    assert one(cursor, "SELECT previous_business_date FROM dba.tcalendardays WHERE fulldate = %s", TUESDAY) == FRIDAY
    assert one(cursor, "SELECT dba.f_refresh_calendar()") == 0
