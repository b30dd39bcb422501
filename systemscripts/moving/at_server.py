"""The steps of a move that are done at one of the two servers: at that of this process's environment.

    python -P -m systemscripts.moving.at_server COMMAND

    hold             keep everybody from writing until standard input ends; tells on standard output who is waited for
    describe         what is moved: the database, its roles, its size, what stays
    look             what is at the new server
    roles            make the roles that are missing
    database         make the database, or take the empty one that is there
    log-in           see whether the jobs' roles are let in
    settle           the database's owner, rights, settings and comment
    account          all that is in the database, as it can be compared
    unreadable       which tables a role may not read
    rows             the rows of a table by key, as sums
    of-doctor        how many rows the doctor has written since the switch
    runs-since       how many runs began since the time
    retire           let nobody write any more
    reinstate        let them write again

Each reads JSON on standard input, if it needs something, and answers with JSON on standard output.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import psycopg2

from systemscripts.command_line import run_command, wrong_call
from systemscripts.errors import JobError, TemporaryFailure
from systemscripts.moving import account, fence, looking, preparing, row_sums
from systemscripts.plain_text import on_one_line

_COMMANDS: dict[str, Callable[[Any], Any]] = {
    "describe": looking.describe,
    "look": looking.look,
    "unreadable": looking.unreadable,
    "of-doctor": looking.of_doctor,
    "roles": preparing.make_roles,
    "database": preparing.make_database,
    "log-in": preparing.log_in,
    "settle": preparing.settle,
    "account": account.take,
    "runs-since": looking.runs_since,
    "retire": preparing.retire,
    "reinstate": preparing.reinstate,
}


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["hold"]:
                return fence.hold()
            case ["rows"]:
                row_sums.write(json.load(sys.stdin), sys.stdout)
                return 0
            case [command] if command in _COMMANDS:
                json.dump(_COMMANDS[command](json.load(sys.stdin)), sys.stdout)
                return 0
    except psycopg2.Error as refusal:
        told = on_one_line(" ".join(str(refusal).split()))
        if isinstance(refusal, psycopg2.OperationalError | psycopg2.InterfaceError):
            raise TemporaryFailure(f"the server ended the connection: {told}") from None
        raise JobError(told) from None
    raise wrong_call(__doc__)


if __name__ == "__main__":
    run_command("at_server", main)
