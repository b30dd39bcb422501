"""Two machines with one schedule, for the nights of the clock change, while they are killed and cut off.

    sudo venv/bin/python tests/two_boxes_trial.py --user NAME
    sudo venv/bin/python tests/two_boxes_trial.py --user NAME --slots 60 --files 30     a short one
    sudo venv/bin/python tests/two_boxes_trial.py --user NAME --airflow VENV            one by cron, one by Airflow

Each machine is a set of namespaces (network, host name, processes, mounts) with a clock that is 10 seconds early or late, a
folder of its own in the place of ETL_HOME, and a folder that both share. They reach PostgreSQL by TLS over a bridge. The lines
of the cron file are started as cron would, in cron's environment, and by ETL_CLOCK they see the night; it goes by faster. (The
library faketime cannot be used: under it Python's sleep and wait fail or never end.) A machine is killed with all its
processes, loses its power (nobody hears of it), or is cut off; or it is killed when the mail server has a report's text and has not
answered, and a person starts the report on the other. In the end: no slot ran twice, none was left out that a machine could have
run, no row ran while it still ran, each file is loaded once and whole, no report went twice.

What waits for a minute or more of real time waits for seconds here: see SHORTER. Needs root and PostgreSQL's programs.
"""

import argparse
import asyncio
import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import pwd
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg2
import trustme
from aiosmtpd.smtp import SMTP, Envelope, Session
from smtp_server import MailServer, mail_server

from systemscripts.cron.expression import fires

PROJECT = Path(__file__).resolve().parent.parent
ZURICH = ZoneInfo("Europe/Zurich")
NIGHTS = (date(2026, 3, 29), date(2026, 10, 25))
BRIDGE, HERE, SUBNET = "etl2boxes", "10.77.0.1", "10.77.0.0/24"
BOXES = {"box-a": ("10.77.0.11", -10), "box-b": ("10.77.0.12", +10)}  # and by how many seconds its clock is wrong
# A night goes by so much faster.
SPEED = 60
LINES = 300  # of each file
READERS = ("a@example.com", "b@example.com")
# In the copy of the code that the machines run: file, what stands there, what stands there for the trial.
SHORTER = (
    ("runs/lost.py", 'LOST_AFTER = "60 seconds"', 'LOST_AFTER = "5 seconds"'),
    ("db_config.py", "CONNECT_TIMEOUT_S = 10", "CONNECT_TIMEOUT_S = 2"),
    ("db_config.py", "IDLE_S, PROBE_S, PROBES = 60, 15, 4", "IDLE_S, PROBE_S, PROBES = 4, 2, 3"),
)
POWER_IS_MISSED_S, CRASH_IS_MISSED_S = 18, 8

TELL = '''
"""Tell in a folder that both machines have that a slot began, and that it ended."""
import argparse
import time
import uuid
from pathlib import Path

from systemscripts import settings
from systemscripts.job_runner import run_job


def add_arguments(parser):
    parser.add_argument("row")
    parser.add_argument("seconds", type=float, nargs="?", default=0.05)


def main(args):
    slot = f"{settings.scheduled_at():%Y%m%dT%H%M%z}"
    told = Path("SHARED", "told", f"{args.row}.{slot}.{uuid.uuid4()}")
    told.with_name(f"{told.name}.begun").touch(exist_ok=False)
    time.sleep(args.seconds)
    told.with_name(f"{told.name}.ended").touch(exist_ok=False)
    return 0


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
'''
# Name, time, script, arguments, host_pattern.
ROWS = (
    ("each minute", "* * * * *", "tell_slot.py", "minute", None),
    ("each other minute", "*/2 * * * *", "tell_slot.py", "second", None),
    ("in the hour that is skipped", "30 2 * * *", "tell_slot.py", "skipped", None),
    ("around the change", "15,45 1,2,3 * * *", "tell_slot.py", "around", None),
    ("by the clock", "*/20 1-3 * * *", "tell_slot.py", "clock", None),
    ("on Sunday", "0 2 * * 0", "tell_slot.py", "sunday", None),
    ("longer than its time", "*/3 * * * *", "tell_slot.py", "long 3", None),
    ("on one only", "7-59/10 * * * *", "tell_slot.py", "one", "box-a"),
    ("sales", "*/5 * * * *", "run_import_job.py", "sales", None),
    ("prices", "2-59/5 * * * *", "run_import_job.py", "prices", None),
)
REPORT_TIME = "*/10 * * * *"

ZONE = """
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
ln -sf /usr/share/zoneinfo/Europe/Zurich /etc/localtime
echo Europe/Zurich >/etc/timezone
"""
AS_USER = 'exec setpriv --reuid="$1" --regid="$2" --init-groups "${@:3}"'
BOOT = f"""
set -e
hostname "$1"
mount -t proc proc /proc
{ZONE}
mount --bind "$3" "$4"
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip link set lo up
ip address add "$2/24" dev eth0
ip link set eth0 up
exec setpriv --reuid="$5" --regid="$6" --init-groups "$7" -c "$8"
"""
# The first process of a machine: it starts what it is told, and says how each ended.
AGENT = """
import json, os, select, sys
running, buffer = {}, b""
print("booted", flush=True)
while True:
    if select.select([0], [], [], 0.05)[0]:
        data = os.read(0, 1 << 16)
        if not data:
            os._exit(0)
        *lines, buffer = (buffer + data).split(b"\\n")
        for line in lines:
            call = json.loads(line)
            pid = os.posix_spawn("/bin/bash", ["bash", "-c", call["command"]], call["environment"], setsid=True,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                              (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)])
            running[pid] = call["number"]
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if not pid:
            break
        if pid in running:
            print(running.pop(pid), os.waitstatus_to_exitcode(status), flush=True)
"""


class SlowMailServer(MailServer):
    """A mail server that thinks about a text that it has taken, so that a machine can die before it hears the answer."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 — aiosmtpd's name
        answer = await super().handle_DATA(server, session, envelope)
        await asyncio.sleep(0.5)
        return answer

    def of_readers(self) -> int:
        """Return how many reports it has taken."""
        return sum(not set(READERS).isdisjoint(taken.recipients) for taken in self.received)


class Start(NamedTuple):
    """What an engine starts at a moment, and for which slot of which row."""

    moment: datetime
    row: str
    command: str
    environment: dict[str, str]


@dataclass
class Door:
    """One start of the door on a machine: from when until when it ran, and how it ended."""

    box: str
    row: str
    moment: datetime
    began: float
    ended: float | None = None
    status: int | None = None


def call(*words: object, **more: Any) -> "subprocess.CompletedProcess[str]":
    result = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **more)
    if result.returncode:
        raise SystemExit(f"{words[0]}: {result.stderr.strip() or result.stdout.strip()}")
    return result


class Box:
    """One machine."""

    def __init__(self, trial: "Trial", name: str) -> None:
        self.trial, self.name = trial, name
        self.address, self.is_wrong_by = BOXES[name]
        self.link = f"etl2{name[-1]}"
        self.doors: dict[int, Door] = {}
        self.troubles: list[tuple[float, float]] = []  # from when until when it was not well
        self.is_up = self.is_linked = False
        self._process: subprocess.Popen[bytes] | None = None
        (trial.folder / name / "logs").mkdir(parents=True)
        for folder in (trial.folder / name, trial.folder / name / "logs"):
            os.chown(folder, *trial.owner)

    def boot(self) -> None:
        trial = self.trial
        user, group = map(str, trial.owner)
        words = [
            self.name,
            self.address,
            str(trial.folder / self.name),
            str(trial.home),
            user,
            group,
            sys.executable,
            AGENT,
        ]
        separate = ["--net", "--uts", "--pid", "--mount", "--propagation", "private", "--fork", "--kill-child"]
        self._process = subprocess.Popen(
            ["unshare", *separate, "bash", "-c", BOOT, "boot", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        entered = Path(f"/proc/{self._process.pid}/ns/net")
        while entered.readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        card = ["address", f"02:00:00:00:00:{self.address[-2:]}"]  # as of one machine, so that others find it at once
        call("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", *card, "netns", self._process.pid)
        call("ip", "link", "set", self.link, "master", BRIDGE, "up")
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"booted\n":
            raise SystemExit(f"{self.name} does not boot")
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        self.is_up = self.is_linked = True
        if self.troubles:
            self.troubles[-1] = (self.troubles[-1][0], time.monotonic())

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            number, status = map(int, line.split())
            door = self.doors[number]
            door.ended, door.status = time.monotonic(), status

    def start(self, what: Start, clock: datetime) -> None:
        number = len(self.doors)
        self.doors[number] = Door(self.name, what.row, what.moment, time.monotonic())
        environment = {
            **what.environment,
            "ETL_CLOCK": clock.isoformat(),
            "PYTHONPATH": str(self.trial.code),
        }
        line = json.dumps({"number": number, "command": what.command, "environment": environment})
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def running(self) -> int:
        since = self.troubles[-1][0] if self.troubles and not self.is_up else 0.0
        return sum(door.ended is None and door.began > since for door in self.doors.values()) if self.is_up else 0

    def was_well(self, door: Door) -> bool:
        """Return whether nothing happened to the machine while a door ran."""
        return door.ended is not None and not any(
            door.began <= end and begin <= door.ended for begin, end in self.troubles
        )

    def cut(self) -> None:
        self.troubles.append((time.monotonic(), float("inf")))
        self.is_linked = False
        call("ip", "link", "set", self.link, "down")

    def join(self) -> None:
        call("ip", "link", "set", self.link, "up")
        self.is_linked = True
        self.troubles[-1] = (self.troubles[-1][0], time.monotonic())

    def kill(self, silently: bool = False) -> None:
        """Kill all processes of the machine; silently, so that no server hears of it."""
        if silently and self.is_linked:
            call("ip", "link", "set", self.link, "down")
        if self.is_linked:
            self.troubles.append((time.monotonic(), float("inf")))
        self.is_up = self.is_linked = False
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for door in self.doors.values():
            if door.ended is None:
                door.ended = time.monotonic()
        subprocess.run(["ip", "link", "del", self.link], capture_output=True, check=False)


@dataclass
class Trial:
    """The servers, the folders and the rows that both machines have."""

    folder: Path
    user: str
    seed: int
    mail: SlowMailServer = field(default_factory=SlowMailServer)
    expected: dict[str, tuple[int, str]] = field(default_factory=dict)  # of each file: rows and a digest of them

    def __post_init__(self) -> None:
        entry = pwd.getpwnam(self.user)
        self.owner = (entry.pw_uid, entry.pw_gid)
        self.users_home = entry.pw_dir
        self.code, self.home, self.shared = (self.folder / name for name in ("checkout", "home", "shared"))
        self.random = random.Random(self.seed)
        self.port = 5477

    # ---- what both have ----------------------------------------------------------------

    def as_user(self, *words: object, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", "HOME": self.users_home, **variables}
        return call(
            "setpriv", f"--reuid={self.owner[0]}", f"--regid={self.owner[1]}", "--init-groups", *words, env=environment
        )

    def copy_code(self) -> None:
        for room in ("jobscripts", "systemscripts", "onboarding"):
            shutil.copytree(PROJECT / room, self.code / room, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "env.sh", self.code)
        (self.code / "jobscripts" / "tell_slot.py").write_text(TELL.replace("SHARED", str(self.shared)))
        for name, usual, shorter in SHORTER:
            file = self.code / "systemscripts" / name
            text = file.read_text()
            if usual not in text:
                raise SystemExit(f"{name} has no {usual!r} any more; correct SHORTER")
            file.write_text(text.replace(usual, shorter))
        for place in (
            self.home,
            self.shared / "told",
            self.shared / "archive",
            self.shared / "sales",
            self.shared / "prices",
        ):
            place.mkdir(parents=True)

    def own_all(self) -> None:
        call("chown", "-R", f"{self.owner[0]}:{self.owner[1]}", self.folder)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        call("ip", "link", "add", BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
        try:
            call("ip", "address", "add", f"{HERE}/24", "dev", BRIDGE)
            call("ip", "link", "set", BRIDGE, "up")
            yield
        finally:
            call("ip", "link", "del", BRIDGE)

    @contextlib.contextmanager
    def database(self, programs: Path) -> Iterator[None]:
        data, authority = self.folder / "pgdata", trustme.CA()
        self.own_all()
        self.as_user(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        certificate = authority.issue_cert(HERE)
        authority.cert_pem.write_to_path(self.folder / "database_authority.pem")
        certificate.private_key_pem.write_to_path(data / "server.key")
        (data / "server.crt").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        (data / "server.key").chmod(0o600)
        with (data / "postgresql.conf").open("a") as stream:
            stream.write(
                f"listen_addresses = '{HERE}'\nport = {self.port}\nunix_socket_directories = '{self.folder}'\nssl = on\n"
                "fsync = off\nmax_connections = 300\nlog_min_messages = fatal\n"
            )
        (data / "pg_hba.conf").write_text(f"local all all trust\nhostssl all all {SUBNET} scram-sha-256\n")
        self.own_all()
        self.as_user(programs / "pg_ctl", "start", "-w", "-D", data, "-l", self.folder / "postgres.log")
        try:
            yield
        finally:
            self.as_user(programs / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(
            psycopg2.connect(host=str(self.folder), port=self.port, dbname="feeds", user="postgres")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    def set_up(self) -> None:
        place = {"PGHOST": str(self.folder), "PGPORT": str(self.port), "PGDATABASE": "feeds", "PGUSER": "postgres"}
        setup = self.code / "onboarding/sh/sql_setupscripts.sh"
        self.as_user("bash", setup, ETL_HOME=str(self.home), ETL_VENV=sys.prefix, PYTHONPATH=str(self.code), **place)
        for role in ("etl_user", "etl_report"):
            self.query(f"ALTER ROLE {role} PASSWORD 'trial'")
        self.query("UPDATE dba.tscheduler SET datastatusid = 2; UPDATE dba.treportmanager SET datastatusid = 2")
        self.query("UPDATE dba.timportconfig SET is_active = B'0'")
        for row in ROWS:
            self.query(
                "INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs, host_pattern) VALUES (%s, %s, %s, %s, %s)",
                *row,
            )
        for name in ("sales", "prices"):
            self.query(
                "INSERT INTO dba.timportconfig (config_name, datasource, datasettype, source_directory, archive_directory,"
                " file_pattern, file_type, metadata_label_source, metadata_label_location, dateconfig, datelocation, dateformat,"
                " delimiter, target_table, importstrategyid) VALUES (%s, 'MeetMax', 'Metadata', %s, %s, %s, 'CSV', 'static', %s,"
                " 'filename', '1', 'yyyyMMdd', '_', %s, 1)",
                name, str(self.shared / name), str(self.shared / "archive"), f"{name}_*.csv", name, f"public.t{name}",
            )  # fmt: skip
        self.query(
            "INSERT INTO dba.treportmanager (reportname, frequency, subjectheader, toheader, emailbodytemplate, emailbodyqueries)"
            " VALUES ('state', %s, 'State {timestamp}', %s, '<p>{{grid1}}</p>', %s)",
            REPORT_TIME, ", ".join(READERS), json.dumps({"grid1": "SELECT 12345 AS n"}),
        )  # fmt: skip
        passwords = self.folder / "pgpass"
        passwords.write_text("*:*:*:*:trial\n")
        passwords.chmod(0o600)
        settings = {
            "PGHOST": HERE, "PGPORT": str(self.port), "PGDATABASE": "feeds", "PGPASSFILE": str(passwords),
            "PGSSLROOTCERT": str(self.folder / "database_authority.pem"), "ETL_HOME": str(self.home), "ETL_VENV": sys.prefix,
            "ETL_SETTLE_SECONDS": "0", "ETL_CRON_USER": self.user, "PYTHONDONTWRITEBYTECODE": "1",
            **{name: value for name, value in self.mail.variables.items() if name.startswith(("SMTP", "SSL", "ETL_EMAIL"))},
            "SMTP_HOST": HERE,
        }  # fmt: skip
        site = self.code / "site.env"
        site.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        site.chmod(0o644)
        self.own_all()

    # ---- what is started when ------------------------------------------------------------

    def cron_lines(self) -> list[tuple[str, str, str]]:
        """Return time, row and command of each line of the cron file, which the job writes."""
        door = self.code / "jobscripts/run_python_etl_script.sh"
        target = self.folder / "cron"
        self.as_user(
            "bash", door, "update_cron_jobs.py", "--target", "cron", "--output", target, PYTHONPATH=str(self.code)
        )
        found = []
        for line in (target / "etl_jobs").read_text().splitlines():
            if line[:1] in ("#", "") or re.match(r"\w+=", line):
                continue
            *time_fields, user, command = line.split(None, 6)
            assert user == self.user
            row = re.search(r"--(task|report) (\d+)", command)
            assert row is not None
            found.append((" ".join(time_fields), " ".join(row.groups()), command.replace("\\%", "%")))
        return found

    def by_cron(self, lines: list[tuple[str, str, str]], begin: datetime, end: datetime) -> list[Start]:
        environment = {"SHELL": "/bin/bash", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        environment |= {"HOME": self.users_home, "LOGNAME": self.user}
        return [
            Start(moment.astimezone(UTC), row, command, environment)
            for frequency, row, command in lines
            for moment in takewhile(lambda moment: moment <= end, fires(frequency, begin, ZURICH))
        ]

    def by_airflow(self, venv: Path, begin: datetime, end: datetime) -> list[Start]:
        """Return what Airflow's own timetable starts, with the command as its template makes it."""
        target, door = self.folder / "dags", self.code / "jobscripts/run_python_etl_script.sh"
        # The zone of the rows is the machine's, so they are written in a namespace with that zone.
        words = ["bash", str(door), "update_cron_jobs.py", "--target", "airflow", "--output", str(target)]
        written = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", f"set -e\n{ZONE}{AS_USER}",
             "render", *map(str, self.owner), *words],
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": self.users_home, "PYTHONPATH": str(self.code)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(written.stderr.strip())
        printed = self.as_user(
            venv / "bin/python", "-c", AIRFLOWS_STARTS, target, begin.isoformat(), end.isoformat(),
            AIRFLOW_HOME=str(self.folder / "airflow"), AIRFLOW__CORE__DAGS_FOLDER=str(target), AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
        ).stdout  # fmt: skip
        starts = []
        for moment, dag, command, environment in json.loads(printed.splitlines()[-1]):
            kind, number = dag.removeprefix("etl-").split("-")[:2]
            starts.append(Start(datetime.fromisoformat(moment), f"{kind} {number}", command, environment))
        return starts

    def drop_file(self, number: int) -> None:
        """Put a whole file down, as an upload does: under another name first."""
        name = ("sales", "prices")[number % 2]
        day = date(2000, 1, 1) + timedelta(days=number)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        rows = [(f"{number}-{line}", f"text {self.random.getrandbits(64):x}") for line in range(LINES)]
        writer.writerows([("key", "words"), *rows])
        target = self.shared / name / f"{name}_{day:%Y%m%d}.csv"
        digest = hashlib.sha256("\n".join(sorted("\t".join(row) for row in rows)).encode()).hexdigest()
        self.expected[target.name] = (LINES, digest)
        part = target.with_name(f".{target.name}")
        part.write_text(text.getvalue())
        os.chown(part, *self.owner)
        part.rename(target)


AIRFLOWS_STARTS = """
import json, sys
from datetime import datetime
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import etl_schedule
from airflow.timetables.base import TimeRestriction
from airflow.sdk import DAG
import pendulum
begin, end = (pendulum.instance(datetime.fromisoformat(word)) for word in sys.argv[2:])
found = []
class Run:
    def __init__(self, moment): self.logical_date = moment
for dag in [value for value in vars(etl_schedule).values() if isinstance(value, DAG)]:
    task = dag.get_task("run")
    last = None
    restriction = TimeRestriction(earliest=begin.add(microseconds=1), latest=end, catchup=True)
    while (info := dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)) is not None:
        moment = info.data_interval.end
        command = task.render_template(task.bash_command, {"dag_run": Run(moment)}, dag.get_template_env())
        found.append([moment.isoformat(), dag.dag_id, command, task.env])
        last = info.data_interval
print(json.dumps(found))
"""


# ---- a night -------------------------------------------------------------------------------


class Troubles:
    """What happens to the machines, at random, to one after the other; now and then to both."""

    def __init__(self, trial: Trial, boxes: list[Box], often: float) -> None:
        self._trial, self._random, self._boxes, self._often = trial, trial.random, boxes, often
        self._until: dict[str, int] = {}
        self.count: Counter[str] = Counter()

    def end(self, minute: int) -> None:
        """Bring back the machines whose trouble is over."""
        for box in self._boxes:
            if self._until.get(box.name, minute) <= minute:
                self._until.pop(box.name, None)
                if not box.is_up:
                    box.boot()
                elif not box.is_linked:
                    box.join()

    def begin(self, minute: int) -> None:
        well = [box for box in self._boxes if box.is_linked]
        if not well or self._random.random() > (self._often if len(well) == len(self._boxes) else self._often / 10):
            return
        box = self._random.choice(well)
        kind = self._random.choices(["killed", "without power", "cut off"], [4, 2, 4])[0]
        self.count[kind] += 1
        self._until[box.name] = minute + self._random.randint(2, 8)
        time.sleep(self._random.uniform(0, 0.25))
        if kind == "cut off":
            box.cut()
            return
        box.kill(silently=kind == "without power")
        time.sleep(POWER_IS_MISSED_S if kind == "without power" else CRASH_IS_MISSED_S)

    def of_mail(self, minute: int, taken: int) -> Box | None:
        """Kill now and then the machine whose report the mail server has just taken; return the other machine."""
        if not all(box.is_linked for box in self._boxes) or self._random.random() > 10 * self._often:
            return None
        wait_until(lambda: self._trial.mail.of_readers() > taken, 3)
        mailing = self._trial.query("SELECT host FROM dba.tjobrun WHERE job = 'send_reports.py' AND status = 'Running'")
        if len(mailing) != 1:
            return None
        ill, well = sorted(self._boxes, key=lambda box: box.name != mailing[0][0])
        self.count["killed while it mailed"] += 1
        self._until[ill.name] = minute + self._random.randint(2, 8)
        ill.kill()
        time.sleep(POWER_IS_MISSED_S)  # a person waits for longer
        return well


def go_through(
    trial: Trial, boxes: list[Box], starts: dict[str, list[Start]], troubles: Troubles, files: range
) -> None:
    """Let the engines of the machines start what is due, minute by minute."""
    by_minute: defaultdict[datetime, list[tuple[Box, Start]]] = defaultdict(list)
    for box in boxes:
        for start in starts[box.name]:
            by_minute[start.moment].append((box, start))
    waiting = list(files)
    for number, (moment, due) in enumerate(sorted(by_minute.items())):
        troubles.end(number)
        while waiting and len(waiting) / len(files) > 1 - (number + 1) / len(by_minute):
            trial.drop_file(waiting.pop(0))
        # A clock that is early starts a line early. What else a machine does lets it come sooner or later.
        turns = sorted(boxes, key=lambda box: trial.random.uniform(0, 24) - box.is_wrong_by)
        taken = trial.mail.of_readers()
        for box in turns:
            for start in [start for its, start in due if its is box and box.is_up]:
                box.start(start, start.moment + timedelta(seconds=trial.random.uniform(4, 12)))
            time.sleep(trial.random.uniform(0, 40 / SPEED) if box is turns[0] else 0)
        for report in [start for its, start in due if its is boxes[0] and start.row.startswith("report")]:
            if well := troubles.of_mail(number, taken):
                by_hand(trial, well, f"send_reports.py {report.row.split()[1]}", moment + timedelta(seconds=20))
        troubles.begin(number)
        wait_until(lambda: sum(box.running() for box in boxes) < 6, 15)
        if number % 50 == 49:
            print(
                f"  {moment.astimezone(ZURICH):%F %H:%M %Z}: {number + 1} of {len(by_minute)} minutes, {dict(troubles.count)}",
                flush=True,
            )
    troubles.end(10**9)
    wait_until(lambda: not any(box.running() for box in boxes), 90)


def wait_until(is_so: Any, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not is_so() and time.monotonic() < give_up:
        time.sleep(0.02)


# ---- what came of it -----------------------------------------------------------------------


def judge(trial: Trial, boxes: list[Box], starts: Iterable[Start]) -> list[str]:
    """Print what became of the slots, the files and the mails; return what broke a promise."""
    wrong: list[str] = []
    slots = {(start.row, start.moment) for start in starts}
    one = f"task {trial.query('SELECT schedulerid FROM dba.tscheduler WHERE host_pattern IS NOT NULL')[0][0]}"
    doors: defaultdict[tuple[str, datetime], list[tuple[Box, Door]]] = defaultdict(list)
    for box in boxes:
        for door in box.doors.values():
            doors[door.row, door.moment].append((box, door))
    runs: defaultdict[tuple[str, datetime], list[tuple[str, str, str]]] = defaultdict(list)
    for task, arguments, slot, status, host, reason in trial.query(
        "SELECT schedulerid, arguments, scheduled_at, status, host, coalesce(reason, '') FROM dba.tjobrun"
        " WHERE scheduled_at IS NOT NULL ORDER BY jobrunid"
    ):
        runs[f"report {arguments[0]}" if task is None else f"task {task}", slot.astimezone(UTC)].append(
            (status, host, reason)
        )
    ends: Counter[str] = Counter()
    for slot in sorted(slots | runs.keys()):
        mine = [(box, door) for box, door in doors[slot] if slot[0] != one or box.name == "box-a"]
        end, broken = judge_slot(runs[slot], mine, is_due=slot in slots)
        ends[end] += slot in slots
        if slot[0] == one and any(host != "box-a" for status, host, _ in runs[slot] if status != "Skipped"):
            broken += " it was on the wrong machine"
        if broken:
            wrong.append(
                f"{broken}: {slot[0]} {slot[1]:%F %H:%MZ}: {runs[slot]} {[(door.box, door.status) for _, door in mine]}"
            )
    print(f"slots: {len(slots)}")
    for end, count in sorted(ends.items(), key=lambda pair: -pair[1]):
        print(f"  {count:5}  {end}")
    ended = Counter(door.status for box in boxes for door in box.doors.values())
    print(f"starts of the door: {ended.total()}; their ends: {dict(ended)}")
    return wrong + judge_told(trial) + judge_files(trial) + judge_mails(trial, slots)


def judge_slot(runs: list[tuple[str, str, str]], doors: list[tuple[Box, Door]], is_due: bool) -> tuple[str, str]:
    """Return what came of a slot, and which promise that breaks."""
    begun = [run for run in runs if run[0] != "Skipped"]
    if begun and not is_due:
        return "", "a run without a slot"
    if len(begun) > 1:
        return "", "it ran twice"
    if begun:
        status, host, _ = begun[0]
        if status == "Succeeded":
            return f"succeeded on {host}", ""
        was_well = any(box.was_well(door) for box, door in doors if box.name == host)
        return f"{status}, on a machine in trouble", "it did not succeed, and its machine was well" if was_well else ""
    if not any(box.was_well(door) for box, door in doors):
        return "not begun: no machine was well", ""
    is_overlap = any(reason.startswith(("still being done", "waited")) for _, _, reason in runs)
    who = "nobody who says so" if any("by another run" in reason for _, _, reason in runs) else "the slot before"
    return f"not begun: still being done by {who}", "it did not run" if is_due and not is_overlap else ""


def judge_told(trial: Trial) -> list[str]:
    """Look at what the jobs left in the shared folder, whatever the database says."""
    folder = trial.shared / "told"
    told = Counter(tuple(path.name.split(".")[:2]) for path in folder.glob("*.begun"))
    print(f"jobs that told of themselves in the shared folder: {sum(told.values())}, for {len(told)} slots")
    wrong = [f"two jobs told of slot {slot}" for slot, count in told.items() if count > 1]
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for ended in folder.glob("*.ended"):
        begun = ended.with_suffix(".begun")
        spans[ended.name.split(".")[0]].append((begun.stat().st_mtime, ended.stat().st_mtime))
    for row, its in spans.items():
        at_once = sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(sorted(its)))
        wrong += [f"row {row} ran {at_once} times while it still ran"] if at_once else []
    return wrong


def judge_files(trial: Trial) -> list[str]:
    wrong = []
    loaded = Counter(name for (name,) in trial.query("SELECT file_name FROM dba.timportfile WHERE status = 'Loaded'"))
    found: dict[str, tuple[int, str]] = {}
    for table in ("sales", "prices"):
        for day, count, rows in trial.query(
            f"SELECT d.datasetdate, count(*), array_agg(t.key || E'\\t' || t.words) FROM public.t{table} AS t"
            " JOIN dba.tdataset AS d USING (datasetid) WHERE d.isactive GROUP BY 1"
        ):
            digest = hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()
            found[f"{table}_{day:%Y%m%d}.csv"] = (count, digest)
    for name, expected in trial.expected.items():
        if loaded[name] != 1 or found.get(name) != expected:
            wrong.append(f"{name}: loaded {loaded[name]} times, {found.get(name, 'not in the table')}, not {expected}")
    left = [path.name for folder in ("sales", "prices") for path in (trial.shared / folder).rglob("*.csv")]
    archived = Counter(re.sub(r"\.csv.*", ".csv", path.name) for path in (trial.shared / "archive").rglob("*.csv*"))
    statuses = dict(trial.query("SELECT status, count(*) FROM dba.timportfile GROUP BY 1"))
    print(
        f"files: {len(trial.expected)}; in the ledger: {statuses}; in the archive: {sum(archived.values())}; left: {len(left)}"
    )
    return wrong + [f"{name} is still there" for name in left]


def judge_mails(trial: Trial, slots: set[tuple[str, datetime]]) -> list[str]:
    times = [moment.astimezone(ZURICH) for row, moment in slots if row.startswith("report")]
    # In the hour that comes twice, a report says which of the two it is.
    twice = {time for time in times if time.utcoffset() != time.replace(fold=1 - time.fold).utcoffset()}
    shown = Counter(f"State {time:%F %H:%M}{time.isoformat()[-6:] if time in twice else ''}" for time in times)
    mails = Counter(
        (str(taken.message["Subject"]), reader)
        for taken in trial.mail.received
        for reader in taken.recipients
        if reader in READERS
    )
    deliveries = dict(trial.query("SELECT status, count(*) FROM dba.treportdelivery GROUP BY 1"))
    print(
        f"mails for {sum(shown.values())} slots of the report: {sum(mails.values())} to {len(READERS)} readers; in the ledger: {deliveries}"
    )
    return [f"{mail}: {count} mails" for mail, count in mails.items() if count > shown[mail[0]]]


# ---- all of it -----------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", required=True, help="as whom the jobs run; no root")
    parser.add_argument("--slots", type=int, default=2000, help="how many, over all nights")
    parser.add_argument("--files", type=int, default=1000, help="how many, over all nights")
    parser.add_argument("--often", type=float, default=0.05, help="how likely a trouble begins in a minute")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)), help="of all chances")
    parser.add_argument("--airflow", type=Path, metavar="VENV", help="box-b has Airflow in place of cron")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where its folder is made")
    parser.add_argument("--programs", type=Path, default=Path("/usr/lib/postgresql/15/bin"), help="of PostgreSQL")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="etl_two_boxes_", dir=args.folder))
    folder.chmod(0o755)
    print(f"seed {args.seed}, {folder}", flush=True)
    trial = Trial(folder, args.user, args.seed)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(trial.network())
        trial.copy_code()
        trial.mail = stack.enter_context(mail_server(folder, "ssl", HERE, False, SlowMailServer, HERE))
        stack.enter_context(trial.database(args.programs))
        trial.set_up()
        boxes = [Box(trial, name) for name in BOXES]
        for box in boxes:
            stack.callback(box.kill)
            box.boot()
        lines = trial.cron_lines()
        troubles = Troubles(trial, boxes, args.often)
        slots: list[Start] = []
        for number, night in enumerate(NIGHTS):
            change, count = datetime(night.year, night.month, night.day, 1, tzinfo=UTC), args.slots // len(NIGHTS)
            begin = change - timedelta(minutes=count // 4)  # there are about two slots a minute
            wanted = trial.by_cron(lines, begin, change + timedelta(days=1))
            end = sorted(start.moment for start in wanted)[count - 1]
            wanted = [start for start in wanted if start.moment <= end]
            slots += wanted
            starts = {box.name: wanted for box in boxes}
            if args.airflow:
                starts["box-b"] = trial.by_airflow(args.airflow, begin, end)
            share = args.files // len(NIGHTS)
            go_through(trial, boxes, starts, troubles, range(number * share, (number + 1) * share))
        finish(trial, boxes[0])
        print(f"{time.monotonic() - began:.0f} s; troubles: {dict(troubles.count)}")
        wrong = judge(trial, boxes, slots)
    for told in wrong[:50]:
        print(f"WRONG  {told}")
    print(f"{len(wrong)} promises were broken" if wrong else "no promise was broken")
    return 1 if wrong else 0


def by_hand(trial: Trial, box: Box, words: str, clock: datetime) -> None:
    """Start a job as a person does, and wait for its end."""
    door = f"/bin/bash {trial.code}/jobscripts/run_python_etl_script.sh"
    box.start(Start(clock, words, f"{door} {words}", {"PATH": "/usr/bin:/bin", "HOME": trial.users_home}), clock)
    wait_until(lambda: not box.running(), 60)


def finish(trial: Trial, box: Box) -> None:
    """Let what was left by the last trouble be found, and the files that wait be loaded: as the next morning does."""
    for words in ("show_imports.py", "run_import_job.py sales", "run_import_job.py prices", "show_imports.py"):
        by_hand(trial, box, words, datetime.now(UTC))
        time.sleep(CRASH_IS_MISSED_S)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
