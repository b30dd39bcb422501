"""The command behind the backups: it dumps one database, and writes a manifest to check a restore.

    python -P -m systemscripts.backups.dump list                       every database, as the STEM of its files
    python -P -m systemscripts.backups.dump stem DATABASE
    python -P -m systemscripts.backups.dump make STEM FOLDER           STEM.dump and STEM.manifest
    python -P -m systemscripts.backups.dump roles FILE                 the roles as SQL
    python -P -m systemscripts.backups.dump compare MANIFEST DATABASE

Dump and manifest come from the same snapshot, even if others write meanwhile. A manifest has one line
per table: name, rows, and a sum over their content that does not depend on their order. A stem is the
name of a database in which characters with a meaning for a shell or a file system are written as %XX.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from systemscripts import db_config, directory_management, settings
from systemscripts.command_line import run_command, wrong_call
from systemscripts.errors import JobError
from systemscripts.plain_text import say

# Left out: partitions, which are counted with their table; tables of an extension, which come with it; materialized
# views, which are computed again.
_TABLES = """
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
    ORDER BY 1, 2
"""
# The sum of 64 bits of each row's MD5, so that equal rows all count. PostgreSQL's own function makes the text of a row,
# because a cast to text could be code of the table's owner.
_SUM = """
    SELECT count(*), coalesce(sum(('x' || left(md5(record_out(t.*)::text), 16))::bit(64)::bigint::numeric), 0)::text FROM {} AS t
"""
# The text of a row depends on the first settings. The last one refuses a view that has replaced a table since its name
# was read.
_SAME_TEXT = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; "
    "SET extra_float_digits = 1; SET lc_monetary = 'C'; SET client_encoding = 'UTF8'; "
    "SET search_path = pg_catalog, pg_temp; "
    "SELECT set_config(name, 'view', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'"
)


# Used instead of the sums if the table's own owner may not see all rows.
HIDDEN = (-1, "hidden")
WHY_HIDDEN = "it has FORCE ROW LEVEL SECURITY, so a policy hides rows even from its owner"


class TableSum(NamedTuple):
    """A table as schema.table, its rows, and the sum over their content."""

    table: str
    rows: int
    content: str

    def __str__(self) -> str:
        return f"{self.table}\t{self.rows}\t{self.content}"


def stem_of(database: str) -> str:
    """Return the name of a database as the first part of a file's name; `urllib.parse.unquote` reverses it.

    >>> stem_of("feeds"), stem_of(".a/b")
    ('feeds', '%2Ea%2Fb')
    """
    stem = quote(database, safe="")
    return stem.replace(".", "%2E").replace("~", "%7E").replace("-", "%2D", 1) if stem[0] in ".~-" else stem


def databases() -> list[str]:
    """Return the names of all databases that allow a login."""
    with _session(db_config.BACKUP_ROLE, "postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1")
        return [name for (name,) in cursor.fetchall()]


def make(database: str, folder: Path) -> list[TableSum]:
    """Write the dump and the manifest of a database into the folder; raises JobError if pg_dump fails."""
    stem = stem_of(database)
    dump = folder / f"{stem}.dump"
    with _session(db_config.BACKUP_ROLE, database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        ((snapshot,),) = cursor.fetchall()
        _run_dump(
            "pg_dump",
            connection.server_version,
            "--format=custom",
            f"--snapshot={snapshot}",
            f"--file={dump}",
            "--dbname",
            _quoted(database),
        )
        sums = database_sums(connection, db_config.BACKUP_ROLE)
    with directory_management.new_file(folder / f"{stem}.manifest") as stream:
        stream.write("".join(f"{line}\n" for line in sums).encode())
    return sums


def dump_roles(file: Path) -> None:
    """Write the server's roles, but not their passwords, because copies of a backup lie in other places than the server."""
    with _session(db_config.BACKUP_ROLE, None) as connection:
        version = connection.server_version
    _run_dump("pg_dumpall", version, "--globals-only", "--no-role-passwords", f"--file={file}")


def compare(manifest: Path, database: str) -> list[str]:
    """Return how the database differs from the manifest, one sentence per table; empty if all is equal."""
    expected = {sum_.table: sum_ for sum_ in read_manifest(manifest)}
    with _session(db_config.ADMINISTRATOR_ROLE, database) as connection:
        found = {sum_.table: sum_ for sum_ in database_sums(connection, db_config.ADMINISTRATOR_ROLE)}
    different = [f"{table} is missing" for table in expected.keys() - found.keys()]
    different += [f"{table} exists but was not in the backup" for table in found.keys() - expected.keys()]
    for table in expected.keys() & found.keys():
        was, is_now = expected[table], found[table]
        if HIDDEN in (was[1:], is_now[1:]):
            say(f"{database}: {table} is restored, and not compared: {WHY_HIDDEN}", to=sys.stderr)
        elif was.rows != is_now.rows:
            different.append(f"{table} has {is_now.rows} rows, but the backup had {was.rows}")
        elif was != is_now:
            different.append(f"{table} has as many rows as in the backup, {was.rows}, but with other content")
    return sorted(different)


def database_sums(connection: Connection, role: str) -> list[TableSum]:
    """Return the sums of all tables of the connection's database, as its transaction sees them.

    The jobs' own tables are read by the jobs' role, in the same snapshot: to plan a query PostgreSQL evaluates expressions
    of indexes, and these may be code of the table's owner. `role` is the connection's role.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        ((snapshot,),) = cursor.fetchall()
        cursor.execute(_TABLES)
        tables = cursor.fetchall()
    # A policy is also code of the owner. etl_backup bypasses it; if it may not, the query is refused.
    sums = table_sums(connection, [name for *name, owner in tables if owner != db_config.JOB_ROLE], "off")
    if of_jobs := [name for *name, owner in tables if owner == db_config.JOB_ROLE]:
        database, exactly = connection.info.dbname, role == db_config.ADMINISTRATOR_ROLE
        with _session(db_config.JOB_ROLE, database, exactly=exactly) as theirs, theirs.cursor() as cursor:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", (snapshot,))
            sums += table_sums(theirs, of_jobs, "off")
    return sorted(sums)


def table_sums(connection: Connection, tables: list[list[str]], row_security: str) -> list[TableSum]:
    """Return the sums of tables, each as schema and name; raises JobError if a table was changed meanwhile or is not readable."""
    sums = []
    with connection.cursor() as cursor:
        fix_texts(cursor)
        cursor.execute("SELECT set_config('row_security', %s, false)", (row_security,))
        for schema, table in tables:
            cursor.execute("SAVEPOINT before_table")
            try:
                cursor.execute(sql.SQL(_SUM).format(sql.Identifier(schema, table)))
                ((rows, content),) = cursor.fetchall()
            except psycopg2.Error as problem:
                if not isinstance(problem, psycopg2.errors.InsufficientPrivilege) or "row-level" not in str(problem):
                    raise JobError(f"{schema}.{table} cannot be read: {' '.join(str(problem).split())}") from None
                cursor.execute("ROLLBACK TO SAVEPOINT before_table")
                rows, content = HIDDEN
            name = f"{schema}.{table}".encode("unicode_escape" if not f"{schema}{table}".isprintable() else "utf-8")
            sums.append(TableSum(name.decode(), rows, content))
    return sums


def fix_texts(cursor: Cursor) -> None:
    """Let the session make the same text of the same value as every other server does, and run no view's code."""
    cursor.execute(_SAME_TEXT)


def read_manifest(manifest: Path) -> list[TableSum]:
    """Return a manifest's lines; raises JobError if the file is not a manifest."""
    try:
        lines = [line.split("\t") for line in manifest.read_text(encoding="utf-8").split("\n") if line]
        return [TableSum(table, int(rows), content) for table, rows, content in lines]
    except (OSError, ValueError) as problem:
        raise JobError(f"{manifest} is not a manifest of a backup: {problem}") from None


def _run_dump(name: str, server_version: int, *options: str) -> None:
    result = subprocess.run(
        [str(db_config.dump_program(name, server_version)), *options],
        env=settings.child_environment(**db_config.program_environment(db_config.BACKUP_ROLE)),
        check=False,
    )
    if result.returncode != 0:
        raise JobError(f"{name} failed with status {result.returncode}")


@contextlib.contextmanager
def _session(role: str, database: str | None, *, exactly: bool = False) -> Iterator[Connection]:
    """Yield a read-only connection whose transaction sees one moment."""
    with contextlib.closing(db_config.connect(role, database, exactly=exactly)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield connection


def _quoted(database: str) -> str:
    """Return the name quoted, so that pg_dump does not take it as a connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["list"]:
            say(*map(stem_of, databases()))
            return 0
        case ["stem", database]:
            say(stem_of(database))
            return 0
        case ["make", stem, folder]:
            database = unquote(stem)
            sums = make(database, Path(folder))
            for sum_ in sums:
                if sum_[1:] == HIDDEN:
                    say(
                        f"{database}: {sum_.table} is backed up but cannot be compared: {WHY_HIDDEN}",
                        to=sys.stderr,
                    )
            say(f"{database}: {len(sums)} tables, {sum(max(line.rows, 0) for line in sums):,} rows")
            return 0
        case ["roles", file]:
            dump_roles(Path(file))
            return 0
        case ["compare", manifest, database]:
            different = compare(Path(manifest), database)
            for line in different:
                say(f"{database}: {line}", to=sys.stderr)
            return 1 if different else 0
    raise wrong_call(__doc__)


if __name__ == "__main__":
    run_command("database_dump", main)
