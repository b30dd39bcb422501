"""Companies that came and went: only where there is something to compare."""

import pytest
from conftest import Installation

FRIDAY, MONDAY, TUESDAY = "2026-03-06", "2026-03-09", "2026-03-10"


def add_list(etl: Installation, event_id: str, day: str, *companies: str, status: str = "Active") -> None:
    dataset = etl.value(
        "SELECT dba.f_dataset_iu(NULL, %s, 'MeetMaxEvents', 'MeetMax', %s, %s, 'me')", day, event_id, status
    )
    for company in companies:
        etl.query(
            "INSERT INTO public.tmeetmaxevent (datasetid, company_name, ticker) VALUES (%s, %s, 'T')", dataset, company
        )


@pytest.fixture
def events(etl: Installation) -> Installation:
    etl.query("CREATE TABLE public.tmeetmaxevent (datasetid integer, company_name text, ticker text)")
    add_list(etl, "1", FRIDAY, "A", "B")
    return etl


def changes(etl: Installation, day: str = MONDAY) -> list[tuple[str, str, str]]:
    return etl.query("SELECT eventid, company_name, scenario FROM dba.f_get_event_changes(%s) ORDER BY 1, 2", day)


def test_companies_come_and_go(events: Installation) -> None:
    add_list(events, "1", MONDAY, "B", "C")
    assert changes(events) == [("1", "A", "removed"), ("1", "C", "added")]


def test_a_new_event_adds_all_its_companies(events: Installation) -> None:
    add_list(events, "2", MONDAY, "X")
    assert changes(events) == [("2", "X", "added")]


def test_an_event_that_vanished_loses_all_its_companies(events: Installation) -> None:
    add_list(events, "1", MONDAY, status="Empty")
    assert changes(events) == [("1", "A", "removed"), ("1", "B", "removed")]


def test_a_list_that_could_not_be_had_removes_nobody_and_adds_nobody_the_day_after(events: Installation) -> None:
    assert changes(events, MONDAY) == []
    add_list(events, "1", TUESDAY, "A", "C")
    assert changes(events, TUESDAY) == []
