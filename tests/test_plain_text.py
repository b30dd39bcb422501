"""What a name, a mail or a row holds steers no terminal, forges no line, turns no text: not printed, not logged, not mailed."""

import ast
import contextlib
import io
import logging
import os
import re
import subprocess
import unicodedata
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from conftest import PROJECT, Installation
from hypothesis import given
from hypothesis import strategies as st
from test_generic_import import add_import

from systemscripts import log_utils
from systemscripts.command_line import run_command
from systemscripts.mail import composing
from systemscripts.plain_text import as_words, on_its_lines, on_one_line, say
from systemscripts.reporting.model import Table
from systemscripts.reporting.render import Draft
from systemscripts.reporting.template import BodyTemplate

HOSTILE = "\x1b]0;pwned\x07 \x9b31m \u202egpj.exe\u2066 \u200f\u061c\r\nerror: forged\x85\u2028."
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\u200e\u200f\u061c"


def steers(text: str, but: str = "") -> list[str]:
    """Return the characters that may not reach a terminal or page."""
    kinds = ("Cc", "Cs", "Zl", "Zp")
    return [
        c
        for c in text
        if c not in but and (unicodedata.category(c) in kinds or unicodedata.bidirectional(c) in TURNS or c in MARKS)
    ]


@given(st.text())
def test_any_text_is_one_line_that_steers_nothing(text: str) -> None:
    assert steers(on_one_line(text), but="\t") == []
    assert steers(as_words(text)) == []
    assert steers(on_its_lines(text), but="\t\n") == []


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Mn", "Mc")) | st.just(" ")))
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert on_one_line(text) == on_its_lines(text) == text


@given(st.lists(st.text(), min_size=1), st.text())
def test_each_text_is_printed_as_one_line(lines: list[str], name: str) -> None:
    printed = io.StringIO()
    say(*lines, name, to=printed)
    assert len(printed.getvalue().removesuffix("\n").splitlines() or [""]) <= len(lines) + 1
    assert printed.getvalue().count("\n") == len(lines) + 1
    printed.getvalue().encode()


def test_a_message_on_the_console_is_one_line_and_a_traceback_is_marked() -> None:
    shown = io.StringIO()
    record = logging.LogRecord("x", logging.ERROR, "", 0, "bad file %s", (HOSTILE,), None)
    with contextlib.suppress(ValueError):
        try:
            raise ValueError(HOSTILE)
        except ValueError as error:
            record.exc_info = (type(error), error, error.__traceback__)
            raise
    log_utils.ConsoleHandler(shown).emit(record)
    assert steers(shown.getvalue(), but="\n") == []
    *trace, told = shown.getvalue().splitlines()
    assert all(line.startswith("    | ") for line in trace)
    assert told.startswith("error: bad file ")


def test_a_mail_shows_what_would_turn_or_steer_its_text() -> None:
    body = BodyTemplate("<p>{note}</p>{{grid1}}", ("grid1",), (), ("note",))
    draft = Draft("x", body, {"note": HOSTILE}, {"grid1": Table(("name\u202e",), ((HOSTILE,),))})
    mail = draft.mail()
    for text in (mail.html, mail.text):
        assert steers(text, but="\n") == []
        assert "\\u202egpj.exe" in text


def test_a_mail_of_plain_text_does_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_EMAIL", "feeds@example.com")
    message = composing.text_mail(f"late: {HOSTILE}", f"it is late: {HOSTILE}\udcff\n", "me@example.com")
    parsed = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert steers(parsed["Subject"]) == []
    assert steers(parsed.get_content().replace("\r\n", "\n"), but="\n") == []


@pytest.mark.parametrize("what", ["subject", "attachment"])
def test_a_report_turns_no_subject_and_no_name_of_a_file(what: str) -> None:
    name = "report\u202efdp.exe"
    files = (composing.Attachment(name, b"x", "text/plain"),) if what == "attachment" else ()
    mail = composing.Mail(name if what == "subject" else "report", "text", "<p>text</p>", files)
    sender = composing.addresses("feeds@example.com")
    with pytest.raises(composing.MailError, match="turns the direction"):
        composing.compose(mail, sender[0], sender, datetime.now(UTC))


def test_names_and_rows_reach_the_terminal_written_out(etl: Installation) -> None:
    watched = etl.home / "file_watcher"
    add_import(etl, file_pattern="*.csv", dateconfig="static", datelocation="20260302")
    for number, end in enumerate(("\x1b]0;pwned\x07", "\u202egpj", "\x85", "\u061c", "\nerror: forged")):
        (watched / f"{number}{end}.csv").write_text(f"a,b\n{number},2\n")
    Path(os.fsdecode(os.fsencode(watched) + b"/5\xff\x9b31m.csv")).write_text("a,b\n1\n")
    run = etl.door("run_import_job.py", "clients")
    shown = etl.door("show_imports.py", "clients")
    assert len(shown.stdout.splitlines()) == 7  # a line a file, and one for why the last was refused
    etl.query(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath) VALUES (%s, '@daily', 'doctor.py')",
        "a\u202eb\u200f",
    )
    listed = etl.door("jobs.py", "list")
    for printed in (
        run.stderr,
        run.stdout,
        shown.stdout,
        listed.stdout,
        *etl.query("SELECT reason FROM dba.tjobrun WHERE reason IS NOT NULL")[0],
    ):
        assert steers(printed, but="\n") == []
    assert "\\x1b]0;pwned\\x07" in run.stderr
    assert "\\x1b]0;pwned\\x07" in shown.stdout
    assert not re.search("^error: forged", run.stderr, re.MULTILINE)
    assert "\\u202eb" in listed.stdout


def test_a_name_that_is_deleted_is_one_line(etl: Installation) -> None:
    folder = etl.home / "old"
    folder.mkdir()
    for name in (
        "a\x1b[31m.csv",
        "b\ndeleted all.csv",
        "c\u202e.csv",
        "d\u009b.csv",
        "e\u061c\u2066\u2028.csv",
        "fü.csv",
    ):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    result = etl.door("delete_old_files.sh", str(folder), "*.csv", "7")
    assert result.returncode == 0, result.stderr
    assert steers(result.stdout, but="\n") == []
    assert len(result.stdout.splitlines()) == 6
    assert f"deleted {folder}/fü.csv" in result.stdout
    assert list(folder.iterdir()) == []


def test_a_wrong_call_and_a_crash_are_written_out(etl: Installation) -> None:
    for call in (["run_import_job.py", "1", "--\x1b[31m"], ["\x1b[31m.py"], ["show_imports.py", "--last", "\u202e9"]):
        assert steers(etl.door(*call).stderr, but="\n") == []
    program = """
from systemscripts.command_line import run_command
def main(_):
    raise ValueError("\\x1b[31m\\u202e")
run_command("x", main)"""
    crash = subprocess.run([os.sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert crash.returncode == 1
    assert "ValueError: \\x1b[31m\\u202e" in crash.stderr


def test_a_full_disk_is_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    def write(_arguments: list[str]) -> int:
        with open("/dev/full", "w") as full:
            full.write("x")
        return 0

    with pytest.raises(SystemExit, match="1"):
        run_command("database_dump", write)
    told = capsys.readouterr().err
    assert re.fullmatch(r"database_dump: .*\[Errno 28\] No space left on device\n", told)


# What is installed elsewhere and stands alone; what they print of a name is its repr.
ALONE = {"systemscripts/cron/cron_file_writer.py", "systemscripts/exchange/release.py", "systemscripts/plain_text.py"}


def test_whatever_is_printed_goes_through_one_function() -> None:
    found = []
    for path in sorted([*PROJECT.glob("jobscripts/*.py"), *PROJECT.glob("systemscripts/**/*.py")]):
        name = str(path.relative_to(PROJECT))
        if name in ALONE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            exits_with_text = (
                call == "sys.exit"
                and isinstance(node.args[0] if node.args else None, ast.JoinedStr | ast.Constant)
                and not isinstance(getattr(node.args[0], "value", ""), int)
            )
            if call in ("print", "sys.stdout.write", "sys.stderr.write", "traceback.print_exc") or exits_with_text:
                found.append(f"{name}:{node.lineno}: {call}")
    assert found == []
