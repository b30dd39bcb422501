"""The names that jobs of older installations import: each in a script of their style, run through the door."""

import csv
import json
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import Installation
from smtp_server import mail_server
from spreadsheet_samples import xlwt_book
from test_generic_import import add_import, drop_file
from test_job_runner import last_run
from test_older_scripts import add_script
from test_send_reports import add_report

from systemscripts import (
    db_config,
    directory_management,
    embedded_postgres,
    periodic_utils,
    user_utils,
    xls_to_csv,
)

SMALL = "a,b\n1,2\n"


def records(etl: Installation) -> list[tuple[str, ...]]:
    """Return what the older job logged, without what the door says of its run."""
    columns = "run_uuid, processtype, stepcounter, username, message"
    return etl.query(f"SELECT {columns} FROM dba.tlogentry WHERE processtype <> 'old' ORDER BY logid")


# ---- directories ---------------------------------------------------------------------------


def test_directories_are_texts_and_follow_the_settings(project_copy: Installation, tmp_path: Path) -> None:
    names = ["ROOT_DIR", "FILE_WATCHER_DIR", "LOG_DIR", "ARCHIVE_DIR", "JOB_SCRIPTS_DIR", "SYSTEM_SCRIPTS_DIR"]
    new = tmp_path / "new"
    add_script(
        project_copy,
        "import json\n"
        "from systemscripts import FILE_WATCHER_DIR as W, LOG_DIR as L, ensure_directory_exists\n"
        f"from systemscripts.directory_management import {', '.join(names)}, initialize_directories\n"
        f"ensure_directory_exists({str(new / 'a/b')!r})\n"
        "initialize_directories()\n"
        f"print(json.dumps([W, L, {', '.join(names)}]))\n",
    )
    new.mkdir()

    result = project_copy.real_door("old.py", ETL_HOME=str(new), ETL_ARCHIVE_DIR=str(new / "kept"))

    root = project_copy.project
    watched, logs = f"{new}/file_watcher", f"{new}/logs"
    assert result.stderr == ""
    assert json.loads(result.stdout) == [
        *(watched, logs, str(root), watched, logs, f"{new}/kept"),
        *(f"{root}/jobscripts", f"{root}/systemscripts"),
    ]
    assert {path.name for path in new.iterdir()} == {"a", "file_watcher", "logs", "kept"}
    assert (new / "a/b").stat().st_mode & 0o7777 == directory_management.DIRECTORY_MODE


@pytest.mark.parametrize("module", ["", ".directory_management", ".db_config", ".log_utils"])
def test_a_name_that_never_was_there_is_an_import_error(module: str) -> None:
    with pytest.raises(ImportError, match="cannot import name 'NO_SUCH_DIR'"):
        exec(f"from systemscripts{module} import NO_SUCH_DIR")


# ---- database ------------------------------------------------------------------------------


def test_the_database_is_reached_by_parameters_and_by_address(project_copy: Installation) -> None:
    add_script(
        project_copy,
        "import psycopg2\n"
        "from systemscripts.db_config import DB_PARAMS, SQLALCHEMY_DATABASE_URL\n"
        "from systemscripts.log_utils import DB_PARAMS as SAME\n"
        "assert DB_PARAMS == SAME\n"
        "for connection in (psycopg2.connect(**DB_PARAMS), psycopg2.connect(SQLALCHEMY_DATABASE_URL.replace('+psycopg2', ''))):\n"
        "    with connection.cursor() as cursor:\n"
        "        cursor.execute('SELECT current_user, current_database()')\n"
        "        print(*cursor.fetchone())\n"
        "print(DB_PARAMS['user'], DB_PARAMS['dbname'], DB_PARAMS['host'])",
    )

    result = project_copy.real_door("old.py")

    database, host = project_copy.variables["PGDATABASE"], project_copy.variables["PGHOST"]
    who = f"etl_user {database}"
    assert (result.stdout, result.stderr) == (f"{who}\n{who}\n{who} {host}\n", "")


def test_asking_for_them_starts_the_embedded_server_and_importing_the_module_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(embedded_postgres, "ensure_running", lambda: started.append(True))
    monkeypatch.setenv("ETL_HOME", str(tmp_path))
    assert db_config.connection_parameters()["user"] == "etl_user"
    assert started == []

    assert {**db_config.connection_parameters(), "port": "5432", "dbname": "feeds"} == db_config.DB_PARAMS
    assert started == [True]
    assert db_config.SQLALCHEMY_DATABASE_URL.startswith("postgresql+psycopg2:///?")
    assert len(started) == 2


def test_a_service_file_decides_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "feeds")
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert not {"host", "dbname", "user", "password"} & db_config.DB_PARAMS.keys()


# ---- log_message ---------------------------------------------------------------------------

LOGS = """
import time, uuid
from systemscripts import LOG_DIR
from systemscripts.log_utils import log_message
from systemscripts.user_utils import get_username
log_file = os.path.join(LOG_DIR, "old_20260302T050000.log")
started = time.time() - 60
"""


def test_a_message_reaches_the_three_sinks_and_the_log_file_of_the_job(project_copy: Installation) -> None:
    add_script(
        project_copy,
        LOGS
        + "log_message(log_file, 'CalendarFill', '3 days\\nadded', run_uuid=str(uuid.uuid4()), stepcounter='Fill_1',\n"
        "            user='somebody', script_start_time=started)\n"
        "log_message(log_file, 'CalendarFill', 100, use_db=False, stepcounter=2)\n"
        "log_message(None, 'CalendarFill', 'done 100%')",
    )

    result = project_copy.real_door("old.py")

    assert (result.returncode, result.stderr) == (0, "3 days\\nadded\n100\ndone 100%\n")
    run = str(last_run(project_copy)["run_uuid"])
    me = user_utils.current_user()
    table = [
        (run, "CalendarFill", "Fill_1", "somebody", "3 days\nadded"),
        (run, "CalendarFill", "<module>", me, "done 100%"),
    ]
    assert records(project_copy) == table
    total = project_copy.value("SELECT totalruntime FROM dba.tlogentry WHERE username = 'somebody'")
    assert 60 < total < 90

    (csv_file,) = project_copy.home.glob("logs/old_????????.csv")
    with csv_file.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["processtype"] == "CalendarFill"]
    assert [(row["run_uuid"], row["stepcounter"], row["message"]) for row in rows] == [
        (run, "Fill_1", "3 days\\nadded"),
        (run, "2", "100"),
        (run, "<module>", "done 100%"),
    ]
    (text_file,) = project_copy.home.glob("logs/old_????????.txt")
    assert f"{run[:8]} Fill_1 " in text_file.read_text()

    lines = (project_copy.home / "logs/old_20260302T050000.log").read_text().splitlines()
    assert [line.split(" | ")[::2] for line in lines] == [[run, "CalendarFill"]] * 2
    assert [line.split(" | ")[3] for line in lines] == ["3 days\\nadded", "100"]


def test_by_hand_the_run_is_the_one_that_the_job_names(project_copy: Installation) -> None:
    run = "11111111-2222-3333-4444-555555555555"
    script = add_script(
        project_copy, LOGS + f"log_message('', 'A', 'first')\nlog_message('', 'B', 'second', run_uuid={run!r})"
    )
    by_hand(project_copy, script)
    (first, *_), (second, *_) = records(project_copy)
    assert second == run
    assert len(first) == len(run)
    assert first != run


def by_hand(etl: Installation, script: Path, **more: str) -> subprocess.CompletedProcess[str]:
    python = etl.environment()["ETL_VENV"] + "/bin/python"
    return subprocess.run(
        [python, str(script)], env=etl.environment(**more), cwd="/", capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("log_file", ["/dev/full", "/nonexistent/old.log", "/", "a\0b"])
def test_no_full_disk_and_no_database_that_is_away_ends_the_job(project_copy: Installation, log_file: str) -> None:
    body = f"log_message({log_file!r}, 'A', 'first')\nlog_message({log_file!r}, 'A', 'second')\nprint('still there')"
    script = add_script(project_copy, LOGS + body)

    result = by_hand(project_copy, script, PGHOST=str(project_copy.home))

    assert result.stdout == "still there\n"
    assert "records go to" in result.stderr
    assert records(project_copy) == []
    assert project_copy.real_door("show_imports.py").returncode == 0  # each run loads what waits in the spool
    assert [message for _, process, *_, message in records(project_copy) if process == "A"] == ["first", "second"]


def test_no_directory_of_logs_ends_the_job(project_copy: Installation) -> None:
    script = add_script(project_copy, LOGS + "log_message(log_file, 'A', 'first')\nprint('still there')")
    assert by_hand(project_copy, script, ETL_LOGS_DIR="/nonexistent").stdout == "still there\n"
    assert by_hand(project_copy, script, ETL_SPREADSHEET_SECONDS="x", ETL_PING_URL="x").stdout == "still there\n"


def test_threads_and_forked_processes_lose_and_double_no_record(project_copy: Installation) -> None:
    add_script(
        project_copy,
        LOGS + "import multiprocessing, threading\n"
        "def work(who):\n"
        "    for number in range(50):\n"
        "        log_message(log_file, 'Work', f'{who} {number}', stepcounter=who)\n"
        "\n"
        "if __name__ == '__main__':\n"
        "    log_message(log_file, 'Work', 'begun')\n"
        "    threads = [threading.Thread(target=work, args=(f'thread {n}',)) for n in range(2)]\n"
        "    for thread in threads: thread.start()\n"
        "    for thread in threads: thread.join()\n"
        "    fork = multiprocessing.get_context('fork')\n"
        "    processes = [fork.Process(target=work, args=(f'process {n}',)) for n in range(2)]\n"
        "    for process in processes: process.start()\n"
        "    for process in processes: process.join()\n"
        "    spawned = multiprocessing.get_context('spawn').Process(target=work, args=('spawned',))\n"
        "    spawned.start()\n"
        "    spawned.join()\n"
        "    log_message(log_file, 'Work', 'ended')\n",
    )

    result = project_copy.real_door("old.py")

    assert result.returncode == 0, result.stderr
    who = ["thread 0", "thread 1", "process 0", "process 1", "spawned"]
    wanted = sorted(["begun", "ended", *(f"{one} {number}" for one in who for number in range(50))])
    assert sorted(message for *_, message in records(project_copy)) == wanted
    lines = (project_copy.home / "logs/old_20260302T050000.log").read_text().splitlines()
    assert sorted(line.split(" | ")[3] for line in lines) == wanted
    assert {run for run, *_ in records(project_copy)} == {str(last_run(project_copy)["run_uuid"])}


def test_the_logging_of_the_job_s_own_stays_as_it_is(project_copy: Installation) -> None:
    own = project_copy.home / "own.log"
    add_script(
        project_copy,
        LOGS + "import logging\n"
        "log_message(log_file, 'A', 'first')\n"
        f"logging.basicConfig(filename={str(own)!r}, level=logging.DEBUG, format='%(threadName)s %(message)s')\n"
        "logging.getLogger('mine').debug('of its own')\n"
        "log_message(log_file, 'A', 'second')",
    )

    assert project_copy.real_door("old.py").stderr == "first\n"

    assert [message for *_, message in records(project_copy)] == ["first", "second"]
    assert own.read_text().splitlines() == ["MainThread of its own", "MainThread second"]


def test_secrets_are_masked_in_all_of_them(project_copy: Installation) -> None:
    add_script(project_copy, LOGS + "log_message(log_file, 'A', os.environ['ETL_EMAIL_PASSWORD'])")
    result = project_copy.real_door("old.py", ETL_EMAIL_PASSWORD="hunter2hunter2")
    assert result.stderr == "****\n"
    assert records(project_copy)[0][-1] == "****"
    assert all("hunter2" not in path.read_text() for path in project_copy.home.glob("logs/old*"))


def test_records_of_a_job_that_was_killed_are_in_the_table(project_copy: Installation) -> None:
    add_script(project_copy, LOGS + "log_message(log_file, 'A', 'the last')\nos.kill(os.getpid(), 9)")
    assert project_copy.real_door("old.py").returncode == 137
    assert [message for *_, message in records(project_copy)] == ["the last"]


# ---- the small ones ------------------------------------------------------------------------


def test_the_name_of_the_user() -> None:
    assert user_utils.get_username() == user_utils.current_user()


def test_a_periodic_task_runs_in_a_thread_that_keeps_nobody(project_copy: Installation) -> None:
    called, stop = threading.Event(), threading.Event()
    thread = periodic_utils.periodic_task(called.set, 0.01, stop)
    assert called.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()

    add_script(
        project_copy,
        "import threading\n"
        "from systemscripts.periodic_utils import periodic_task\n"
        "thread = periodic_task(lambda: None, 3600, threading.Event())\n"
        "print(thread.daemon, thread.is_alive())",
    )
    assert project_copy.real_door("old.py").stdout == "True True\n"


def test_a_spreadsheet_becomes_a_csv_beside_it(tmp_path: Path) -> None:
    book = tmp_path / "two words.xls"
    book.write_bytes(xlwt_book([["a", "b"], ["1", "x"]]))
    for path in (str(book), book):
        assert xls_to_csv.xls_to_csv(path) == str(tmp_path / "two words.csv")
        assert (tmp_path / "two words.csv").read_text() == "a,b\n1,x\n"
        (tmp_path / "two words.csv").unlink()


def test_a_spreadsheet_is_not_replaced_by_its_own_csv(tmp_path: Path) -> None:
    book = tmp_path / "book.csv"
    book.write_bytes(xlwt_book([["a"]]))
    with pytest.raises(xls_to_csv.UnreadableSpreadsheet, match="would replace the file itself"):
        xls_to_csv.xls_to_csv(book)
    assert book.read_bytes().startswith(b"\xd0\xcf")


def test_a_page_that_cannot_be_had_is_none_and_in_the_job_s_log_file(project_copy: Installation) -> None:
    add_script(
        project_copy,
        LOGS + "import requests\n"
        "from systemscripts.web_utils import fetch_url\n"
        "log_message(log_file, 'Fetch', 'begun')\n"
        "print(fetch_url(requests.Session(), 'http://127.0.0.1:9/x', retries=1, log_file=log_file))",
    )
    assert project_copy.real_door("old.py").stdout == "None\n"
    lines = (project_copy.home / "logs/old_20260302T050000.log").read_text().splitlines()
    assert lines[-1].split(" | ")[2:][0] == "old"
    assert "http://127.0.0.1:9/x: " in lines[-1]
    assert lines[-1].endswith("attempt 1 of 1")


# ---- imports and reports -------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        "from systemscripts.generic_import import generic_import as work",
        "from run_import_job import run_import_job as work",
    ],
)
def test_an_import_by_its_older_names(project_copy: Installation, call: str) -> None:
    add_import(project_copy)
    drop_file(project_copy, SMALL)
    drop_file(project_copy, "", "clients_20260303.csv")
    number = project_copy.value("SELECT config_id FROM dba.timportconfig WHERE config_name = 'clients'")
    add_script(project_copy, f"{call}\nwork({number})\nwork('clients')\nprint('still there')")

    result = project_copy.real_door("old.py")

    assert (result.returncode, result.stdout) == (0, "still there\n")
    assert "clients_20260302.csv: Loaded, 1 rows into public.tclients" in result.stderr
    assert "error: clients_20260303.csv: Failed" in result.stderr
    assert project_copy.query("SELECT a, b FROM public.tclients") == [("1", "2")]
    messages = [
        message for (message,) in project_copy.query("SELECT message FROM dba.tlogentry WHERE stepcounter = 'file'")
    ]
    assert any(message.startswith("clients_20260302.csv: Loaded") for message in messages)


def test_an_unknown_import_ends_the_job_with_what_there_is(project_copy: Installation) -> None:
    add_script(project_copy, "from systemscripts.generic_import import generic_import\ngeneric_import(9999)")
    result = project_copy.real_door("old.py")
    assert result.returncode == 1
    assert "9999" in str(last_run(project_copy)["reason"])
    assert "MeetMax_Events_XLS_Import" in str(last_run(project_copy)["reason"])


def test_a_report_by_its_older_name(project_copy: Installation, tmp_path: Path) -> None:
    report = add_report(project_copy)
    add_script(
        project_copy, f"from send_reports import process_reports\nprocess_reports({report})\nprocess_reports({report})"
    )
    with mail_server(tmp_path) as mail:
        result = project_copy.real_door("old.py", **mail.variables)
        assert (result.returncode, len(mail.received)) == (0, 1), result.stderr

    statement = "SELECT reportid, run_uuid::text FROM dba.treportdelivery"
    assert project_copy.query(statement) == [(report, str(last_run(project_copy)["run_uuid"]))]
