"""What tests need of a machine: a test that does not find it is left out, and the run ends by saying what brings it."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).resolve().parent
PACKAGES = (HERE / "packages.txt").read_text().split()  # of Debian and Ubuntu; .ci/run installs them
# Where the package is not called as the program is.
PACKAGE_OF = {
    "pg_createcluster": "postgresql",
    "scp": "openssh-client",
    "setfacl": "acl",
    "sftp": "openssh-client",
    "smbd": "samba",
    "sshd": "openssh-server",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "visudo": "sudo",
}
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
GMAIL = "the stand-in for Gmail"
INSTALL_GMAIL = "npm ci --ignore-scripts --prefix tests/gmail_counterpart"
PYARROW = "pyarrow"
RCLONE = "rclone"
INSTALL_PYARROW = "bash onboarding/sh/make_venv.sh --dev"  # and rclone

_WANTS = re.compile(r"for want of ([^:]+): ")


def missing(reason: str, *wants: str) -> NoReturn:
    """Skip a test for want of packages (or what else it names), or fail it where everything must be there."""
    if os.environ.get("ETL_REQUIRE_ALL_TESTS") == "1":
        pytest.fail(f"ETL_REQUIRE_ALL_TESTS=1, and {reason}")
    pytest.skip(f"for want of {', '.join(wants or [reason])}: {reason}", allow_module_level=True)


def not_as_root(reason: str) -> NoReturn:
    missing(reason, "a user who is not root")


def need_programs(*programs: str) -> None:
    """Leave the test out where one of them is not installed, for want of all of those that are not."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if absent := [program for program in programs if shutil.which(program, path=path) is None]:
        wants = {PACKAGE_OF.get(program, program) for program in absent}
        missing(f"{', '.join(absent)} not installed", *sorted(wants))


def need_root() -> None:
    if AS_ROOT and subprocess.run([*AS_ROOT, "true"], capture_output=True, check=False).returncode:
        missing("this needs root, or sudo without a password", "sudo without a password")


def system_postgres() -> Path | None:
    """The programs of the system's own PostgreSQL, the newest there is; they are older than those that come along."""
    found = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def told(skipped: Iterable[str]) -> str:
    """Return the line about the tests that were left out, by why each was; "" where none was for want of something.

    >>> told(["for want of age: age is not installed", "only for Mondays"])
    '1 test was left out for want of age; this brings it: sudo apt-get install age'
    """
    wants = [match[1].split(", ") for reason in skipped if (match := _WANTS.search(reason))]
    counts = Counter(want for wanted in wants for want in wanted)
    packages = sorted(want for want in counts if want in PACKAGES)
    others = sorted(want for want in counts if want not in (*PACKAGES, GMAIL, PYARROW, RCLONE))
    if counts[GMAIL] and not shutil.which("npm"):
        packages = sorted({*packages, "npm"})
    commands = [f"{'sudo ' if shutil.which('sudo') else ''}apt-get install {' '.join(packages)}"] if packages else []
    commands += [INSTALL_GMAIL] if counts[GMAIL] else []
    commands += [INSTALL_PYARROW] if counts[PYARROW] or counts[RCLONE] else []
    brought = [wanted for wanted in wants if not set(wanted) & set(others)]
    parts = [_left_out(len(brought), sorted({want for wanted in brought for want in wanted}))] if brought else []
    if commands:
        as_root = (
            ""
            if shutil.which("sudo") or not packages
            else " (the first as root)"
            if len(commands) > 1
            else " (as root)"
        )
        parts.append(f"this brings {'it' if len(counts) == 1 else 'them'}: {' && '.join(commands)}{as_root}")
    if len(wants) > len(brought):
        parts.append(f"{_left_out(len(wants) - len(brought), others)}, which no package brings")
    return "; ".join(parts)


def _left_out(count: int, wants: list[str]) -> str:
    return f"{count} test{' was' if count == 1 else 's were'} left out for want of {', '.join(wants)}"
