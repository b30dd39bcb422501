"""Values for columns that a file does not have itself: from its name, its folder, or the mail that it came by."""

from datetime import datetime

from psycopg2.extensions import cursor as Cursor

from systemscripts import patterns, whole_files
from systemscripts.errors import JobError
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.files import PendingFile
from systemscripts.importing.held import Changed
from systemscripts.importing.ledger import FileRow
from systemscripts.importing.rules import ColumnRule
from systemscripts.log_sinks.entries import storable

_MAIL = """
    SELECT m.sender, m.subject, m.received_at
    FROM dba.treceivedfile AS r JOIN dba.tinboxmessage AS m USING (messageid)
    WHERE r.sha256 = %s AND r.saved_path = %s AND r.status = 'Saved' ORDER BY r.receivedfileid DESC LIMIT 1
"""


def values_from_outside(
    cursor: Cursor, config: ImportConfig, row: FileRow, rules: dict[str, ColumnRule]
) -> dict[str, str]:
    """Return the value of each column whose rule has a value_source, by the column's name as `rules` has it.

    Raises JobError if a value cannot be had: then no row of the file is right.
    """
    wanted = {name: rule for name, rule in rules.items() if rule.value_source is not None}
    # What a source says, by its name in dba.timportcolumn; a further source is a further entry.
    said = {"filename": row.name, "folder": str(config.source_directory)}
    if any(rule.value_source not in said for rule in wanted.values()):
        said |= _said_by_mail(cursor, row.file)
    return {name: _value(config, rule, said) for name, rule in wanted.items()}


def _said_by_mail(cursor: Cursor, file: PendingFile) -> dict[str, str]:
    """Return what the mail says that brought the file, nothing if none did; its time is the machine's."""
    sha256 = whole_files.sha256_of(file.place)
    if not file.is_same(file.place.stat(follow_symlinks=False)):
        raise Changed("it changed while it was read; the next run looks at it again")
    cursor.execute(_MAIL, (sha256, storable(str(file.path))))
    found: tuple[str | None, str | None, datetime | None] | None = cursor.fetchone()
    if found is None:
        return {}
    sender, subject, received = found
    return {
        "mail_sender": sender or "",
        "mail_subject": subject or "",
        "mail_time": f"{received.astimezone():%Y-%m-%d %H:%M:%S}" if received else "",
    }


def _value(config: ImportConfig, rule: ColumnRule, said: dict[str, str]) -> str:
    """Return what the source says, or the group that value_pattern finds in it."""
    source, pattern = rule.value_source or "", rule.value_pattern
    where = f"the value of column {rule.column_name!r} cannot be had"
    if source not in said:
        raise JobError(f"{where}: its value_source is {source}, and no mail brought the file here under this name")
    text = said[source]
    if pattern is not None:
        try:
            found = patterns.find(pattern, text)
        except patterns.BadPattern as problem:
            raise ConfigurationError(
                f"import {config.config_name}: column {rule.column_name!r}: the value_pattern {pattern!r} {problem}"
            ) from None
        if found is None:
            raise JobError(f"{where}: its value_pattern {pattern} does not fit the {source} {text!r}")
        text = str(found.group(1 if found.groups() else 0) or "")
    if not text:
        raise JobError(f"{where}: the {source} {said[source]!r} has nothing in its place")
    return storable(text)
