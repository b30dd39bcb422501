"""Try refused files again: move them from failed/ back to their import, and import them.

Reads   file_watcher/failed/, dba.timportfile, dba.timportconfig
Writes  the same as run_import_job.py; the file and its reason leave failed/, their row in dba.timportfile stays
Run by  hand (etl retry), after the file or the import was corrected

A file that somebody took back (etl undo) is loaded again only if it is named itself. Of an archive only the files that
were taken back are loaded.

Examples:
  etl retry sales_20261127.csv
  etl retry Branch_Sales            all refused files of an import
  etl retry file_watcher/failed/Branch_Sales/sales_20261127.2.csv
"""

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from systemscripts import db_config
from systemscripts.errors import JobError, TemporaryFailure, WrongCall
from systemscripts.generic_import import run_import
from systemscripts.importing import quarantine
from systemscripts.importing.config import ImportConfig, active_configs, load_config
from systemscripts.importing.quarantine import SetAside
from systemscripts.job_runner import run_job

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

MOST_NAMED = 10
Wanted = list[tuple[ImportConfig, SetAside]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="FILE|NAME", help="a refused file, by name or path, or an import")


def files_of(connection: "Connection", config: ImportConfig) -> Wanted:
    with connection, connection.cursor() as cursor:
        return [(config, file) for file in quarantine.files_of(cursor, config.config_id, config.config_name)]


def wanted(connection: "Connection", what: str) -> tuple[Wanted, bool]:
    """Return the refused files that are meant, and whether one was named itself.

    Raises WrongCall if there is none, or if one name means several.
    """
    configs = active_configs(connection)
    if what in {name for config in configs for name in (config.config_name, str(config.config_id))}:
        config = load_config(connection, what)
        found = files_of(connection, config)
        if not found:
            raise WrongCall(f"import {config.config_name} has no refused file")
        for _, file in found:
            if file.is_undone:
                log.info("%s is left where it is: %s; to load it again, name it", file.path, file.reason)
        return [(config, file) for config, file in found if not file.is_undone], False
    there = [pair for config in configs for pair in files_of(connection, config)]
    path = Path(what).absolute()
    found = [
        pair
        for pair in there
        if (pair[1].path == path if os.sep in what else what in (pair[1].path.name, pair[1].file_name))
    ]
    if not found:
        refused = listed([file for _, file in there if not file.is_decided])
        decided = [file for _, file in there if file.is_decided]
        more = f"; taken back are: {listed(decided)}" if decided else ""
        raise WrongCall(f"no import and no refused file is called {what!r}; refused are: {refused or 'none'}{more}")
    if len(found) > 1:
        choice = "; ".join(f"{file.path}: {file.reason[:80]}" for _, file in found)
        raise WrongCall(f"{len(found)} refused files came as {what!r}; give the path of one: {choice}")
    return found, True


def listed(files: list[SetAside]) -> str:
    more = f", and {len(files) - MOST_NAMED} more" if len(files) > MOST_NAMED else ""
    return ", ".join(file.path.name for file in files[:MOST_NAMED]) + more


def main(args: argparse.Namespace) -> int:
    """Return the number of files that could not be loaded."""
    failed, later = 0, 0
    with db_config.session() as connection:
        placed = []
        files, is_named = wanted(connection, args.what)
        for config, file in files:
            try:
                with connection, connection.cursor() as cursor:
                    placed.append((config, quarantine.put_back(cursor, config, file)))
            except JobError as reason:
                log.error("%s: %s", file.path.name, reason, extra={"step": "move"})
                failed += 1
            else:
                log.info("%s: put back into %s", file.path.name, config.source_directory, extra={"step": "move"})
        for config, target in placed:
            # A person who names what was taken back wants it, although its content is known.
            counts = run_import(connection, config, file=target, force="undone" if is_named else False).counts()
            failed += counts.get("Failed", 0)
            later += counts.get("Changed", 0) + counts.get("Not filed", 0)
    if later and not failed:
        raise TemporaryFailure(f"{later} of the files are not done yet; the next run of their import goes on with them")
    return failed


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
