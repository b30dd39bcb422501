"""The command behind the backups: it saves the data outside of databases: roles, and each database's properties.

    python -P -m systemscripts.backups.globals make FILE                    globals.json
    python -P -m systemscripts.backups.globals roles                        makes the roles that are missing
    python -P -m systemscripts.backups.globals create STEM TARGET           an empty one, of the same encoding and sort order
    python -P -m systemscripts.backups.globals settle STEM TARGET           its owner, rights and settings

The last three read globals.json on standard input. pg_dumpall writes the same as SQL, for a person. Names and
settings are untrusted texts, because anybody with a role may have chosen them, so they are not run as SQL here.
"""

import contextlib
import csv
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from systemscripts import db_config, directory_management
from systemscripts.command_line import run_command, wrong_call
from systemscripts.errors import JobError
from systemscripts.plain_text import say

# Without passwords, because copies of a backup lie in other places than the server. After a restore set new ones.
_ROLES = """
    SELECT r.rolname AS name, r.rolconnlimit AS connection_limit, r.rolvaliduntil::text AS valid_until,
           shobj_description(r.oid, 'pg_authid') AS comment, coalesce(r.rolconfig, '{}') AS settings,
           json_build_object('SUPERUSER', r.rolsuper, 'INHERIT', r.rolinherit, 'CREATEROLE', r.rolcreaterole,
                             'CREATEDB', r.rolcreatedb, 'LOGIN', r.rolcanlogin, 'REPLICATION', r.rolreplication,
                             'BYPASSRLS', r.rolbypassrls) AS attributes
    FROM pg_roles AS r WHERE r.rolname !~ '^pg_' ORDER BY 1
"""
_MEMBERSHIPS = """
    SELECT pg_get_userbyid(m.roleid) AS role, pg_get_userbyid(m.member) AS member, m.admin_option AS admin,
           (to_jsonb(m) ->> 'inherit_option')::boolean AS inherit, (to_jsonb(m) ->> 'set_option')::boolean AS set
    FROM pg_auth_members AS m ORDER BY 1, 2
"""
_DATABASES = """
    SELECT d.datname AS name, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,
           d.datcollate AS collate, d.datctype AS ctype, d.datlocprovider AS provider,
           coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale, d.datconnlimit AS connection_limit,
           shobj_description(d.oid, 'pg_database') AS comment,
           (SELECT json_agg(json_build_array(CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END,
                                             a.privilege_type, a.is_grantable))
            FROM aclexplode(d.datacl) AS a) AS rights,
           (SELECT json_agg(json_build_array(CASE s.setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(s.setrole) END, s.setconfig))
            FROM pg_db_role_setting AS s WHERE s.setdatabase = d.oid) AS settings
    FROM pg_database AS d WHERE d.datallowconn AND NOT d.datistemplate ORDER BY 1
"""
_PRIVILEGES = ("CREATE", "CONNECT", "TEMPORARY")
# Refusals of a new database that say nothing of its sort order.
_NOT_OF_THE_ORDER = (
    psycopg2.errors.DiskFull,
    psycopg2.errors.DuplicateDatabase,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.ReadOnlySqlTransaction,
)
# Settings that are lists of names and paths: each element of the value is quoted.
_LISTS = (
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
    "unix_socket_directories",
)


def collect(connection: Connection) -> dict[str, Any]:
    """Return the server's roles and databases, as far as its backup role may see them."""
    return {
        "server_version": connection.server_version,
        "roles": _rows(connection, _ROLES),
        "memberships": _rows(connection, _MEMBERSHIPS),
        "databases": {row["name"]: row for row in _rows(connection, _DATABASES)},
    }


def make_missing_roles(connection: Connection, known: dict[str, Any]) -> list[str]:
    """Make the missing roles as they were, and return their names; existing roles stay unchanged."""
    with connection, connection.cursor() as cursor:
        return add_missing_roles(cursor, known)


def add_missing_roles(cursor: Cursor, known: dict[str, Any]) -> list[str]:
    """Do the same within the transaction of the cursor."""
    cursor.execute("SELECT rolname FROM pg_roles")
    there = {name for (name,) in cursor.fetchall()}
    made = [role for role in known["roles"] if role["name"] not in there]
    for role in made:
        name = sql.Identifier(role["name"])
        words = [word if has else f"NO{word}" for word, has in role["attributes"].items()]
        cursor.execute(
            sql.SQL("CREATE ROLE {} WITH {} CONNECTION LIMIT {} VALID UNTIL {}").format(
                name,
                sql.SQL(" ").join(map(sql.SQL, words)),
                sql.Literal(role["connection_limit"]),
                sql.Literal(role["valid_until"] or "infinity"),
            )
        )
        if role["comment"]:
            cursor.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(role["comment"])))
        apply_settings(cursor, sql.SQL("ALTER ROLE {}").format(name), role["settings"])
    names = {role["name"] for role in made}
    for membership in known["memberships"]:
        if membership["member"] in names:
            _grant_membership(cursor, membership)
    return sorted(names)


def _grant_membership(cursor: Cursor, membership: dict[str, Any]) -> None:
    options = [f"ADMIN {bool(membership['admin'])}"]
    if cursor.connection.server_version >= 160_000:
        options += [f"{word.upper()} {membership[word]}" for word in ("inherit", "set") if membership[word] is not None]
        tail = f"WITH {', '.join(options)}"
    else:
        tail = "WITH ADMIN OPTION" if membership["admin"] else ""
    names = sql.Identifier(membership["role"]), sql.Identifier(membership["member"])
    _attempt(cursor, sql.SQL("GRANT {} TO {} {}").format(*names, sql.SQL(tail)))


def create(connection: Connection, database: dict[str, Any], target: str) -> None:
    """Make an empty database with the same encoding and sort order; if the server lacks that sort order, with its own."""
    locale = {"LC_COLLATE": database["collate"], "LC_CTYPE": database["ctype"], "LOCALE_PROVIDER": "libc"}
    if database["provider"] == "i":
        locale |= {"LOCALE_PROVIDER": "icu", "ICU_LOCALE": database["locale"]}
    elif database["provider"] == "b" and connection.server_version >= 170_000:
        locale |= {"LOCALE_PROVIDER": "builtin", "BUILTIN_LOCALE": database["locale"]}
    options = {"TEMPLATE": "template0", "ENCODING": database["encoding"]}
    choices = [{**options, **locale}, options]
    if database["provider"] == "b" and "BUILTIN_LOCALE" not in locale:
        # Before 17 the same order by code points, and the same letters, come from the system's library.
        choices[:0] = [{**options, **locale, "LC_CTYPE": database["locale"]}]
    connection.autocommit = True
    with connection.cursor() as cursor:
        for chosen in choices:
            words = [sql.SQL("{} {}").format(sql.SQL(word), sql.Literal(value)) for word, value in chosen.items()]
            try:
                cursor.execute(
                    sql.SQL("CREATE DATABASE {} WITH {}").format(sql.Identifier(target), sql.SQL(" ").join(words))
                )
            except _NOT_OF_THE_ORDER:
                raise
            except psycopg2.Error as problem:
                if chosen is options:
                    raise
                if chosen is not choices[-2]:
                    continue
                told = " ".join(str(problem).split())
                say(
                    f"{target}: gets this server's sort order, because the former one is missing here ({told})",
                    to=sys.stderr,
                )
            else:
                return


def settle(connection: Connection, database: dict[str, Any], target: str) -> None:
    """Give a restored database its owner, rights, settings and comment."""
    name = sql.Identifier(target)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(database["owner"])))
        cursor.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, sql.Literal(database["connection_limit"]))
        )
        if database["comment"]:
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(database["comment"])))
        if database["rights"] is not None:
            cursor.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(name, sql.Identifier(database["owner"]))
            )
        for grantee, privilege, is_grantable in database["rights"] or []:
            if privilege in _PRIVILEGES:
                cursor.execute(
                    sql.SQL("GRANT {} ON DATABASE {} TO {} {}").format(
                        sql.SQL(privilege),
                        name,
                        sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
                        sql.SQL("WITH GRANT OPTION" if is_grantable else ""),
                    )
                )
        for role, settings in database["settings"] or []:
            whose = sql.SQL("ALTER DATABASE {}").format(name)
            if role is not None:
                whose = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), name)
            apply_settings(cursor, whose, settings)


def apply_settings(cursor: Cursor, whose: Any, settings: list[str]) -> None:
    """Run ALTER … SET for each `name=value` in the form of the catalogue."""
    for setting in settings:
        name, _, value = setting.partition("=")
        # The catalogue keeps the value of a list with its quotes.
        values = next(csv.reader([value], skipinitialspace=True), [""]) if name in _LISTS else [value]
        _attempt(
            cursor,
            sql.SQL("{} SET {} TO {}").format(
                whose,
                _setting(name),
                sql.SQL(", ").join(map(sql.Literal, values)),
            ),
        )


def reset_settings(cursor: Cursor, whose: Any, names: set[str]) -> None:
    """Run ALTER … RESET for each of these names."""
    for name in sorted(names):
        _attempt(cursor, sql.SQL("{} RESET {}").format(whose, _setting(name)))


def _setting(name: str) -> sql.Composed:
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))


def _attempt(cursor: Cursor, statement: Any) -> None:
    """Run a statement that a server of another version, or with other extensions, may refuse; then log it and leave it out."""
    cursor.execute("SAVEPOINT attempt")
    try:
        cursor.execute(statement)
    except psycopg2.Error as problem:
        say(f"left out: {statement.as_string(cursor)}: {' '.join(str(problem).split())}", to=sys.stderr)
        cursor.execute("ROLLBACK TO SAVEPOINT attempt")


def _rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _read(stream: Any, server_version: int) -> dict[str, Any]:
    """Return the content of globals.json; raises JobError if it is invalid, or from a newer server than this one."""
    try:
        known: dict[str, Any] = json.load(stream)
        theirs = known["server_version"] // 10_000
    except (ValueError, KeyError, TypeError) as problem:
        raise JobError(f"this is not a globals.json of a backup: {problem}") from None
    if theirs > server_version // 10_000:
        raise JobError(
            f"the backup is from PostgreSQL {theirs}, but this server is {server_version // 10_000}: restore it to {theirs} or later"
        )
    return known


def main(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "make" and len(rest) == 1:
        with contextlib.closing(db_config.connect(db_config.BACKUP_ROLE, "postgres")) as connection:
            content = json.dumps(collect(connection), indent=1, ensure_ascii=False)
        with directory_management.new_file(Path(rest[0])) as stream:
            stream.write(content.encode("utf-8", "surrogateescape"))
        return 0
    if (command, len(rest)) not in (("roles", 0), ("create", 2), ("settle", 2)):
        raise wrong_call(__doc__)
    with contextlib.closing(db_config.connect(db_config.ADMINISTRATOR_ROLE, "postgres")) as connection:
        known = _read(sys.stdin, connection.server_version)
        if command == "roles":
            for name in make_missing_roles(connection, known):
                say(f"role {name}: made")
            return 0
        database = unquote(rest[0])
        if database not in known["databases"]:
            raise JobError(f"the backup has no data about a database {database!r}")
        (create if command == "create" else settle)(connection, known["databases"][database], rest[1])
    return 0


def told_by_the_server(arguments: list[str]) -> int:
    """Run `main`; if the server refuses something, report it in one sentence."""
    try:
        return main(arguments)
    except psycopg2.Error as refusal:
        raise JobError(" ".join(str(refusal).split())) from None


if __name__ == "__main__":
    run_command("database_globals", told_by_the_server)
