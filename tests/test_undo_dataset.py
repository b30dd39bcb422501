"""A wrongly loaded dataset is taken back by one command, whole, with its file and what the reports say."""

import argparse
import re
import runpy
import subprocess
import threading
import zipfile
from pathlib import Path
from typing import Any

import psycopg2.errors
import pytest
from conftest import PROJECT, Installation
from test_generic_import import add_import, drop_file, run

from systemscripts.importing import quarantine

DAY = "clients_20260302"


def load(etl: Installation, *contents: str, name: str = DAY) -> list[int]:
    """Load files of one day, one after the other, and return the datasets."""
    for number, content in enumerate(contents):
        drop_file(etl, content, f"{name}_{number}.csv")
        assert run().counts() == {"Loaded": 1}
    return [row[0] for row in etl.query("SELECT datasetid FROM dba.tdataset ORDER BY 1 DESC LIMIT %s", len(contents))][
        ::-1
    ]


def undo(etl: Installation, dataset: int, *options: str) -> str:
    done = etl.door("undo_dataset.py", str(dataset), *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


def active(etl: Installation) -> list[int]:
    return [row[0] for row in etl.query("SELECT datasetid FROM dba.tdataset WHERE isactive ORDER BY 1")]


def shown(etl: Installation) -> list[tuple[str]]:
    return etl.query("SELECT a FROM public.vclients ORDER BY 1")


def test_the_former_dataset_is_active_again_and_the_file_is_in_failed_with_the_reason(etl: Installation) -> None:
    add_import(etl)
    right, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    said = undo(etl, wrong, "--reason", "prices of last year")
    assert f"dataset {right} (Metadata, clients, 2026-03-02, 1 rows) is active again" in said
    assert active(etl) == [right]
    assert shown(etl) == [("right",)]
    place = etl.home / f"file_watcher/failed/clients/{DAY}_1.csv"
    assert place.read_text() == "a\nwrong\n"
    reason = place.with_name(f"{place.name}.error.txt").read_text()
    assert "prices of last year" in reason and f"retry_files.py {place.name}" in reason  # noqa: PT018
    row = etl.query("SELECT status, archived_path, error FROM dba.timportfile WHERE datasetid = %s", wrong)
    assert row == [("Undone", str(place), reason.splitlines()[0])]
    assert etl.door("show_imports.py", "--waiting").stdout == "nothing waits for a person\n"
    for again in (undo(etl, wrong, "--dry-run"), undo(etl, wrong)):
        assert f"was taken back before: {reason.splitlines()[0]}" in again
        assert "would be" not in again


def test_of_two_at_once_the_second_one_says_that_it_is_done(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_import(etl)
    _, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    job = runpy.run_path(str(PROJECT / "jobscripts/undo_dataset.py"))["main"]
    first, second = (argparse.Namespace(dataset=wrong, reason=why, dry_run=False) for why in ("first", "second"))
    moving, may_move = threading.Semaphore(0), threading.Event()
    really = quarantine.take_away

    def slowly(*words: Any) -> Path:
        moving.release()
        assert may_move.wait(20)
        return really(*words)

    monkeypatch.setattr(quarantine, "take_away", slowly)
    threads = [threading.Thread(target=job, args=[one]) for one in (first, second)]
    with caplog.at_level("INFO"):
        threads[0].start()
        assert moving.acquire(timeout=20)
        threads[1].start()
        while not etl.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert not moving.acquire(timeout=0.02), "both move the file"
        may_move.set()
        for thread in threads:
            thread.join()
    said = [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]
    assert sum("was taken back before: taken back by" in line and line.endswith(": first") for line in said) == 1, said
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_where_none_was_replaced_none_is_active_and_it_says_so(etl: Installation) -> None:
    add_import(etl)
    (only,) = load(etl, "a\nwrong\n")
    assert "no dataset of its label and date is active" in undo(etl, only)
    assert active(etl) == []


def test_one_after_the_other_leads_back_to_the_first(etl: Installation) -> None:
    add_import(etl)
    first, second, third = load(etl, "a\n1\n", "a\n2\n", "a\n3\n")
    undo(etl, third)
    assert active(etl) == [second]
    undo(etl, second)
    assert active(etl) == [first]
    assert "no dataset" in undo(etl, first)


def test_a_dataset_in_the_middle_is_passed_over_later(etl: Installation) -> None:
    add_import(etl)
    first, second, third = load(etl, "a\n1\n", "a\n2\n", "a\n3\n")
    assert "nothing else changes" in undo(etl, second)
    assert active(etl) == [third]
    undo(etl, third)
    assert active(etl) == [first]


def test_what_a_person_has_made_inactive_does_not_come_back(etl: Installation) -> None:
    add_import(etl)
    (first,) = load(etl, "a\n1\n")
    etl.query("UPDATE dba.tdataset SET isactive = false WHERE datasetid = %s", first)
    (second,) = load(etl, "a\n2\n", name=f"{DAY}_b")
    undo(etl, second)
    assert active(etl) == []


@pytest.mark.parametrize("scope", ["config", "dataset"])
def test_the_same_content_is_refused_until_a_person_wants_it_again(etl: Installation, scope: str) -> None:
    add_import(etl, duplicate_scope=scope)
    right, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    undo(etl, wrong, "--reason", "of last year")

    drop_file(etl, "a\nwrong\n", f"{DAY}_again.csv")
    (refused,) = run().files
    assert refused.status == "Failed"
    assert "of last year; etl retry" in refused.detail
    assert active(etl) == [right]

    all_of_it = etl.door("retry_files.py", "clients")
    assert all_of_it.returncode == 0
    assert all_of_it.stderr.count("is left where it is") == 2
    assert active(etl) == [right]

    again = etl.door("retry_files.py", f"{DAY}_1.csv")
    assert again.returncode == 0, again.stderr
    assert shown(etl) == [("wrong",)]
    drop_file(etl, "a\nwrong\n", f"{DAY}_third.csv")
    assert run().counts() == {"Duplicate": 1}


def test_the_former_content_that_comes_again_is_a_duplicate(etl: Installation) -> None:
    add_import(etl, duplicate_scope="dataset")
    _, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    undo(etl, wrong)
    drop_file(etl, "a\nright\n", f"{DAY}_x.csv")
    assert run().counts() == {"Duplicate": 1}
    (new,) = load(etl, "a\nnew\n", name=f"{DAY}_y")
    assert active(etl) == [new]


def test_a_dry_run_changes_nothing(etl: Installation) -> None:
    add_import(etl)
    right, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    said = undo(etl, wrong, "--dry-run")
    assert f"dataset {right}" in said
    assert active(etl) == [wrong]
    assert (etl.home / f"archive/{DAY}_1.csv").exists()
    assert etl.value("SELECT count(*) FROM dba.timportfile WHERE status = 'Undone'") == 0


def test_the_same_call_again_finishes_what_a_killed_one_began(etl: Installation) -> None:
    add_import(etl)
    right, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    etl.query("SELECT dba.f_undo_dataset(%s, 'taken back by me: a reason')", wrong)
    place = etl.home / f"file_watcher/failed/clients/{DAY}_1.csv"
    undo(etl, wrong)
    assert place.exists()
    assert "a reason" in place.with_name(f"{place.name}.error.txt").read_text()
    # Killed after the move: the ledger has the old place.
    former = str(etl.home / f"archive/{DAY}_1.csv")
    etl.query("UPDATE dba.timportfile SET archived_path = %s WHERE datasetid = %s", former, wrong)
    undo(etl, wrong)
    assert etl.value("SELECT archived_path FROM dba.timportfile WHERE datasetid = %s", wrong) == str(place)
    assert active(etl) == [right]
    assert len(list(place.parent.iterdir())) == 2


def test_only_the_file_that_was_loaded_is_moved_and_only_out_of_the_archive(etl: Installation, tmp_path: Path) -> None:
    add_import(etl)
    _, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    archived = etl.home / f"archive/{DAY}_1.csv"
    archived.write_text("another")
    said = undo(etl, wrong)
    assert "has another content than was recorded" in said
    assert "no longer there" not in said
    assert archived.read_text() == "another"
    private = tmp_path / f"{DAY}_1.csv"
    private.write_text("a\nwrong\n")
    etl.query("UPDATE dba.timportfile SET archived_path = %s WHERE datasetid = %s", str(private), wrong)
    assert "is not in the archive" in undo(etl, wrong)
    assert private.exists()


def test_a_file_that_is_gone_is_told_and_its_content_comes_back_when_it_is_sent_again(etl: Installation) -> None:
    add_import(etl)
    _, wrong = load(etl, "a\nright\n", "a\nwrong\n")
    archived = etl.home / f"archive/{DAY}_1.csv"
    assert f", now {archived}" in etl.door("show_imports.py").stdout
    archived.unlink()
    assert f"{archived} is no longer there" in undo(etl, wrong, "--dry-run")
    said = undo(etl, wrong)
    assert f"{archived} is no longer there; to load its content again after all, let it be sent again" in said
    assert "another content" not in said
    assert f", no longer at {archived}" in etl.door("show_imports.py").stdout
    drop_file(etl, "a\nwrong\n", f"{DAY}_1.csv")
    assert run().counts() == {"Failed": 1}
    assert etl.door("retry_files.py", f"{DAY}_1.csv").returncode == 0
    assert shown(etl) == [("wrong",)]


def test_an_empty_reason_is_refused(etl: Installation) -> None:
    add_import(etl)
    (only,) = load(etl, "a\n1\n")
    done = etl.door("undo_dataset.py", str(only), "--reason", " ")
    assert done.returncode == 64
    assert "--reason is empty" in done.stderr
    assert active(etl) == [only]


def test_a_file_of_an_archive_that_was_taken_back_alone_is_loaded_alone_again(etl: Installation) -> None:
    add_import(etl, file_pattern="clients_*", metadata_label_source="filename", metadata_label_location=r"(\w)\.csv$",
               datelocation=r"clients_(\d{8})", member_pattern="*.csv")  # fmt: skip
    with zipfile.ZipFile(etl.home / f"file_watcher/{DAY}.zip", "w") as archive:
        for name in "xy":
            archive.writestr(f"{name}.csv", f"a\n{name}\n")
    assert run().counts() == {"Loaded": 2}
    first, second = active(etl)
    said = undo(etl, first, "--reason", "too early")
    (copy,) = re.findall("To load this one again after all, type: (cp .*), then", said)
    # Sent again it is refused, and an import's name retries nothing that was taken back.
    (etl.home / f"file_watcher/{DAY}.zip").write_bytes((etl.home / f"archive/{DAY}.zip").read_bytes())
    (refused,) = run().files
    assert "its file 'x.csv': a dataset with its content is no longer wanted" in refused.detail
    assert "is left where it is" in etl.door("retry_files.py", "clients").stderr
    (etl.home / f"file_watcher/failed/clients/{DAY}.zip").unlink()
    subprocess.run(["bash", "-c", copy], check=True)
    again = etl.door("retry_files.py", f"{DAY}.zip")
    assert again.returncode == 0, again.stderr
    assert shown(etl) == [("x",), ("y",)]
    assert second in active(etl)
    status = (
        "SELECT file_name, status FROM dba.timportfile WHERE archive_id = (SELECT max(archive_id) FROM dba.timportfile)"
    )
    assert sorted(etl.query(status)) == [(f"{DAY}.zip/x.csv", "Loaded"), (f"{DAY}.zip/y.csv", "Duplicate")]


def test_a_file_of_an_archive_is_taken_back_alone_and_the_last_one_with_its_archive(etl: Installation) -> None:
    add_import(etl, file_pattern="clients_*", metadata_label_source="filename", metadata_label_location=r"(\w)\.csv$",
               datelocation=r"clients_(\d{8})", member_pattern="*.csv")  # fmt: skip
    with zipfile.ZipFile(etl.home / f"file_watcher/{DAY}.zip", "w") as archive:
        for name in "xy":
            archive.writestr(f"{name}.csv", f"a\n{name}\n")
    assert run().counts() == {"Loaded": 2}
    first, second = active(etl)
    assert "its archive stays" in undo(etl, first)
    assert active(etl) == [second]
    assert (etl.home / f"archive/{DAY}.zip").exists()
    undo(etl, second)
    assert (etl.home / f"file_watcher/failed/clients/{DAY}.zip").exists()
    assert etl.door("retry_files.py", f"{DAY}.zip").returncode == 0
    assert shown(etl) == [("x",), ("y",)]


def test_the_change_report_is_right_again(etl: Installation) -> None:
    etl.query("UPDATE dba.timportconfig SET minimum_rows = NULL, file_pattern = 'e_*.csv', file_type = 'CSV', delimiter = '_',"
              " metadata_label_source = 'static', metadata_label_location = '119243', dateconfig = 'filename', datelocation = '1',"
              " dateformat = 'yyyyMMdd', header_row = NULL WHERE config_name = 'MeetMax_Events_XLS_Import'")  # fmt: skip
    changes = "SELECT scenario, company_name FROM dba.f_get_event_changes('2026-03-03') ORDER BY 1, 2"
    for name, content in (("e_20260302_a", "Acme\nBeta"), ("e_20260303_a", "Acme\nCora"), ("e_20260303_b", "Wrong")):
        drop_file(
            etl, f"company_name,ticker\n{content}\n".replace("\n", ",T\n").replace("ticker,T", "ticker"), f"{name}.csv"
        )
        assert run("MeetMax_Events_XLS_Import").counts() == {"Loaded": 1}
    assert etl.query(changes) == [("added", "WRONG"), ("removed", "ACME"), ("removed", "BETA")]
    wrong = active(etl)[-1]
    undo(etl, wrong)
    assert etl.query(changes) == [("added", "CORA"), ("removed", "BETA")]
    # An empty list says that the event is gone; when it is taken back, nothing is said of the event.
    undo(etl, active(etl)[-1])
    drop_file(etl, "company_name,ticker\n", "e_20260303_c.csv")
    assert run("MeetMax_Events_XLS_Import").counts() == {"Empty": 1}
    assert etl.query(changes) == [("removed", "ACME"), ("removed", "BETA")]
    undo(etl, etl.value("SELECT max(datasetid) FROM dba.tdataset"))
    assert etl.query(changes) == []


def test_what_cannot_be_taken_back_is_told(etl: Installation) -> None:
    add_import(etl)
    (only,) = load(etl, "a\n1\n")
    unknown = etl.door("undo_dataset.py", "999")
    assert unknown.returncode == 64
    assert "there is no dataset 999" in unknown.stderr
    etl.query("SELECT dba.f_dataset_iu(%s, NULL, NULL, NULL, NULL, 'Deleted')", only)
    gone = etl.door("undo_dataset.py", str(only))
    assert gone.returncode == 1
    assert f"dataset {only} is Deleted" in gone.stderr
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        etl.query("SELECT dba.f_undo_dataset(%s, 'x')", only, user="etl_user")
