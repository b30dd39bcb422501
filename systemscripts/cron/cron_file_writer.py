#!/usr/bin/python3 -I
"""Root's part of update_cron_jobs.py: puts the cron file in its place, for a user who may start nothing else as root.

configure_etl_user.sh installs a copy of this file, owned by root, and a rule of sudo for the jobs' user. The text
comes on standard input. It is written only where every line of it is a comment, one of the settings below, or a
command that cron runs as the very user who asks: nothing that this user could not do without it.
"""

import os
import re
import sys
import tempfile

TARGET = "/etc/cron.d/etl_jobs"
LONGEST = 1_000_000  # bytes
SETTINGS = (
    "SHELL=/bin/bash",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    'MAILTO=""',
)
# Of what cron reads as a setting nothing begins like this: a field holds no `=` and no quote.
TIMES = r"(?:@[a-z]+|[0-9A-Za-z*/,~-]+(?: [0-9A-Za-z*/,~-]+){4})"


def problem(text: str, user: str) -> str:
    """Return why the text is not to be written for this user, "" where it is."""
    if not re.fullmatch("[a-z_][a-z0-9_-]*", user) or user == "root":
        return f"it writes for the user who asks by sudo, and that is {user!r}"
    if len(text) > LONGEST or not text.endswith("\n"):
        return f"the text is longer than {LONGEST:,} characters, or does not end with a line break"
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        if re.search("[\x00-\x08\x0b-\x1f\x7f]", line):
            return f"line {number} holds a control character"
        if line and not line.startswith("#") and line not in SETTINGS and not re.fullmatch(f"{TIMES} {user} .+", line):
            return f"line {number} is no command that cron runs as {user}"
    return ""


def write(text: str) -> None:
    # Cron reads no file that has a dot in its name, so it does not read this half written.
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
        if reason := problem(text, os.environ.get("SUDO_USER", "")):
            print(f"{TARGET} was not written: {reason}", file=sys.stderr)
            return 1
        write(text)
    except (OSError, UnicodeDecodeError) as error:
        print(f"{TARGET} was not written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
