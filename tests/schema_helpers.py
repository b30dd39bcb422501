"""What several tests of the schema need: a server, rows that every rule accepts, short forms of SQL."""

import contextlib
import fcntl
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from conftest import PROJECT, TEMPLATE, Installation, clean_environment

from systemscripts import embedded_postgres

FRIDAY, MONDAY, TUESDAY = date(2026, 2, 27), date(2026, 3, 2), date(2026, 3, 3)
IMPORT = {
    "config_name": "Calls", "datasource": "MeetMax", "datasettype": "Metadata", "source_directory": "/srv/in",
    "archive_directory": "/srv/archive", "file_pattern": "*.csv", "file_type": "CSV", "metadata_label_source": "static",
    "dateconfig": "filename", "metadata_label_location": "calls", "datelocation": "0", "dateformat": "yyyyMMdd",
    "delimiter": "_", "target_table": "public.tcall",
}  # fmt: skip
INBOX = {"config_name": "Mail", "gmail_account": "a@example.com", "local_repository_path": "/srv/in"}
JOB = {"taskname": "A job", "frequency": "0 5 * * 1-5", "scriptpath": "a_job.py", "datastatusid": 1}
REPORT = {
    "reportname": "A report", "frequency": "0 5 * * 1-5", "subjectheader": "Hello", "toheader": "a@example.com",
    "hasattachment": False, "emailbodytemplate": "{{grid1}}", "emailbodyqueries": '{"grid1": "SELECT 1"}',
}  # fmt: skip
FILE = {"config_id": 1, "file_name": "a.csv", "sha256": "0" * 64, "status": "Duplicate"}
JOB_CALLS = [
    "CALL dba.ppurgeoldlogs(30)",
    "CALL dba.prunmaintenancevacuumanalyze()",
    "CALL dba.pmonitorlongrunningqueries(60)",
    "CALL dba.pcapturetableindexstats()",
    "SELECT * FROM dba.f_get_event_changes()",
]
DATASET = "SELECT dba.f_dataset_iu(%s, %s, %s, %s, %s, %s, %s)"
NAME_TICKER = "company_name text, ticker text"


@dataclass(frozen=True)
class Cluster:
    """A running server, by the directory of its socket, and a home for what is set up in it."""

    socket: Path
    home: Path

    def installation(self, name: str) -> Installation:
        return Installation(self.home, {"ETL_HOME": str(self.home), "PGHOST": str(self.socket), "PGDATABASE": name})

    def set_up(self, name: str, *arguments: str, project: Path = PROJECT, **more: str) -> subprocess.CompletedProcess:
        """Run the administrator's script; one at a time, because the roles are the whole server's."""
        variables = {**self.installation(name).variables, "PGUSER": "postgres", **more}
        with locked(self.home):
            return subprocess.run(
                ["/bin/bash", str(project / "onboarding/sh/sql_setupscripts.sh"), *arguments],
                env=clean_environment(**variables),
                capture_output=True,
                text=True,
                check=False,
            )

    def program(self, name: str, database: str, *arguments: str, user: str = "postgres") -> str:
        """Run one of PostgreSQL 18's programs on a database and return what it printed."""
        result = subprocess.run(
            [embedded_postgres.binary(name), *arguments],
            env=clean_environment(PGHOST=str(self.socket), PGDATABASE=database, PGUSER=user),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def make_database(self, template: str = TEMPLATE) -> str:
        name = f"schema_{secrets.token_hex(6)}"
        self.installation("postgres").query(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def become(cursor: Any, role: str) -> Any:
    cursor.execute(f"SET LOCAL SESSION AUTHORIZATION {role}")
    return cursor


def one(cursor: Any, statement: str, *values: Any) -> Any:
    """Run a statement and return the single column of its single row, or the row."""
    cursor.execute(statement, values)
    (row,) = cursor.fetchall()
    return row[0] if len(row) == 1 else row


def rows(cursor: Any, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return cursor.fetchall()


def refusal(cursor: Any, statement: str, *values: Any) -> psycopg2.Error:
    """Return how the server refused a statement, and undo it."""
    cursor.execute("SAVEPOINT refusal")
    with pytest.raises(psycopg2.Error) as refused:
        cursor.execute(statement, values)
    cursor.execute("ROLLBACK TO refusal")
    return refused.value


def schema_dump(cluster: Cluster, name: str) -> list[str]:
    dump = cluster.program("pg_dump", name, "--schema-only")
    return [line for line in dump.splitlines() if not re.match(r"\\(un)?restrict ", line)]


def all_rows(installation: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each table of dba with the transaction that wrote them."""
    tables = installation.query("SELECT tablename FROM pg_tables WHERE schemaname = 'dba'")
    return {
        name: installation.query(f"SELECT xmin::text, t::text FROM dba.{name} AS t ORDER BY 2") for (name,) in tables
    }


def insert(table: str, values: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that inserts a row, and its values."""
    marks = ", ".join(["%s"] * len(values))
    return f"INSERT INTO dba.{table} ({', '.join(values)}) VALUES ({marks}) RETURNING *", tuple(values.values())


def add_dataset(cursor: Any, status: str | None = "Active", day: date = TUESDAY, label: str = "119243") -> int:
    return one(cursor, DATASET, None, day, "MeetMaxEvents", "MeetMax", label, status, None)


def add_lists(cursor: Any, columns: str, *lists: tuple[date, list[tuple[Any, ...]]], label: str = "119243") -> None:
    """Import lists of an event as a job does."""
    cursor.execute(f"CREATE TABLE IF NOT EXISTS public.tmeetmaxevent (datasetid integer, {columns})")
    for day, companies in lists:
        dataset = add_dataset(cursor, "Active", day, label)
        for company in companies:
            marks = ", ".join(["%s"] * (len(company) + 1))
            cursor.execute(f"INSERT INTO public.tmeetmaxevent VALUES ({marks})", (dataset, *company))


def business_days(cursor: Any) -> tuple[date, date]:
    """Return the last business day until today, and the one before it."""
    return one(
        cursor,
        "SELECT d.fulldate, d.previous_business_date FROM dba.tcalendardays AS today JOIN dba.tcalendardays AS d "
        "ON d.fulldate = CASE WHEN today.isbusday THEN today.fulldate ELSE today.previous_business_date END "
        "WHERE today.fulldate = current_date",
    )
