#!/usr/bin/python3 -I
"""The part of update_cron_jobs.py that runs as root: it writes the cron file for the jobs' user.

configure_etl_user.sh installs a copy of this file, owned by root, and a sudo rule for the jobs' user, who may run
nothing else as root. The text comes on standard input. It is written only if each line is a comment, one of the
settings below, or a command that cron runs as the calling user. So that user gains no rights by it. A file that was
not written by this program or by update_cron_jobs.py stays as it is: only an administrator may remove it.
"""

import os
import re
import sys
import tempfile

TARGET = "/etc/cron.d/etl_jobs"
# The first words of each file that may be written or replaced: MARK in cron_file.py.
MARK = "# The schedule of Client ETL Workflow. "
LONGEST = 1_000_000  # bytes
SETTINGS = (
    "SHELL=/bin/bash",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    'MAILTO=""',
)
# A line that cron reads as a setting cannot begin like this, because a field holds no `=` and no quote.
TIMES = r"(?:@[a-z]+|[0-9A-Za-z*/,~-]+(?: [0-9A-Za-z*/,~-]+){4})"


def problem(text: str, user: str) -> str:
    """Return why the text must not be written for this user, "" if it may be written."""
    if not re.fullmatch("[a-z_][a-z0-9_-]*", user) or user == "root":
        return f"it must be called with sudo by the jobs' user; the user is {user!r}"
    if len(text) > LONGEST or not text.endswith("\n"):
        return f"the text is longer than {LONGEST:,} characters, or does not end with a line break"
    if not text.startswith(MARK):
        return f"the text does not begin with {MARK!r}"
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if re.search("[\x00-\x08\x0b-\x1f\x7f]", line):
            return f"line {number} holds a control character"
        if line and not line.startswith("#") and line not in SETTINGS and not re.fullmatch(f"{TIMES} {user} .+", line):
            return f"line {number} is not a command that cron runs as {user}"
    return ""


def foreign() -> str:
    """Return why the file that is there must not be replaced, "" if it is ours or if there is none."""
    try:
        # A link is refused: what is behind it is not this file.
        handle = os.open(TARGET, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with os.fdopen(handle, "rb") as stream:
        if stream.read(len(MARK)) == MARK.encode():
            return ""
    return "it was written by somebody else; to take its lines over into the schedule, type: etl cron adopt"


def write(text: str) -> None:
    # Cron ignores files with a dot in their name, so it does not read this one half written.
    handle, draft = tempfile.mkstemp(prefix=".etl_jobs.", dir=os.path.dirname(TARGET))  # noqa: PTH120
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(handle, 0o644)
            stream.flush()
            os.fsync(handle)
        os.replace(draft, TARGET)  # noqa: PTH105
    except BaseException:
        os.unlink(draft)  # noqa: PTH108
        raise


def main() -> int:
    try:
        text = sys.stdin.buffer.read(LONGEST + 1).decode("utf-8")
        if reason := problem(text, os.environ.get("SUDO_USER", "")) or foreign():
            print(f"{TARGET} was not written: {reason}", file=sys.stderr)
            return 1
        write(text)
    except (OSError, UnicodeDecodeError) as error:
        print(f"{TARGET} was not written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
