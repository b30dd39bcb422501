"""A refused file goes back to its import by one command, over no other file, and a kill loses nothing."""

import contextlib
import os
from pathlib import Path

import pytest
from conftest import Installation
from test_generic_import import add_import, drop_file, loaded, run
from test_import_crashes import dies_at, steps_to_die_at

from systemscripts import db_config, directory_management, whole_files
from systemscripts.importing import quarantine
from systemscripts.importing.config import load_config

NAME = "clients_20260302.csv"


@pytest.fixture
def refused(etl: Installation) -> Path:
    """A file that was refused, and whose cause is gone."""
    add_import(etl, minimum_rows=2)
    drop_file(etl, "a\n1\n")
    assert run().counts() == {"Failed": 1}
    etl.query("UPDATE dba.timportconfig SET minimum_rows = NULL WHERE config_name = 'clients'")
    return etl.home / "file_watcher/failed/clients" / NAME


def in_failed(etl: Installation) -> list[str]:
    return sorted(path.name for path in (etl.home / "file_watcher/failed").rglob("*") if path.is_file())


@pytest.mark.parametrize("what", [NAME, "clients", "path"])
def test_a_refused_file_is_loaded_again_by_its_name_path_or_import(etl: Installation, refused: Path, what: str) -> None:
    done = etl.door("retry_files.py", str(refused) if what == "path" else what)
    assert done.returncode == 0, done.stderr
    assert loaded(etl, "a") == [("1",)]
    assert in_failed(etl) == []
    assert (etl.home / "archive" / NAME).read_text() == "a\n1\n"
    rows = etl.query("SELECT status, error IS NOT NULL FROM dba.timportfile ORDER BY importfileid")
    assert rows == [("Failed", True), ("Loaded", False)]


def test_the_refusal_says_what_to_type(etl: Installation, refused: Path) -> None:
    assert f"retry_files.py {NAME}" in refused.with_name(f"{NAME}.error.txt").read_text()
    drop_file(etl, "", "clients_20260303.csv")
    assert "then type: bash" in (said := etl.door("run_import_job.py", "clients").stderr)
    assert "retry_files.py clients_20260303.csv" in said


def test_a_file_that_was_corrected_in_its_place_is_loaded_as_it_is_now(etl: Installation, refused: Path) -> None:
    refused.write_text("a\n1\n2\n")
    assert etl.door("retry_files.py", NAME).returncode == 0
    assert loaded(etl, "a") == [("1",), ("2",)]


def test_a_file_that_is_wrong_still_is_refused_again_with_one_reason(etl: Installation, refused: Path) -> None:
    etl.query("UPDATE dba.timportconfig SET minimum_rows = 2 WHERE config_name = 'clients'")
    done = etl.door("retry_files.py", NAME)
    assert done.returncode == 1
    assert in_failed(etl) == [NAME, f"{NAME}.error.txt"]


def test_a_newer_file_of_the_name_is_never_replaced(etl: Installation, refused: Path) -> None:
    newer = drop_file(etl, "a\nnewer\n")
    done = etl.door("retry_files.py", NAME)
    assert done.returncode == 1
    assert f"another file waits as {newer}" in done.stderr
    assert newer.read_text() == "a\nnewer\n"
    assert in_failed(etl) == [NAME, f"{NAME}.error.txt"]


def test_of_several_refused_files_of_one_name_the_path_decides(etl: Installation, refused: Path) -> None:
    drop_file(etl, "")
    run()
    asked = etl.door("retry_files.py", NAME)
    assert asked.returncode == 64
    second = refused.with_name("clients_20260302.2.csv")
    assert f"{refused}: it has 1 rows" in asked.stderr
    assert f"{second}: it has no header row" in asked.stderr
    assert etl.door("retry_files.py", str(refused)).returncode == 0
    assert in_failed(etl) == [second.name, f"{second.name}.error.txt"]
    second.write_text("a\n9\n")
    assert etl.door("retry_files.py", second.name).returncode == 0
    assert sorted(loaded(etl, "a")) == [("1",), ("9",)]
    assert etl.value("SELECT count(*) FROM dba.timportfile WHERE file_name = %s AND status = 'Loaded'", NAME) == 2


@pytest.mark.parametrize("what", ["nothing.csv", "MeetMaxURLCheckImport"])
def test_where_there_is_nothing_to_retry_it_says_so(etl: Installation, refused: Path, what: str) -> None:
    done = etl.door("retry_files.py", what)
    assert done.returncode == 64
    assert "has no refused file" in done.stderr or f"refused are: {NAME}" in done.stderr


def test_what_was_taken_back_is_not_named_as_refused(etl: Installation, refused: Path) -> None:
    drop_file(etl, "a\n1\n2\n", "clients_20260304.csv")
    assert run().counts() == {"Loaded": 1}
    dataset = etl.value("SELECT max(datasetid) FROM dba.tdataset")
    assert etl.door("undo_dataset.py", str(dataset)).returncode == 0
    told = etl.door("retry_files.py", "nothing.csv").stderr
    assert f"refused are: {NAME}; taken back are: clients_20260304.csv" in told


def test_a_folder_that_leads_elsewhere_is_not_looked_into(etl: Installation, refused: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    refused.parent.rename(private)
    refused.parent.symlink_to(private)
    done = etl.door("retry_files.py", "clients")
    assert done.returncode == 1
    assert "is a link to" in done.stderr
    assert (private / NAME).exists()


def test_a_file_goes_to_another_file_system_whole_and_over_no_other(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    source, target = tmp_path / "list.csv", memory / f"etl_carry_{os.getpid()}.csv"
    source.write_text("a\n1\n")
    os.utime(source, (1_000_000, 1_000_000))
    try:
        directory_management.carry(source, target)
        assert (target.read_text(), target.stat().st_mtime, source.exists()) == ("a\n1\n", 1_000_000, False)
        source.write_text("other")
        with pytest.raises(FileExistsError):
            directory_management.carry(source, target)
        assert target.read_text() == "a\n1\n"
        assert source.read_text() == "other"
    finally:
        target.unlink(missing_ok=True)


def test_a_file_of_another_content_than_is_meant_and_a_link_stay(tmp_path: Path) -> None:
    source, link = tmp_path / "list.csv", tmp_path / "link.csv"
    source.write_text("a")
    link.symlink_to(source)
    with pytest.raises(whole_files.Replaced):
        directory_management.carry(source, tmp_path / "moved.csv", sha256="0" * 64)
    with pytest.raises(whole_files.NotPlain):
        directory_management.carry(link, tmp_path / "moved.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "list.csv"]


def test_a_kill_at_any_step_of_the_way_back_loses_nothing(etl: Installation) -> None:
    for step in steps_to_die_at():
        etl.query("TRUNCATE dba.timportfile, dba.timportconfig, dba.timportcolumn, dba.tdataset CASCADE")
        etl.query("DROP TABLE IF EXISTS public.tclients CASCADE")
        for path in [*(etl.home / "archive").iterdir(), *(etl.home / "file_watcher").rglob("*")]:
            if path.is_file():
                path.unlink()
        add_import(etl, minimum_rows=2)
        drop_file(etl, "a\n1\n")
        run()
        etl.query("UPDATE dba.timportconfig SET minimum_rows = NULL")
        was_killed = retry_and_die_at(step)
        places = [path for path in etl.home.rglob("clients*") if path.is_file() and not path.name.endswith(".txt")]
        assert places, f"step {step}: the file is gone"
        assert {path.read_text() for path in places} == {"a\n1\n"}
        with contextlib.suppress(AssertionError):
            retry_and_die_at(0)
        run()
        assert loaded(etl, "a") == [("1",)], f"step {step}"
        assert in_failed(etl) == [], f"step {step}"
        if not was_killed:
            break


def retry_and_die_at(step: int) -> bool:
    """Retry all in a child that is killed at a step; return whether it got that far."""

    def retry() -> None:
        with db_config.session() as connection, connection.cursor() as cursor:
            config = load_config(connection, "clients")
            connection.autocommit = True
            for file in quarantine.files_of(cursor, config.config_id, config.config_name):
                quarantine.put_back(cursor, config, file)
        run()

    return dies_at(step, retry)
