"""What is to be moved, and what is at the new server; nothing is changed here."""

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg2
from psycopg2.extensions import make_dsn

from systemscripts import db_config
from systemscripts.backups import globals as server_globals
from systemscripts.db_config import ADMINISTRATOR_ROLE, BACKUP_ROLE, JOB_ROLE, OWNER_ROLE, REPORT_ROLE
from systemscripts.errors import JobError
from systemscripts.moving.fence import runs_in_words

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection

OUR_ROLES = (OWNER_ROLE, JOB_ROLE, REPORT_ROLE, BACKUP_ROLE)
# The role that initdb made, and whoever does the move: at the new server their places are taken by its administrator.
ADMINISTRATORS = "SELECT rolname FROM pg_roles WHERE oid = 10 OR rolname = current_user"
# Roles with a part in the database: owners and those with rights or settings there, their members, and what these are members of.
_ROLES = f"""
    WITH RECURSIVE part AS (
        SELECT d.refobjid AS oid FROM pg_shdepend AS d JOIN pg_database AS b ON b.datname = current_database()
        WHERE d.refclassid = 'pg_authid'::regclass
          AND (d.dbid = b.oid OR (d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = b.oid))
        UNION SELECT s.setrole FROM pg_db_role_setting AS s JOIN pg_database AS b ON b.oid = s.setdatabase
        WHERE b.datname = current_database()
        UNION SELECT oid FROM pg_roles WHERE rolname = ANY (%(ours)s)
    ), below AS (
        SELECT oid FROM part UNION SELECT m.member FROM pg_auth_members AS m JOIN below ON m.roleid = below.oid
        JOIN pg_roles AS r ON r.oid = m.roleid WHERE r.rolname !~ '^pg_' AND r.rolname NOT IN ({ADMINISTRATORS})
    ), whole AS (
        SELECT oid FROM below UNION SELECT m.roleid FROM pg_auth_members AS m JOIN whole ON m.member = whole.oid)
    SELECT DISTINCT rolname FROM pg_roles JOIN whole USING (oid)
    WHERE rolname !~ '^pg_' AND rolname NOT IN ({ADMINISTRATORS}) ORDER BY 1
"""  # noqa: S608 — made of constants
_OF_ADMINISTRATORS = f"""
    SELECT o.kind || ' ' || o.name, pg_get_userbyid(o.owner) FROM (
        SELECT 'the table or view' AS kind, oid::regclass::text AS name, relowner AS owner, oid FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT 'the function', oid::regprocedure::text, proowner, oid FROM pg_proc
        UNION ALL SELECT 'the schema', nspname, nspowner, oid FROM pg_namespace WHERE nspname !~ '^pg_'
        UNION ALL SELECT 'the type', oid::regtype::text, typowner, oid FROM pg_type WHERE typtype IN ('d', 'e', 'r')
        UNION ALL SELECT 'the large object', oid::text, lomowner, oid FROM pg_largeobject_metadata) AS o
    WHERE (o.oid >= 16384 OR o.kind = 'the large object') AND o.name !~ '^pg_temp' AND pg_get_userbyid(o.owner) IN ({ADMINISTRATORS})
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = o.oid AND d.deptype = 'e') ORDER BY 1
"""  # noqa: S608
_INSTALLED = "SELECT extname FROM pg_extension ORDER BY 1"
_DOCTORS_RUNS = "SELECT count(*) FROM dba.tjobrun WHERE job = 'doctor.py' AND started_at >= %s"
_DOCTORS_RECORDS = """
    SELECT count(*) FROM dba.tlogentry
    WHERE run_uuid IN (SELECT run_uuid::text FROM dba.tjobrun WHERE job = 'doctor.py' AND started_at >= %s)
"""
_FILLED = """
    SELECT kind || ' ' || name FROM (
        SELECT 'table' AS kind, format('%I.%I', n.nspname, c.relname) AS name, c.oid
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        UNION ALL
        SELECT 'function', p.oid::regprocedure::text, p.oid FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        UNION ALL
        SELECT 'schema', nspname, oid FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
        UNION ALL
        SELECT 'large object', oid::text, oid FROM pg_largeobject_metadata) AS found
    WHERE (oid >= 16384 OR kind = 'large object') AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = found.oid AND d.deptype = 'e')
    ORDER BY 1
"""
_UNREADABLE = """
    SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT (has_schema_privilege(%s, n.oid, 'USAGE') AND has_table_privilege(%s, c.oid, 'SELECT'))
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1
"""


def describe(_told: None) -> dict[str, Any]:
    """Return what the former server knows of the installation's database."""
    with _session() as connection:
        if not _values(connection, "SELECT to_regclass('dba.tjobrun')")[0]:
            raise JobError(
                f"the database {connection.info.dbname} has no table dba.tjobrun; set it up first: bash onboarding/sh/sql_setupscripts.sh"
            )
        if (user := _values(connection, "SELECT current_user")[0]) in OUR_ROLES:
            raise JobError(
                f"at the former server this would be done as {user}, which is no administrator; name him before the command: PGUSER=admin "
                "bash …; if site.env has PGSERVICE, whose user counts first, write PGHOST, PGPORT and PGDATABASE there in its place"
            )
        known = server_globals.collect(connection)
        with connection.cursor() as cursor:
            cursor.execute(_ROLES, {"ours": list(OUR_ROLES)})
            roles = [name for (name,) in cursor.fetchall()]
        name = connection.info.dbname
        administrators = _values(connection, ADMINISTRATORS)
        return {
            "version": connection.server_version,
            "name": name,
            "database": known["databases"][name],
            "sorts_by": _sort_order(known["databases"][name]),
            "other_databases": sorted({*known["databases"]} - {name, "postgres"}),
            "roles": [role for role in known["roles"] if role["name"] in roles],
            "memberships": [
                row
                for row in known["memberships"]
                if row["member"] in roles and (row["role"] in roles or row["role"].startswith("pg_"))
            ],
            "administrators": administrators,
            "of_administrators": _rows(connection, _OF_ADMINISTRATORS),
            "extensions": _values(connection, _INSTALLED),
            "event_triggers": _values(connection, "SELECT evtname FROM pg_event_trigger ORDER BY 1"),
            "size": _values(connection, "SELECT pg_database_size(current_database())")[0],
            "running": runs_in_words(connection),
            "system": _system_identifier(connection),
            "dumped_by": str(db_config.dump_program("pg_dump", connection.server_version)),
        }


def look(name: str) -> dict[str, Any]:
    """Return what is at the new server, seen from any of its databases that lets the administrator in."""
    with _any_session(name) as connection:
        known = server_globals.collect(connection)
        ((user, is_superuser, makes_roles, makes_databases, is_secret),) = _rows(
            connection,
            "SELECT current_user, rolsuper, rolcreaterole, rolcreatedb, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())"
            " FROM pg_roles WHERE rolname = current_user",
        )
        there = _rows(
            connection, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", name
        )
        found = {
            "version": connection.server_version,
            "administrator": user,
            "is_superuser": is_superuser,
            "makes_roles": is_superuser or makes_roles,
            "makes_databases": is_superuser or makes_databases,
            "is_secret": bool(is_secret),
            "lacks_tls": db_config.lacks_tls(),
            "needs_tls": bool(is_secret) and db_config.programs_lack_tls() and _refuses_plain(connection),
            "only_reads": _why_only_reads(connection),
            "asks_for_passwords": connection.info.used_password,
            "roles": {role["name"]: role for role in known["roles"]},
            "memberships": known["memberships"],
            "extensions": _values(connection, "SELECT DISTINCT name FROM pg_available_extensions"),
            "settings": _values(connection, "SELECT name FROM pg_settings"),
            "is_there": bool(there),
            "sorts_by": _sort_order(known["databases"][name]) if name in known["databases"] else "",
            "comment": there[0][0] if there else None,
            "system": _system_identifier(connection),
            "filled_with": [],
        }
    if found["is_there"]:
        with _session(name) as connection:
            found["filled_with"] = _values(connection, _FILLED)
            found["encoding"] = _values(connection, "SHOW server_encoding")[0]
            found["only_reads"] = found["only_reads"] or _why_only_reads(connection)
    return found


def _sort_order(database: dict[str, Any]) -> str:
    """Return the name of a database's sort order; that by code points has several."""
    name = str(database["locale"] or database["collate"])
    return "C" if name.upper().replace("-", "") in ("C", "C.UTF8", "POSIX") else name


def _refuses_plain(connection: "Connection") -> bool:
    """Return whether the server, which was reached by TLS, lets nobody in without it; no password is sent to find that out."""
    parameters = {**connection.info.dsn_parameters, "sslmode": "disable", "passfile": "/dev/null"}
    try:
        psycopg2.connect(make_dsn(**parameters)).close()
    except psycopg2.OperationalError as refusal:
        return "no password supplied" not in str(refusal)
    return False


def _why_only_reads(connection: "Connection") -> str:
    """Return why nothing can be written there; "" if it can."""
    if _values(connection, "SELECT pg_is_in_recovery()")[0]:
        return "it is a standby; give PGHOST the name of its primary"
    if _values(connection, "SHOW default_transaction_read_only")[0] == "on":
        return (
            "default_transaction_read_only is on there; type RESET default_transaction_read_only there after ALTER SYSTEM, ALTER ROLE or "
            "ALTER DATABASE, where it was set"
        )
    return ""


def of_doctor(moved_at: str) -> dict[str, int]:
    """Return how many runs, and records of them, the doctor has made since the switch."""
    with _session() as connection:
        ((runs,),) = _rows(connection, _DOCTORS_RUNS, moved_at)
        ((records,),) = _rows(connection, _DOCTORS_RECORDS, moved_at)
    return {"dba.tjobrun": runs, "dba.tlogentry": records}


def unreadable(role: str) -> list[str]:
    """Return the tables and sequences that the role may not read."""
    with _session() as connection:
        return _values(connection, _UNREADABLE, role, role)


def runs_since(moment: str) -> int:
    """Return how many runs began since then."""
    with _session() as connection:
        return int(_values(connection, "SELECT count(*) FROM dba.tjobrun WHERE started_at >= %s", moment)[0])


def _system_identifier(connection: "Connection") -> str:
    """Return what tells one server from another; "" where the administrator may not know."""
    try:
        return str(_values(connection, "SELECT system_identifier FROM pg_control_system()")[0])
    except psycopg2.Error:
        return ""


def _any_session(name: str) -> Any:
    """A managed server may have no database postgres, or keep its administrator out of it."""
    try:
        return _session("postgres")
    except db_config.DatabaseUnavailable as refusal:
        if "does not exist" not in str(refusal) and "permission denied for database" not in str(refusal):
            raise
    return _session(name)


def _session(database: str | None = None) -> Any:
    connection = db_config.connect(ADMINISTRATOR_ROLE, database, patience=0)
    connection.autocommit = True
    return contextlib.closing(connection)


def _rows(connection: "Connection", query: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchall()


def _values(connection: "Connection", query: str, *values: Any) -> list[Any]:
    return [row[0] for row in _rows(connection, query, *values)]
