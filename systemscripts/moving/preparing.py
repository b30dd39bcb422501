"""What is made at the new server: roles, the database, its properties; and how a server is left."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from systemscripts import db_config
from systemscripts.backups import globals as server_globals
from systemscripts.db_config import ADMINISTRATOR_ROLE
from systemscripts.moving.looking import OUR_ROLES
from systemscripts.moving.servers import JOBS_ROLES

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection
    from psycopg2.extensions import cursor as Cursor

# All but those of the move itself, the fence above all.
_END_OTHERS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
      AND application_name <> current_setting('application_name')
      AND (current_setting('is_superuser') = 'on' OR pg_has_role(usesysid, 'MEMBER'))
"""


def make_roles(told: dict[str, Any]) -> list[str]:
    """Make the missing roles, with the passwords that are known for them, all or none; return their names.

    The server gets a password only in the form in which it keeps it, so that none appears in its log.
    """
    with contextlib.closing(_connect("postgres", told["database"])) as connection:
        is_superuser = connection.info.parameter_status("is_superuser") == "on"
        roles = [_possible(role, is_superuser) for role in told["roles"]]
        known = {role["name"]: role["settings"] for role in server_globals.collect(connection)["roles"]}
        with connection, connection.cursor() as cursor:
            made = server_globals.add_missing_roles(cursor, {"roles": roles, "memberships": told["memberships"]})
            for name in made:
                if password := told["passwords"].get(name):
                    hidden = encrypt_password(password, name, scope=connection)
                    cursor.execute(
                        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(hidden))
                    )
            for role in roles:
                if role["name"] not in made:
                    whose = sql.SQL("ALTER ROLE {}").format(sql.Identifier(role["name"]))
                    server_globals.reset_settings(cursor, whose, _names(known[role["name"]]) - _names(role["settings"]))
                    server_globals.apply_settings(cursor, whose, role["settings"])
            if not is_superuser:
                _join(cursor, [role["name"] for role in roles])
    return made


def _names(settings: list[str]) -> set[str]:
    return {setting.partition("=")[0] for setting in settings}


def _possible(role: dict[str, Any], is_superuser: bool) -> dict[str, Any]:
    """Return the role without what only a superuser can give."""
    if is_superuser:
        return role
    return {**role, "attributes": {**role["attributes"], "BYPASSRLS": False}}


def _join(cursor: "Cursor", roles: list[str]) -> None:
    """Make the administrator a member: without being a superuser he can give objects only to roles that he may be."""
    # Since 16 whoever makes a role is a member of it, who may neither use its rights nor be it.
    has_options = cursor.connection.server_version >= 160_000
    ways = ["USAGE", "SET"] if has_options else ["MEMBER"]
    for name in roles:
        cursor.execute("SELECT bool_and(pg_has_role(current_user, %s, way)) FROM unnest(%s) AS way", (name, ways))
        ((is_member,),) = cursor.fetchall()
        if not is_member:
            options = " WITH INHERIT TRUE, SET TRUE" if has_options else ""
            cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER" + options).format(sql.Identifier(name)))


def make_database(told: dict[str, Any]) -> str:
    """Make the database, empty and marked as not in use; return what was done.

    One with the mark of this move is dropped first: nobody has used it, or nobody does any more.
    """
    name, mark = told["name"], told["mark"]
    done = "made"
    with contextlib.closing(_connect("postgres", name)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (name,))
            there = cursor.fetchall()
            if there and there[0][0] == mark and told["makes_databases"]:
                drop(cursor, name)
                there, done = [], "made anew; what an earlier move had left there was not in use"
            if there:
                done = "it was there, empty"
            else:
                server_globals.create(connection, told["description"], name)
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(mark)))
    return done


def drop(cursor: "Cursor", name: str) -> None:
    """Drop a database, and end the sessions there."""
    statement = sql.SQL("DROP DATABASE {}").format(sql.Identifier(name))
    try:
        cursor.execute(statement + sql.SQL(" WITH (FORCE)"))
    except psycopg2.errors.InsufficientPrivilege:
        # Only a superuser may end a worker of autovacuum in this way; without FORCE the server ends it by itself.
        cursor.execute(statement)


def log_in(database: str) -> list[str]:
    """Return why a role is not let in, for each of the jobs' roles that is not."""
    refused = []
    for role in JOBS_ROLES:
        try:
            db_config.connect(role, database, patience=0, exactly=True).close()
        except db_config.DatabaseUnavailable as refusal:
            refused.append(f"{role}: {refusal}")
    return refused


def settle(told: dict[str, Any]) -> None:
    """Give the database its owner, rights, settings and comment; the new administrator takes the former ones' place."""
    name, former = told["name"], told["administrators"]
    with contextlib.closing(_connect(name)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            ((user,),) = cursor.fetchall()
        database = {**told["description"], "comment": None}
        if database["owner"] in former:
            database["owner"] = user
        if database["rights"] is not None:
            database["rights"] = [[user if who in former else who, *rest] for who, *rest in database["rights"]]
        database["settings"] = [
            [role, settings]
            for role, settings in database["settings"] or []
            if role is None or role in OUR_ROLES or role not in former
        ]
        server_globals.settle(connection, database, name)


def retire(told: dict[str, Any]) -> None:
    """Let nobody write to the database any more, and end all other sessions, as they may still; its rows stay as they are."""
    with _of_database() as (cursor, name):
        cursor.execute("SET default_transaction_read_only = off")  # it may be done again
        cursor.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        if told.get("mark"):
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(told["mark"])))
        cursor.execute(_END_OTHERS)


def reinstate(told: dict[str, Any]) -> None:
    """Let them write again, and give the database the comment that it had."""
    with _of_database() as (cursor, name):
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
        if "comment" in told:
            cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(told["comment"])))


@contextlib.contextmanager
def _of_database() -> "Iterator[tuple[Cursor, sql.Identifier]]":
    """Yield a cursor whose statements are transactions of their own, and the name of the database."""
    with contextlib.closing(db_config.connect(ADMINISTRATOR_ROLE, patience=0)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor, sql.Identifier(connection.info.dbname)


def _connect(*databases: str) -> "Connection":
    """Connect as the administrator to the first of these databases that is there."""
    for database in databases[:-1]:
        try:
            return db_config.connect(ADMINISTRATOR_ROLE, database, patience=0)
        except db_config.DatabaseUnavailable as refusal:
            if "does not exist" not in str(refusal) and "permission denied for database" not in str(refusal):
                raise
    return db_config.connect(ADMINISTRATOR_ROLE, databases[-1], patience=0)
