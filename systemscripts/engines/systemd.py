"""A timer and a service of systemd for each row, a target that starts all timers, and a service for the own database.

Reference: systemd.timer(5), systemd.service(5), systemd.exec(5), systemd.syntax(7).
"""

import re
from pathlib import Path

from systemscripts import embedded_postgres, job_catalog, settings
from systemscripts.cron.cron_file import door
from systemscripts.engines.calendar import calendar_lines
from systemscripts.engines.rows import MARK, PlannedJob, Rendered, data_places, refusal
from systemscripts.engines.times import Nights
from systemscripts.errors import EXIT_TEMPORARY, JobError

OURS = re.compile(r"etl-(?:task|report)-[0-9]+\.(?:timer|service)|etl-schedule\.target|etl-database\.service")
TARGET = "etl-schedule.target"
DATABASE = "etl-database.service"

# A script with one of these words starts a program as another user by sudo, itself or by another job.
_MAY_USE_SUDO = ("sudo ", "sftp_exchange.py")
# They hold for every job. ProtectSystem=strict would let a new import fail until the units are written anew, because its
# row may name any directory. RestrictSUIDSGID= would keep jobs from making directories that the group shares.
_FENCE = """\
UMask=0007
ProtectSystem=full
ProtectControlGroups=yes
"""
# Each of them rules out sudo, because it sets or implies NoNewPrivileges (systemd.exec(5)).
_NARROW_FENCE = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
LockPersonality=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
"""


def units(rows: list[PlannedJob], nights: Nights, user: str) -> Rendered:
    """Return the units for all rows that systemd can have."""
    files: dict[str, str] = {}
    refused, timers = [], []
    for row in rows:
        try:
            made = {f"{row.unit}.timer": _timer(row, nights), f"{row.unit}.service": _service(row, user)}
        except JobError as problem:
            refused.append(refusal(row, problem, "systemd"))
            continue
        files |= made
        timers.append(f"{row.unit}.timer")
    files[TARGET] = _target(timers)
    if not settings.names_a_server():
        files[DATABASE] = _database(user)
    return Rendered(files, refused)


def quoted(word: str) -> str:
    r"""Return one word of a command line, so that systemd gives it to the program unchanged.

    >>> print(quoted('100% of "$HOME"\\'))
    "100%% of \"$$HOME\"\\"
    """
    for special in ("\\", '"'):
        word = word.replace(special, f"\\{special}")
    word = word.replace("%", "%%").replace("$", "$$").replace("\t", "\\t")
    return f'"{word}"'


def _plain(text: str) -> str:
    """Return a text for a description, where % begins a specifier. It must not end with a backslash: our titles do not."""
    return text.replace("%", "%%")


def _timer(row: PlannedJob, nights: Nights) -> str:
    times = "".join(f"OnCalendar={line}\n" for line in calendar_lines(row.job.frequency, nights))
    return f"""\
# {MARK}
[Unit]
Description=When: {_plain(row.title)}
PartOf={TARGET}

[Timer]
{times}AccuracySec=1s
Persistent=no
Unit={row.unit}.service
"""


def _service(row: PlannedJob, user: str) -> str:
    words = [str(door()), "--due", *row.arguments]
    own_database = f"Wants={DATABASE}\nAfter={DATABASE}\n" if not settings.names_a_server() else ""
    return f"""\
# {MARK}
[Unit]
Description={_plain(row.title)}
Wants=network-online.target
After=network-online.target time-sync.target
{own_database}
[Service]
Type=oneshot
User={user}
ExecStart=/bin/bash {" ".join(map(quoted, words))}
SuccessExitStatus={EXIT_TEMPORARY}
TimeoutStartSec=infinity
KillMode=mixed
{_fence(row)}"""


def _fence(row: PlannedJob) -> str:
    places = " ".join(_path(place) for place in data_places())
    lines = f"{_FENCE}PrivateTmp={'no' if _server_is_in_tmp() else 'yes'}\nReadWritePaths={places}\n"
    return lines if _may_use_sudo(row) else lines + _NARROW_FENCE


def _path(place: str) -> str:
    """Return a path for a list of paths, where a dollar sign means nothing; - says that it may be missing."""
    return quoted(f"-{place}").replace("$$", "$")


def _may_use_sudo(row: PlannedJob) -> bool:
    script = job_catalog.find_script(row.arguments[2])
    text = script.read_text(encoding="utf-8", errors="replace")
    return any(word in text for word in _MAY_USE_SUDO)


def _server_is_in_tmp() -> bool:
    """Return whether the socket of the database lies in /tmp, which every service would have for itself alone."""
    place = settings.postgres_variable("PGHOST")
    if not settings.names_a_server():
        place = str(embedded_postgres.socket_dir())
    return Path(place).is_relative_to("/tmp")  # noqa: S108 — only compared


def _target(timers: list[str]) -> str:
    wants = "".join(f"Wants={timer}\n" for timer in timers)
    return f"""\
# {MARK}
[Unit]
Description=The schedule of Client ETL Workflow
{wants}
[Install]
WantedBy=timers.target
"""


def _database(user: str) -> str:
    """Return the service that starts the own database; started by a job, it would end with that job's service."""
    program = quoted(str(settings.project_dir() / "onboarding" / "sh" / "embedded_postgres.sh"))
    return f"""\
# {MARK}
[Unit]
Description=The database of Client ETL Workflow

[Service]
Type=oneshot
RemainAfterExit=yes
User={user}
ExecStart=/bin/bash {program} start
ExecStop=/bin/bash {program} stop
"""
