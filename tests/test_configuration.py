"""The configuration as a file: exported, compared, applied whole or not at all."""

import argparse
import contextlib
import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from configuration_helpers import FULL, applied, exported
from conftest import PROJECT, Installation, give_way
from schema_helpers import JOB, insert

from systemscripts.configuration import applying, catalogue, rows, tables, telling, yaml_tree
from systemscripts.configuration.applying import RefusedFile
from systemscripts.doctor import rows as doctor_rows
from systemscripts.errors import JobError, TemporaryFailure

pytest_plugins = ["configuration_fixtures"]
pytestmark = pytest.mark.slow


def refused(cursor: Any, text: str, only: str = "") -> list[str]:
    """Return the faults, each with its line and column."""
    cursor.execute("SAVEPOINT refused")
    with pytest.raises(RefusedFile) as told:
        applied(cursor, text, only)
    cursor.execute("ROLLBACK TO refused")
    return [f"{place.line}:{place.column} {said}" for place, said in told.value.faults]


def section(text: str, name: str) -> str:
    """Return the rows of one section of a file."""
    return re.search(rf"^{name}:.*?\n(?=\n|\Z|\w)", text, re.MULTILINE | re.DOTALL)[0]  # type: ignore[index]


def file_of(tmp_path: Path, text: str) -> str:
    file = tmp_path / "configuration.yaml"
    file.write_text(text)
    return str(file)


# ---- there and back ------------------------------------------------------------------------


def test_what_is_exported_and_applied_to_a_new_database_is_exported_again_byte_for_byte(
    etl: Installation, other: Installation, tmp_path: Path
) -> None:
    file = file_of(tmp_path, FULL)
    done = etl.door("config.py", "apply", file)
    assert done.returncode == 0, done.stderr
    assert "To update the cron file too, type: " in done.stderr
    assert etl.door("config.py", "check", file).returncode == 0
    copy = tmp_path / "copy.yaml"
    assert etl.door("config.py", "export", str(copy)).returncode == 0
    assert etl.door("config.py", "export").stdout == copy.read_text()

    # Two installations differ, as a review reads it.
    said = other.door("config.py", "diff", str(copy))
    assert said.returncode == 1
    review = said.stdout.splitlines()
    assert "+  Branch_Sales > columns > sales: added" in review
    assert "+      frequency: 30 6 * * mon-fri" in review
    assert [line for line in review if line.startswith("~      source_directory: ")] != []
    assert "\x1b" not in said.stdout
    as_json = json.loads(other.door("config.py", "diff", str(copy), "--json").stdout)
    sales = next(change for change in as_json if (change["section"], change["row"]) == ("feeds", "Sales by seven"))
    assert (sales["change"], sales["columns"]["labels"]["to"]) == ("added", ["Bern", "yes", "1e3"])
    assert other.door("config.py", "check", str(copy)).stderr.count("\n") == 1

    before = other.door("config.py", "export").stdout
    assert other.door("config.py", "apply", str(copy), "--dry-run").returncode == 0
    assert other.door("config.py", "export").stdout == before
    assert other.door("config.py", "apply", str(copy)).returncode == 0
    assert other.door("config.py", "export").stdout == copy.read_text()
    assert other.door("config.py", "diff", str(copy)).returncode == 0
    again = other.door("config.py", "apply", str(copy)).stderr
    assert again.partition("nothing to change")[1]


def test_the_file_has_names_and_comments_and_only_what_is_no_default(owner: Any) -> None:
    applied(owner, FULL)
    text = exported(owner)
    assert text.startswith("# yaml-language-server: $schema=configuration.schema.json\n")
    assert "#   frequency: When: a cron expression, in the time zone of the machine\n" in text
    assert (
        section(text, "feeds")
        == "feeds:\n  Sales by seven:\n    config_id: Branch_Sales\n    labels: [Bern, 'yes', '1e3']\n"
        "    due_by: 0 7 * * 1-5\n    arrives_by: inbox:Mail\n"
    )
    assert "          SELECT *\n          FROM public.tsales\n" in text
    written = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    assert not re.search(
        r"^ *(created|last_mod|active_since|paused|snoozed|config_id: \d|datastatusid: \d)", written, re.MULTILINE
    )


def test_the_same_rows_are_the_same_bytes_in_any_session_and_any_order_of_the_table(owner: Any) -> None:
    applied(owner, FULL)
    text = exported(owner)
    owner.execute("UPDATE dba.tholidays SET holiday_name = holiday_name WHERE holiday_date = '2020-01-01'")
    owner.execute(
        "SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL datestyle = 'German'; SET LOCAL intervalstyle = 'iso_8601'"
    )
    assert exported(owner) == text


def test_a_change_that_comes_in_between_is_either_seen_or_not(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = rows._read_table

    def read_and_be_late(cursor: Any, shape: Any) -> Any:
        found = read(cursor, shape)
        if shape.section.name == "imports":
            monkeypatch.setattr(rows, "_read_table", read)
            with contextlib.closing(etl.connect("etl_owner")) as another, another, another.cursor() as quick:
                quick.execute("BEGIN")
                applied(quick, FULL)
                quick.execute("COMMIT")
        return found

    monkeypatch.setattr(rows, "_read_table", read_and_be_late)
    copy = tmp_path / "copy.yaml"
    export = runpy.run_path(str(PROJECT / "jobscripts/config.py"))["main"]
    assert export(argparse.Namespace(command="export", file=copy)) == 0
    assert etl.value("SELECT count(*) FROM dba.timportcolumn") == 1
    assert "Branch_Sales" not in copy.read_text()


# ---- faults of the file --------------------------------------------------------------------

FAULTY = """\
import:
  A: {}
imports:
  A:
    datasource: MeetMx
    datasettype: MeetMaxURL
    source_directory: /srv/a
    archive_directory: /srv/b
    file_patern: '*.csv'
    config_id: 7
    header_row: first
    is_active: yes
    headings: day
    key_columns: [{a: b}]
    minimum_rows: 99999999999999999999
    importstrategyid: 1
    columns:
      x: [1]
schedule:
  B:
    frequency: 0 25 * * *
    scriptpath: null
    depends_on: b
feeds: 5
inbox:
holidays:
  2026-02-30: {holiday_name: x}
  2026-3-1: {holiday_name: x}
  2026-03-01: {holiday_name: y}
meetmax_ranges:
  A: {first_event_id: 1, last_event_id: 2}
reports:
  R:
    frequency: '@daily'
    subjectheader: x
    emailbodytemplate: x
    toheader: {a: b}
    min_rows: '5'
    recipients:
      - toheader: [a]
"""
FAULTS = [
    "1:1 there is no section 'import'; did you mean 'imports'?",
    "4:3 imports > A: file_pattern, file_type, metadata_label_source, dateconfig, metadata_label_location, datelocation, ",
    "5:17 imports > A > datasource is 'MeetMx', and the database has no such row in datasources; did you mean 'MeetMax'?",
    "9:5 imports > A: dba.timportconfig has no column 'file_patern' to set; did you mean 'file_pattern'?",
    "10:5 imports > A: dba.timportconfig has no column 'config_id' to set (the database keeps it)",
    "11:17 imports > A > header_row must be a whole number; here is 'first'",
    "12:16 imports > A > is_active must be true or false; here is 'yes'",
    "13:15 imports > A > headings must be a list such as [one, two]; here is 'day'",
    "14:19 imports > A > key_columns must be a text; here is names with values",
    '15:19 imports > A > minimum_rows: value "99999999999999999999" is out of range for type bigint',
    "16:23 imports > A > importstrategyid is '1', and the database has no such row in dba.timportstrategy; there are: Import and create",
    "18:10 imports > A > columns > x must have columns with values; here is a list",
    '21:16 schedule > B > frequency: frequency "0 25 * * *" is not a cron expression: it takes minute (0-59)',
    "22:17 schedule > B > scriptpath must not be null",
    "23:17 schedule > B > depends_on is 'b', and the file has no such row in schedule; there are: B",
    "24:8 feeds must have names with rows; here is '5'",
    "25:7 inbox is empty: write {} if it has no rows, or leave it out to leave it as it is",
    '27:3 holidays > 2026-02-30: date/time field value out of range: "2026-02-30"',
    "29:3 '2026-03-01' stands here a second time",
    "31:3 meetmax_ranges must be a list of rows, each with a dash; here is names with values",
    "37:15 reports > R > toheader must be a text; here is names with values",
    "38:15 reports > R > min_rows must be a whole number; here is the text '5'",
    "40:19 reports > R > recipients > 1 > toheader must be a text; here is a list",
]


def test_all_faults_of_a_file_are_told_at_once_each_with_its_place(owner: Any) -> None:
    told = refused(owner, FAULTY)
    assert [fault[: len(wanted)] for fault, wanted in zip(told, FAULTS, strict=False)] == FAULTS
    assert len(told) == len(FAULTS)


def test_a_file_of_faults_ends_at_some_of_them(owner: Any, etl: Installation, tmp_path: Path) -> None:
    text = "".join(f"section_{number}: {{}}\n" for number in range(2 * yaml_tree.MOST_FAULTS))
    assert len(refused(owner, text)) == yaml_tree.MOST_FAULTS
    said = etl.door("config.py", "check", file_of(tmp_path, text))
    assert f"configuration.yaml has {yaml_tree.MOST_FAULTS} faults; nothing was changed" in said.stderr
    assert said.returncode == 1


REFUSED_BY_THE_DATABASE = """\
imports:
  A:
    datasource: MeetMax
    datasettype: MeetMaxURL
    source_directory: /srv/a
    archive_directory: /srv/a
    file_pattern: '*.csv'
    file_type: CSV
    metadata_label_source: static
    dateconfig: static
    metadata_label_location: x
    datelocation: today
    target_table: dba.tjobrun
    columns:
      b: {data_type: number}
feeds:
  F:
    config_id: A
    due_by: '@reboot'
  G:
    arrives_by: inbox:Mail
    due_by: 0 7 * * *
schedule:
  B: {frequency: '@daily', scriptpath: a.py, depends_on: C}
  C: {frequency: '@daily', scriptpath: b.py, depends_on: B, retries: 99}
  D: {frequency: '@daily', scriptpath: b.py, depends_on: E}
  E: {frequency: '@daily', scriptpath: b.py, depends_on: D}
meetmax_ranges:
  - first_event_id: 5
    last_event_id: 1
"""


def test_what_the_database_refuses_is_a_sentence_with_the_place_of_its_value(owner: Any) -> None:
    before = exported(owner)
    told = refused(owner, REFUSED_BY_THE_DATABASE)
    assert [re.sub(r"(; here|;).*", "", re.sub(r"\d+(,? (cannot|which))", r"N\1", fault)) for fault in told] == [
        "5:23 imports > A: source_directory and archive_directory must be two directories",
        "20:3 feeds > G: arrives_by is 'inbox:Mail', and no such row is in dba.tinboxconfig",
        "25:70 schedule > C: retries must be a number from 0 to 20, and retry_delay_minutes from 0 to 1440",
        "27:3 schedule > E: Task N cannot depend on task N, which depends on it",
        "29:21 meetmax_ranges > 5, 1: last_event_id must not be below first_event_id",
    ]
    assert exported(owner) == before


def test_what_a_trigger_would_write_otherwise_must_be_written_so(owner: Any) -> None:
    text = (
        section(FULL, "imports").replace("file_type: CSV", "file_type: csv").replace("public.tsales\n", "tsales\n", 1)
    )
    told = refused(owner, section(FULL, "datasources") + section(FULL, "datasettypes") + text)
    assert told == [
        "13:16 imports > Branch_Sales > file_type: the database makes 'CSV' of 'csv'; write it so",
        "20:19 imports > Branch_Sales > target_table: the database makes 'public.tsales' of 'tsales'; write it so",
    ]


# ---- what the file does not have any more --------------------------------------------------


def with_history(etl: Installation) -> None:
    """Give each row a run, a file, a mail, an incident or a delivery, by the names of FULL."""
    config_id, inbox, task, feed, report, sftp, recipient, bank, sales = (
        etl.value(f"SELECT {key} FROM dba.{table} WHERE {name} = %s LIMIT 1", value)
        for key, table, name, value in (
            ("config_id", "timportconfig", "config_name", "Branch_Sales"),
            ("config_id", "tinboxconfig", "config_name", "Mail"),
            ("schedulerid", "tscheduler", "taskname", "Sales"),
            ("feedid", "tfeed", "feedname", "Sales by seven"),
            ("reportid", "treportmanager", "reportname", "Sales"),
            ("config_id", tables.EXCHANGE_TABLE.removeprefix("dba."), "config_name", "bank"),
            ("reportrecipientid", "treportrecipient", "toheader", "bern@example.com"),
            ("datasourceid", "tdatasource", "sourcename", "Example Bank"),
            ("datasettypeid", "tdatasettype", "typename", "Sales"),
        )
    )
    for table, values in (
        ("timportfile", {"config_id": config_id, "file_name": "a", "sha256": "0" * 64, "status": "Duplicate"}),
        ("tinboxmessage", {"account": "a", "mailbox_id": "b", "config_id": inbox, "status": "Open"}),
        ("tjobrun", {"run_uuid": str(uuid.uuid4()), "job": "a", "schedulerid": task, "status": "Failed", "ended_at": "now",
                     "exit_code": 1, "host": "h", "pid": 1}),
        ("tincident", {"kind": "missing", "source_table": "dba.tfeed", "source_id": feed, "name": "a", "detail": "b"}),
        ("treportdelivery", {"reportid": report, "reportrecipientid": recipient, "slot": "now", "recipient": "a", "status": "Sent"}),
        ("tdataset", {"datasetdate": "2026-01-01", "label": "a", "datasettypeid": sales, "datasourceid": bank, "datastatusid": 4}),
        ("treceivedfile", {"sftp_config_id": sftp, "name": "a", "directory": "/a", "file_name": "a", "file_size": 1, "sha256": "0" * 64}),
    ):  # fmt: skip
        statement, arguments = insert(table, values)
        etl.query(statement, *arguments)


def emptied(text: str) -> str:
    """Return the file with the rows of the system alone."""
    kept = [
        section(text, part.name).splitlines(keepends=True)[0].rstrip().removesuffix("{}").rstrip()
        + " "
        + ("[]" if part.is_list else "{}")
        for part in tables.TOP
        if part.name != "holidays"
    ]
    return "\n".join(kept) + "\n"


def test_rows_without_history_are_deleted_and_those_of_the_system_deactivated(owner: Any) -> None:
    system = exported(owner)
    applied(owner, FULL)
    # The rows of the system are not in FULL's sections.
    assert exported(owner) != system
    told = applied(owner, emptied(system))
    gone = {word.partition(" ")[2] for word in told if word.startswith("deleted")}
    assert {
        "imports Branch_Sales",
        "inbox Mail",
        "exchange bank",
        "schedule Sales",
        "feeds Sales by seven",
        "reports Sales",
    } <= gone
    assert not {name for name in gone if "MeetMax" in name}
    assert applied(owner, emptied(system)) == []
    owner.execute("SELECT count(*) FROM dba.timportcolumn")
    assert owner.fetchone() == (0,)


def test_rows_with_history_are_deactivated_and_the_tables_then_count_as_equal(
    etl: Installation, tmp_path: Path
) -> None:
    assert (
        etl.door(
            "config.py", "apply", file_of(tmp_path, FULL.replace("    is_active: false\n    reject", "    reject"))
        ).returncode
        == 0
    )
    with_history(etl)
    file = file_of(tmp_path, emptied(FULL + "holidays: {}\n"))

    said = etl.door("config.py", "apply", file)

    assert said.returncode == 0, said.stderr
    assert (
        "o  Branch_Sales: is not in the file; deactivated and not deleted, because dba.timportfile tells of it"
        in said.stdout
    )
    assert (
        "o  Sales by seven: is not in the file; deactivated and not deleted, because dba.tincident tells of it"
        in said.stdout
    )
    assert "-  Take the mail: is not in the file; deleted" not in said.stdout  # the task that stays depends on it
    assert etl.query("SELECT is_active FROM dba.timportconfig WHERE config_name = 'Branch_Sales'") == [("0",)]
    assert etl.query("SELECT is_active FROM dba.tinboxconfig") == [(False,)]
    assert etl.query(f"SELECT is_active FROM {tables.EXCHANGE_TABLE}") == [(False,)]
    assert etl.query("SELECT taskname, datastatusid FROM dba.tscheduler WHERE taskname ~ 'Sales|mail'") == [
        ("Sales", 2),
        ("Take the mail", 2),
    ]
    assert etl.query("SELECT datastatusid FROM dba.tfeed") == [(2,)]
    assert etl.query("SELECT datastatusid FROM dba.treportmanager WHERE reportname = 'Sales'") == [(2,)]
    assert etl.value("SELECT count(*) FROM dba.tdatasource WHERE sourcename = 'Example Bank'") == 1
    assert etl.door("config.py", "check", file).returncode == 0
    assert etl.door("config.py", "apply", file).stderr.partition("nothing to change")[1]


def test_of_a_report_a_client_without_deliveries_goes_and_one_with_stays(
    etl: Installation, owner: Any, tmp_path: Path
) -> None:
    etl.door("config.py", "apply", file_of(tmp_path, FULL))
    with_history(etl)
    told = applied(owner, re.sub(r"    recipients:\n(      .*\n)+", "", FULL), "reports")
    assert sorted(word for word in told if "recipients" in word) == [
        'deactivated reports.recipients bern@example.com, {"branch": "Bern"}',
        'deleted reports.recipients bank/weekly, {"branch": "Bern"}',
        'deleted reports.recipients bern@example.com, {"branch": "Thun"}',
    ]


def test_a_row_that_another_section_refers_to_stays(owner: Any) -> None:
    applied(owner, FULL)
    told = applied(owner, "imports: {}\nfeeds: {}\n", "imports")
    assert "deleted imports Branch_Sales" not in told
    owner.execute("SELECT is_active FROM dba.timportconfig WHERE config_name = 'Branch_Sales'")
    assert owner.fetchall() == [("0",)]
    owner.execute("SELECT count(*) FROM dba.tfeed")
    assert owner.fetchall() == [(1,)]
    told = applied(owner, "imports: {}\nfeeds: {}\n")
    assert {"deleted imports Branch_Sales", "deleted feeds Sales by seven"} <= set(told)


def test_a_task_that_one_which_stays_depends_on_stays_whatever_it_is_called(
    etl: Installation, owner: Any, tmp_path: Path
) -> None:
    task = "{frequency: '@daily', scriptpath: a.py"
    text = f"schedule:\n  Sales: {task}, depends_on: B}}\n  B: {task}, depends_on: A}}\n  A: {task}}}\n"
    etl.door("config.py", "apply", file_of(tmp_path, text))
    etl.query(
        "INSERT INTO dba.tincident (kind, source_table, source_id, name, detail)"
        " SELECT 'missed', 'dba.tscheduler', schedulerid, 'a', 'b' FROM dba.tscheduler WHERE taskname = 'Sales'"
    )
    assert applied(owner, "schedule: {}") == [f"deactivated schedule {name}" for name in ("A", "B", "Sales")]


def test_tasks_that_depend_on_one_another_go_together(owner: Any) -> None:
    task = "{frequency: '@daily', scriptpath: a.py"
    applied(owner, f"schedule:\n  A: {task}}}\n  B: {task}, depends_on: A}}\n  C: {task}, depends_on: B}}\n")
    assert applied(owner, "schedule: {}") == [f"deleted schedule {name}" for name in "ABC"]


def test_a_row_under_another_name_is_another_row_and_that_is_said(owner: Any) -> None:
    applied(owner, FULL)
    renamed = section(FULL, "inbox").replace("Mail:", "Post:") + section(FULL, "feeds").replace(
        "inbox:Mail", "inbox:Post"
    )
    compared = applying.apply(owner, renamed.encode())
    review = [line.text for line in telling.review(compared.catalogue, compared.changes)]
    assert (
        "  Mail: is not in the file; deleted, because nothing tells of it; 'Post' is new with the same values: a row that is "
        "named otherwise is another row"
    ) in review


def test_only_some_sections(owner: Any) -> None:
    applied(owner, FULL)
    changed = FULL.replace("'sales_*.csv'", "'s_*.csv'").replace("subjectheader: Sales", "subjectheader: Sums")
    assert "changed reports Sales" in applied(owner, changed, "reports,inbox")
    owner.execute("SELECT file_pattern FROM dba.timportconfig WHERE config_name = 'Branch_Sales'")
    assert owner.fetchall() == [("sales_*.csv",)]
    # What only the file has cannot be referred to when it is not applied.
    (told,) = refused(owner, FULL.replace("Branch_Sales", "Other"), "feeds")
    assert told.partition(" ")[2].startswith(
        "feeds > Sales by seven > config_id is 'Other', and the database has no such row in imports; there are: "
    )
    with pytest.raises(JobError, match="--only reprts: it takes sections with commas between them: datasources"):
        applying.sections("reprts")
    with pytest.raises(JobError, match="--only holidays: the file has no such section; it has datasources, "):
        applied(owner, FULL, "holidays")


def test_holidays_reach_the_calendar_and_days_set_by_hand_stay(owner: Any) -> None:
    owner.execute("UPDATE dba.tcalendardays SET isbusday = false WHERE fulldate = '2026-10-01'")
    text = section(exported(owner), "holidays") + "  '2026-11-27': {holiday_name: Bridge}\n"
    assert applied(owner, text) == ["added holidays 2026-11-27"]
    owner.execute(
        "SELECT isbusday, previous_business_date::text FROM dba.tcalendardays"
        " WHERE fulldate IN ('2026-11-27', '2026-11-30', '2026-10-01') ORDER BY fulldate"
    )
    assert owner.fetchall() == [(False, "2026-09-30"), (False, "2026-11-25"), (True, "2026-11-25")]
    assert applied(owner, text.replace("  '2026-11-27': {holiday_name: Bridge}\n", "")) == [
        "deleted holidays 2026-11-27"
    ]
    owner.execute("SELECT isbusday FROM dba.tcalendardays WHERE fulldate = '2026-11-27'")
    assert owner.fetchall() == [(True,)]


def test_the_review_in_the_document_is_what_diff_prints(etl: Installation, tmp_path: Path) -> None:
    page = (PROJECT / "docs/configuration.md").read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    changed, review = (next(block for kind, block in found if kind == wanted) for wanted in ("yaml", ""))
    former = changed.partition("feeds:")[0].replace("0 6 * * mon-fri", "30 6 * * mon-fri") + "feeds: {}\n"
    assert etl.door("config.py", "apply", file_of(tmp_path, former)).returncode == 0
    file = file_of(tmp_path, changed)
    assert etl.door("config.py", "diff", file).stdout == review
    coloured = etl.door("config.py", "diff", file, ETL_PRINTS_TO_TERMINAL="1").stdout
    assert "\x1b[33m~\x1b[0m  Branch sales: changed" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == review


# ---- who else is there ---------------------------------------------------------------------


def test_another_sessions_change_is_waited_for_and_then_nothing_is_changed(
    etl: Installation, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "LOCK_PATIENCE_S", 0.05)
    with contextlib.closing(etl.connect("etl_owner")) as another:
        another.autocommit = False
        another.cursor().execute("UPDATE dba.treportmanager SET subjectheader = 'x' WHERE reportid = 1")
        owner.execute("SET LOCAL statement_timeout = '9s'")  # without its lock it would wait for the row
        told = r"another session has changed dba.treportmanager .* nothing was changed"
        with pytest.raises(TemporaryFailure, match=told) as failure:
            applied(owner, FULL)
        command = shlex.split(str(failure.value).partition("Who it is: ")[2])
        assert another.info.backend_pid in [row[0] for row in etl.query(command[-1], user="etl_owner")]
    owner.connection.rollback()
    assert etl.value("SELECT count(*) FROM dba.tinboxconfig") == 0


def test_nobody_changes_a_row_between_the_comparison_and_the_writing(etl: Installation, owner: Any) -> None:
    applied(owner, FULL)
    with contextlib.closing(etl.connect("etl_owner")) as another, another.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            cursor.execute("UPDATE dba.tholidays SET holiday_name = 'x'")  # which the file does not touch
        cursor.execute("SELECT count(*) FROM dba.treportmanager")  # and a job reads, and writes its file
    etl.query(
        "INSERT INTO dba.timportfile (config_id, file_name, sha256, status) VALUES (1, 'a', repeat('0', 64), 'Duplicate')",
        user="etl_user",
    )


def test_killed_in_the_middle_it_has_changed_nothing(etl: Installation, tmp_path: Path) -> None:
    etl.query(
        "CREATE FUNCTION dba.f_hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END'"
    )
    etl.query("CREATE TRIGGER hold BEFORE INSERT ON dba.treportmanager FOR EACH ROW EXECUTE FUNCTION dba.f_hold()")
    etl.query("GRANT EXECUTE ON FUNCTION dba.f_hold() TO etl_owner")
    before = etl.door("config.py", "export").stdout
    etl.query("SELECT pg_advisory_lock(4711)")
    file = file_of(tmp_path, FULL)
    held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND usename = 'etl_owner' AND datname = current_database()"
    door = ["/bin/bash", str(PROJECT / "jobscripts/run_python_etl_script.sh"), "config.py", "apply", file]
    with subprocess.Popen(
        door, env=etl.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as run:
        while not etl.value(held):
            assert run.poll() is None
            give_way()
        pid = etl.value("SELECT pid FROM dba.tjobrun WHERE job = 'config.py' ORDER BY started_at DESC LIMIT 1")
        os.killpg(pid, signal.SIGKILL)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    etl.query("SELECT pg_advisory_unlock(4711)")
    while etl.value(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'etl_owner' AND datname = current_database()"
    ):
        give_way()
    assert etl.door("config.py", "export").stdout == before
    assert etl.door("config.py", "apply", file).returncode == 0


# ---- rights and secrets --------------------------------------------------------------------


def test_only_the_owner_of_the_configuration_applies(etl: Installation, tmp_path: Path) -> None:
    said = etl.door("config.py", "apply", file_of(tmp_path, FULL), PGUSER="etl_user")
    assert said.returncode == 1
    assert "permission denied" in said.stderr
    assert "apply it as the owner, with PGUSER=etl_owner" in said.stderr


def test_a_function_of_the_jobs_user_is_not_found(etl: Installation) -> None:
    etl.query(
        "ALTER ROLE etl_user IN DATABASE " + etl.variables["PGDATABASE"] + " SET search_path = public, pg_catalog"
    )
    etl.query(
        "CREATE FUNCTION public.to_jsonb(text[]) RETURNS jsonb LANGUAGE sql AS $$SELECT '[\"planted\"]'::jsonb$$",
        user="etl_user",
    )
    etl.query("UPDATE dba.timportconfig SET key_columns = '{eventid}' WHERE config_id = 2")
    assert (
        etl.value("SELECT to_jsonb(key_columns)::text FROM dba.timportconfig WHERE config_id = 2", user="etl_user")
        == '["planted"]'
    )
    assert "key_columns: [eventid]" in etl.door("config.py", "export").stdout


def test_a_secret_is_neither_exported_nor_applied(etl: Installation, owner: Any) -> None:
    etl.query("UPDATE dba.tscheduler SET scriptargs = '--to https://me:hush-hush@example.com/x' WHERE schedulerid = 8")
    etl.query("UPDATE dba.treportmanager SET emailbodytemplate = 'the word is opensesame' WHERE reportid = 1")
    said = etl.door("config.py", "export", ETL_EMAIL_PASSWORD="opensesame")
    assert (said.returncode, said.stdout) == (1, "")
    assert "schedule > Schedule Check > scriptargs has an address with a password in it" in said.stderr
    assert "reports > MeetMax event changes > emailbodytemplate has a secret of this machine's settings" in said.stderr
    assert "hush-hush" not in said.stderr
    told = refused(
        owner,
        "schedule:\n  A:\n    frequency: '@daily'\n    scriptpath: a.py\n    scriptargs: ftp://me:hush-hush@example.com\n",
    )
    assert told == [
        "5:17 schedule > A > scriptargs has an address with a password in it: it belongs into secrets.env, and never into a row"
    ]


def test_two_rows_of_one_name_are_named(etl: Installation) -> None:
    statement, values = insert("tscheduler", JOB)
    for _ in range(2):
        etl.query(statement, *values)
    said = etl.door("config.py", "export")
    assert said.returncode == 1
    assert re.search(r"dba\.tscheduler has two rows with the name 'A job', schedulerid \d+ and \d+: ", said.stderr)


def test_a_value_that_no_file_can_carry_is_named(owner: Any) -> None:
    options = """(repeat('{"a":', %s) || '"]]"' || repeat('}', %s))::jsonb"""
    nest = f"UPDATE dba.treportmanager SET emailbodyoptions = {options} WHERE reportid = 1"
    owner.execute(nest, (44, 44))
    text = exported(owner)
    assert applied(owner, text) == []
    for depth in (45, 5000):
        owner.execute(nest, (depth, depth))
        with pytest.raises(JobError, match="reports > MeetMax event changes > emailbodyoptions is nested too deep"):
            exported(owner)


def test_a_task_that_names_an_import_by_its_number_is_told(etl: Installation) -> None:
    etl.query(
        "UPDATE dba.tscheduler SET scriptpath = 'run_import_job.py', scriptargs = '2 --dry-run' WHERE schedulerid = 8"
    )
    said = etl.door("config.py", "export").stderr
    assert "schedule > Schedule Check: scriptargs names import 2 by its number" in said


# ---- for editors, and for the doctor -------------------------------------------------------


def test_the_schema_has_each_column_with_its_meaning_and_its_choices(etl: Installation, owner: Any) -> None:
    schema = json.loads(etl.door("config.py", "schema").stdout)
    shapes = catalogue.read(owner)
    assert list(schema["properties"]) == [part.name for part in tables.TOP]
    imports = schema["properties"]["imports"]["additionalProperties"]
    assert imports["properties"].keys() == {*shapes["imports"].columns, "columns", "checks"}
    assert imports["additionalProperties"] is False
    assert imports["properties"]["file_type"]["enum"] == ["CSV", "XLS", "XLSX", "FIXED", "JSON", "XML", "PARQUET"]
    assert imports["properties"]["header_row"]["type"] == ["integer", "null"]
    assert imports["properties"]["is_active"]["type"] == "boolean"
    assert "config_name" not in imports["properties"]
    assert set(imports["required"]) > {"datasource", "file_pattern"}
    tasks = schema["properties"]["schedule"]["additionalProperties"]["properties"]
    assert "Inactive" in tasks["datastatusid"]["enum"]
    assert tasks["frequency"]["description"].startswith("When: a cron expression")
    assert schema["properties"]["reports"]["additionalProperties"]["properties"]["recipients"]["type"] == "array"


def test_the_rows_of_the_system_are_known(owner: Any) -> None:
    state = rows.read(owner, catalogue.read(owner))
    names = {name: {row.name for row in found.values()} for name, found in state.items()}
    assert {name: found for name, found in names.items() if found and name != "holidays"} == tables.OF_THE_SYSTEM


def test_the_doctor_compares_the_file_that_a_setting_names(
    etl: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(doctor_rows.configuration()) == []
    file = tmp_path / "configuration.yaml"
    monkeypatch.setenv("ETL_CONFIG_FILE", str(file))
    assert [found.state for found in doctor_rows.configuration()] == ["warning"]
    etl.door("config.py", "export", str(file))
    assert [found.state for found in doctor_rows.configuration()] == ["ok"]
    etl.query("UPDATE dba.treportmanager SET min_rows = 5 WHERE reportid = 1")
    ((_, state, told, cure),) = doctor_rows.configuration()
    assert (state, told) == ("warning", f"{file} and the tables differ: 1 changed")
    assert cure.endswith("config.py diff")
    assert etl.door("config.py", "check", ETL_CONFIG_FILE=str(file)).returncode == 1
    file.write_text("imports:\n  A: 5\n")
    ((_, state, told, _),) = doctor_rows.configuration()
    assert (state, told.partition(", ")[0]) == (
        "warning",
        f"{file}:2:6: imports > A must have columns with values; here is '5'",
    )
