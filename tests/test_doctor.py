"""The doctor names what is wrong, with its cure, and goes on where one look cannot be made."""

import getpass
import json
import os
import shlex
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PROJECT, Installation
from smtp_server import mail_server
from test_generic_import import add_import

from systemscripts import directory_management
from systemscripts.doctor import Finding, database, look, machine, mail, rows
from systemscripts.importing.files import TAKEN

pytestmark = pytest.mark.slow


def findings(etl: Installation, **more: str) -> tuple[int, list[dict[str, Any]]]:
    result = etl.door("doctor.py", "--json", **more)
    return result.returncode, json.loads(result.stdout)


def of(found: list[dict[str, Any]], name: str) -> list[tuple[str, str]]:
    return [(finding["state"], finding["told"]) for finding in found if finding["name"] == name]


def test_colours_go_to_a_terminal_and_to_nothing_else(etl: Installation) -> None:
    assert "\x1b[" not in etl.door("doctor.py", ETL_TERMINAL="1").stdout  # somebody watches, and wants it in a file
    assert "\x1b[" in etl.door("doctor.py", ETL_PRINTS_TO_TERMINAL="1").stdout


def add_inbox(etl: Installation, name: str, **columns: Any) -> None:
    values = {"config_name": name, "gmail_account": "box@example.com", **columns}
    etl.query(
        f"INSERT INTO dba.tinboxconfig ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
        *values.values(),
    )


def test_it_looks_at_everything_and_fails_on_any_failure(etl: Installation):
    status, found = findings(etl, ETL_CRON_FILE=str(etl.home / "no_such_file"), ETL_CRON_USER=getpass.getuser())

    assert status == 1
    assert {finding["name"] for finding in found} >= {
        "modes", "secrets", "disk", "settings", "cron", "sudo", "database", "pg_dump", "clock", "backup", "mail", "time zone",
    }  # fmt: skip
    assert [state for state, _ in of(found, "database")] == ["ok", "ok"]
    assert any(
        told.startswith(f"ETL_HOME={etl.home} is set in this terminal only") for _, told in of(found, "settings")
    )
    assert any("is not there: nothing is scheduled" in told for _, told in of(found, "cron"))
    assert ("failed", "ETL_EMAIL is not set: neither reports nor alerts go out") in of(found, "mail")
    assert all(finding["cure"] for finding in found if finding["state"] == "failed")


def test_it_says_in_which_time_zone_reports_are_made(etl: Installation):
    _status, found = findings(etl, TZ="Asia/Tokyo", PGTZ="Etc/UTC")
    told = [told for _, told in of(found, "time zone")]
    assert "reports show times and make dates in this machine's, Asia/Tokyo; psql.sh in the database's, Etc/UTC" in told

    _status, found = findings(etl, TZ="CET-1CEST")
    assert any(state == "failed" and "no report can be made" in told for state, told in of(found, "time zone"))


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (timedelta(minutes=-10), "this machine's clock is 0:10:00 behind the database's"),
        (timedelta(days=1), "this machine's clock is 1 day, 0:00:00 ahead of the database's"),
    ],
)
def test_a_clock_that_is_wrong_is_named_with_its_direction(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, off: timedelta, told: str
):
    monkeypatch.setattr(database, "datetime", SimpleNamespace(now=lambda zone: datetime.now(zone) + off))

    (found,) = [finding for finding in database.clocks() if finding.state == "failed"]

    assert (found.told, found.cure) == (told, "sudo timedatectl set-ntp true, on both")


def test_an_import_that_looks_where_no_file_arrives_is_named(etl: Installation):
    etl.query("UPDATE dba.timportconfig SET source_directory = '/srv/former' WHERE config_id = 2")

    _status, found = findings(etl, ETL_CRON_USER=getpass.getuser())

    (told,) = [told for state, told in of(found, "imports") if state == "failed" and "former" in told]
    assert told == f"MeetMax_Events_XLS_Import looks in /srv/former, but downloads are put into {etl.home}/file_watcher"


def test_an_import_that_looks_in_another_installation_is_named_with_both_cures(etl: Installation):
    etl.query("UPDATE dba.timportconfig SET source_directory = '/opt/old/file_watcher' WHERE config_id = 2")
    etl.query("INSERT INTO dba.tdatasource (sourcename) VALUES ('O''Neil')")
    etl.query(
        "UPDATE dba.timportconfig SET source_directory = '/opt/old/file_watcher', datasource = 'O''Neil', config_name = 'It''s'"
        " WHERE config_id = 1"
    )

    found = [finding for finding in rows.directories() if "/opt/old" in finding.told]

    assert [finding.state for finding in found] == ["failed", "failed"]
    assert "another installation" in found[0].told
    for finding, name in zip(found, ("It's", "MeetMax_Events_XLS_Import"), strict=True):
        assert finding.cure.startswith(f"write ETL_HOME=/opt/old into {PROJECT}/site.env, or change the row: bash ")
        etl.query(shlex.split(finding.cure.partition("change the row: ")[2])[-1])
        where = "SELECT source_directory FROM dba.timportconfig WHERE config_name = %s"
        assert etl.value(where, name) == f"{etl.home}/file_watcher"
    assert [finding.state for finding in rows.directories()] == ["ok"]


def test_where_the_directory_of_files_is_set_the_cure_is_the_row_alone(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ETL_FILE_WATCHER_DIR", "/mnt/shared/incoming")

    found = [finding for finding in rows.directories() if finding.state == "failed"]

    assert len(found) == 2
    for finding in found:
        assert finding.told.endswith(
            f" looks in {etl.home}/file_watcher, but downloads are put into /mnt/shared/incoming"
        )
        assert finding.cure.startswith("change the row: bash ")


def test_with_the_embedded_server_the_cure_moves_the_two_directories_and_not_the_server(etl: Installation):
    etl.query("UPDATE dba.timportconfig SET source_directory = '/opt/old/file_watcher'")
    etl.query("UPDATE dba.timportconfig SET source_directory = '/opt/old/file_watcher/lists' WHERE config_id = 2")
    (etl.home / "pgdata").mkdir()

    found = list(rows.directories())

    assert len(found) == 2
    for finding in found:
        setting = "write the lines ETL_FILE_WATCHER_DIR=/opt/old/file_watcher and ETL_ARCHIVE_DIR=/opt/old/archive"
        assert finding.cure.startswith(f"{setting} into {PROJECT}/site.env, or change the row: ")
    assert f"SET source_directory = '{etl.home}/file_watcher/lists' WHERE" in found[1].cure


def test_one_import_of_many_that_looks_elsewhere_is_cured_by_its_row(etl: Installation):
    add_import(etl, "clients")
    etl.query("UPDATE dba.timportconfig SET source_directory = '/opt/old/file_watcher' WHERE config_name = 'clients'")
    (finding,) = rows.directories()
    assert finding.cure.startswith("change the row: bash ")
    etl.query(shlex.split(finding.cure)[-1])
    assert [finding.state for finding in rows.directories()] == ["ok"]


def test_a_list_of_meetmax_that_is_put_elsewhere_by_hand_is_right_if_it_is_not_the_downloads_only_import(
    etl: Installation,
):
    by_hand = etl.home / "by_hand"
    by_hand.mkdir()
    add_import(etl, "by_hand", datasource="MeetMax", source_directory=str(by_hand), file_pattern="*_MeetMax_*.xls")
    assert [finding.state for finding in rows.directories()] == ["ok"]
    etl.query("UPDATE dba.timportconfig SET is_active = B'0' WHERE config_id = 2")
    assert [finding.state for finding in rows.directories()] == ["failed"]
    etl.query("UPDATE dba.timportconfig SET file_pattern = '*.xls' WHERE config_name = 'by_hand'")
    assert [finding.state for finding in rows.directories()] == ["ok"]


def test_a_directory_that_is_not_there_is_named_with_its_row_and_how_to_make_it(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
):
    add_import(etl, "clients", source_directory=f"{etl.home}/it's gone")
    add_inbox(etl, "lists", local_repository_path=f"{etl.home}/lists")
    add_inbox(etl, "off", local_repository_path=f"{etl.home}/off", is_active=False)

    found = list(rows.directories())

    assert [(finding.state, finding.told.partition(":")[0]) for finding in found] == [
        ("warning", "clients of dba.timportconfig"), ("warning", "lists of dba.tinboxconfig"),
    ]  # fmt: skip
    assert shlex.split(found[1].cure)[:10] == [
        "sudo", "install", "-d", "-o", "etl_user", "-g", "etl_group", "-m", "2770", f"{etl.home}/lists,",
    ]  # fmt: skip
    monkeypatch.setenv("ETL_CRON_USER", getpass.getuser())
    make, _, change = next(iter(rows.directories())).cure.partition(", or change the row: ")
    subprocess.run(make, shell=True, check=True)
    etl.query(shlex.split(change)[-1])
    assert (etl.home / "it's gone").is_dir()
    assert [finding.told.partition(":")[0] for finding in rows.directories()] == ["lists of dba.tinboxconfig"]


@pytest.mark.parametrize(
    ("changes", "column", "told"),
    [
        ({"file_pattern": "^a(b$"}, "file_pattern", "'^a(b$' is no regular expression: missing ) at position"),
        ({"file_pattern": "a(b).csv"}, "file_pattern", "has two meanings"),
        ({"metadata_label_source": "filename", "metadata_label_location": "x("}, "metadata_label_location", "label's location 'x(' is no"),
        ({"dateconfig": "filename", "datelocation": "x("}, "datelocation", "the date's location 'x(' is no"),
        ({"dateconfig": "filename", "datelocation": "1", "dateformat": "%Y%m%d"}, "dateformat", "'%Y%m%d' must have yyyy"),
        ({"dateconfig": "static", "datelocation": "2.3.2026"}, "datelocation", "'2.3.2026' does not fit the format yyyyMMdd"),
    ],
)  # fmt: skip
def test_a_pattern_or_a_form_of_dates_that_the_import_would_refuse_is_named_with_its_cure(
    etl: Installation, changes: dict[str, str], column: str, told: str
):
    add_import(etl, "clients", **changes)
    (finding,) = rows.patterns()
    assert finding.state == "failed"
    assert finding.told.startswith("import clients: ")
    assert told in finding.told
    assert finding.cure.startswith("put the right one in place of NEW: bash ")
    assert f"SET {column} = 'NEW' WHERE config_name = 'clients'" in shlex.split(finding.cure)[-1]


def test_patterns_of_columns_of_the_inbox_and_of_folders_are_named_too(etl: Installation):
    add_import(etl, "clients")
    etl.query(
        "INSERT INTO dba.timportcolumn (config_id, column_name, pattern) SELECT max(config_id), 'a', '(' FROM dba.timportconfig"
    )
    add_inbox(etl, "lists", subject_pattern="a**", attachment_name_pattern="[", local_repository_path="/srv")
    etl.query(
        "INSERT INTO dba.texchangeconfig (config_name, incoming_path, local_repository_path, file_pattern)"
        " VALUES ('bank', '/srv', '/srv', '^(')"
    )
    told = [finding.told for finding in rows.patterns()]
    assert told[0].startswith("import clients: the pattern of column 'a' cannot be used")
    assert "lists: subject_pattern 'a**' is no regular expression: multiple repeat at position" in told[1]
    assert "lists: attachment_name_pattern '[' is no regular expression" in told[2]
    assert told[3].startswith("folder bank: the file_pattern '^(' is no regular expression: missing )")
    etl.query(
        "UPDATE dba.tinboxconfig SET is_active = false; UPDATE dba.texchangeconfig SET is_active = false; DELETE FROM dba.timportcolumn"
    )
    assert [finding.state for finding in rows.patterns()] == ["ok"]


def test_what_to_type_for_a_mailbox_is_said_once(etl: Installation, monkeypatch: pytest.MonkeyPatch):
    add_inbox(etl, "lists", local_repository_path="/srv")
    (finding,) = [finding for finding in mail.mailboxes() if finding.name == "gmail"]
    assert "was not granted yet" in finding.told
    assert "gmail_api.sh" not in finding.told
    assert finding.cure == f"type: bash {PROJECT}/onboarding/sh/gmail_api.sh box@example.com"

    monkeypatch.setattr(directory_management, "other_user_of_the_jobs", lambda: "etl_user")
    (finding,) = mail.mailboxes()
    assert finding.cure == f"type: sudo -H -u etl_user bash {PROJECT}/onboarding/sh/gmail_api.sh box@example.com"


def test_files_that_lie_where_they_are_only_while_they_are_loaded_are_named(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
):
    folder = etl.home / "file_watcher" / TAKEN
    folder.mkdir(mode=0o700)
    (folder / "list.csv").touch()
    assert list(database.files_left_behind()) == []
    monkeypatch.setattr(database, "TAKEN_AGE", timedelta(seconds=-1))
    (found,) = database.files_left_behind()
    assert (found.state, found.told.partition(" for ")[0]) == ("warning", f"{folder} has held 1 files")


def test_a_folder_for_files_being_loaded_that_is_not_the_jobs_users_alone_is_named_with_the_command(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
):
    folder = etl.home / "file_watcher" / TAKEN
    folder.mkdir()
    folder.chmod(0o770)
    monkeypatch.setenv("ETL_CRON_USER", "daemon")

    (found,) = database.files_left_behind()

    assert found.state == "failed"
    assert (
        f"{folder} belongs to {getpass.getuser()} with mode 770; it must belong to daemon with mode 700" in found.told
    )
    assert found.cure == f"sudo chown -h daemon {folder} && sudo -u daemon chmod 700 {folder}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may be anybody")
def test_a_user_who_is_let_in_as_an_administrator_is_named(etl: Installation):
    _status, found = findings(etl, ETL_CRON_USER=getpass.getuser())

    # The tests' server lets whom it belongs to in as anybody.
    assert of(found, "logins") == [("failed", "the jobs' user can log in as postgres and as etl_owner")]


def test_a_database_older_than_the_program_is_named(etl: Installation):
    etl.query("ALTER TABLE dba.tinboxconfig RENAME COLUMN imap_server TO gone")

    status, found = findings(etl)

    assert status == 1
    assert "imap_server" in of(found, "gmail")[0][1]


def test_without_a_database_it_says_so_and_looks_on(etl: Installation):
    status, found = findings(etl, PGHOST="/nonexistent")

    assert status == 1
    assert any("cannot be used" in told for _, told in of(found, "database"))
    assert of(found, "disk")[0][0] in ("ok", "failed")
    assert of(found, "mail")


def test_it_logs_in_at_the_mail_server_and_sends_nothing(etl: Installation, tmp_path: Path):
    with mail_server(tmp_path) as server:
        _, right = findings(etl, **server.variables)
        _, wrong = findings(
            etl, **{**server.variables, "ETL_EMAIL_PASSWORD": "wrong password", "ETL_QUIET_HOURS": "22"}
        )

    told = "ETL_QUIET_HOURS is '22'; it must be two times of a day, such as 22:00-06:30"
    assert [("failed", told) in of(found, "alerts") for found in (right, wrong)] == [False, True]
    assert of(right, "mail")[0][0] == "ok"
    assert "refuses the login" in of(wrong, "mail")[0][1]
    assert "wrong password" not in json.dumps(wrong)
    assert server.received == []


def test_a_database_older_or_newer_than_pg_dump(etl: Installation, tmp_path: Path):
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 14.9'\n")
    program.chmod(0o755)

    _, found = findings(etl, ETL_PG_BINDIR=str(tmp_path))

    ((state, told),) = of(found, "pg_dump")
    assert state == "failed"
    assert "14.9" in told


def a_backup(etl: Installation, name: str) -> None:
    (etl.home / "backups" / name).mkdir(parents=True)
    (etl.home / "backups" / name / "SHA256SUMS").touch()


def test_an_old_backup_fails_and_a_fresh_one_wants_a_drill(etl: Installation):
    a_backup(etl, "20260302T030000")
    _, fresh = findings(etl, ETL_CLOCK="2026-03-02T07:00:00")
    _, old = findings(etl, ETL_CLOCK="2026-03-12T07:00:00")

    assert of(fresh, "backup") == [("ok", f"{etl.home}/backups/20260302T030000, 4 hours old")]
    assert of(fresh, "restore drill")[0][0] == "warning"
    assert of(old, "backup") == [("failed", f"{etl.home}/backups/20260302T030000, 244 hours old")]


def test_a_backup_without_its_copy_and_a_remote_that_is_not_there_fail(etl: Installation, tmp_path: Path):
    a_backup(etl, "20260302T030000")
    remotes = {"ETL_REMOTES_DIR": str(tmp_path), "ETL_BACKUP_COPY_TO": "rclone:far/bucket/backups"}
    _, without = findings(etl)
    _, no_remote = findings(etl, **remotes)
    (tmp_path / "far.conf").touch(0o600)
    _, whole = findings(etl, **remotes)
    (etl.home / "backups" / "not_copied").write_text("20260302T030000\n20260303T030000\n")
    _, left = findings(etl, **remotes)

    assert of(without, "backup copy") == []
    assert of(no_remote, "backup copy")[0][0] == "failed"
    assert "there is no remote far" in of(no_remote, "backup copy")[0][1]
    assert of(whole, "backup copy") == [("ok", "no backup waits for its copy at rclone:far/bucket/backups")]
    told = "2 backups have no copy at rclone:far/bucket/backups, the first is 20260302T030000"
    assert of(left, "backup copy") == [("failed", told)]


def test_a_backup_or_drill_from_the_future_is_a_finding_and_not_the_newest(etl: Installation):
    for name in ("20260302T030000", "20990101T000000", "20269999T999999"):
        a_backup(etl, name)
    (etl.home / "backups" / "20260312T060000").mkdir()  # without its sums it is none
    drill = (
        "INSERT INTO dba.tmaintenancelog (operation, maintenancetime, details) VALUES ('RESTORE DRILL', %s, 'equal')"
    )
    etl.query(drill, "2099-01-01")

    status, found = findings(etl, ETL_CLOCK="2026-03-12T07:00:00")

    assert status == 1
    (future, newest) = of(found, "backup")
    assert future[0] == "failed"
    assert "20990101T000000 is from the future" in future[1]
    assert newest == ("failed", f"{etl.home}/backups/20260302T030000, 244 hours old")
    assert of(found, "restore drill") == [("warning", "no restore of a backup was tested lately")]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of the test's own."""
    project, home = tmp_path / "checkout", tmp_path / "config"
    for room in ("jobscripts", "systemscripts"):
        (project / room).mkdir(parents=True)
    (project / "env.sh").touch()
    home.mkdir()
    monkeypatch.setattr("systemscripts.settings.project_dir", lambda: project)
    monkeypatch.setattr("systemscripts.settings.user_config_dir", lambda: home)
    monkeypatch.setenv("ETL_HOME", str(tmp_path))
    for folder in ("logs", "archive", "file_watcher"):
        (tmp_path / folder).mkdir()
    return project


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("secrets.env", ""),
        ("token.json", "{}"),
        ("notes.txt", "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n" + "b3Bl" * 10),
        ("x/key.txt", "AGE-SECRET-KEY-1" + "Q" * 58),
        ("x/a.json", '{"refresh_token": "x"}'),
    ],
)
def test_a_secret_in_the_checkout_is_found(checkout: Path, name: str, content: str):
    file = checkout / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)

    (finding,) = machine.secrets_in_the_tree()

    assert finding.state == "failed"
    assert str(file) in finding.told


def test_a_clean_checkout_has_no_secrets(checkout: Path):
    (checkout / "a.py").write_text("x = 1\n")
    assert [finding.state for finding in machine.secrets_in_the_tree()] == ["ok"]


def test_modes_that_let_others_in_are_named(checkout: Path, tmp_path: Path):
    secret = tmp_path / "config" / "secrets.env"
    secret.touch()
    secret.chmod(0o644)
    (checkout / "jobscripts").chmod(0o777)

    found = list(machine.modes())

    assert [finding.state for finding in found] == ["failed", "failed"]
    (checkout / "jobscripts").chmod(0o755)
    (checkout / "jobscripts" / "a.py").touch(0o666)
    (checkout / "jobscripts" / "a.py").chmod(0o666)
    assert str(checkout / "jobscripts" / "a.py") in list(machine.modes())[1].told
    assert f"chmod go= '{secret}'" in [finding.cure for finding in found]


def test_one_look_that_cannot_be_made_stops_no_other():
    def broken() -> Any:
        raise PermissionError("no entry")
        yield

    found = list(look({"a": broken, "b": lambda: iter([Finding("b", "ok", "x")])}))

    assert [(finding.name, finding.state) for finding in found] == [("a", "failed"), ("b", "ok")]
