"""Import the files that wait for one configuration of dba.timportconfig.

Reads   dba.timportconfig, dba.timportcolumn, and the files in the configuration's source_directory
Writes  the configuration's target table, dba.tdataset, dba.timportfile, dba.timportdrift, dba.timportreject
Run by  run_download_and_import.sh, or by hand

Examples:
  etl import 2
  etl import MeetMax_Events_XLS_Import --file 20260302T050000_MeetMax_119243.xls
  etl import clients --dry-run      reads, checks and counts; writes nothing
  etl import clients --dry-run --show 20      also prints the first 20 lines that the transform changes
"""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import db_config
from systemscripts.errors import TemporaryFailure, WrongCall
from systemscripts.generic_import import ImportReport, run_import
from systemscripts.generic_import import generic_import as run_import_job  # noqa: F401 — older jobs import it from here
from systemscripts.importing.config import ImportConfig, active_configs, known_configs, load_config
from systemscripts.importing.left_alone import left_alone
from systemscripts.job_catalog import typed
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say, say_table

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

MOST_NAMED = 10
SHOWN = {"line": 7, "column": 20, "before": 23, "after": 23}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configuration", nargs="?", help="config_id or config_name of a row of dba.timportconfig")
    parser.add_argument("--file", type=Path, help="only this file of the source directory")
    parser.add_argument("--force", action="store_true", help="load a file again although its content is known")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; write and move nothing")
    parser.add_argument(
        "--show",
        type=int,
        default=0,
        metavar="N",
        help="with --dry-run: print the first N lines that the transform changes",
    )
    parser.add_argument("--json", action="store_true", help="print the result of each file as JSON on standard output")


def say_no_file(connection: "Connection", config: ImportConfig) -> None:
    """Log that no file waits, and what lies in the directory that no import takes, each with the reason."""
    log.info("%s: no file waits in %s", config.config_name, config.source_directory, extra={"step": "end"})
    others = [other for other in active_configs(connection) if other != config]
    found = left_alone(config.source_directory, [config, *others])
    for entry in found[:MOST_NAMED]:
        log.info("%r is not taken: %s", entry.name, entry.reason, extra={"step": "end"})
    if len(found) > MOST_NAMED:
        log.info("nor are %d more", len(found) - MOST_NAMED, extra={"step": "end"})


def show_changes(report: ImportReport) -> None:
    """Print the first lines of each file that the transform changes, before and after."""
    for outcome in report.files:
        if outcome.shown:
            say(f"{outcome.file}: the first lines that the transform changes")
            say_table(SHOWN, [(*change, "") for change in outcome.shown])


def summarize(config: ImportConfig, report: ImportReport, dry_run: bool) -> None:
    """Log a summary, what to do with refused files, and in a dry run what it would do to table and values."""
    if dry_run:
        for outcome in report.files:
            for statement in outcome.statements:
                log.info("%s: would run: %s", outcome.file, statement, extra={"step": "plan"})
            if outcome.readings:
                log.info("%s: would read %s", outcome.file, ", ".join(outcome.readings), extra={"step": "plan"})
    counts = ", ".join(f"{number} {status}" for status, number in report.counts().items())
    log.info("%s: %s", config.config_name, counts, extra={"step": "end"})
    if refused := [Path(outcome.refused_to) for outcome in report.files if outcome.refused_to]:
        log.info(
            "refused files are in %s, each with its reason: correct the file or the import, then type: %s",
            refused[0].parent,
            typed("retry_files.py", refused[0].name if len(refused) == 1 else config.config_name),
            extra={"step": "end"},
        )


def main(args: argparse.Namespace) -> int:
    """Return the number of files that could not be loaded."""
    with db_config.session() as connection:
        if args.configuration is None:
            raise WrongCall(f"name an import; there are: {known_configs(connection)}")
        config = load_config(connection, args.configuration)
        if args.show and not (args.dry_run and config.transform):
            raise WrongCall("--show is for a --dry-run of an import with a transform")
        report = run_import(connection, config, file=args.file, force=args.force, dry_run=args.dry_run, show=args.show)
        if not report.files:
            say_no_file(connection, config)
    if report.files:
        summarize(config, report, args.dry_run)
    if args.show and not args.json:
        show_changes(report)
    if args.json:
        say(json.dumps({"configuration": config.config_name, "files": [outcome._asdict() for outcome in report.files]}))
    counts = report.counts()
    passing = {
        "Changed": "changed meanwhile; they are tried again next time",
        "Not filed": "are done, but were not moved to the archive or to failed/; the lines above say why",
    }
    told = [f"{counts[status]} of the files {words}" for status, words in passing.items() if status in counts]
    if told and not counts.get("Failed"):
        raise TemporaryFailure("; ".join(told))
    return counts.get("Failed", 0)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
