"""The text of the cron file, what reaches the job from a row, and how the file gets into place."""

import io
import os
import re
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from systemscripts import settings, whole_files
from systemscripts.cron import cron_file, cron_file_writer
from systemscripts.cron.cron_file import REPORT_TABLE, TASK_TABLE, ScheduledJob, door_arguments, quote, render
from systemscripts.errors import JobError
from systemscripts.user_utils import current_user

USER = current_user()
OLD, NEW = (f"{cron_file.HEADER}# {word}\n" for word in ("old", "new"))
HAND_WRITTEN = "# our own jobs\n30 6 * * * etl_user /opt/own/job.sh\n"
STUB_DOOR = '#!/bin/bash\nprintf "%s\\0" "$@"\n'


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkout with a blank and a per cent sign in its path, whose door prints its arguments, NUL after each."""
    root = tmp_path_factory.mktemp("50% of $HOME's")
    for name in ("jobscripts/send_reports.py", "jobscripts/daily_backup.sh", "systemscripts/xls_to_csv.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(
            'from systemscripts.job_runner import run_job\n\nif __name__ == "__main__":\n    run_job(main)\n'
        )
    (root / "jobscripts" / "run_python_etl_script.sh").write_text(STUB_DOOR)
    (root / "logs").mkdir()
    return root


@pytest.fixture(autouse=True)
def in_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "project_dir", lambda: checkout)
    monkeypatch.delenv("ETL_LOGS_DIR", raising=False)
    monkeypatch.delenv("ETL_HOME", raising=False)


def task(arguments: str = "", script: str = "daily_backup.sh", frequency: str = "0 3 * * *", **more) -> ScheduledJob:
    return ScheduledJob(
        TASK_TABLE, **{"row_id": 7, "name": "Backup", **more}, frequency=frequency, script=script, arguments=arguments
    )


def as_cron_reads(command: str, doubled_backslash: bool) -> str:
    r"""Return what cron gives to the shell (do_command.c); `\\` becomes `\` in newer versions only."""
    result = ""
    rest = command
    while rest:
        if rest.startswith("\\%") or (doubled_backslash and rest.startswith("\\\\")):
            result, rest = result + rest[1], rest[2:]
        elif rest.startswith("\\"):
            result, rest = result + rest[:2], rest[2:]
        elif rest.startswith("%"):
            break
        else:
            result, rest = result + rest[0], rest[1:]
    return result


# ---- the text ------------------------------------------------------------------------------


def test_it_writes_a_line_for_each_task_and_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "project_dir", lambda: Path("/opt/etl"))
    monkeypatch.setattr(cron_file, "find_script", Path)
    report = ScheduledJob(REPORT_TABLE, 2, "Changes", "25 11 * * 1-5", "send_reports.py", "2")

    text = render([task("--keep 7", name="Daily Database Backup"), report], USER)

    assert text == cron_file.HEADER + (
        "\n# Daily Database Backup\n"
        f"0 3 * * * {USER} /bin/bash /opt/etl/jobscripts/run_python_etl_script.sh --due --task 7 daily_backup.sh --keep 7"
        " >> /opt/etl/logs/etl_cron.log 2>&1\n"
        "\n# Changes\n"
        f"25 11 * * 1-5 {USER} /bin/bash /opt/etl/jobscripts/run_python_etl_script.sh --due --report 2 send_reports.py 2"
        " >> /opt/etl/logs/etl_cron.log 2>&1\n"
    )


def test_its_header_says_where_it_comes_from_and_sends_no_mail():
    lines = render([], USER).split("\n")

    assert "Do not edit: update_cron_jobs.py" in lines[0]
    assert {"SHELL=/bin/bash", 'MAILTO=""'} < set(lines)
    assert lines[-1] == ""


def test_it_divides_the_fields_only_where_cron_does():
    assert cron_file.cron_line(task(frequency=" 0\t5  * * *"), USER).startswith(f"0 5 * * * {USER} /bin/bash ")
    assert cron_file.cron_line(task(frequency="0 5 * * 1\xa0root"), USER).startswith(f"0 5 * * 1\xa0root {USER} ")


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("daily_backup.sh", "", ["daily_backup.sh"]),
        ("xls_to_csv.py", "a.xls 'b c.csv'", ["xls_to_csv.py", "a.xls", "b c.csv"]),
        ("jobscripts/send_reports.py", "1", ["send_reports.py", "1"]),
        ("/srv/somebody/client_etl_workflow/jobscripts/send_reports.py", "1", ["send_reports.py", "1"]),
        ("/old/systemscripts/xls_to_csv.py", "", ["xls_to_csv.py"]),
        ("/old/jobscripts/run_python_etl_script.sh", "send_reports.py 1", ["send_reports.py", "1"]),
        ("run_python_etl_script.sh", "/old/jobscripts/send_reports.py 1", ["send_reports.py", "1"]),
    ],
)
def test_it_finds_the_script_of_old_and_new_rows(script: str, arguments: str, expected: list[str]):
    assert door_arguments(task(arguments, script)) == ["--task", "7", *expected]


# ---- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (task(frequency="0 25 * * *"), "the hour is '25'"),
        (task(frequency="0 3 * * *\n* * * * * root id"), "control character '\\n'"),
        (task(frequency="0 3 * * * root"), "it has 6 fields"),
        (task(frequency=""), "it is empty"),
        (task(name="Backup\n* * * * * root id"), "its name holds the control character '\\n'"),
        (task("a\nb"), "scriptargs holds the control character '\\n'"),
        (task("a\rb"), "scriptargs holds the control character '\\r'"),
        (task("a\0b"), "scriptargs holds the control character '\\x00'"),
        (task("'never closed"), 'scriptargs is "\'never closed": No closing quotation'),
        (task(script="gone.py"), "there is no script 'gone.py' in jobscripts/ or systemscripts/"),
        (task(script=""), "there is no script ''"),
        (task(script="/opt/elsewhere/send_reports.py"), "'/opt/elsewhere/send_reports.py' is neither in"),
        (task(script="../send_reports.py"), "is neither in"),
        (task(script="jobscripts/.."), "there is no script '..'"),
        (task(script="/x/jobscripts/run_python_etl_script.sh"), "no script follows in scriptargs"),
        (task("--list", script="run_python_etl_script.sh"), "there is no script '--list'"),
        (task("run_python_etl_script.sh", script="run_python_etl_script.sh"), "there is no script 'run_python"),
        (task("x" * 999), "cron takes 998"),
    ],
)
def test_it_refuses_a_row_that_cron_would_not_run_as_told(job: ScheduledJob, told: str):
    with pytest.raises(JobError) as refusal:
        render([job], USER)

    assert told in str(refusal.value)
    assert f"dba.tscheduler 7 {job.name!r}: " in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_it_names_every_bad_row_at_once():
    report = ScheduledJob(REPORT_TABLE, 3, "Changes", "0 5 * *", "send_reports.py", "3")

    with pytest.raises(JobError) as refusal:
        render([task(row_id=1, script="gone.py"), task(row_id=2), report], "nobody_of_this_name")

    message = str(refusal.value)
    assert "there is no user 'nobody_of_this_name' on this machine" in message
    assert "dba.tscheduler 1 'Backup': there is no script" in message
    assert "dba.treportmanager 3 'Changes': '0 5 * *' is no cron expression" in message
    assert "dba.tscheduler 2" not in message
    # Each with the command that takes it out.
    etl = f"bash {shlex.quote(str(cron_file.door().with_name('etl')))}"
    assert f"; to pause it until that is corrected, type: {etl} pause 1; " in message
    assert message.endswith(f"{etl} pause report:3")


def test_it_takes_the_longest_command_that_cron_takes_and_not_one_byte_more():
    def command(arguments: str) -> str:
        return cron_file.cron_line(task(arguments), USER).removeprefix(f"0 3 * * * {USER} ")

    room = 998 - len(command("x").encode())
    assert len(command("x" * (room + 1)).encode()) == 998
    with pytest.raises(JobError, match="999 bytes"):
        command("x" * (room + 2))
    with pytest.raises(JobError, match="bytes"):
        command("'" + "é" * (room // 2) + "'")


# ---- what reaches the job ------------------------------------------------------------------

HOSTILE = [
    "plain",
    "",
    "two words",
    "it's",
    '"',
    "$(touch /tmp/owned)",
    "`id`",
    "$HOME",
    "a;b&&c|d>e<f#g!h*i?j[k]{l,m}~",
    "50%",
    "%",
    "\\%",
    "\\\\%",
    "%\\",
    "back\\slash",
    "\\\\server\\share\\",
    "\\n",
    "é 中 \U0001f600",
    "tab\there",
    "--",
    "-rf",
    "=x",
    "date +%Y-%m-%d",
]


def run_by_cron(arguments: list[str], doubled_backslash: bool) -> list[str]:
    line = cron_file.cron_line(task(shlex.join(arguments)), USER)
    command = as_cron_reads(line.removeprefix(f"0 3 * * * {USER} "), doubled_backslash)
    log_file = settings.logs_dir() / "etl_cron.log"
    log_file.unlink(missing_ok=True)
    subprocess.run(["/bin/bash", "-c", command], env={"HOME": "/"}, cwd="/", check=True)
    return log_file.read_bytes().decode().removesuffix("\0").split("\0")


@pytest.mark.parametrize("doubled_backslash", [True, False], ids=["newer cron", "older cron"])
def test_hostile_arguments_reach_the_door_as_they_are(doubled_backslash: bool):
    for argument in HOSTILE:
        assert run_by_cron([argument, "end"], doubled_backslash) == [
            "--due",
            "--task",
            "7",
            "daily_backup.sh",
            argument,
            "end",
        ]
    assert run_by_cron(HOSTILE, doubled_backslash)[4:] == HOSTILE


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arguments=st.lists(
        st.text("%\\'\" $a\t", max_size=8)
        | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20),
        min_size=1,
        max_size=6,
    ),
    doubled_backslash=st.booleans(),
)
@example(arguments=["\\\\%\\%%"], doubled_backslash=True)
def test_any_arguments_reach_the_door_as_they_are(arguments: list[str], doubled_backslash: bool):
    assert run_by_cron(arguments, doubled_backslash)[4:] == arguments


@given(word=st.text("%\\'ab ", max_size=12))
def test_no_per_cent_sign_is_left_for_cron_to_end_the_command_at(word: str):
    assert as_cron_reads(quote(word) + " end", doubled_backslash=True).endswith(" end")
    assert not re.search(r"(?<!\\)%", quote(word))


def test_two_thousand_rows_are_written_quickly():
    jobs = [
        task(f"--number {number} '100%'", row_id=number, frequency=f"{number % 60} 5 * * 1-5") for number in range(2000)
    ]

    started = time.process_time()
    text = render(jobs, USER)

    assert text.count("--task") == 2000
    assert time.process_time() - started < 2


# ---- in place ------------------------------------------------------------------------------


def test_it_installs_the_file_readable_and_writable_for_its_owner_alone(tmp_path: Path):
    target = tmp_path / "etl_jobs"

    assert cron_file.install(NEW, target)

    assert target.read_text() == NEW
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["etl_jobs"]
    if os.geteuid() == 0:
        assert (target.stat().st_uid, target.stat().st_gid) == (0, 0)


def test_it_leaves_a_file_alone_that_is_right(tmp_path: Path):
    target = tmp_path / "etl_jobs"
    cron_file.install(NEW, target)
    before = target.stat()

    assert not cron_file.install(NEW, target)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (None, 0, "does not exist"),
        (OLD, 0o644, "differs"),
        (NEW.rstrip(), 0o644, "differs"),
        (NEW, 0o664, "has mode 664"),
    ],
)
def test_it_sees_and_mends_a_file_that_is_not_right(tmp_path: Path, content: str | None, mode: int, told: str):
    target = tmp_path / "etl_jobs"
    if content is not None:
        target.write_text(content)
        target.chmod(mode)

    assert told in cron_file.drift(NEW, target)
    assert cron_file.install(NEW, target)
    assert cron_file.drift(NEW, target) == ""


def test_it_keeps_the_old_file_when_the_new_one_cannot_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "etl_jobs"
    cron_file.install(OLD, target)

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(JobError, match="No space left"):
        cron_file.install(NEW, target)

    assert target.read_text() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["etl_jobs"]


def test_what_it_writes_first_has_a_name_that_cron_ignores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = []
    rename = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: (names.append(self.name), rename(self, target)))

    cron_file.install(NEW, tmp_path / "etl_jobs")

    assert names
    assert all("." in name for name in names)


def test_it_says_which_command_to_type_where_it_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(whole_files, "unnamed_file", refused)
    monkeypatch.setenv("ETL_CRON_USER", "me")
    for name in ("ETL_HOME", "ETL_LOGS_DIR", "PGHOST", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(JobError) as refusal:
        cron_file.install(NEW, tmp_path / "etl_jobs")

    command = str(refusal.value).partition("type: ")[2]
    assert shlex.split(command) == ["sudo", "ETL_CRON_USER=me", "bash", str(cron_file.door()), "update_cron_jobs.py"]


@pytest.mark.parametrize("content", [HAND_WRITTEN, "", " " + OLD, OLD[1:]], ids=["jobs", "empty", "almost", "cut"])
def test_it_never_replaces_a_file_that_somebody_else_wrote(tmp_path: Path, content: str):
    target = tmp_path / "etl_jobs"
    target.write_text(content)

    with pytest.raises(JobError) as refusal:
        cron_file.install(NEW, target)

    command = f"bash {shlex.quote(str(cron_file.door().with_name('etl')))} cron adopt"
    assert str(refusal.value) == (
        f"{target} was not written by update_cron_jobs.py, so it is not overwritten; "
        f"to take its lines over into the schedule, type: {command}"
    )
    assert target.read_text() == content
    assert "was not written by update_cron_jobs.py" in cron_file.drift(NEW, target)


def test_root_s_part_knows_the_same_first_words():
    assert cron_file_writer.MARK == cron_file.MARK
    assert OLD.startswith(cron_file.MARK)


@pytest.mark.parametrize("content", [HAND_WRITTEN, None], ids=["file", "link"])
def test_root_s_part_does_not_replace_it_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, capsys: pytest.CaptureFixture[str]
):
    target = tmp_path / "etl_jobs"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(OLD)
    target.write_text(content) if content is not None else target.symlink_to(elsewhere)
    monkeypatch.setattr(cron_file_writer, "TARGET", str(target))
    monkeypatch.setenv("SUDO_USER", "etl_user")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(NEW.encode())))
    assert cron_file_writer.main() == 1

    assert str(target) in capsys.readouterr().err
    assert (target.read_text(), target.is_symlink()) == (content or OLD, content is None)
    target.unlink()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(NEW.encode())))
    assert cron_file_writer.main() == 0
    assert target.read_text() == NEW


@pytest.mark.parametrize("name", ["etl.jobs", "etl jobs", "etl_jobs~", ".etl"])
def test_it_refuses_a_file_name_that_cron_ignores(tmp_path: Path, name: str):
    with pytest.raises(JobError, match="cron ignores a file named"):
        cron_file.install(NEW, tmp_path / name)


def test_it_says_that_there_is_no_such_directory(tmp_path: Path):
    with pytest.raises(JobError, match=r"there is no directory .*; install cron"):
        cron_file.install(NEW, tmp_path / "cron.d" / "etl_jobs")


def test_its_differences_read_as_a_unified_diff(tmp_path: Path):
    target = tmp_path / "etl_jobs"
    target.write_text("same\nold")

    assert cron_file.differences("same\nnew\n", target).splitlines()[3:] == [
        " same",
        "-old",
        "\\ No newline at end of file",
        "+new",
    ]
    assert cron_file.differences("same\nold", target) == ""
