"""Export the configuration as a YAML file; compare and apply one.

Reads   the tables that an operator writes: imports, schedule, feeds, reports, inbox, exchange, ranges, holidays; a file
Writes  these tables, as etl_owner and in one transaction (apply); a file (export)
Run by  hand, or by a CI that keeps the file in git

FILE is the file of the setting ETL_CONFIG_FILE if it is not given; export then prints.

  etl config export                       all rows on standard output, sorted, with the meaning of each column
  etl config export configuration.yaml    the same into a file
  etl config diff configuration.yaml      what the file would change; exit status 1 if it would change something
  etl config check configuration.yaml     the same in one line
  etl config apply configuration.yaml     change it, all or nothing
  etl config apply configuration.yaml --dry-run --only imports,feeds
  etl config schema > configuration.schema.json    for an editor: what each column takes
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg2.errors import InsufficientPrivilege

from systemscripts import db_config, directory_management, settings
from systemscripts.configuration import applying, catalogue, exporting, schema, telling, yaml_tree
from systemscripts.configuration.applying import Compared, RefusedFile
from systemscripts.configuration.tables import FIXED, TOP
from systemscripts.cron import cron_file
from systemscripts.errors import JobError, WrongCall
from systemscripts.job_catalog import typed
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)

LONGEST_FAULT = 600  # characters; names in the file can be longer
COLOURS = {"+": "32", "-": "31", "~": "33", "o": "33"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="export|diff|apply|check|schema")
    for name in ("export", "diff", "apply", "check", "schema"):
        command = commands.add_parser(name, description=__doc__, formatter_class=parser.formatter_class)
        if name != "schema":
            command.add_argument("file", nargs="?", type=Path, metavar="FILE")
        if name in ("diff", "apply", "check"):
            command.add_argument(
                "--only", default="", metavar="SECTIONS", help="these sections, such as imports,reports"
            )
        if name == "diff":
            command.add_argument("--json", action="store_true", help="as JSON")
        if name == "apply":
            command.add_argument("--dry-run", action="store_true", help="write, say what, and take it back")


def content(file: Path | None) -> tuple[Path, bytes]:
    """Return the file's path and its bytes, one more than are allowed at most."""
    path = file or settings.config_file()
    if path is None:
        raise WrongCall("name a file, or let ETL_CONFIG_FILE in site.env name it; etl config export FILE makes one")
    try:
        with path.open("rb") as stream:
            return path, stream.read(yaml_tree.LARGEST + 1)
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None


def export(cursor: "Cursor", file: Path | None) -> int:
    text, warnings = exporting.export(cursor)
    for told in warnings:
        log.warning("%s", told)
    if file is None:
        say(*text.removesuffix("\n").split("\n"))
        return 0
    try:
        with directory_management.new_file(file.absolute()) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise JobError(f"{file} cannot be written: {error.strerror}") from None
    log.info("%s has the configuration", file)
    return 0


def summary(compared: Compared, if_none: str) -> str:
    """Return how many rows change, and which sections are not in the file."""
    left = ", ".join(section.name for section in TOP if section.name not in compared.wanted)
    return (telling.summary(compared.changes) or if_none) + (f"; left as they are: {left}" if left else "")


def show(compared: Compared) -> None:
    """Print the review; at a terminal its signs have colours."""
    for sign, text in telling.review(compared.catalogue, compared.changes):
        mark = f"\x1b[{COLOURS[sign]}m{sign}\x1b[0m" if sign and settings.prints_to_terminal() else sign
        say(text, mark=mark or "")


def diff(cursor: "Cursor", args: argparse.Namespace) -> int:
    """Return the number of changes."""
    path, data = content(args.file)
    compared = applying.compare(cursor, data, applying.sections(args.only))
    found = telling.summary(compared.changes)
    if args.command == "check":
        log.info("%s and the tables are equal", path) if not found else log.error(
            "%s and the tables differ: %s; type: %s", path, found, typed("config.py", "diff", str(path))
        )
    elif args.json:
        say(json.dumps(telling.as_json(compared.catalogue, compared.changes), ensure_ascii=False))
    else:
        show(compared)
        log.info("%s: %s", path, summary(compared, "equal to the tables"))
    return len(compared.changes)


def apply(args: argparse.Namespace) -> int:
    path, data = content(args.file)
    try:
        with db_config.session(db_config.OWNER_ROLE) as connection, connection, connection.cursor() as cursor:
            compared = applying.apply(cursor, data, applying.sections(args.only))
            if args.dry_run:
                connection.rollback()
    except InsufficientPrivilege as error:
        raise JobError(f"{error.diag.message_primary}; apply it as the owner, with PGUSER=etl_owner") from None
    show(compared)
    log.info(
        "%s: %s%s",
        path,
        summary(compared, "nothing to change"),
        "; --dry-run has taken it back" if args.dry_run else "",
    )
    if not args.dry_run and any(change.path in ("schedule", "reports") for change in compared.changes):
        log.info("To update the cron file too, type: %s", cron_file.command_for_root())
    return 0


def print_schema(cursor: "Cursor") -> int:
    catalogue.begin(cursor)
    fixed = {}
    for table, column in FIXED.items():
        cursor.execute(f"SELECT {column} FROM {table} ORDER BY 1")  # noqa: S608 — our own names
        fixed[table] = [name for (name,) in cursor.fetchall()]
    say(*json.dumps(schema.schema(catalogue.read(cursor), fixed), indent=2, ensure_ascii=True).split("\n"))
    return 0


def main(args: argparse.Namespace) -> int:
    """Return 0, or for diff and check the number of changes."""
    settings.conceal_all()
    try:
        if args.command == "apply":
            return apply(args)
        with db_config.session() as connection, connection, connection.cursor() as cursor:
            catalogue.begin_reading(cursor)
            if args.command == "export":
                return export(cursor, args.file)
            return print_schema(cursor) if args.command == "schema" else diff(cursor, args)
    except RefusedFile as refused:
        shown = args.file or settings.config_file()
        for place, told in refused.faults[: yaml_tree.MOST_FAULTS]:
            say(f"{shown}:{place.line}:{place.column}: {told[:LONGEST_FAULT]}", to=sys.stderr)
        more = len(refused.faults) - yaml_tree.MOST_FAULTS
        count = "1 fault" if len(refused.faults) == 1 else f"{len(refused.faults)} faults"
        raise JobError(
            f"{shown} has {count}{f', and {more} are not shown' if more > 0 else ''}; nothing was changed"
        ) from None


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
