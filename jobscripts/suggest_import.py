"""Propose the import of a feed from one or several of its files, and show what it would load.

Reads   the files; with the database the dry run
Writes  nothing; with --apply a row of dba.timportconfig, its rules in dba.timportcolumn, and its two directories, as etl_owner
Run by  hand

Text is the default: a column keeps each character as it came. A type is an offer, and is set with --types.

Examples:
  etl suggest sales_20261127.csv
  etl suggest sales_20261126.csv sales_20261127.csv --name Branch_Sales
  etl suggest sales_20261127.csv --name Branch_Sales --types --apply
"""

import argparse
import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import db_config, directory_management
from systemscripts.errors import JobError, WrongCall
from systemscripts.generic_import import FileOutcome, run_import
from systemscripts.job_catalog import typed
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say, say_table
from systemscripts.suggesting.proposal import Proposal, propose, statements

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

log = logging.getLogger(__name__)

FOUND = {"what": 12, "found": 50, "how sure": 11}
COLUMNS = {"column": 24, "could be": 26, "because": 26}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="files of one feed; the last one decides, all are tried"
    )
    parser.add_argument("--name", help="config_name of the import (default: from the names of the files)")
    parser.add_argument(
        "--password", metavar="NAME", help="name of the password of the file: the setting ETL_FILE_PASSWORD_NAME"
    )
    parser.add_argument(
        "--sheet", metavar="NAME", help="the sheet of a workbook: its name, its number from 1, or a pattern"
    )
    parser.add_argument("--types", action="store_true", help="with a rule for each column that could have a type")
    parser.add_argument("--apply", action="store_true", help="make the import and its directories")
    parser.add_argument("--json", action="store_true", help="print all that was found as JSON on standard output")


def dry_run(connection: "Connection", proposal: Proposal, files: list[Path], with_types: bool) -> list[FileOutcome]:
    """Return what the import would do with the files as they lie."""
    outcomes: list[FileOutcome] = []
    rules = proposal.rules() if with_types else {}
    for file in files:
        config = proposal.config()._replace(source_directory=file.parent)
        outcomes += run_import(connection, config, file=file, dry_run=True, rules=rules).files
    return outcomes


def show(proposal: Proposal, sql: list[str]) -> None:
    say_table(FOUND, [[found.what, found.found, found.certainty, f"  {found.evidence}"] for found in proposal.findings])
    say("")
    rows = []
    for column in proposal.columns:
        offer, why = column.offer()
        kind = " ".join(str(value) for name, value in offer.items() if name != "null_words") or "text"
        rows.append([column.name, kind, why])
    say_table(COLUMNS, rows)
    say("", *"\n".join(sql).splitlines())
    directories = shlex.join(str(proposal.values[name]) for name in ("source_directory", "archive_directory"))
    say(f"-- The directories are made by --apply, or by: install -d -m 2770 {directories}", "")


def others(cursor: "Cursor", proposal: Proposal) -> str:
    """Return what is there already under the proposed names, in words; "" if nothing is."""
    cursor.execute(
        "SELECT config_name, target_table FROM dba.timportconfig"
        " WHERE lower(config_name) = lower(%(config_name)s) OR lower(target_table) = lower(%(target_table)s)",
        proposal.values,
    )
    other = cursor.fetchone()
    return (
        f"there is an import {other[0]} already, and it loads into {other[1]}; choose another --name" if other else ""
    )


def apply(proposal: Proposal, sql: list[str]) -> None:
    """Make the import; raises JobError if its name or its table is another import's."""
    with db_config.session(db_config.OWNER_ROLE) as connection, connection, connection.cursor() as cursor:
        if told := others(cursor, proposal):
            raise JobError(told)
        for directory in ("source_directory", "archive_directory"):
            directory_management.ensure_directory(Path(str(proposal.values[directory])))
        for statement in sql:
            cursor.execute(statement)


def main(args: argparse.Namespace) -> int:
    """Return 0 if all files would be loaded, else 1."""
    files = [file.absolute() for file in args.files]
    if wrong := next((file for file in files if not file.is_file()), None):
        raise WrongCall(f"there is no file {wrong}")
    proposal = propose(files, args.name, args.password, args.sheet)
    with db_config.session() as connection:
        with connection, connection.cursor() as cursor:
            sql = statements(cursor, proposal, args.types)
            taken = others(cursor, proposal)
            cursor.execute("SELECT to_regclass(%(target_table)s) IS NOT NULL", proposal.values)
            ((has_table,),) = cursor.fetchall()
        if not args.json:
            show(proposal, sql)
        outcomes = dry_run(connection, proposal, files, args.types)  # its result is logged
    for outcome in outcomes[-1:]:
        if outcome.readings:
            log.info("%s: would read %s", outcome.file, ", ".join(outcome.readings))
    if taken and not args.apply:
        log.warning("%s", taken)
    is_loadable = all(outcome.status.startswith("Would") for outcome in outcomes)
    if has_table and proposal.rules() and not is_loadable and not args.types:
        log.warning("the dry run tried no types, and %s is there already and may have some; add --types to try them",
                    proposal.values["target_table"])  # fmt: skip
    if args.json:
        found = [finding._asdict() for finding in proposal.findings]
        columns = {column.name: column.offer()[0] for column in proposal.columns}
        say(
            json.dumps(
                {
                    "findings": found,
                    "columns": columns,
                    "sql": sql,
                    "dry_run": [outcome._asdict() for outcome in outcomes],
                },
                default=str,
            )
        )
    if args.apply:
        apply(proposal, sql)
        log.info("import %s is made; put files into %s, and type: %s", proposal.values["config_name"],
                 proposal.values["source_directory"], typed("run_import_job.py", str(proposal.values["config_name"])))  # fmt: skip
    return 0 if is_loadable else 1


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
