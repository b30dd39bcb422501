"""Datasets: f_dataset_iu, and that exactly one of a type, label and date is active."""

import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from conftest import Installation
from schema_helpers import DATASET, MONDAY, TUESDAY, add_dataset, become, one, refusal

pytest_plugins = ["schema_fixtures"]

STATE = """
    SELECT s.statusname, d.isactive, d.effthrudate >= '9000-01-01'
    FROM dba.tdataset AS d JOIN dba.tdatastatus AS s USING (datastatusid) WHERE d.datasetid = %s"""


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, ("New", False, True)),
        ("New", ("New", False, True)),
        ("Active", ("Active", True, True)),
        ("Inactive", ("Inactive", False, False)),
        ("Failed", ("Failed", False, False)),
        ("Empty", ("Empty", False, False)),
    ],
)
def test_f_dataset_iu_inserts_a_dataset(cursor: Any, status: str | None, state: tuple[Any, ...]):
    added = add_dataset(become(cursor, "etl_user"), status)

    assert one(cursor, STATE, added) == state
    assert one(cursor, "SELECT label, datasetdate, createdby FROM dba.tdataset WHERE datasetid = %s", added) == (
        "119243",
        TUESDAY,
        "etl_user",
    )


@pytest.mark.parametrize("date", ["0044-03-15 BC", "20000-01-01", "infinity"])
def test_a_date_that_no_program_of_ours_can_read_is_refused(cursor: Any, date: str):
    become(cursor, "etl_user")
    error = refusal(cursor, DATASET, None, date, "MeetMaxEvents", "MeetMax", "1", "New", None)
    assert error.diag.constraint_name == "tdataset_datasetdate_is_of_our_calendar"


def test_f_dataset_iu_changes_the_status_only(cursor: Any):
    former, added = add_dataset(become(cursor, "etl_user")), add_dataset(cursor, "New")

    assert one(cursor, DATASET, added, None, None, None, None, "Active", None) == added
    assert one(cursor, STATE, added) == ("Active", True, True)
    assert one(cursor, STATE, former) == ("Inactive", False, False)
    assert one(cursor, DATASET, added, MONDAY, "Metadata", None, "other", None, None) == added
    cursor.execute(
        "SELECT datasetdate, label, datasettypeid, datastatusid FROM dba.tdataset WHERE datasetid = %s", (added,)
    )
    assert cursor.fetchone() == (TUESDAY, "119243", 3, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None, TUESDAY, "MeetMaxEvents", "MeetMax", "1", "Activ", None),
         'Unknown status "Activ"; dba.tdatastatus has: Active, Inactive, Deleted, New, Failed, Empty'),
        ((None, TUESDAY, "Events", "MeetMax", "1", "New", None),
         'Unknown dataset type "Events"; dba.tdatasettype has: Metadata, MeetMaxURL, MeetMaxEvents'),
        ((None, TUESDAY, "MeetMaxEvents", "Max", "1", "New", None), 'Unknown data source "Max"; dba.tdatasource has: MeetMax'),
        ((None, None, "MeetMaxEvents", "MeetMax", "1", "New", None), "A new dataset needs a date, a type, a source and a label"),
        ((None, TUESDAY, "MeetMaxEvents", "MeetMax", None, "New", None), "A new dataset needs a date"),
        ((2_000_000_000, None, None, None, None, "Active", None), "There is no dataset 2000000000"),
    ],
)  # fmt: skip
def test_f_dataset_iu_refuses_and_says_what_is_allowed(cursor: Any, arguments: tuple[Any, ...], told: str):
    assert told in str(refusal(become(cursor, "etl_user"), DATASET, *arguments))


@pytest.mark.parametrize(
    ("day", "label", "kind", "stays"),
    [
        (TUESDAY, "119243", "MeetMaxEvents", False),
        (MONDAY, "119243", "MeetMaxEvents", True),
        (TUESDAY, "119244", "MeetMaxEvents", True),
        (TUESDAY, "119243", "MeetMaxURL", True),
    ],
)
def test_activating_a_dataset_deactivates_the_one_of_its_type_label_and_date_only(
    cursor: Any, day: date, label: str, kind: str, stays: bool
):
    first = add_dataset(cursor)

    one(cursor, DATASET, None, day, kind, "MeetMax", label, "Active", None)

    assert one(cursor, STATE, first)[1] is stays


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ("datastatusid = 2", ("Inactive", False, False)),
        ("isactive = false", ("Inactive", False, False)),
        ("isactive = true", ("Active", True, True)),
        ("datastatusid = 3", ("Deleted", False, False)),
    ],
)
def test_status_and_flag_follow_each_other(cursor: Any, change: str, state: tuple[Any, ...]):
    added = add_dataset(cursor)

    cursor.execute(f"UPDATE dba.tdataset SET {change} WHERE datasetid = %s", (added,))

    assert one(cursor, STATE, added) == state


def in_threads(work: Callable[[int], None], count: int = 8) -> list[BaseException]:
    """Do the work in threads that begin together, and return what went wrong."""
    barrier, wrong = threading.Barrier(count), []

    def begin(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except Exception as error:  # noqa: BLE001 - handed to the test
            wrong.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_one_statement_may_activate_thousands(cursor: Any):
    """Each key takes a lock, and the server has room for some thousands."""
    own_locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    before = one(cursor, own_locks)
    cursor.execute(
        "INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid) "
        "SELECT '2026-03-03', i::text, 1, 1, 1 FROM generate_series(1, 2000) AS i"
    )

    assert one(cursor, own_locks) - before <= 256
    assert one(cursor, "SELECT count(*) FROM dba.tdataset WHERE isactive AND datasetdate = '2026-03-03'") == 2000


@pytest.mark.parametrize("datasets", [8, 3, 1, 0], ids=["eight of them", "three of them", "one of them", "new ones"])
def test_eight_activations_at_once_leave_exactly_one_active(shared: Installation, datasets: int):
    """With fewer datasets than threads, some are activated again while they are deactivated."""
    label = f"{datasets} at once"
    connections = [shared.connect("etl_user") for _ in range(8)]
    with connections[0].cursor() as cursor:
        known = [add_dataset(cursor, "New", label=label) for _ in range(datasets)]

    def activate(number: int) -> None:
        with connections[number].cursor() as cursor:
            for round_ in range(10):
                if known:
                    again = known[(number + round_) % len(known)]
                    one(cursor, DATASET, again, None, None, None, None, "Active", None)
                else:
                    add_dataset(cursor, label=label)

    wrong = in_threads(activate)
    for connection in connections:
        connection.close()
    states = shared.query("DELETE FROM dba.tdataset WHERE label = %s RETURNING isactive, datastatusid", label)

    assert wrong == []
    assert sorted(states, reverse=True) == [(True, 1)] + [(False, 2)] * ((datasets or 80) - 1)
