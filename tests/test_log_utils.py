"""Three sinks, one record: nothing forged, nothing lost, nothing secret."""

import contextlib
import csv
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import Installation

from systemscripts import log_utils, settings
from systemscripts.log_sinks import entries, spool

RUN = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def logger(etl: Installation) -> Iterator[logging.Logger]:
    """A logger as a job has it; pytest's own handlers come back afterwards."""
    root = logging.getLogger()
    former, level = list(root.handlers), root.level
    log_utils.start_logging("probe", RUN, console=False)
    ours = list(root.handlers)
    yield logging.getLogger("probe")
    for handler in ours:
        handler.close()
    root.handlers, root.level = former, level


def sinks(etl: Installation) -> tuple[list[str], list[dict[str, str]], list[tuple[str, ...]]]:
    log_utils.flush()
    (text,), (records,) = etl.home.glob("logs/probe_*.txt"), etl.home.glob("logs/probe_*.csv")
    with records.open(newline="") as stream:
        in_csv = list(csv.DictReader(stream))
    in_table = etl.query("SELECT run_uuid, processtype, stepcounter, level, message FROM dba.tlogentry ORDER BY logid")
    return text.read_text().splitlines(), in_csv, in_table


def test_a_record_is_the_same_in_all_three(etl: Installation, logger: logging.Logger) -> None:
    logger.info("%d files, 100%%", 3, extra={"step": "fetch"})
    text, in_csv, in_table = sinks(etl)
    assert in_table == [(RUN, "probe", "fetch", "INFO", "3 files, 100%")]
    assert [(r["run_uuid"], r["processtype"], r["stepcounter"], r["level"], r["message"]) for r in in_csv] == in_table
    assert len(text) == 1
    assert text[0].endswith("  3 files, 100%")
    assert f" INFO    {RUN[:8]} fetch " in text[0]


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0", "\x1b[2K"]
)
def test_a_line_break_in_a_message_forges_no_record(etl: Installation, logger: logging.Logger, end: str) -> None:
    forged = f"2026-01-01T00:00:00 INFO    {RUN[:8]} step 0.000s/0.000s  all is well"
    logger.info("bad name: x%s%s", end, forged)
    text, in_csv, in_table = sinks(etl)
    assert len(in_csv) == len(in_table) == 1
    assert sum(line.startswith("2026-01-01T00:00:00") for line in text) == 0
    (csv_file,) = etl.home.glob("logs/probe_*.csv")
    assert len(csv_file.read_bytes().splitlines()) == 2


def test_a_message_arrives_whole_in_the_table(etl: Installation, logger: logging.Logger) -> None:
    messages = ["\\.", "", 'a,b;"c"', "line\nbreak", "é😀"]
    for message in messages:
        logger.info("%s", message)
    _, in_csv, in_table = sinks(etl)
    assert [row[4] for row in in_table] == messages
    assert [record["message"] for record in in_csv] == [message.replace("\n", "\\n") for message in messages]


def test_an_undecodable_file_name_can_be_logged(etl: Installation) -> None:
    # In a process of its own: pytest's capture cannot pass such text on.
    program = (
        "import logging; from systemscripts import log_utils\n"
        f"log_utils.start_logging('probe', '{RUN}')\n"
        "logging.info('name %s', b'a\\xff.csv'.decode('utf-8', 'surrogateescape'))"
    )
    subprocess.run([sys.executable, "-c", program], env=etl.environment(), check=True, capture_output=True)
    text, in_csv, in_table = sinks(etl)
    assert text[0].endswith("name a\\udcff.csv")
    assert in_csv[0]["message"] == in_table[0][4] == "name a\\udcff.csv"


def test_a_secret_is_masked_everywhere(
    etl: Installation, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_TOKEN", "hunter2-very-secret")
    secret = settings.secret("SMTP_TOKEN")
    try:
        raise ValueError(f"login with {secret} failed")
    except ValueError:
        logger.exception("no login")
    text, in_csv, in_table = sinks(etl)
    for sink in (text, in_csv, in_table):
        assert "hunter2" not in str(sink)
        assert "login with **** failed" in str(sink)


def test_an_error_is_in_the_table_at_once(etl: Installation, logger: logging.Logger) -> None:
    logger.info("before")
    logger.error("now")
    assert etl.value("SELECT count(*) FROM dba.tlogentry") == 2


def test_a_quiet_jobs_record_reaches_the_table_by_itself(
    etl: Installation, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_utils, "FLUSH_SECONDS", 0.05)
    logger.info("and then nothing for hours")
    deadline = time.monotonic() + 30
    while not etl.value("SELECT count(*) FROM dba.tlogentry"):
        assert time.monotonic() < deadline
    assert etl.value("SELECT message FROM dba.tlogentry") == "and then nothing for hours"


def test_a_database_that_goes_away_in_between_costs_no_record(
    etl: Installation, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.error("one")
    etl.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    logger.error("two")
    logger.error("three")
    assert capsys.readouterr().err.count("log table cannot be written") == 1
    with contextlib.closing(etl.connect("etl_user")) as connection:
        assert spool.load_waiting(connection) == 2
        assert spool.load_waiting(connection) == 0
    assert [row[0] for row in etl.query("SELECT message FROM dba.tlogentry ORDER BY logid")] == ["one", "two", "three"]


def test_a_spool_file_is_loaded_once_even_if_it_could_not_be_removed(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entries.Entry("2026-03-02T05:00:00+00:00", RUN, "probe", "step", "me", 0.0, 0.0, "INFO", "once")
    spool.save_entries(RUN, [entry])
    (file,) = spool.spool_dir().glob("*.jsonl")
    content = file.read_bytes()
    for _ in range(2):
        file.write_bytes(content)
        with contextlib.closing(etl.connect("etl_user")) as connection:
            spool.load_waiting(connection)
    assert etl.value("SELECT count(*) FROM dba.tlogentry") == 1


def test_a_spool_file_that_cannot_be_read_is_kept_aside(etl: Installation) -> None:
    spool.spool_dir().mkdir(parents=True)
    (spool.spool_dir() / "broken.jsonl").write_text("{half")
    with contextlib.closing(etl.connect("etl_user")) as connection:
        assert spool.load_waiting(connection) == 0
    assert [path.name for path in spool.spool_dir().iterdir()] == ["broken.unreadable"]


def test_a_spool_file_that_another_run_takes_between_two_steps_stops_nothing(
    etl: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.spool_dir().mkdir(parents=True)
    (spool.spool_dir() / "1_folder.jsonl").mkdir()
    broken = spool.spool_dir() / "2_broken.jsonl"
    broken.write_text("{half")
    monkeypatch.setattr(spool.json, "loads", lambda _: broken.unlink() or {}["no entry"])
    with contextlib.closing(etl.connect("etl_user")) as connection:
        assert spool.load_waiting(connection) == 0


def test_what_a_killed_run_has_logged_is_brought_to_the_table_over_midnight_and_past_cut_lines(
    etl: Installation,
) -> None:
    days = [
        entries.Entry(f"2026-03-0{day}T{time}+00:00", RUN, "probe", "step", "me", 0.0, day, "INFO", f"day {day}")
        for day, time in ((2, "23:59:59"), (3, "00:00:01"))
    ]
    files = [etl.home / f"logs/probe_2026030{day}.csv" for day in (2, 3)]
    for file, entry in zip(files, days, strict=True):
        cut = entries.csv_line(entry)[:-9]
        file.write_bytes(f'{entries.CSV_HEADER}\n{cut}\n"{RUN}\n{entries.csv_line(entry)}'.encode() + b'"\xc3')
    with contextlib.closing(etl.connect("etl_user")) as connection:
        assert spool.recover_killed(connection, RUN, files) == 2
        assert spool.recover_killed(connection, RUN, files) == 0
    assert [row[0] for row in etl.query("SELECT message FROM dba.tlogentry ORDER BY logid")] == ["day 2", "day 3"]


def test_the_logs_of_a_run_are_those_of_each_day_since_it_began(etl: Installation) -> None:
    today = datetime.now().date()
    for days in (0, 1, 2):
        log_utils.log_file("probe", ".csv", today - timedelta(days=days)).touch()
    found = log_utils.csv_files("probe", datetime.now().astimezone() - timedelta(days=1))
    assert found == [
        log_utils.log_file("probe", ".csv", today - timedelta(days=1)),
        log_utils.log_file("probe", ".csv"),
    ]


def test_a_record_after_one_that_was_cut_begins_a_line_of_its_own(etl: Installation) -> None:
    file = log_utils.log_file("probe", ".csv")
    file.write_text(entries.CSV_HEADER + '"2026-03-02T05:00:00')
    handle = log_utils._open_log(file, entries.CSV_HEADER)
    assert handle is not None
    os.write(handle, b"next\n")
    os.close(handle)
    assert file.read_text().splitlines()[-1] == "next"


def test_a_line_that_another_process_is_writing_gets_no_empty_line_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shared.log"
    file.write_text("half a li")

    def the_other_goes_on(_seconds: float) -> None:
        with file.open("a") as stream:
            stream.write("ne\n")

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", the_other_goes_on)
        handle = log_utils._open_log(file, "")
    assert handle is not None
    os.close(handle)
    assert file.read_text() == "half a line\n"


def test_logging_to_a_place_that_cannot_be_written_does_not_stop_the_job(
    etl: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ETL_LOGS_DIR", str(tmp_path / "file"))
    root = logging.getLogger()
    former = list(root.handlers)
    log_utils.start_logging("probe", RUN, console=False)
    root.error("in the table all the same")
    root.handlers = former
    assert "logs cannot be written" in capsys.readouterr().err
    assert etl.value("SELECT message FROM dba.tlogentry") == "in the table all the same"
