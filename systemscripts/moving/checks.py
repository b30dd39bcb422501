"""What must be so before a move begins, each in one sentence with what to do; and what a connection's refusal means."""

import re
import subprocess
from pathlib import Path
from typing import Any

from systemscripts.db_config import BACKUP_ROLE
from systemscripts.errors import JobError
from systemscripts.moving.servers import Server

_RIGHTS = ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS", "LOGIN")
LEAST_VERSION = 150_000


def begin(former: dict[str, Any], to: Server, there: dict[str, Any], mark: str) -> None:
    """Raise JobError with the first reason why the database cannot go there."""
    _programs(former)
    if there["lacks_tls"]:
        version = there["version"] // 10_000
        raise JobError(
            "the new server is reached by TLS, and PostgreSQL's programs that come along have none; type: sudo apt-get install "
            f"postgresql-client-{version}, or a later one"
        )
    if there["needs_tls"]:
        raise JobError(
            "the new server lets nobody in without TLS, and PostgreSQL's programs that come along have none; add PGSSLMODE=require to "
            "the command"
        )
    if there["version"] < LEAST_VERSION:
        raise JobError(f"the new server is PostgreSQL {there['version'] // 10_000}; 15 or later is needed")
    if there["is_there"] and there["filled_with"] and there["comment"] == mark and not there["makes_databases"]:
        raise JobError(
            f"{to} holds what an earlier move has left there, and {there['administrator']} may not make databases; type there, as somebody "
            f'who may: DROP DATABASE "{to.database}"; CREATE DATABASE "{to.database}" OWNER "{there["administrator"]}" '
            "ENCODING 'UTF8' TEMPLATE template0"
        )
    if there["is_there"] and there["filled_with"] and there["comment"] != mark:
        many = len(there["filled_with"])
        raise JobError(
            f"{to} is not empty: it has {many} objects, such as {there['filled_with'][0]}; give another PGDATABASE, or, if nobody "
            f'needs it, remove it there by hand: DROP DATABASE "{to.database}"'
        )
    if there["is_there"] and there["encoding"] != "UTF8" and there["comment"] != mark:
        raise JobError(
            f"{to} has the encoding {there['encoding']}; make it with ENCODING 'UTF8', or let the move make it"
        )
    if not there["is_there"] and not there["makes_databases"]:
        raise JobError(
            f"{there['administrator']} may not make a database there, and {to.database} does not exist; type as an administrator of "
            f'that server: CREATE DATABASE "{to.database}" OWNER "{there["administrator"]}" ENCODING \'UTF8\' TEMPLATE template0'
        )
    if wanted := sorted({*former["extensions"]} - {*there["extensions"]}):
        raise JobError(f"the new server has no extension {', '.join(wanted)}; install it there, or drop it here")
    if there["only_reads"] and there["comment"] != mark:
        raise JobError(f"nothing can be written to {to}: {there['only_reads']}")
    _roles(former, there)
    owned = [
        (what, owner)
        for what, owner in former["of_administrators"]
        if owner != there["administrator"] and not (there["is_superuser"] and owner in there["roles"])
    ]
    if owned:
        (what, owner), *others = owned
        raise JobError(
            f"{what} belongs to {owner}, for whom {there['administrator']} cannot make it at the new server"
            f"{f', and so do {len(others)} more' if others else ''}; give it to etl_owner: ALTER … OWNER TO etl_owner"
        )


def passwords(there: dict[str, Any], lacking: list[str], file: Path) -> None:
    """Raise JobError if these roles, which are still to be made, would not be let in for want of a password."""
    if there["asks_for_passwords"] and lacking:
        raise JobError(
            f"the new server asks for passwords, and {file} has none for {', '.join(lacking)}, as which the jobs log in; choose them, and "
            "write a line HOST:PORT:DATABASE:USER:PASSWORD for each into it (mode 600): the roles are made with them"
        )


def _programs(former: dict[str, Any]) -> None:
    program = Path(former["dumped_by"])
    server = former["version"] // 10_000
    try:
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError as problem:
        printed = str(problem)
    found = re.search(r" (\d+)[\d.]*", printed)
    if found is None or int(found[1]) < server:
        raise JobError(
            f"pg_dump is older than the server ({printed or program}; the server is PostgreSQL {server}); type: sudo apt-get install "
            f"postgresql-client-{server}, then write ETL_PG_BINDIR=/usr/lib/postgresql/{server}/bin into site.env"
        )


def _roles(former: dict[str, Any], there: dict[str, Any]) -> None:
    missing = [role["name"] for role in former["roles"] if role["name"] not in there["roles"]]
    if missing and not there["makes_roles"]:
        raise JobError(
            f"{there['administrator']} may not make roles there, and {', '.join(missing)} are missing; type as an administrator of that "
            f'server: ALTER ROLE "{there["administrator"]}" CREATEROLE'
        )
    for role in former["roles"]:
        found = there["roles"].get(role["name"])
        if found is None:
            continue
        more, less = [], []
        for right in _RIGHTS:
            is_here, is_there = role["attributes"][right], found["attributes"][right]
            if is_there and not is_here:
                more.append(right)
            # Only a superuser gives this one; the set-up does without it too.
            elif (
                is_here
                and not is_there
                and not (right == "BYPASSRLS" and role["name"] == BACKUP_ROLE and not there["is_superuser"])
            ):
                less.append(right)
        ours = {row["role"] for row in former["memberships"] if row["member"] == role["name"]}
        joined = {row["role"] for row in there["memberships"] if row["member"] == role["name"]}
        if more or joined - ours:
            told = " ".join([*more, *(f"member of {name}" for name in sorted(joined - ours))])
            raise JobError(
                f"the role {role['name']} exists at the new server and may more than here ({told}); take that from it there "
                f"({_cure(role['name'], more, sorted(joined - ours))}), or drop it if nobody needs it"
            )
        if less:
            raise JobError(
                f"the role {role['name']} exists at the new server and may less than here ({' '.join(less)}); type there: "
                f'ALTER ROLE "{role["name"]}" {" ".join(less)}'
            )


def _cure(role: str, more: list[str], joined: list[str]) -> str:
    words = [f'ALTER ROLE "{role}" {" ".join(f"NO{right}" for right in more)}'] if more else []
    return "; ".join([*words, *(f'REVOKE "{name}" FROM "{role}"' for name in joined)])


def plainly(refusal: str) -> str:
    """Return what the server said, without our own advice, which is about the server in use, and without our own file."""
    told = re.split(
        "; check that the server|; it had no free connection", refusal.removeprefix("the database cannot be used: ")
    )[0]
    return re.sub(r' password retrieved from file "[^"]*"', "", told)


def what_it_means(told: str, files: list[Path]) -> str:
    """Return what to do about a connection that was refused."""
    named = " or ".join(dict.fromkeys(map(str, files)))
    return next(cure for pattern, cure in _CURES if re.search(pattern, told, re.IGNORECASE)).replace("FILES", named)


_NO_TLS = (
    "it offers no TLS, so that a password and your data would go over the network as plain text; switch ssl on there, or, in a "
    "network that you trust, add PGSSLMODE=disable"
)
# What libpq and the server say (PostgreSQL's manual, 20.16), and what to do.
_CURES = (
    (
        "password authentication failed|no password supplied|password was supplied",
        "the right password must stand in a line HOST:PORT:DATABASE:USER:PASSWORD of FILES (mode 600)",
    ),
    ("server does not support SSL", _NO_TLS),
    ("certificate|SSL error", "name the file of the authority that signed its certificate: PGSSLROOTCERT=FILE"),
    (
        "no pg_hba.conf entry",
        "the pg_hba.conf there must let in these users from this machine (hostssl, scram-sha-256)",
    ),
    ("too many connections for", "raise the CONNECTION LIMIT of that role or database there"),
    ("not currently accepting connections", "type there: ALTER DATABASE … ALLOW_CONNECTIONS true"),
    ("peer authentication failed", "run it as root, or as the user that may be this role there"),
    ("does not exist", "give PGUSER the name of its administrator"),
    ("", "check that the new server runs, and PGHOST and PGPORT"),
)
