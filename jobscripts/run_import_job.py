"""Import the files that wait for one configuration of dba.timportconfig.

Reads   dba.timportconfig, and the files in the configuration's source_directory
Writes  the configuration's target table, dba.tdataset, dba.timportfile, dba.timportdrift
Run by  run_download_and_import.sh, or by hand

examples:
  run_python_etl_script.sh run_import_job.py 2
  run_python_etl_script.sh run_import_job.py MeetMax_Events_XLS_Import --file 20260302T050000_MeetMax_119243.xls
"""

import argparse
import logging
from pathlib import Path

from systemscripts import db_config
from systemscripts.generic_import import run_import
from systemscripts.importing.config import load_config
from systemscripts.job_runner import run_job

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configuration", help="config_id or config_name of a row of dba.timportconfig")
    parser.add_argument("--file", type=Path, help="only this file of the source directory")
    parser.add_argument("--force", action="store_true", help="load a file again although its content is known")


def main(args: argparse.Namespace) -> int:
    """Return the number of files that could not be loaded."""
    with db_config.session() as connection:
        config = load_config(connection, args.configuration)
        report = run_import(connection, config, file=args.file, force=args.force)
    if not report.files:
        log.info("%s: no file waits in %s", config.config_name, config.source_directory, extra={"step": "end"})
        return 0
    counts = ", ".join(f"{number} {status}" for status, number in report.counts().items())
    log.info("%s: %s", config.config_name, counts, extra={"step": "end"})
    return report.counts().get("Failed", 0)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
