"""The scripts that set a machine up, on a machine of its own: in order, twice, and what they refuse."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PROJECT, Installation, home_is, server_home
from needs import AS_ROOT, need_programs, system_postgres
from ssh_server import Machine, running_machine
from test_backups import restore, sql
from test_cron_daemon import make_venv

from systemscripts import embedded_postgres
from systemscripts.cron.cron_file_writer import MARK

pytestmark = pytest.mark.slow

SECRETS = "/home/{}/.config/client_etl_workflow/secrets.env".format("etl_user")
LIB = "/usr/local/lib/client_etl_workflow"
VERSION = (system_postgres() or Path("15/bin")).parent.name


def test_every_script_answers_a_person_as_it_should():
    need_programs("bats")
    result = subprocess.run(
        ["bats", str(PROJECT / "tests/scripts.bats")], capture_output=True, text=True, check=False, timeout=90
    )
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a server of PostgreSQL that nobody set up, without any user for jobs."""
    need_programs("pg_createcluster", "setfacl", "sshd", "sftp", "visudo")
    with running_machine(tmp_path_factory.mktemp("machine"), job_user="root", more_places="/home /var") as made:
        fresh = (
            "rm -rf /etc/postgresql/* /var/lib/postgresql/* && install -d -o postgres /run/postgresql /var/lib/postgresql && "
            # Ports are shared with other machines of these tests, sockets are not.
            f"pg_createcluster --port 5432 {VERSION} main >/dev/null && rm -f /etc/cron.d/etl_jobs && "
            f"echo listen_addresses = \"''\" >>/etc/postgresql/{VERSION}/main/postgresql.conf"
        )
        assert made.root("/bin/bash", "-c", fresh).returncode == 0
        yield made


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A clone as its owner has it, in a directory that is closed to others.

    It is none of pytest's own: whenever another one starts, it closes those again that the set-up has opened.
    """
    folder = Path(tempfile.mkdtemp(prefix="etl_home_")) / "client_etl_workflow"
    for room in ("jobscripts", "systemscripts", "onboarding"):
        shutil.copytree(PROJECT / room, folder / room)
    for name in ("env.sh", "pyproject.toml", "requirements.txt"):
        shutil.copy(PROJECT / name, folder)
    (folder / "logs").mkdir()
    (folder / "logs" / "of_the_demonstration.txt").write_text("x")
    (folder / "logs" / "way_out").symlink_to("/etc/hostname")
    make_venv(folder)
    # What make_venv.sh leaves when everything is installed.
    stamp = "sha256sum -- requirements.txt pyproject.toml | sha256sum | cut -d' ' -f1"
    printed = subprocess.run(["bash", "-c", stamp], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / "venv" / ".installed").write_text(printed.strip())
    yield folder
    subprocess.run([*AS_ROOT, "rm", "-rf", str(folder.parent)], check=True)


def run(machine: Machine, checkout: Path, script: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a script of the set-up as root; return its status and what it printed."""
    result = machine.root("/bin/bash", str(checkout / "onboarding/sh" / script), *arguments, **variables)
    return result.returncode, result.stdout + result.stderr


def as_etl_user(machine: Machine, checkout: Path, *job: str) -> "subprocess.CompletedProcess[str]":
    door = str(checkout / "jobscripts/run_python_etl_script.sh")
    return machine.root("runuser", "-u", "etl_user", "--", "env", "HOME=/home/etl_user", "/bin/bash", door, *job)


def state(machine: Machine, checkout: Path) -> str:
    """Return the names, owners, modes and contents of what the scripts may change."""
    places = f"/etc/passwd /etc/group /etc/postgresql /etc/sudoers.d /home/etl_user {checkout}"
    find = f"find {places} -not -path '*/venv/*' -not -name '*.pyc' -not -name __pycache__"
    script = f"{find} -printf '%p %u %g %m %l\\n' | sort; {find} -type f -print0 | sort -z | xargs -0 sha256sum"
    return machine.root("/bin/bash", "-c", script).stdout


class SetUp(NamedTuple):
    """What the scripts printed, and what the machine was after each round of them."""

    states: list[str]
    printed: dict[str, list[str]]


SCRIPTS = ("configure_etl_user.sh", "install_dependencies.sh", "sql_setupscripts.sh")


@pytest.fixture(scope="module")
def done(machine: Machine, checkout: Path) -> SetUp:
    """The three scripts in order: in a dry run, for real, and for real once more; a database is made but once."""
    done = SetUp([state(machine, checkout)], {script: [] for script in SCRIPTS})
    for scripts, options in ((SCRIPTS, ["--dry-run"]), (SCRIPTS, []), (SCRIPTS[:2], [])):
        for script in scripts:
            status, told = run(machine, checkout, script, *options)
            assert status == 0, told
            done.printed[script].append(told)
        done.states.append(state(machine, checkout))
    return done


def test_the_second_script_wants_the_first(machine: Machine, checkout: Path):
    assert run(machine, checkout, "install_dependencies.sh", ETL_CRON_USER="nobody_yet") == (
        1, "install_dependencies.sh: there is no user nobody_yet yet; type: sudo bash onboarding/sh/configure_etl_user.sh\n",
    )  # fmt: skip


def test_a_dry_run_changes_nothing_and_nor_does_a_second_run(done: SetUp):
    before, after_dry_run, once, twice = done.states

    assert after_dry_run == before
    assert once != before
    assert twice == once
    for script in ("configure_etl_user.sh", "install_dependencies.sh"):
        dry, _first, second = done.printed[script]
        assert "would " in dry
        assert "all of it was there already; nothing was changed" in second


@pytest.mark.usefixtures("done")
def test_the_jobs_run_then_and_root_writes_their_cron_file(machine: Machine, checkout: Path):
    result = as_etl_user(machine, checkout, "jobs.py", "list")
    assert result.returncode == 0, result.stderr
    assert_root_writes_the_cron_file(machine, checkout)


@pytest.mark.usefixtures("done")
def test_an_older_server_s_backup_restores_there_and_in_the_newest(
    machine: Machine, checkout: Path, tmp_path: Path
) -> None:
    given = (
        "CREATE TABLE public.tprice (a text); ALTER TABLE public.tprice OWNER TO etl_user; "
        "INSERT INTO public.tprice VALUES ('SET transaction_timeout = 0;'); CREATE ROLE older_role IN ROLE etl_backup"
    )
    psql = ["runuser", "-u", "postgres", "--", "psql", "--cluster", f"{VERSION}/main", "-q", "-d", "feeds"]
    assert machine.root(*psql, "-c", given).returncode == 0
    for job in ("daily_backup.sh", "restore_drill.sh"):
        result = as_etl_user(machine, checkout, job)
        assert result.returncode == 0, result.stderr

    taken = f"cp -r {checkout}/backups/2* {tmp_path}/backup && chown -R {os.geteuid()} {tmp_path}/backup"
    assert machine.root("/bin/bash", "-c", taken).returncode == 0
    newest = Installation(tmp_path, {"ETL_HOME": str(server_home(f"newest_{os.getpid()}"))})
    try:
        result = restore(newest, str(tmp_path / "backup"))
        assert result.returncode == 0, result.stderr
        assert re.search("feeds: restored,.* equal", result.stdout)
        assert sql(newest, "SELECT pg_has_role('older_role', 'etl_backup', 'MEMBER')") == "t"
    finally:
        with home_is(Path(newest.variables["ETL_HOME"])):
            embedded_postgres.stop()


def assert_root_writes_the_cron_file(machine: Machine, checkout: Path) -> None:
    machine.root("rm", "-f", "/etc/cron.d/etl_jobs")
    written = machine.root("/bin/bash", str(checkout / "jobscripts/run_python_etl_script.sh"), "update_cron_jobs.py")
    assert written.returncode == 0, written.stderr
    assert mode(machine, "/etc/cron.d/etl_jobs") == "root:root 644"
    # Written by the jobs' user, whose only right it is.
    assert mode(machine, checkout / f"logs/update_cron_jobs_{time.strftime('%Y%m%d')}.txt") == "etl_user:etl_group 660"


@pytest.mark.usefixtures("done")
def test_what_root_starts_writes_through_no_link_of_the_jobs_user(machine: Machine, checkout: Path):
    log = checkout / f"logs/update_cron_jobs_{time.strftime('%Y%m%d')}.txt"
    machine.root("/bin/bash", "-c", f"echo precious >/etc/precious; rm -f '{log}'")
    machine.root("runuser", "-u", "etl_user", "--", "ln", "-s", "/etc/precious", str(log))
    try:
        result = machine.root("/bin/bash", str(checkout / "jobscripts/run_python_etl_script.sh"), "update_cron_jobs.py")
        assert result.returncode == 0, result.stderr
        assert machine.root("cat", "/etc/precious").stdout == "precious\n"
    finally:
        machine.root("rm", "-f", str(log))


NOT_OURS = [
    "* * * * * root id", "@daily root id", r"* * * * *\tetl_user id", "PATH=/tmp", "'A' = b", "* * * * etl_user root id",
    r"* * * * * etl_user id\r", "* * * * * etl_user",
]  # fmt: skip


@pytest.mark.usefixtures("done")
def test_root_s_part_writes_no_line_that_runs_as_somebody_else(machine: Machine):
    as_user = ["runuser", "-u", "etl_user", "--", "bash", "-c", 'printf "%b" "$1" | sudo -n -- "$2"', "-"]
    good = machine.root(*as_user, f"{MARK}\\n@daily etl_user true\\n", f"{LIB}/write_cron_file")
    assert good.returncode == 0, good.stderr
    for line in NOT_OURS:
        bad = machine.root(*as_user, f"{MARK}\\n{line}\\n", f"{LIB}/write_cron_file")
        assert (bad.returncode, "line 2" in bad.stderr) == (1, True), line
    assert machine.root("cat", "/etc/cron.d/etl_jobs").stdout == f"{MARK}\n@daily etl_user true\n"


@pytest.mark.usefixtures("done")
def test_root_s_part_replaces_no_file_that_an_administrator_wrote(machine: Machine, checkout: Path):
    own = "0 6 * * * root /usr/local/bin/own\n"
    machine.root("/bin/bash", "-c", f"printf '{own}' >/etc/cron.d/etl_jobs")
    try:
        door = str(checkout / "jobscripts/run_python_etl_script.sh")
        refused = machine.root("/bin/bash", door, "update_cron_jobs.py")
        assert refused.returncode == 1
        assert "/etc/cron.d/etl_jobs was not written by update_cron_jobs.py" in refused.stderr
        assert refused.stderr.rstrip().endswith("etl cron adopt")
        as_user = ["runuser", "-u", "etl_user", "--", "bash", "-c", 'printf "%b" "$1" | sudo -n -- "$2"', "-"]
        by_hand = machine.root(*as_user, f"{MARK}\\n", f"{LIB}/write_cron_file")
        assert by_hand.returncode == 1
        assert "/etc/cron.d/etl_jobs was not written: it was written by somebody else" in by_hand.stderr
        without_mark = machine.root(*as_user, "# mine\\n", f"{LIB}/write_cron_file")
        assert "does not begin with" in without_mark.stderr
        assert machine.root("cat", "/etc/cron.d/etl_jobs").stdout == own
    finally:
        machine.root("rm", "-f", "/etc/cron.d/etl_jobs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root is let through everywhere")
@pytest.mark.usefixtures("done")
def test_who_looks_after_the_jobs_adopts_a_hand_written_file_and_root_switches_it_off(machine: Machine, checkout: Path):
    target = "/etc/cron.d/etl_jobs"
    line = f"12 12 * * * etl_user cd {checkout}/jobscripts && ./run_python_etl_script.sh run_import_job.py 1"
    machine.root("/bin/bash", "-c", f"echo '{line}' >{target}")
    door = ["/bin/bash", str(checkout / "jobscripts/run_python_etl_script.sh"), "update_cron_jobs.py"]
    # For root the door is the jobs' user, who may not change the configuration.
    refused = machine.root(*door, "--adopt")
    assert refused.returncode == 1, refused.stderr
    assert "call this without sudo, as a member of etl_group" in refused.stderr

    adopted = machine.root("runuser", "-u", checkout.owner(), "--", *door, "--adopt")

    assert adopted.returncode == 0
    assert "error" not in adopted.stderr
    assert f"one step is left, and only root may take it: {target} is in force until you type: " in adopted.stderr
    command = adopted.stderr.strip().rpartition(" you type: ")[2]
    assert machine.root("cat", target).stdout == f"{line}\n"
    done = machine.root("/bin/bash", "-c", command)
    assert done.returncode == 0, done.stderr
    assert machine.root("cat", target).stdout.startswith(MARK)
    assert "run_import_job.py 1 " in machine.root("cat", target).stdout
    copies = machine.root("/bin/bash", "-c", f"cat {checkout}/archive/former_cron_files/etl_jobs_*").stdout
    assert copies == f"{line}\n"


def mode(machine: Machine, path: Path | str) -> str:
    return machine.root("stat", "-c", "%U:%G %a", str(path)).stdout.strip()


@pytest.mark.usefixtures("done")
def test_the_user_has_what_it_needs_and_no_more(machine: Machine, checkout: Path):
    owner = checkout.owner()
    for name in ("logs", "archive", "file_watcher", "file_watcher/file_watcher_temp"):
        assert mode(machine, checkout / name) == "etl_user:etl_group 2770"
    assert mode(machine, checkout / "backups") == "etl_user:etl_group 700"
    assert mode(machine, checkout / "logs/of_the_demonstration.txt") == "etl_user:etl_group 660"
    assert mode(machine, "/etc/hostname").startswith("root:root ")
    assert mode(machine, SECRETS) == "etl_user:etl_group 600"
    assert mode(machine, checkout / "site.env").endswith(" 644")
    assert machine.root("id", "-nG", "etl_user").stdout.split() == ["etl_group"]
    assert owner == "root" or "etl_group" in machine.root("id", "-nG", owner).stdout.split()
    assert machine.root("getent", "shadow", "etl_user").stdout.split(":")[1].startswith("!")
    assert machine.root("getent", "passwd", "etl_user").stdout.strip().endswith("/usr/sbin/nologin")
    granted = machine.root("sudo", "-l", "-U", "etl_user").stdout.split("commands on")[1].splitlines()[1:]
    assert [line.strip() for line in granted if line.strip()] == [f'(root) NOPASSWD: {LIB}/write_cron_file ""']
    door = str(checkout / "jobscripts/run_python_etl_script.sh")
    assert machine.root("runuser", "-u", "etl_user", "--", "test", "-w", door).returncode == 1
    # The directories above let this one user through, and nobody look.
    nobody = machine.root("runuser", "-u", "nobody", "--", "test", "-r", door)
    assert nobody.returncode == 1


@pytest.mark.usefixtures("done")
@pytest.mark.skipif(os.geteuid() == 0, reason="root is let in")
def test_only_root_may_be_the_superuser_and_another_is_told_the_command(machine: Machine, checkout: Path):
    command = (str(checkout / "jobscripts/etl"), "sql", "--as", "postgres", "-Atc", "SELECT current_user")

    refused = machine.root("runuser", "-u", checkout.owner(), "--", *command)

    assert refused.returncode == 2
    assert refused.stderr.endswith("only root may be postgres; type the same with sudo: sudo etl sql --as postgres …\n")
    assert machine.root(*command).stdout == "postgres\n"


@pytest.mark.usefixtures("done")
@pytest.mark.skipif(os.geteuid() == 0, reason="root's jobs run as the jobs' user")
def test_what_moves_files_is_for_the_jobs_user_and_another_is_told_the_command(machine: Machine, checkout: Path):
    door = str(checkout / "jobscripts/run_python_etl_script.sh")
    as_owner = ("runuser", "-u", checkout.owner(), "--", "/bin/bash", door)

    refused = machine.root(*as_owner, "run_import_job.py", "MeetMax_Events_XLS_Import")
    assert refused.returncode == 64
    command = "sudo -H -u etl_user etl import MeetMax_Events_XLS_Import"
    assert refused.stderr == f"run_python_etl_script.sh: this is for the jobs' user; type: {command}\n"
    assert mode(machine, checkout / "file_watcher/.taken") == ""
    assert machine.root(*as_owner, "daily_backup.sh").stderr.endswith("type: sudo -H -u etl_user etl backup\n")
    by_row = machine.root(*as_owner, "jobs.py", "run", "Daily Database Backup")
    assert by_row.stderr.endswith("type: sudo -H -u etl_user etl backup\n")

    # Only the jobs' user may read the settings of the mail server.
    assert machine.root(*as_owner, "send_reports.py", "1").stderr.endswith("sudo -H -u etl_user etl report 1\n")

    preview = ["send_reports.py", "2", "--preview", str(checkout / "logs/preview.html")]
    for looks in (preview, ["jobs.py", "list"], ["run_import_job.py", "1", "--dry-run"]):
        assert machine.root(*as_owner, *looks).returncode == 0, looks
    lines = machine.root(*as_owner, "doctor.py").stdout.splitlines()
    assert f"user: this is {checkout.owner()}, but the jobs run as etl_user" in lines[0]
    assert lines[1].strip() == "sudo -H -u etl_user etl doctor"
    assert as_etl_user(machine, checkout, "run_import_job.py", "1").returncode == 0


OLD_SUDO = """\
# What the older system wrote.
Defaults:bob !requiretty
etl_user ALL=(ALL) NOPASSWD: /opt/old/venv/bin/python, \\
  /bin/bash, /bin/chown
bob ALL=(root) /usr/bin/id
%etl_group ALL=(ALL) NOPASSWD: /bin/chmod
"""


@pytest.fixture
def old_sudo(machine: Machine, done: SetUp) -> Iterator[str]:
    """A file of rules that lets each job be root, as an older set-up left it."""
    file = "/etc/sudoers.d/etl_user"
    put(machine, file, OLD_SUDO)
    yield file
    machine.root("/bin/bash", "-c", f"rm -rf {file} /var/backups/client_etl_workflow")


def put(machine: Machine, file: str, text: str) -> None:
    machine.root("/bin/bash", "-c", 'printf %s "$1" >"$2" && chmod 440 "$2"', "-", text, file)


def test_a_rule_by_which_each_job_is_root_is_named_and_stops_the_set_up(
    machine: Machine, checkout: Path, old_sudo: str
):
    before = state(machine, checkout)

    status, told = run(machine, checkout, "configure_etl_user.sh")
    assert status == 1
    assert (
        f"by line 3 of {old_sudo}: etl_user ALL=(ALL) NOPASSWD: /opt/old/venv/bin/python, /bin/bash, /bin/chown; "
        in told
    )
    assert told.rstrip().endswith("type: sudo bash onboarding/sh/configure_etl_user.sh --remove-old-sudo")
    status, told = run(machine, checkout, "configure_etl_user.sh", "--dry-run")
    assert status == 0
    assert f"would ask, and with yes remove line 3 of {old_sudo}: etl_user ALL=" in told
    assert f"would ask, and with yes remove line 6 of {old_sudo}: %etl_group ALL=" in told
    assert state(machine, checkout) == before
    doctor = as_etl_user(machine, checkout, "doctor.py")
    assert "/bin/chown" in next(line for line in doctor.stdout.splitlines() if "so each job, may do more" in line)


def test_only_the_lines_of_the_jobs_user_are_removed_and_the_file_is_kept(
    machine: Machine, checkout: Path, old_sudo: str
):
    status, told = run(machine, checkout, "configure_etl_user.sh", "--remove-old-sudo")

    assert status == 0, told
    left = "# What the older system wrote.\nDefaults:bob !requiretty\nbob ALL=(root) /usr/bin/id\n"
    assert machine.root("cat", old_sudo).stdout == left
    assert mode(machine, old_sudo) == "root:root 440"
    assert machine.root("visudo", "-c").returncode == 0
    kept = machine.root("/bin/bash", "-c", "cat /var/backups/client_etl_workflow/etl_user.*").stdout
    assert OLD_SUDO in kept
    assert mode(machine, "/var/backups/client_etl_workflow") == "root:root 700"
    granted = machine.root("sudo", "-l", "-U", "etl_user").stdout.split("commands on")[1].splitlines()[1:]
    assert [line.strip() for line in granted if line.strip()] == [f'(root) NOPASSWD: {LIB}/write_cron_file ""']
    assert "nothing was changed" in run(machine, checkout, "configure_etl_user.sh")[1]
    doctor = as_etl_user(machine, checkout, "doctor.py")
    assert "may do more" not in doctor.stdout
    assert "user: " not in doctor.stdout


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_at_a_terminal_it_asks_before_it_removes(
    machine: Machine, checkout: Path, old_sudo: str, answer: str, status: int
):
    terminal, end = os.openpty()
    command = machine.enter("/bin/bash", str(checkout / "onboarding/sh/configure_etl_user.sh"))
    asked = subprocess.Popen(command, stdin=end, stdout=end, stderr=end)
    os.close(end)
    os.write(terminal, answer.encode() * 2)
    printed = b""
    with contextlib.suppress(OSError):  # the end of the terminal
        while data := os.read(terminal, 10_000):
            printed += data
    os.close(terminal)
    assert asked.wait(60) == status, printed
    assert b"Remove this line? [y/N]" in printed
    assert ("/bin/bash" in machine.root("cat", old_sudo).stdout) == (status == 1)


FOR_OTHERS_TOO = {
    "etl_user, bob ALL=(ALL) /bin/bash": "by a rule that is for others too, line 1 of",
    "User_Alias OURS = bob, etl_user\nOURS ALL=(ALL) /bin/bash": "by a rule that is for others too, line 2 of",
    "%games ALL=(ALL) /bin/bash": "by a rule that is for others too, line 1 of",
}


def test_a_rule_for_others_too_is_left_to_the_administrator(machine: Machine, checkout: Path, old_sudo: str):
    machine.root("usermod", "-aG", "games", "etl_user")
    try:
        for rule, told in FOR_OTHERS_TOO.items():
            put(machine, old_sudo, f"{rule}\n")
            status, printed = run(machine, checkout, "configure_etl_user.sh", "--remove-old-sudo")
            assert (status, told in printed) == (1, True), printed
            assert "sudo visudo -f /etc/sudoers.d/etl_user" in printed
            assert machine.root("cat", old_sudo).stdout == f"{rule}\n"
        assert run(machine, checkout, "configure_etl_user.sh", "--dry-run")[0] == 0
    finally:
        machine.root("gpasswd", "--delete", "etl_user", "games")


def test_rules_for_all_and_for_clients_of_sftp_do_not_stop_it(machine: Machine, checkout: Path, old_sudo: str):
    client = f"etl_user ALL=(sftp_acme) NOPASSWD: {LIB}/sftp_release /srv/sftp/sftp_acme/incoming\n"
    put(machine, old_sudo, f"ALL ALL=NOPASSWD: /usr/bin/mint-refresh-cache\n{client}bob ALL=(ALL) ALL\n")
    status, printed = run(machine, checkout, "configure_etl_user.sh")
    assert status == 0, printed
    assert "everybody on this machine" in printed
    put(machine, old_sudo, client.replace("(sftp_acme)", "(root)"))
    assert run(machine, checkout, "configure_etl_user.sh")[0] == 1


def test_rules_that_sudo_would_not_accept_afterwards_are_put_back(machine: Machine, checkout: Path, old_sudo: str):
    broken = "etl_user ALL=(ALL) /bin/bash\nbob ALL=\n"
    put(machine, old_sudo, broken)
    status, printed = run(machine, checkout, "configure_etl_user.sh", "--remove-old-sudo")
    assert status == 1
    assert "is as it was" in printed
    assert machine.root("cat", old_sudo).stdout == broken


@pytest.mark.usefixtures("done")
def test_the_jobs_user_has_the_short_command_from_anywhere(machine: Machine):
    said = machine.root("sudo", "-H", "-u", "etl_user", "--chdir=/", "etl", "next", "1")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[0].split() == ["when", "id", "name"]


@pytest.mark.parametrize("role", ["postgres", "etl_owner"])
@pytest.mark.usefixtures("done")
def test_the_jobs_cannot_log_in_as_who_may_change_their_configuration(machine: Machine, role: str):
    login = machine.root(
        "runuser",
        "-u",
        "etl_user",
        "--",
        "psql",
        "--cluster",
        f"{VERSION}/main",
        "-U",
        role,
        "-d",
        "feeds",
        "-c",
        "SELECT 1",
    )
    assert login.returncode == 2
    assert "Peer authentication failed" in login.stderr


@pytest.mark.usefixtures("done")
def test_what_was_spoilt_is_put_right(machine: Machine, checkout: Path):
    """A checkout that others can write, a file of secrets that is root's, a server's half of our rules, an odd site.env."""
    machine.root(
        "/bin/bash",
        "-c",
        f"chmod 666 '{checkout}/env.sh'; chgrp etl_group '{checkout}'; chmod g+w '{checkout}'; chown root: {SECRETS}",
    )
    status, told = run(machine, checkout, "configure_etl_user.sh")
    assert status == 0, told
    assert "let nobody else write in" in told
    assert "to etl_user alone" in told
    assert mode(machine, SECRETS) == "etl_user:etl_group 600"
    assert mode(machine, checkout / "env.sh").endswith(" 644")
    assert machine.root("runuser", "-u", "etl_user", "--", "test", "-w", str(checkout)).returncode == 1

    site = checkout / "site.env"
    was = machine.root("cat", str(site)).stdout
    machine.root("/bin/bash", "-c", f"printf 'ETL_REQUEST_INTERVAL=7' >'{site}'")
    port = dict(line.split("=") for line in was.split()).get("PGPORT", "5432")
    status, told = run(machine, checkout, "install_dependencies.sh", PGPORT=port)
    assert status == 0, told
    noted = machine.root("cat", str(site)).stdout.splitlines()
    assert {"ETL_REQUEST_INTERVAL=7", "PGHOST=/var/run/postgresql", f"PGPORT={port}", "PGDATABASE=feeds"} == set(noted)
    elsewhere = run(machine, checkout, "install_dependencies.sh", PGHOST="db.example.com")
    assert elsewhere[0] == 64
    assert "change it there, and run this again" in elsewhere[1]

    hba = f"/etc/postgresql/{VERSION}/main/pg_hba.conf"
    machine.root("/bin/bash", "-c", f"cp -p {hba} /run/hba; sed -i '/^# END/d' {hba}")
    lost = run(machine, checkout, "install_dependencies.sh")
    assert lost[0] == 1
    assert "has only one of the lines" in lost[1]
    assert machine.root("bash", "-c", f"grep -v '^# END' /run/hba | cmp - {hba}").returncode == 0
    machine.root("cp", "-p", "/run/hba", hba)


@pytest.mark.usefixtures("done")
def test_a_second_administrator_is_let_in_and_stays(machine: Machine, checkout: Path):
    machine.root("useradd", "--create-home", "bob")
    assert run(machine, checkout, "configure_etl_user.sh", SUDO_USER="bob")[0] == 0
    assert run(machine, checkout, "install_dependencies.sh", SUDO_USER="bob")[0] == 0
    again = run(machine, checkout, "install_dependencies.sh")

    assert "nothing was changed" in again[1]
    assert '"bob"  etl_owner' in machine.root("cat", f"/etc/postgresql/{VERSION}/main/pg_ident.conf").stdout


@pytest.mark.usefixtures("done")
def test_a_log_in_that_postgresql_does_not_understand_is_taken_back(machine: Machine, checkout: Path):
    ident = f"/etc/postgresql/{VERSION}/main/pg_ident.conf"
    spoil = f"sed -i '/etl_backup/d' {ident}; echo half_a_line >>{ident}"
    machine.root("/bin/bash", "-c", spoil)
    before = machine.root("cat", ident).stdout

    status, told = run(machine, checkout, "install_dependencies.sh")

    assert status == 1
    assert "PostgreSQL does not accept the rules" in told
    assert "are as they were" in told
    assert machine.root("cat", ident).stdout == before


NOT_TO_GIVE = [
    ("ETL_LOGS_DIR", "/var/log", "/var/log belongs to root, and is left alone"),
    ("ETL_LOGS_DIR", "CHECKOUT/onboarding", "onboarding lies among the programs"),
    ("ETL_ARCHIVE_DIR", "CHECKOUT/.git", ".git lies among the programs"),
    ("ETL_ARCHIVE_DIR", "/", "'/' cannot be a directory for data"),
    ("ETL_ARCHIVE_DIR", "/srv", "'/srv' cannot be a directory for data"),
    ("ETL_ARCHIVE_DIR", "/srv/etl/../../etc/ssl", "cannot be a directory for data"),
    ("ETL_FILE_WATCHER_DIR", "relative", "'relative' cannot be a directory for data"),
    ("ETL_CRON_USER", "root", "ETL_CRON_USER is 'root'"),
    ("ETL_CRON_USER", "a b;id", "ETL_CRON_USER is 'a b;id'"),
]


def test_what_is_the_system_s_is_not_given_away(machine: Machine, checkout: Path):
    before = state(machine, checkout)

    for name, value, told in NOT_TO_GIVE:
        given = {name: value.replace("CHECKOUT", str(checkout))}
        status, printed = run(machine, checkout, "configure_etl_user.sh", **given)
        assert (status in (1, 64), told in printed) == (True, True), printed

    assert state(machine, checkout) == before


@pytest.fixture
def older_root(machine: Machine) -> Iterator[str]:
    """The directory of an older installation, of somebody who ran the jobs as himself."""
    root = "/srv/older installation"
    make = (
        "useradd --create-home --uid 7001 carl; "
        f"install -d -o carl '{root}'/file_watcher/prices '{root}'/archive '{root}'/jobscripts && "
        f"touch '{root}'/file_watcher/prices/a.csv '{root}'/archive/old.csv '{root}'/jobscripts/own.py && "
        f"chown -R -h carl: '{root}' && chown root '{root}' && ln -s /etc/hostname '{root}'/archive/way_out"
    )
    assert machine.root("/bin/bash", "-c", make).returncode == 0
    yield root
    machine.root("/bin/bash", "-c", f"rm -rf '{root}'; userdel --remove carl")


@pytest.mark.usefixtures("done")
def test_the_directories_of_an_older_installation_are_given_to_the_jobs_when_a_person_says_so(
    machine: Machine, checkout: Path, older_root: str
):
    before = state(machine, checkout)
    listing = f"cd '{older_root}' && find . -printf '%p %u %m\n' | sort"
    found = machine.root("/bin/bash", "-c", listing).stdout

    status, told = run(machine, checkout, "configure_etl_user.sh", ETL_HOME=older_root)
    assert status == 1
    assert f"{older_root}/archive belongs to carl and is not empty" in told
    assert told.rstrip().split("; ")[-2].endswith("configure_etl_user.sh --give-directories")
    status, told = run(machine, checkout, "configure_etl_user.sh", "--dry-run", ETL_HOME=older_root)
    assert status == 0
    assert f"would ask: {older_root}/archive belongs to carl and is not empty" in told
    assert (state(machine, checkout), machine.root("/bin/bash", "-c", listing).stdout) == (before, found)

    for _ in ("once", "again"):
        status, told = run(machine, checkout, "configure_etl_user.sh", "--give-directories", ETL_HOME=older_root)
        assert status == 0, told
    assert "nothing was changed" in told
    steps = told.partition("What to do next\n")[2].splitlines()
    assert [" ".join(step.split()[-2:]) for step in steps] == [f"sudoedit {SECRETS}", "etl doctor"]
    assert mode(machine, older_root) == "root:carl 755"
    assert mode(machine, Path(older_root) / "jobscripts/own.py") == "carl:carl 644"
    assert mode(machine, Path(older_root) / "file_watcher/prices/a.csv") == "etl_user:etl_group 660"
    assert mode(machine, "/etc/hostname").startswith("root:root")
    written = f"touch '{older_root}/archive/new' '{older_root}/logs/new' '{older_root}/file_watcher/prices/new'"
    assert machine.root("runuser", "-u", "etl_user", "--", "/bin/bash", "-c", written).returncode == 0


@pytest.mark.usefixtures("done")
def test_the_folder_of_files_being_loaded_stays_the_jobs_users_alone(machine: Machine, checkout: Path):
    folder, private = checkout / "file_watcher/.taken", ("etl_user:etl_group 700", "etl_user:etl_group 2700")
    made = f"install -d -m 700 -o etl_user -g etl_group '{folder}' && touch '{folder.parent}/put_there_by_hand.csv'"
    assert machine.root("/bin/bash", "-c", made).returncode == 0
    assert run(machine, checkout, "configure_etl_user.sh")[0] == 0
    assert mode(machine, folder.parent / "put_there_by_hand.csv") == "etl_user:etl_group 660"
    assert mode(machine, folder) in private

    machine.root("/bin/bash", "-c", f"chmod 2770 '{folder}'")  # as an earlier call has left it
    assert run(machine, checkout, "configure_etl_user.sh")[0] == 0
    assert mode(machine, folder) in private
    assert "nothing was changed" in run(machine, checkout, "configure_etl_user.sh")[1]
    machine.root("/bin/bash", "-c", f"rm -rf '{folder}' '{folder.parent}/put_there_by_hand.csv'")


@pytest.mark.usefixtures("done")
def test_somebody_else_s_root_is_no_place_for_the_jobs(machine: Machine, checkout: Path, older_root: str):
    machine.root("chown", "carl", older_root)

    status, told = run(machine, checkout, "configure_etl_user.sh", "--give-directories", ETL_HOME=older_root)

    assert status == 1
    assert f"{older_root} belongs to carl, who could replace the directories of the jobs in it" in told


def test_a_link_in_place_of_a_directory_is_not_followed(machine: Machine, checkout: Path):
    machine.root("ln", "-s", "/etc/ssl", "/srv/linked")

    status, told = run(machine, checkout, "configure_etl_user.sh", ETL_LOGS_DIR="/srv/linked")

    assert status == 1
    assert "/srv/linked is a link" in told


def test_a_checkout_of_the_jobs_own_user_is_refused(machine: Machine, checkout: Path):
    status, told = run(machine, checkout, "configure_etl_user.sh", ETL_CRON_USER=checkout.owner())

    assert status in (1, 64)
    assert "a job could change what root runs" in told or os.geteuid() == 0


def test_a_machine_that_may_not_sleep_and_may_again(machine: Machine, checkout: Path):
    need_programs("systemctl")
    files = "find /etc/systemd -printf '%p %l\\n' | sort"
    before = machine.root("/bin/bash", "-c", files).stdout

    assert run(machine, checkout, "disable_power_saving.sh", "--dry-run")[0] == 0
    assert machine.root("/bin/bash", "-c", files).stdout == before
    status, told = run(machine, checkout, "disable_power_saving.sh")
    assert status == 0, told
    assert machine.root("readlink", "/etc/systemd/system/suspend.target").stdout == "/dev/null\n"
    assert "nothing was changed" in run(machine, checkout, "disable_power_saving.sh")[1]
    assert run(machine, checkout, "disable_power_saving.sh", "--undo")[0] == 0
    assert machine.root("/bin/bash", "-c", files + " | grep -v logind.conf.d").stdout == before
