"""Import the files that wait for one configuration of dba.timportconfig.

Reads   dba.timportconfig, dba.timportcolumn, and the files in the configuration's source_directory
Writes  the configuration's target table, dba.tdataset, dba.timportfile, dba.timportdrift, dba.timportreject
Run by  run_download_and_import.sh, or by hand

Examples:
  run_python_etl_script.sh run_import_job.py 2
  run_python_etl_script.sh run_import_job.py MeetMax_Events_XLS_Import --file 20260302T050000_MeetMax_119243.xls
  run_python_etl_script.sh run_import_job.py clients --dry-run      reads, checks and counts; writes nothing
"""

import argparse
import json
import logging
from pathlib import Path

from systemscripts import db_config
from systemscripts.errors import TemporaryFailure
from systemscripts.generic_import import ImportReport, run_import
from systemscripts.importing.config import ImportConfig, load_config
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configuration", help="config_id or config_name of a row of dba.timportconfig")
    parser.add_argument("--file", type=Path, help="only this file of the source directory")
    parser.add_argument("--force", action="store_true", help="load a file again although its content is known")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; write and move nothing")
    parser.add_argument("--json", action="store_true", help="print the result of each file as JSON on standard output")


def summarize(config: ImportConfig, report: ImportReport, dry_run: bool) -> None:
    """Log a summary, and in a dry run the statements that would change the table."""
    if not report.files:
        log.info("%s: no file waits in %s", config.config_name, config.source_directory, extra={"step": "end"})
        return
    if dry_run:
        for outcome in report.files:
            for statement in outcome.statements:
                log.info("%s: would run: %s", outcome.file, statement, extra={"step": "plan"})
    counts = ", ".join(f"{number} {status}" for status, number in report.counts().items())
    log.info("%s: %s", config.config_name, counts, extra={"step": "end"})


def main(args: argparse.Namespace) -> int:
    """Return the number of files that could not be loaded."""
    with db_config.session() as connection:
        config = load_config(connection, args.configuration)
        report = run_import(connection, config, file=args.file, force=args.force, dry_run=args.dry_run)
    summarize(config, report, args.dry_run)
    if args.json:
        say(json.dumps({"configuration": config.config_name, "files": [outcome._asdict() for outcome in report.files]}))
    counts = report.counts()
    passing = {
        "Changed": "changed meanwhile; they are tried again next time",
        "Not filed": "are done, but cannot be moved to the archive or to failed/ yet; a later run tries again",
    }
    told = [f"{counts[status]} of the files {words}" for status, words in passing.items() if status in counts]
    if told and not counts.get("Failed"):
        raise TemporaryFailure("; ".join(told))
    return counts.get("Failed", 0)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
