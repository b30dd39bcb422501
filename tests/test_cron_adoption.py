"""A hand-written crontab becomes rows of the schedule: each line, or the reason why not; nothing is lost, nothing comes twice."""

import argparse
import getpass
import importlib.util
import os
import shutil
import stat
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PROJECT, Installation

from systemscripts import db_config, whole_files
from systemscripts.cron import cron_file, crontab, hand_written
from systemscripts.cron.crontab import Entry, Setting, Unread
from systemscripts.cron.shell_words import CannotTell, simple_commands
from systemscripts.schedule import adoption
from systemscripts.schedule.crontab_calls import calls_of

ME = getpass.getuser()
OLD = "/opt/old"
DOOR = f"{OLD}/jobscripts/run_python_etl_script.sh"


# ---- a line, as cron and the shell read it ---------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 5 * * 1-5 bob run it", [Entry(1, "0 5 * * 1-5", "bob", "run it", "")]),
        ("  \t0\t5 *  * *\tbob\trun  it", [Entry(1, "0 5 * * *", "bob", "run  it", "")]),
        ("@daily bob run it", [Entry(1, "@daily", "bob", "run it", "")]),
        ("# -- Backup: --\n@daily bob run", [Entry(2, "@daily", "bob", "run", "Backup:")]),
        ("# Backup\n\n@daily bob run", [Entry(3, "@daily", "bob", "run", "")]),
        ("# 0 5 * * * bob switched off\n@daily bob run", [Entry(2, "@daily", "bob", "run", "")]),
        (r"@daily bob date +\%F", [Entry(1, "@daily", "bob", "date +%F", "")]),
        ('MAILTO=""\nA = b c \n\'D\'="e"', [Setting(1, "MAILTO", ""), Setting(2, "A", "b c"), Setting(3, "D", "e")]),
        ("0 5 * * * bob A=1 run", [Entry(1, "0 5 * * *", "bob", "A=1 run", "")]),
    ],
)
def test_a_line_is_read_as_cron_reads_it(text: str, expected: list[object]):
    assert crontab.read(text.encode()) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"0 5 * * * bob run%input", "the input of the command"),
        (b"0 5 * * bob run it", "is no cron expression"),
        (b"0 5 * * * bob", "not a time, a user and a command"),
        (b"@dayly bob run", "is no cron expression"),
        (b"61 5 * * * bob run", "is no cron expression"),
        (b"0 5 * * * bob run\r", "Windows"),
        (b"0 5 * * * bob run \x1b[2J", "which no row can have"),
        (b"0 5 * * * bob run \xff", "which no row can have"),
        (b"0 5 * * * bob run \x00", "which no row can have"),
        ("0 5 * * * bob run \u2028 * * * * * root x".encode(), "which no row can have"),
    ],
)
def test_a_line_that_cron_would_not_run_is_named(text: bytes, told: str):
    (line,) = crontab.read(text + b"\n")
    assert isinstance(line, Unread)
    assert told in line.reason


@pytest.mark.parametrize(
    "command",
    [
        "run a.py 'b c' \"d'e\" f\\ g '' >> /l/x.log 2>&1",
        "A='1 2'; x",
        "cd /a && ./b.sh 7 >/dev/null; c",
        'bash -c "x \\$1 \\"y\\""',
        "echo a#b 7>>x.log &>y.log",
    ],
)
def test_words_are_those_of_a_real_shell(command: str):
    # The shell itself prints each word, NUL after it, in place of running anything.
    functions = (
        "command_not_found_handle() { printf '%s\\0' \"$@\"; printf '\\1'; }; enable -n echo cd; PATH=/nonexistent;"
    )
    ours = [simple.words for simple in simple_commands(command.replace("bash -c", "bosh -c"), {})]
    bare = command.replace("bash -c", "bosh -c")
    for target in (" >> /l/x.log 2>&1", " >/dev/null", " 7>>x.log &>y.log"):
        bare = bare.replace(target, "")
    script = f'{functions} cd() {{ command_not_found_handle cd "$@"; }}; ./b.sh() {{ command_not_found_handle ./b.sh "$@"; }}; {bare}'
    told = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False).stdout
    theirs = [part.split("\0")[:-1] for part in told.split("\1")[:-1]]
    assert [words for words in ours if "=" not in words[0]] == theirs


@pytest.mark.parametrize(
    "command",
    ["a | b", "a || b", "a &", "(a)", "a < b", "a $(b)", "a `b`", 'a "$(b)"', "a $UNKNOWN", "a *.csv", "a 'b", 'a "b', "a {b,c}",
     "~/a", "a > ", "a > ; b", "a # b", "a $SPACED", "a ?", "a ${KNOWN:-x}", "a $1", "a \\"],
)  # fmt: skip
def test_what_has_no_plain_meaning_is_not_guessed(command: str):
    with pytest.raises(CannotTell):
        simple_commands(command, {"KNOWN": "k", "SPACED": "a b"})


def test_variables_of_the_crontab_are_put_in():
    variables = {"ROOT": "/opt/old", "SPACED": "a b"}
    (simple,) = simple_commands("$ROOT/x ${ROOT}y \"$SPACED\" '$ROOT' \\$ROOT", variables)
    assert simple.words == ["/opt/old/x", "/opt/oldy", "a b", "$ROOT", "$ROOT"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (f"{OLD}/jobscripts/weekly_cleanup_logs.sh", ["; weekly_cleanup_logs.sh"]),
        (f"/bin/bash {DOOR} send_reports.py 1 >> {OLD}/logs/etl_cron.log 2>&1", ["; send_reports.py 1"]),
        (f". {OLD}/env.sh && /bin/bash {DOOR} send_reports.py 1 >> {OLD}/logs/etl_cron.log 2>&1", ["; send_reports.py 1"]),
        (f"cd {OLD}/jobscripts && ./run_python_etl_script.sh run_import_job.py 7", ["; run_import_job.py 7"]),
        (f"{OLD}/venv/bin/python {OLD}/jobscripts/run_maintenance.py --keep-logs 30", ["; run_maintenance.py --keep-logs 30"]),
        (f"{OLD}/jobscripts/pg_backup_all.sh", ["; daily_backup.sh"]),
        (f"{DOOR} gmail_inbox_processor.py", ["; process_inbox.py"]),
        (f"/bin/bash {DOOR} --due --task 4 run_import_job.py 'a b'", ["; run_import_job.py 'a b'"]),
        (
            f'/bin/bash -c "cd {OLD}/jobscripts && ./run_python_etl_script.sh daily_backup.sh && {DOOR} jobs.py 7 >> /l/etl_cron.log 2>&1"',
            ["; daily_backup.sh", "&& jobs.py 7"],
        ),
        (f"{DOOR} jobs.py list; cd {OLD}/jobscripts && ./daily_backup.sh", ["; jobs.py list", "; daily_backup.sh"]),
    ],
)  # fmt: skip
def test_the_jobs_of_a_line(command: str, expected: list[str]):
    assert [f"{call.joined_by} {call}" for call in calls_of(command, {})] == expected


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/usr/bin/pg_dump feeds", "jobscripts/ or systemscripts/; move this line to a file of its own in /etc/cron.d"),
        (f"{OLD}/bin/daily_backup.sh", "is no job of jobscripts/"),
        (f"{OLD}/jobscripts/meetmax_chain.sh", "there is no job 'meetmax_chain.sh'; put it into jobscripts/"),
        (f"PGHOST=x {DOOR} jobs.py", f"it sets PGHOST; write PGHOST=… into {PROJECT}/site.env"),
        (f"export A=1 && {DOOR} jobs.py", "it sets A"),
        (f"{DOOR} jobs.py list > /srv/list.csv", "its output goes to '/srv/list.csv'"),
        (f"{DOOR}", "no script follows"),
        (f"bash -x {DOOR} jobs.py", "how it calls bash is not understood"),
        ("cd /tmp", "it starts no job"),
        (f"cd {OLD}/jobscripts && ../evil/daily_backup.sh", "is no job of jobscripts/"),
        ("bash -c \"bash -c 'bash -c \\\"bash -c x\\\"'\"", "a shell in a shell"),
    ],
)  # fmt: skip
def test_what_is_no_job_is_said_with_the_reason(command: str, told: str):
    with pytest.raises(CannotTell) as reason:
        calls_of(command, {})
    assert told in str(reason.value)


# ---- the whole file ----------------------------------------------------------------------------

CRONTAB = f"""\
# The jobs of the ETL system
SHELL=/bin/sh
MAILTO=someone@example.com
ROOT={OLD}

# Report of the changes
20 11 * * 1-5 {ME} . {OLD}/env.sh && /bin/bash {DOOR} send_reports.py 1 >> {OLD}/logs/etl_cron.log 2>&1
# Imports of the day
45 12 * * 1-5 {ME} . $ROOT/env.sh && /bin/bash {DOOR} send_reports.py 2 >> {OLD}/logs/etl_cron.log 2>&1
# Clean-up
0 2 * * 0 {ME} {OLD}/jobscripts/weekly_cleanup_logs.sh
# Company lists of the evening
30 21 * * mon-fri {ME} cd {OLD}/jobscripts && ./run_python_etl_script.sh run_import_job.py 2
@daily {ME} /bin/bash {DOOR} process_inbox.py '50\\% off' >> {OLD}/logs/inbox.log 2>&1
"""
REFUSED = f"""\
# Scan and load
0 4 * * 6 {ME} /bin/bash -c "cd {OLD}/jobscripts && ./run_python_etl_script.sh meetmax_url_check.py && {DOOR} run_import_job.py 1"
# Upkeep of the machine
0 1 * * * root /usr/bin/apt-get -y upgrade
15 1 * * * {ME} /usr/bin/find /tmp -delete
PGPASSWORD=topsecret
"""


class Machine:
    """An installation with a folder like /etc/cron.d and a hand-written file in it."""

    def __init__(self, etl: Installation, content: str) -> None:
        self.etl, self.folder = etl, etl.home / "cron.d"
        self.folder.mkdir()
        self.file = self.folder / "etl_jobs"
        self.file.write_text(content)
        self.file.chmod(0o640)
        self.content = content.encode()
        self.variables = {"ETL_CRON_FILE": str(self.file), "ETL_CRON_USER": ME}

    def adopt(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.etl.door("update_cron_jobs.py", "--adopt", *words, **self.variables)

    def rows(self) -> list[tuple[object, ...]]:
        return self.etl.query(
            "SELECT taskname, frequency::text, scriptpath, scriptargs, datastatusid FROM dba.tscheduler"
            " UNION ALL SELECT reportname, frequency::text, 'report', reportid::text, datastatusid FROM dba.treportmanager ORDER BY 1, 2"
        )

    def copies(self) -> list[Path]:
        folder = self.etl.home / "archive" / hand_written.FOLDER
        return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def machine(etl: Installation) -> Machine:
    return Machine(etl, CRONTAB)


def test_a_dry_run_shows_each_line_and_changes_nothing(machine: Machine):
    before = machine.rows()

    shown = machine.adopt("--dry-run")

    assert shown.returncode == 0, shown.stderr
    lines = {int(line[5:8]): line[10:] for line in shown.stdout.splitlines() if line.startswith("line ")}
    assert lines.keys() == {2, 3, 4, 7, 9, 11, 13, 14}
    assert lines[7].startswith("already there    dba.treportmanager 1")
    assert lines[9].startswith("change           report 2 'Imports of the day'  45 12 * * 1-5  (it was 25 11 * * 1-5)")
    assert lines[11].startswith("already there    dba.tscheduler ")
    assert lines[13].startswith(
        "new row          'Company lists of the evening'  30 21 * * mon-fri  run_import_job.py 2"
    )
    assert "process_inbox.py '50% off'" in lines[14]
    assert (machine.rows(), machine.file.read_bytes(), machine.copies()) == (before, machine.content, [])
    only_here = (
        f"ETL_HOME={machine.etl.home} is set in this terminal only; a job that cron starts has {PROJECT}; write "
    )
    assert only_here in shown.stderr


def test_what_the_terminal_alone_sets_is_no_reason_to_drop_a_setting_of_the_file(machine: Machine):
    machine.file.write_text(f"PGDATABASE={machine.etl.variables['PGDATABASE']}\n")
    assert "line   1  cannot be a row  it sets PGDATABASE for the jobs below" in machine.adopt("--dry-run").stdout


def test_lines_become_rows_the_file_is_kept_and_ours_takes_its_place(machine: Machine):
    before = machine.rows()

    done = machine.adopt()

    assert done.returncode == 0, done.stderr
    assert sorted(set(machine.rows()) - set(before)) == [
        ("Company lists of the evening", "30 21 * * mon-fri", "run_import_job.py", "2", 1),
        ("Imports of the day", "45 12 * * 1-5", "report", "2", 1),
        ("process_inbox.py '50% off'", "@daily", "process_inbox.py", "'50% off'", 1),
    ]
    (copy,) = machine.copies()
    assert copy.read_bytes() == machine.content
    assert stat.S_IMODE(copy.stat().st_mode) == 0o640
    assert copy.name.startswith("etl_jobs_20")
    ours = machine.file.read_text()
    assert ours.startswith(cron_file.HEADER)
    assert ours.count("run_import_job.py 2 ") == 1
    checked = machine.etl.door("update_cron_jobs.py", "--check", **machine.variables)
    assert checked.returncode == 0, checked.stderr
    again = machine.adopt()
    assert again.returncode == 0
    assert "there is nothing to adopt" in again.stderr


def test_a_line_that_cannot_be_a_row_stops_all_until_it_is_left_out_by_name(etl: Installation):
    machine = Machine(etl, CRONTAB + REFUSED)
    before = machine.rows()
    shown = machine.adopt("--dry-run").stdout
    assert (
        "line  16  cannot be a row  it is a chain of 2 jobs; write these lines to jobscripts/chain_of_line_16.sh"
        in shown
    )
    assert '  step meetmax_url_check.py\n  [[ $worst == 0 ]] || exit "$worst"\n  step run_import_job.py 1' in shown
    assert "line  18  cannot be a row  it runs as root, and all jobs of the schedule run as" in shown
    assert "line  19  cannot be a row  '/usr/bin/find' is no job" in shown
    assert "line  20  cannot be a row  it sets PGPASSWORD" in shown
    assert "topsecret" not in shown

    refused = machine.adopt("--leave-out", "18", "19")

    assert refused.returncode == 1
    assert (
        f"lines 16, 20 cannot be rows; to drop them, type: bash {PROJECT}/jobscripts/etl cron adopt --leave-out 16 20"
        in refused.stderr
    )
    assert (machine.rows(), machine.file.read_bytes(), machine.copies()) == (before, machine.content, [])
    assert machine.adopt("--leave-out", "1").returncode == 64

    done = machine.adopt("--leave-out", "16", "18", "19", "20")
    assert done.returncode == 0, done.stderr
    assert machine.copies()[0].read_bytes() == machine.content
    assert "apt-get" not in machine.file.read_text()


def test_a_chain_is_a_row_when_its_shell_job_is_written(project_copy: Installation):
    machine = Machine(project_copy, REFUSED.split("# Upkeep", maxsplit=1)[0])
    shown = machine.adopt("--dry-run").stdout
    text = "#!" + shown.partition("\n\n#!")[2].partition("\n\nline ")[0].rstrip()
    job = project_copy.project / "jobscripts/chain_of_line_2.sh"
    job.write_text(text + "\n")
    if shutil.which("shellcheck"):
        checked = subprocess.run(
            ["shellcheck", "-x", f"--source-path={PROJECT}", str(job)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout

    done = machine.adopt()

    assert done.returncode == 0, done.stderr
    assert ("Scan and load", "0 4 * * 6", "chain_of_line_2.sh", None, 1) in machine.rows()


def test_a_paused_row_that_does_the_same_at_another_time_is_named(etl: Installation):
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE scriptpath = 'weekly_cleanup_logs.sh'")
    told = Machine(etl, f"7 7 * * * {ME} {OLD}/jobscripts/weekly_cleanup_logs.sh\n").adopt("--dry-run").stdout
    assert told.startswith("line   1  new row")
    assert " does the same at 0 2 * * 0, and stays paused" in told


def test_a_line_of_root_whose_job_a_row_does_is_to_be_dropped(etl: Installation):
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE scriptpath = 'daily_backup.sh'")
    number = etl.value("SELECT schedulerid FROM dba.tscheduler WHERE scriptpath = 'daily_backup.sh'")
    told = Machine(etl, f"0 1 * * * root {OLD}/jobscripts/pg_backup_all.sh\n").adopt("--dry-run").stdout
    assert f"; dba.tscheduler {number} 'Daily Database Backup' does this job (it is paused: " in told
    assert told.endswith(f"resume {number}), so drop the line: --leave-out 1\n")


def test_what_a_line_names_and_the_tables_do_not_have_is_told(etl: Installation):
    machine = Machine(etl, f"1 1 * * * {ME} {DOOR} run_import_job.py 99 && {DOOR} send_reports.py 98 --again\n")
    told = machine.adopt("--dry-run")
    assert (
        "line   1  cannot be a row  there is no import '99' in dba.timportconfig; there is no report 98 in"
        in told.stdout
    )
    assert "line 1 cannot be a row; to drop it, type: " in told.stderr


def test_an_import_that_is_switched_off_is_a_row_with_a_word_of_it(etl: Installation):
    etl.query("UPDATE dba.timportconfig SET is_active = B'0' WHERE config_id = 2")
    told = Machine(etl, f"1 1 * * * {ME} {DOOR} run_import_job.py 2\n").adopt("--dry-run").stdout
    assert told.startswith("line   1  new row")
    assert "; import 2 is switched off, so it fails until is_active of its row is B'1'" in told


def test_a_chain_with_a_report_or_a_job_that_is_paused_says_so(etl: Installation):
    etl.query("UPDATE dba.treportmanager SET datastatusid = 2 WHERE reportid = 1")
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE scriptpath = 'daily_backup.sh'")
    chain = f"{DOOR} daily_backup.sh && {DOOR} run_import_job.py 1 && {DOOR} send_reports.py 1"
    told = Machine(etl, f"1 1 * * * {ME} {chain}\n").adopt("--dry-run").stdout
    assert "its step 'daily_backup.sh' is dba.tscheduler " in told
    assert "its step 'send_reports.py 1' is dba.treportmanager 1 'MeetMax event changes', which is paused" in told


def test_a_row_that_is_paused_is_resumed_and_one_at_another_time_is_named(etl: Installation):
    machine = Machine(
        etl,
        f"0 2 * * 0 {ME} {OLD}/jobscripts/weekly_cleanup_logs.sh\n0 4 * * * {ME} {OLD}/jobscripts/daily_backup.sh\n",
    )
    etl.query("UPDATE dba.tscheduler SET datastatusid = 2 WHERE scriptpath = 'weekly_cleanup_logs.sh'")
    number = etl.value("SELECT schedulerid FROM dba.tscheduler WHERE scriptpath = 'daily_backup.sh'")
    done = machine.adopt()
    assert done.returncode == 0, done.stderr
    assert "is not active; it is resumed" in done.stdout
    assert (
        f"it runs at 0 3 * * * too (if only once is meant: bash {PROJECT}/jobscripts/etl pause {number})" in done.stdout
    )
    assert etl.value("SELECT datastatusid FROM dba.tscheduler WHERE scriptpath = 'weekly_cleanup_logs.sh'") == 1
    assert etl.value("SELECT count(*) FROM dba.tscheduler WHERE scriptpath = 'daily_backup.sh'") == 2


def test_the_same_line_twice_is_one_row_and_a_report_has_one_time(etl: Installation):
    line = f"7 7 * * * {ME} {DOOR} run_import_job.py MeetMax_Events_XLS_Import\n"
    reports = f"1 1 * * * {ME} {DOOR} send_reports.py 1\n1 1 * * * {ME} {DOOR} send_reports.py 1\n2 1 * * * {ME} {DOOR} send_reports.py 1\n"
    machine = Machine(
        etl,
        line + line.replace("MeetMax_Events_XLS_Import", "2") + reports + f"@daily {ME} {DOOR} send_reports.py 99\n",
    )
    kinds = [line[10:25].strip() for line in machine.adopt("--dry-run").stdout.splitlines()]
    assert kinds == ["new row", "already there", "change", "already there", "cannot be a row", "cannot be a row"]


def test_a_bad_row_that_is_there_refuses_the_whole_and_says_how_to_pause_it(machine: Machine):
    machine.etl.query(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath) VALUES ('gone', '@daily', 'gone.py')"
    )
    before = machine.rows()
    number = machine.etl.value("SELECT schedulerid FROM dba.tscheduler WHERE taskname = 'gone'")

    shown, refused = machine.adopt("--dry-run"), machine.adopt()

    assert (shown.returncode, refused.returncode) == (0, 1)
    assert f"type: bash {PROJECT}/jobscripts/etl pause {number}" in refused.stderr
    assert refused.stderr.splitlines()[-1].removeprefix("error: ") in shown.stderr
    assert (machine.rows(), machine.file.read_bytes(), machine.copies()) == (before, machine.content, [])


def test_a_file_of_another_name_is_taken_out_of_cron_s_folder(machine: Machine):
    other = machine.file.rename(machine.folder / "own_jobs")
    done = machine.adopt(str(other))
    assert done.returncode == 0, done.stderr
    assert os.listdir(machine.folder) == ["etl_jobs"]
    assert machine.copies()[0].name.startswith("own_jobs_20")
    assert machine.copies()[0].read_bytes() == machine.content
    gone = machine.adopt(str(other))
    assert gone.returncode == 1
    assert "if it was adopted before, type: sudo" in gone.stderr


def test_a_file_beside_another_hand_written_one_waits_for_it(machine: Machine):
    (machine.folder / "own_jobs").write_text("")
    refused = machine.adopt(str(machine.folder / "own_jobs"))
    assert refused.returncode == 1
    assert "was not written by update_cron_jobs.py either; begin with it" in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_whoever_may_not_write_in_cron_s_folder_is_told_the_commands(machine: Machine):
    machine.folder.chmod(0o555)
    try:
        for _ in range(2):
            told = machine.adopt()
            assert told.returncode == 0
            assert "error" not in told.stderr
            (copy,) = machine.copies()
            assert f"type: cmp {copy} {machine.file} && sudo rm {machine.file} && sudo " in told.stderr
            assert machine.file.read_bytes() == machine.content
        assert [row[0] for row in machine.rows()].count("Company lists of the evening") == 1
    finally:
        machine.folder.chmod(0o755)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large"])
def test_only_a_plain_file_of_some_size_is_read(machine: Machine, kind: str):
    odd = machine.folder / "odd"
    if kind == "link":
        odd.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    else:
        odd.write_bytes(b"#" * (hand_written.LONGEST + 1))
    machine.file.unlink()
    refused = machine.adopt(str(odd))
    assert refused.returncode == 1
    assert str(odd) in refused.stderr


def test_the_copy_goes_through_no_link(machine: Machine, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (machine.etl.home / "archive" / hand_written.FOLDER).symlink_to(tmp_path / "elsewhere")
    refused = machine.adopt()
    assert refused.returncode == 1
    assert "is no folder for a copy" in refused.stderr
    assert os.listdir(tmp_path / "elsewhere") == []
    assert machine.file.read_bytes() == machine.content


def test_a_copy_takes_no_name_that_is_there(machine: Machine):
    machine.etl.variables["ETL_CLOCK"] = "2026-03-02T05:00:00"
    folder = machine.etl.home / "archive" / hand_written.FOLDER
    folder.mkdir()
    (folder / "etl_jobs_20260302T050000").write_text("of another day")
    assert machine.adopt().returncode == 0
    assert [path.name for path in machine.copies()] == ["etl_jobs_20260302T050000", "etl_jobs_20260302T050000.2"]
    assert machine.copies()[1].read_bytes() == machine.content


# ---- stopped anywhere --------------------------------------------------------------------------


def job() -> ModuleType:
    specification = importlib.util.spec_from_file_location("adopting", PROJECT / "jobscripts/update_cron_jobs.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


STOPS = [
    (adoption, "apply", "before"), (adoption, "apply", "after"), (cron_file, "render", "after"), (hand_written, "keep", "before"),
    (whole_files.UnnamedFile, "appear", "before"), (whole_files.UnnamedFile, "appear", "after"), (hand_written, "keep", "after"),
    (cron_file, "replace", "before"), (whole_files.UnnamedFile, "replace", "before"), (cron_file, "replace", "after"),
]  # fmt: skip


@pytest.mark.parametrize(("owner", "name", "when"), STOPS, ids=lambda value: getattr(value, "__name__", value))
def test_killed_anywhere_and_called_again_no_line_is_lost_and_none_comes_twice(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, when: str
):
    for variable, value in machine.variables.items():
        monkeypatch.setenv(variable, value)
    before = machine.rows()
    real = getattr(owner, name)

    def killed(*values: object, **more: object) -> None:
        if when == "after":
            real(*values, **more)
        os._exit(9)

    module = job()
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    arguments = parser.parse_args(["--adopt", ""])
    child = os.fork()
    if child == 0:
        setattr(owner, name, killed)
        try:
            module.main(arguments)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9

    is_ours = machine.file.read_text().startswith(cron_file.MARK)
    assert is_ours or machine.file.read_bytes() == machine.content
    if is_ours:
        assert [copy.read_bytes() for copy in machine.copies()] == [machine.content]
    done = machine.adopt()
    assert done.returncode == 0, done.stderr
    assert len(set(machine.rows()) - set(before)) == 3
    assert len(machine.rows()) == len(before) + 2
    assert [copy.read_bytes() for copy in machine.copies()] == [machine.content]
    assert machine.file.read_text().startswith(cron_file.HEADER)


def test_two_at_once_make_each_row_once(machine: Machine):
    with db_config.session(db_config.OWNER_ROLE) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE dba.tscheduler IN SHARE ROW EXCLUSIVE MODE")
        command = ["/bin/bash", str(PROJECT / "jobscripts/run_python_etl_script.sh"), "update_cron_jobs.py", "--adopt"]
        environment = machine.etl.environment(**machine.variables)
        both = [
            subprocess.Popen([*command, *words], env=environment, stderr=subprocess.PIPE)
            for words in ([], [str(machine.file)])
        ]
        connection.rollback()
    for one in both:
        one.communicate(timeout=60)
    assert [row[0] for row in machine.rows()].count("Company lists of the evening") == 1
    assert machine.file.read_text().startswith(cron_file.HEADER)
