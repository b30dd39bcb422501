"""A dataset that is not believable is held: loaded, not active, until a person releases it or takes it back."""

import argparse
import json
import re
import runpy
from datetime import date, timedelta
from functools import partial

import psycopg2
import pytest
from conftest import PROJECT, Installation
from test_generic_import import add_import, drop_file, run
from test_import_crashes import dies_at, steps_to_die_at

from systemscripts.generic_import import FileOutcome
from systemscripts.importing import dataset_checks, profile

MONDAY = date(2026, 3, 2)


def business_days(number: int) -> list[date]:
    """Return so many business days before MONDAY, the oldest first."""
    found = (MONDAY - timedelta(days=back) for back in range(1, 10 * number))
    return sorted([day for day in found if day.weekday() < 5][:number])


def content(rows: int, day: date | str = "", price: str = "1") -> str:
    return "ticker,price,day\n" + "".join(f"T{number},{price},{day}\n" for number in range(rows))


def came(etl: Installation, rows: int, day: date = MONDAY, price: str = "1", again: str = "") -> FileOutcome:
    """Let a file come and be imported; return its outcome."""
    drop_file(etl, content(rows, f"{day}{again}", price), f"clients_{day:%Y%m%d}{again}.csv")
    (outcome,) = run().files
    return outcome


@pytest.fixture
def feed(etl: Installation) -> Installation:
    """An import for which lists of 98 to 102 rows came on the last six business days, of which one is a month's end."""
    add_import(etl)
    *earlier, last = business_days(6)
    assert came(etl, 102, last).status == "Loaded"
    for number, day in enumerate(earlier):
        etl.query(
            "INSERT INTO dba.tdatasetprofile (datasetid, row_count, counted_rows, filled, distinct_values)"
            " SELECT dba.f_dataset_iu(NULL, %s, 'Metadata', 'MeetMax', 'clients', 'Active'), %s, counted_rows, filled, '{}'"
            " FROM dba.tdatasetprofile LIMIT 1",
            day, 98 + number % 5,
        )  # fmt: skip
    return etl


def states(etl: Installation, day: date = MONDAY) -> list[str]:
    return [
        state
        for (state,) in etl.query(
            "SELECT statusname FROM dba.tdataset JOIN dba.tdatastatus USING (datastatusid) WHERE datasetdate = %s ORDER BY datasetid",
            day,
        )
    ]


def visible(etl: Installation, day: date = MONDAY) -> int:
    return int(etl.value("SELECT count(*) FROM public.vclients WHERE datasetdate = %s", day))


def events(etl: Installation) -> list[tuple[str, str]]:
    return etl.query("SELECT event, reason FROM dba.tdatasetevent ORDER BY dataseteventid")  # type: ignore[return-value]


def last_dataset(etl: Installation) -> str:
    return str(etl.value("SELECT max(datasetid) FROM dba.tdataset"))


def test_far_fewer_rows_than_usual_are_held_and_seen_by_nobody_until_they_are_released(feed: Installation) -> None:
    outcome = came(feed, 14)

    assert outcome.status == "Held"
    assert "held and not active: 14 rows, usually 98 to 102; to use it, type: " in outcome.detail
    assert (states(feed), visible(feed)) == (["Held"], 0)
    assert feed.value("SELECT count(*) FROM public.tclients WHERE day = %s", str(MONDAY)) == 14
    assert feed.query("SELECT status, archived_path IS NULL FROM dba.timportfile ORDER BY 1 DESC LIMIT 1") == [
        ("Loaded", False)
    ]

    looked = feed.door("release_dataset.py", last_dataset(feed), "--dry-run")
    assert "2026-03-02) would be active; it is held: 14 rows, usually 98 to 102" in looked.stderr
    assert (states(feed), len(events(feed))) == (["Held"], 1)

    released = feed.door("release_dataset.py", last_dataset(feed), "--reason", "the fair is over")

    assert released.returncode == 0, released.stderr
    assert (states(feed), visible(feed)) == (["Active"], 14)
    (held, told), (released_event, why) = events(feed)
    assert (held, told, released_event) == ("held", "14 rows, usually 98 to 102", "released")
    assert "the fair is over" in why


def test_what_is_released_is_the_measure_of_the_next_day(feed: Installation) -> None:
    came(feed, 14)
    feed.door("release_dataset.py", last_dataset(feed))
    assert came(feed, 15, MONDAY + timedelta(days=1)).status == "Loaded"


@pytest.mark.parametrize(
    "gone", ["DELETE FROM public.tclients WHERE datasetid > 1", "DROP TABLE public.tclients CASCADE"]
)
def test_a_dataset_without_its_rows_is_not_released(feed: Installation, gone: str) -> None:
    came(feed, 14)
    feed.query(gone)
    refused = feed.door("release_dataset.py", last_dataset(feed))
    assert refused.returncode == 1
    assert "are no longer in public.tclients" in refused.stderr
    assert states(feed) == ["Held"]


def test_what_a_later_file_has_ended_can_be_used_after_that_is_taken_back(feed: Installation) -> None:
    came(feed, 14)
    held = last_dataset(feed)
    came(feed, 101, again="_again")
    feed.door("undo_dataset.py", last_dataset(feed))
    assert feed.door("release_dataset.py", held).returncode == 0
    assert (states(feed), visible(feed)) == (["Active", "Inactive"], 14)


def test_a_list_without_rows_is_told(feed: Installation) -> None:
    outcome = came(feed, 0)
    assert outcome.status == "Empty"
    assert "warning: 0 rows, usually 98 to 102" in outcome.detail
    refused = feed.door("release_dataset.py", last_dataset(feed))
    assert (refused.returncode, "is Empty, not Held" in refused.stderr) == (1, True), refused.stderr


def test_the_jobs_cannot_say_that_somebody_released_a_dataset(feed: Installation) -> None:
    came(feed, 14)
    insert = "INSERT INTO dba.tdatasetevent (datasetid, event, reason{}) VALUES (%s, 'released', 'forged'{})"
    for columns, values in (("", ""), (", createdby", ", 'etl_owner'")):
        with pytest.raises(psycopg2.Error):
            feed.query(insert.format(columns, values), last_dataset(feed), user="etl_user")


@pytest.mark.parametrize("change", ["isactive = true", "datastatusid = 1"])
def test_a_dataset_that_is_made_active_by_hand_is_released_by_whoever_did_that(feed: Installation, change: str) -> None:
    came(feed, 14)
    update = f"UPDATE dba.tdataset SET {change} WHERE datasetid = %s"
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="not for the jobs to release"):
        feed.query(update, last_dataset(feed), user="etl_user")
    feed.query(update, last_dataset(feed), user="etl_owner")
    assert feed.query(
        "SELECT event, createdby, reason FROM dba.tdatasetevent ORDER BY dataseteventid DESC LIMIT 1"
    ) == [("released", "etl_owner", "etl_owner made it active by hand")]
    # It counts as the measure of the next day, as after etl release.
    assert came(feed, 15, MONDAY + timedelta(days=1)).status == "Loaded"


def test_a_held_dataset_can_be_taken_back(feed: Installation) -> None:
    came(feed, 14)
    undone = feed.door("undo_dataset.py", last_dataset(feed), "--reason", "cut off")

    assert undone.returncode == 0, undone.stderr
    assert (states(feed), visible(feed)) == (["Inactive"], 0)
    assert [event for event, _ in events(feed)] == ["held", "undone"]
    assert (feed.home / "file_watcher/failed/clients" / f"clients_{MONDAY:%Y%m%d}.csv").exists()
    # It says nothing about what is usual.
    assert "usually 98 to 102" in came(feed, 14, MONDAY + timedelta(days=1)).detail


def test_the_former_dataset_stays_active_while_the_new_one_is_held(feed: Installation) -> None:
    came(feed, 100)
    assert came(feed, 9, again="_pm").status == "Held"
    assert (states(feed), visible(feed)) == (["Active", "Held"], 100)


def test_a_right_file_that_comes_later_ends_what_was_held(feed: Installation) -> None:
    came(feed, 14)
    held = last_dataset(feed)
    assert came(feed, 101, again="_again").status == "Loaded"

    assert (states(feed), visible(feed)) == (["Inactive", "Active"], 101)
    assert [event for event, _ in events(feed)] == ["held", "replaced"]
    refused = feed.door("release_dataset.py", held)
    assert refused.returncode == 1
    assert "is Inactive, not Held" in refused.stderr


@pytest.mark.parametrize(("when_unusual", "event"), [("warn", ["warned"]), ("ignore", [])])
def test_an_import_may_only_warn_or_say_nothing(feed: Installation, when_unusual: str, event: list[str]) -> None:
    feed.query("UPDATE dba.timportconfig SET when_unusual = %s WHERE config_name = 'clients'", when_unusual)
    outcome = came(feed, 14)

    assert outcome.status == "Loaded"
    assert ("warning: 14 rows, usually 98 to 102" in outcome.detail) == bool(event)
    assert (states(feed), visible(feed)) == (["Active"], 14)
    assert [name for name, _ in events(feed)] == event


def test_a_person_who_forces_a_file_has_decided(feed: Installation) -> None:
    drop_file(feed, content(14), f"clients_{MONDAY:%Y%m%d}.csv")
    (outcome,) = run(force=True).files
    assert (outcome.status, states(feed)) == ("Loaded", ["Active"])


def test_an_empty_column_and_fewer_keys_are_told(feed: Installation) -> None:
    feed.query("UPDATE dba.timportconfig SET key_columns = '{ticker}' WHERE config_name = 'clients'")
    detail = came(feed, 100, price="").detail
    assert "price is filled in 0% of the rows, usually filled in 100%" in detail


@pytest.mark.parametrize("price", ["   ", "\u00a0", "N/A", " null ", r"\N", "-"])
def test_a_column_of_blanks_or_of_words_for_nothing_is_empty_and_its_data_are_as_they_came(
    feed: Installation, price: str
) -> None:
    assert "price is filled in 0% of the rows, usually filled in 100%" in came(feed, 100, price=price).detail
    assert feed.query("SELECT DISTINCT price FROM public.tclients WHERE day = %s", str(MONDAY)) == [(price,)]


def test_in_a_long_list_words_for_nothing_are_counted_as_in_a_short_one(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_import(etl)
    monkeypatch.setattr(profile, "TRIED_ROWS", 3)
    drop_file(etl, "a,b,c\n" + "1,n/a,\n" * 4 + "2,3,-\n", f"clients_{MONDAY:%Y%m%d}.csv")
    assert run().counts() == {"Loaded": 1}
    filled = {"a": 5, "b": 1, "c": 1}  # c: no word in its first rows
    assert etl.query("SELECT counted_rows, filled FROM dba.tdatasetprofile") == [(5, filled)]


def test_a_dry_run_says_that_it_would_be_held_and_keeps_nothing(feed: Installation) -> None:
    drop_file(feed, content(14), f"clients_{MONDAY:%Y%m%d}.csv")
    profiles = feed.value("SELECT count(*) FROM dba.tdatasetprofile")
    (outcome,) = run(dry_run=True).files
    assert "it would be held: 14 rows, usually 98 to 102" in outcome.detail
    assert feed.value("SELECT count(*) FROM dba.tdatasetprofile") == profiles


@pytest.mark.parametrize("scope", ["config", "dataset"])
def test_a_dry_run_knows_the_files_before_and_that_checks_are_not_tried(feed: Installation, scope: str) -> None:
    feed.query("UPDATE dba.timportconfig SET duplicate_scope = %s WHERE config_name = 'clients'", scope)
    add_check(feed, PRICE)
    for number in range(2):
        drop_file(feed, content(100, "x"), f"clients_{MONDAY + timedelta(days=number):%Y%m%d}.csv")

    first, second = run(dry_run=True).files

    assert first.detail.endswith("; its check is not tried in a dry run")
    if scope == "config":
        assert (second.status, second.detail) == (
            "Would be a duplicate",
            f"of {first.file}, which would be loaded before it",
        )
    else:
        assert f"it would be held: the same content as that of {MONDAY}, which it never had twice" in second.detail
    assert [outcome.status for outcome in run().files] == ["Loaded", "Duplicate" if scope == "config" else "Held"]


def test_a_key_column_that_the_file_does_not_have_is_named(etl: Installation) -> None:
    add_import(etl, key_columns=["isin"])
    drop_file(etl, content(3))
    with pytest.raises(Exception, match="key_columns names 'isin'; the file has: ticker, price, day"):
        run()


def decide(held: int) -> None:
    """Import, release and undo."""
    run()
    for job in ("release_dataset", "undo_dataset"):
        main = runpy.run_path(str(PROJECT / f"jobscripts/{job}.py"))["main"]
        main(argparse.Namespace(dataset=held, reason="tried", dry_run=False))


def test_killed_between_load_release_and_undo_one_dataset_is_active_always(feed: Installation) -> None:
    came(feed, 100)
    # What can be seen of the day, by the states of its two datasets.
    seen = {("Active", "Held"): 100, ("Inactive", "Active"): 14, ("Active", "Inactive"): 100}
    ends = set()
    for step in steps_to_die_at():
        drop_file(feed, content(14, f"{step}"), f"clients_{MONDAY:%Y%m%d}_pm.csv")
        feed.query("SELECT setval('dba.tdataset_datasetid_seq', 1000 * %s)", step + 1)
        held = 1000 * (step + 1) + 1
        was_killed = dies_at(step, partial(decide, held))
        if feed.value("SELECT count(*) FROM dba.tdataset WHERE datasetid = %s", held) == 0:
            assert states(feed) == ["Active"], f"step {step}"
            run()
            held = int(last_dataset(feed))
        run()
        found = states(feed)
        ends.add(tuple(found))
        assert visible(feed) == seen[tuple(found)], f"step {step}: {found}"  # type: ignore[index]
        assert list((feed.home / "file_watcher").glob("*.csv")) == [], f"step {step}"
        feed.query("DELETE FROM dba.tdatasetevent")
        feed.query("DELETE FROM dba.tdatasetprofile WHERE datasetid = %s", held)
        feed.query("DELETE FROM dba.timportfile WHERE datasetid = %s", held)
        feed.query("DELETE FROM public.tclients WHERE datasetid = %s", held)
        feed.query("DELETE FROM dba.tdataset WHERE datasetid = %s", held)
        feed.query("UPDATE dba.tdataset SET isactive = true WHERE datasetdate = %s", MONDAY)
        if not was_killed:
            break
    assert step > 30
    assert ends == seen.keys()


# ---- checks of an import ---------------------------------------------------------------------


def add_check(etl: Installation, query: str, when_broken: str = "hold", name: str = "a price is above 0") -> None:
    etl.query(
        "INSERT INTO dba.timportcheck (config_id, checkname, query, when_broken)"
        " SELECT config_id, %s, %s, %s FROM dba.timportconfig WHERE config_name = 'clients'",
        name, query, when_broken, user="etl_owner",
    )  # fmt: skip


PRICE = "SELECT ticker, price FROM public.tclients WHERE datasetid = :datasetid AND price::numeric <= 0;"


@pytest.mark.parametrize(("when_broken", "status"), [("hold", "Held"), ("warn", "Loaded")])
def test_rows_that_break_a_check_are_shown(etl: Installation, when_broken: str, status: str) -> None:
    add_import(etl)
    add_check(etl, PRICE, when_broken)
    assert came(etl, 5).status == "Loaded"

    outcome = came(etl, 5, price="-3", again="_pm")

    assert outcome.status == status
    told = "more than 3 rows break the check 'a price is above 0', such as ticker T0, price -3; ticker T1, price -3"
    assert told in outcome.detail
    # Only the rows of its own dataset count.
    assert came(etl, 5, again="_late").status == "Loaded"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT nothing FROM public.tclients WHERE datasetid = :datasetid", 'column "nothing" does not exist'),
        ("DELETE FROM public.tclients WHERE datasetid = :datasetid RETURNING 1", "read-only transaction"),
        ("SELECT setval('dba.tdataset_datasetid_seq', :datasetid)", "cannot be run"),
        ("SELECT 1 / 0, :datasetid", "division by zero"),
        (
            "SELECT 1 WHERE :datasetid < 0; COMMIT; DELETE FROM public.tclients",
            "cannot open multi-query plan as cursor",
        ),
        ("SELECT 1 WHERE :datasetid < 0; ROLLBACK; BEGIN; DELETE FROM public.tclients; COMMIT", "multi-query"),
    ],
)
def test_a_check_that_cannot_be_run_or_would_write_holds_the_dataset(etl: Installation, query: str, told: str) -> None:
    add_import(etl)
    add_check(etl, query)
    outcome = came(etl, 5)
    assert outcome.status == "Held"
    assert "the check 'a price is above 0' cannot be run" in outcome.detail
    assert told in outcome.detail
    assert etl.value("SELECT count(*) FROM public.tclients") == 5


def test_a_check_that_takes_too_long_holds_the_dataset(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_checks, "LONGEST_S", 0.1)
    add_import(etl)
    add_check(etl, "SELECT pg_sleep(60), :datasetid")
    outcome = came(etl, 5)
    assert outcome.status == "Held"
    assert "the check 'a price is above 0' took longer than 0.1 s" in outcome.detail


def test_a_check_that_is_cancelled_is_not_told_as_one_that_takes_too_long(etl: Installation) -> None:
    add_import(etl)
    add_check(etl, "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60), :datasetid")
    outcome = came(etl, 5)
    assert outcome.status == "Held"
    assert (
        "was cancelled after 0 s, by somebody or by itself: canceling statement due to user request" in outcome.detail
    )


def test_a_check_that_ends_its_own_connection_is_to_blame_and_the_file_stays(etl: Installation) -> None:
    add_import(etl)
    add_check(etl, "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(60), :datasetid", name="kills")
    drop_file(etl, content(3))
    said = etl.door("run_import_job.py", "clients")
    assert said.returncode == 1, said.stderr
    assert "the connection to the database ended while the check 'kills' ran; the database is there" in said.stderr
    assert "set is_active = false there" in said.stderr
    assert len(list((etl.home / "file_watcher").glob("*.csv"))) == 1
    etl.query("UPDATE dba.timportcheck SET is_active = false")
    assert etl.door("run_import_job.py", "clients").returncode == 0


def test_a_check_without_the_dataset_is_refused_with_what_to_write(etl: Installation) -> None:
    add_import(etl)
    with pytest.raises(Exception, match="query must name the new dataset as :datasetid"):
        add_check(etl, "SELECT 1")


# ---- what a person sees -----------------------------------------------------------------------


def test_what_is_held_is_shown_with_what_to_type(feed: Installation) -> None:
    came(feed, 14)
    dataset = last_dataset(feed)

    imports = feed.door("show_imports.py", "clients", "--last", "1").stdout
    assert f"dataset {dataset} (held)" in imports
    waiting = feed.door("show_imports.py", "--waiting").stdout
    assert "14 rows, usually 98 to 102" in waiting
    assert re.search(rf"(etl release|release_dataset\.py) {dataset}", waiting)
    state = json.loads(feed.door("show_state.py", "--json").stdout)
    assert state["counts"]["held"] == 1


@pytest.mark.parametrize("wrong", ["999999", "none"])
def test_what_cannot_be_released_is_refused(etl: Installation, wrong: str) -> None:
    result = etl.door("release_dataset.py", wrong)
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) < 8


def test_what_is_held_is_told_once_by_mail_and_so_is_the_decision(feed: Installation) -> None:
    def told() -> list[tuple[str, bool, bool, str]]:
        done = feed.door("check_schedule.py", "--json")
        assert done.returncode == 0, done.stderr
        return [
            (one["name"], one["is_new"], one["is_over"], one["detail"])
            for one in json.loads(done.stdout or "[]")
            if one["kind"] == "held"
        ]

    told()  # the first check begins the watch
    came(feed, 14)
    name = f"Metadata, clients, {MONDAY}"
    assert "To use it:" in feed.door("check_schedule.py", "--dry-run").stdout
    assert told() == [(name, True, False, "14 rows, usually 98 to 102")]
    assert told() == []

    feed.door("release_dataset.py", last_dataset(feed), "--reason", "the fair is over")
    ((_, is_new, is_over, detail),) = told()
    assert (is_new, is_over) == (False, True)
    assert detail.startswith("released: released by ")
    assert told() == []
