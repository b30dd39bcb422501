"""A temporary installation: an ETL_HOME below TMPDIR with an embedded PostgreSQL of its own."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import Usage, measure, tell

from systemscripts import db_config, embedded_postgres

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

PROJECT = Path(__file__).resolve().parent.parent
ROOMS = ("jobscripts", "systemscripts", "onboarding")


@contextlib.contextmanager
def installation() -> "Iterator[Installation]":
    """Set an installation up for as long as it is needed; this process's own environment points at it as well."""
    if os.geteuid() == 0:
        raise SystemExit("run it as an ordinary user: PostgreSQL refuses to run as root")
    with tempfile.TemporaryDirectory(prefix="etl_bench_") as folder:
        tell(f"setting up a temporary installation in {folder}")
        etl = Installation(Path(folder))
        os.environ.clear()
        os.environ.update(etl.environment)
        try:
            etl.script("onboarding/sh/sql_setupscripts.sh")
            yield etl
        finally:
            embedded_postgres.stop()


def copy_code(target: Path) -> None:
    """Copy what runs, so that its bytecode can be written and is up to date, whoever owns the checkout."""
    for room in ROOMS:
        shutil.copytree(PROJECT / room, target / room)
    shutil.copy(PROJECT / "env.sh", target)


class Installation:
    """The ways to work on it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.code = folder / "home", folder / "code"
        self.home.mkdir()
        copy_code(self.code)
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "PYTHONPATH": str(self.code),
            "ETL_HOME": str(self.home),
            "ETL_VENV": sys.prefix,
            "ETL_SETTLE_SECONDS": "0",
            "ETL_SECRETS_FILE": "/nonexistent",
            "ETL_SITE_FILE": "/nonexistent",
        }

    def script(self, name: str, *arguments: str, watch_memory: bool = True) -> Usage:
        """Run one of the project's scripts."""
        return measure(["/bin/bash", self.code / name, *arguments], self.environment, watch_memory)

    def door(self, *arguments: str, watch_memory: bool = True) -> Usage:
        """Run a job as cron does."""
        return self.script("jobscripts/run_python_etl_script.sh", *arguments, watch_memory=watch_memory)

    @contextlib.contextmanager
    def session(self, role: str = embedded_postgres.SUPERUSER) -> "Iterator[Connection]":
        """Yield a connection on which every statement is a transaction of its own."""
        with db_config.session(role) as connection:
            connection.autocommit = True
            yield connection

    def sql(self, statement: str, *values: Any, role: str = embedded_postgres.SUPERUSER) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self.session(role) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def settle(self) -> None:
        """Bring everything to disk, so that the next command does not pay for what was written before."""
        self.sql("CHECKPOINT")
        os.sync()

    def rows_in(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0][0])

    def configure(self, name: str, **columns: Any) -> Path:
        """Add an import of CSV files into public.t<name>, and return the directory it takes them from."""
        source = self.home / "file_watcher" / name
        source.mkdir(parents=True)
        row = {
            "config_name": name,
            "datasource": "MeetMax",
            "datasettype": "Metadata",
            "source_directory": str(source),
            "archive_directory": str(self.home / "archive" / name),
            "file_pattern": "*.csv",
            "file_type": "CSV",
            "metadata_label_source": "static",
            "metadata_label_location": name,
            "dateconfig": "static",
            "datelocation": "2026-03-02",
            "dateformat": "yyyy-MM-dd",
            "target_table": f"public.t{name}",
            **columns,
        }
        places = ", ".join(["%s"] * len(row))
        self.sql(f"INSERT INTO dba.timportconfig ({', '.join(row)}) VALUES ({places})", *row.values())
        return source
