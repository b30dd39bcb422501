"""Debian's own cron, on a machine's worth of namespaces: it runs what the tables say, as the user they say, from its empty environment."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from conftest import PROJECT, Installation, clean_environment, server_home
from needs import missing, need_programs, need_root, not_as_root

from systemscripts import embedded_postgres

pytestmark = pytest.mark.slow

# What the daemon sees of /etc and /var is the test's own; with the end of its input all of it ends.
DAEMON = """
set -e
mount --bind "$1" /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs none /var/spool/cron
mount -t tmpfs none /run
/usr/sbin/cron -f &
read -r _ || true
"""
TELL = '''
"""Tell where one is."""
import argparse
import getpass
import json
import os
import sys

from systemscripts.job_runner import run_job


def add_arguments(parser):
    parser.add_argument("words", nargs="*")


def main(args):
    print(json.dumps({"user": getpass.getuser(), "words": args.words, "names": sorted(os.environ)}))
    return STATUS


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
'''
HOSTILE = "50% $(touch /tmp/etl_owned) `id` ; 'x"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """A checkout on the embedded server, as an ordinary user has it after the set-up."""
    if os.geteuid() == 0:
        not_as_root("cron runs jobs for an ordinary user, who owns the embedded server")
    need_programs("cron", "sudo")
    need_root()
    if subprocess.run(
        ["sudo", "-n", "unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    ).returncode:
        missing("cron is started in namespaces of its own", "namespaces")
    checkout = server_home("cron")
    for room in ("jobscripts", "systemscripts", "onboarding"):
        shutil.copytree(PROJECT / room, checkout / room)
    shutil.copy(PROJECT / "env.sh", checkout)
    make_venv(checkout)
    (checkout / "cron.d").mkdir(mode=0o755)
    setup = ["/bin/bash", str(checkout / "onboarding/sh/sql_setupscripts.sh")]
    subprocess.run(setup, env={"PATH": "/usr/bin:/bin"}, cwd="/", check=True, capture_output=True)
    monkeypatch.setenv("ETL_HOME", str(checkout))
    variables = {"PGHOST": str(embedded_postgres.socket_dir()), "PGDATABASE": "feeds"}
    yield Installation(checkout, variables, checkout)
    embedded_postgres.stop()
    subprocess.run(["sudo", "-n", "rm", "-rf", str(checkout)], check=True)


def make_venv(checkout: Path) -> None:
    """Give the checkout a venv of its own, with its own code and the packages of the one that runs the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / "venv")], check=True)
    (packages,) = (checkout / "venv/lib").glob("python*/site-packages")
    (packages / "etl.pth").write_text(f"{checkout}\n{sysconfig.get_path('purelib')}\n")


def write_cron_file(machine: Installation, *options: str) -> "subprocess.CompletedProcess[str]":
    """Write the cron file as an administrator does, with sudo."""
    settings = {
        "PATH": "/usr/bin:/bin",
        "ETL_CRON_FILE": str(machine.home / "cron.d/etl_jobs"),
        "ETL_CRON_USER": pwd.getpwuid(os.geteuid()).pw_name,
        "ETL_SECRETS_FILE": "/nonexistent",
        "ETL_SITE_FILE": "/nonexistent",
    }
    command = ["sudo", "-n", "env", "-i", *(f"{name}={value}" for name, value in settings.items())]
    command += ["/bin/bash", str(machine.project / "jobscripts/run_python_etl_script.sh"), "update_cron_jobs.py"]
    command += options
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def add_task(machine: Installation, name: str, script: str, arguments: str = "") -> None:
    machine.query(
        "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs) VALUES (%s, '* * * * *', %s, %s)",
        name, script, arguments,
    )  # fmt: skip


@pytest.mark.begins_first
def test_the_daemon_runs_what_the_tables_say_and_a_refused_file_changes_nothing(machine: Installation) -> None:
    for script, status in (("tell.py", 0), ("fails.py", 1)):
        (machine.project / "jobscripts" / script).write_text(TELL.lstrip().replace("STATUS", str(status)))
    machine.query("DELETE FROM dba.tscheduler")
    cron_file = machine.home / "cron.d/etl_jobs"
    adopt_a_hand_written_file(machine, cron_file)
    add_task(machine, "fails", "fails.py")
    written = write_cron_file(machine)
    assert written.returncode == 0, written.stderr
    in_force = cron_file.read_bytes()
    assert (cron_file.stat().st_uid, cron_file.stat().st_mode & 0o777) == (0, 0o644)

    add_task(machine, "no such script", "nothing_here.py")
    refused = write_cron_file(machine)
    assert refused.returncode == 1
    assert "'no such script'" in refused.stderr
    assert "there is no script 'nothing_here.py'" in refused.stderr
    assert cron_file.read_bytes() == in_force
    assert os.listdir(cron_file.parent) == ["etl_jobs"]

    runs = run_daemon_until_both_have_run(machine)

    user = pwd.getpwuid(os.geteuid()).pw_name
    assert {(job, status, code) for job, status, code, *_ in runs} == {
        ("tell.py", "Succeeded", 0),
        ("fails.py", "Failed", 1),
    }
    for _, _, _, late, task, arguments, tail in runs:
        assert late < 30
        assert task is not None
        told = tail[tail.index("{") : tail.index("}") + 1]
        assert f'"user": "{user}"' in told
        assert "PGHOST" not in told
        if arguments:
            assert arguments == ["plain", HOSTILE]
    assert not Path("/tmp/etl_owned").exists()
    log = (machine.home / "logs/etl_cron.log").read_text()
    assert log.count('"user": ') >= 2
    assert HOSTILE in log


def adopt_a_hand_written_file(machine: Installation, cron_file: Path) -> None:
    """Make the first row of a line that somebody wrote, as root; the file is refused until then, and kept."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    quoted = HOSTILE.replace("'", "'\\''").replace("%", "\\%")
    call = f"cd {machine.project}/jobscripts && ./run_python_etl_script.sh tell.py plain '{quoted}'"
    by_hand = f"# tells\n* * * * * {user} /bin/true && {call} >> {machine.home}/logs/x.log 2>&1\n"
    cron_file.write_text(by_hand)
    assert "so it is not overwritten" in write_cron_file(machine).stderr
    assert (
        "'/bin/true' is no job"
        in write_cron_file(machine, "--adopt").stderr + write_cron_file(machine, "--adopt").stdout
    )
    cron_file.write_text(by_hand := by_hand.replace("/bin/true && ", ""))
    adopted = write_cron_file(machine, "--adopt")
    assert adopted.returncode == 0, adopted.stderr
    (copy,) = (machine.home / "archive/former_cron_files").iterdir()
    assert copy.read_text() == by_hand


def run_daemon_until_both_have_run(machine: Installation) -> list[tuple]:
    """Let a daemon see the cron file for the minute it takes, and return the finished runs that it started."""
    command = ["sudo", "-n", "unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/bash", "-c", DAEMON, "cron"]
    daemon = subprocess.Popen([*command, str(machine.home / "cron.d")], env=clean_environment(), stdin=subprocess.PIPE)
    deadline = time.monotonic() + 130
    try:
        while True:
            assert daemon.poll() is None
            assert time.monotonic() < deadline, "cron started nothing within two minutes"
            with_psycopg = psycopg2.connect(host=machine.variables["PGHOST"], dbname="feeds", user="postgres")
            with with_psycopg, with_psycopg.cursor() as cursor:
                cursor.execute(
                    "SELECT job, status, exit_code, extract(epoch FROM started_at - scheduled_at), schedulerid, arguments, output_tail"
                    " FROM dba.tjobrun WHERE scheduled_at IS NOT NULL AND ended_at IS NOT NULL"
                )
                runs = cursor.fetchall()
            with_psycopg.close()
            if len({job for job, *_ in runs}) == 2:
                return runs
            time.sleep(1)
    finally:
        daemon.communicate(timeout=30)
