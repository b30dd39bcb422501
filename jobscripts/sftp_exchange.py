"""Take the files that come by SFTP or lie in clouds, and put back a receipt for each.

Reads   dba.texchangeconfig; the incoming folders: on this machine (setup_sftp.sh), on other servers, in clouds
Writes  the files into each row's local_repository_path, a row a file in dba.treceivedfile, and
        <name>.<number>.receipt.txt into its outgoing folder when the import is done with the file
Run by  the schedule, before the imports; with --receipts after them

A file is taken when nobody has it open for writing and it has not changed for ETL_SFTP_SETTLE_SECONDS. A name
that ends in .part, .tmp, .filepart or .crdownload, or begins with a dot, is never taken. The file is removed from
the folder, or in a cloud moved to taken/, only after its copy is complete. If the job is killed, the next run
continues, and each file is taken once. A file stays in the folder, and is named in the log, if it cannot be taken,
or if the one of its name that came before is not imported yet.

Examples:
  etl run sftp_exchange.py --dry-run          say which files would be taken, and change nothing
  etl run sftp_exchange.py acme               only the row of this id or name
  etl run sftp_exchange.py --receipts         take nothing, only put the receipts that are due
  etl exchange test acme                      say which right is missing in the cloud; also list and take
"""

import argparse
import contextlib
import json
import logging
from typing import TYPE_CHECKING

from systemscripts import db_config
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.exchange import local_folder
from systemscripts.exchange.config import ExchangeConfig, alone, load_configs
from systemscripts.exchange.folder import Folder
from systemscripts.exchange.receipts import put_receipts
from systemscripts.exchange.taking import FileOutcome, take_files
from systemscripts.job_runner import run_job
from systemscripts.plain_text import say

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", help="config_id or config_name of one row of dba.texchangeconfig")
    parser.add_argument("--dry-run", action="store_true", help="say what would be taken; take and put nothing")
    parser.add_argument("--test", action="store_true", help="write, list, read and remove a small file; needs a config")
    parser.add_argument("--receipts", action="store_true", help="take nothing, only put the receipts that are due")
    parser.add_argument("--json", action="store_true", help="print the result of each file as JSON on standard output")


def opened(config: ExchangeConfig) -> contextlib.AbstractContextManager[Folder]:
    if config.kind == "local":
        return local_folder.opened(config)
    if config.kind == "rclone":
        from systemscripts.exchange import cloud_folder

        return cloud_folder.opened(config)
    from systemscripts.exchange import remote_folder

    return remote_folder.opened(config)


def exchange(
    connection: "Connection", config: ExchangeConfig, args: argparse.Namespace, outcomes: list[FileOutcome]
) -> None:
    """Take the files of one row and put its receipts; the result of each file is added to `outcomes` at once."""
    with alone(connection, config) as is_ours:
        if not is_ours:
            raise TemporaryFailure("another run works on this folder")
        with opened(config) as folder:
            if not args.receipts:
                before = len(outcomes)
                for outcome in take_files(connection, config, folder, args.dry_run):
                    level = logging.ERROR if outcome.is_failure else logging.INFO
                    log.log(level, "%s: %r %s, %s", *outcome, extra={"step": "take"})
                    outcomes.append(outcome)
                if args.dry_run and len(outcomes) == before:
                    told = f"nothing to take in {config.incoming_path} that fits {config.file_pattern!r}"
                    log.info("%s: %s", config.config_name, told, extra={"step": "take"})
            if not args.dry_run:
                for name in put_receipts(connection, config, folder):
                    log.info("%s: receipt %s", config.config_name, name, extra={"step": "receipt"})


def test_all(connection: "Connection", configs: list[ExchangeConfig]) -> int:
    """Try each folder, print the result of each step, and return how many failed."""
    from systemscripts.exchange import trial

    failures = 0
    for config in configs:
        steps = trial.tried(config) if config.kind == "rclone" else trial.put_tried(connection, config)
        if config.kind != "rclone" and config.incoming_path:
            with opened(config) as folder:
                say(f"{config.config_name}: {len(folder.look())} files can be seen in {config.incoming_path}")
        for step in steps if config.outgoing_path or config.kind == "rclone" else ():
            say(f"{config.config_name}: {step.right:6} {step.folder}: {step.problem or 'ok'}")
            failures += bool(step.problem)
    return failures


def exchange_all(
    connection: "Connection", configs: list[ExchangeConfig], args: argparse.Namespace, outcomes: list[FileOutcome]
) -> list[JobError]:
    """Visit every folder and return the failures; a failure in one does not stop the others."""
    problems: list[JobError] = []
    for config in configs:
        try:
            exchange(connection, config, args, outcomes)
        except TemporaryFailure as problem:
            problems.append(TemporaryFailure(f"{config.config_name}: {problem}"))
        except (JobError, OSError) as problem:
            problems.append(JobError(f"{config.config_name}: {problem}"))
    return problems


def main(args: argparse.Namespace) -> int:
    """Return the number of files and folders that failed."""
    outcomes: list[FileOutcome] = []
    with db_config.session() as connection:
        configs = load_configs(connection, args.config, also_outgoing=args.test)
        if args.test:
            return test_all(connection, configs)
        problems = exchange_all(connection, configs, args, outcomes)
    if not configs:
        log.info(
            "no row of dba.texchangeconfig is active; copy add_sftp.sql or add_cloud.sql of onboarding/sql/samples",
            extra={"step": "end"},
        )
    if args.json:
        say(json.dumps({"files": [outcome._asdict() for outcome in outcomes]}))
    failures = sum(outcome.is_failure for outcome in outcomes)
    passing = not failures and all(isinstance(problem, TemporaryFailure) for problem in problems)
    for problem in problems[: -1 if passing else None]:
        log.error("%s", problem, extra={"step": "end"})
    if problems and passing:
        raise problems[-1]
    return failures + len(problems)


if __name__ == "__main__":
    run_job(main, doc=__doc__, arguments=add_arguments)
