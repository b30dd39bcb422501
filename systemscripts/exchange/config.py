"""dba.texchangeconfig: the folders that files are taken from, typed and checked."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import connection as Connection

from systemscripts import locks, patterns
from systemscripts.arrivals.ledger import Origin
from systemscripts.cloud import remotes
from systemscripts.directory_management import UNFINISHED_SUFFIXES
from systemscripts.errors import JobError, WrongCall

_COLUMNS = (
    "config_id, config_name, host, port, username, key_file, coalesce(incoming_path, ''), outgoing_path, file_pattern,"
    " remove_taken, coalesce(local_repository_path, ''), kind, remote"
)


@dataclass(frozen=True)
class ExchangeConfig:
    """One row of dba.texchangeconfig: folders on this machine, on the server `host`, or in the cloud of `remote`.

    `incoming_path` and `local_repository_path` are "" where nothing is taken.
    """

    config_id: int
    config_name: str
    host: str | None
    port: int
    username: str | None
    key_file: str | None
    incoming_path: str
    outgoing_path: str | None
    file_pattern: str
    remove_taken: bool
    local_repository_path: str
    kind: str = "sftp"
    remote: str | None = None
    # What names the key, for a message about a login that is refused.
    key_setting: str = "key_file in dba.texchangeconfig"

    @property
    def origin(self) -> Origin:
        return Origin("sftp_config_id", self.config_id)

    @property
    def target_directory(self) -> Path:
        return Path(self.local_repository_path)

    def problems(self) -> Iterator[tuple[str, JobError]]:
        """Yield the column with a pattern that no name can be compared with, or a remote that cannot be used, and why."""
        try:
            self.wants("")
        except JobError as problem:
            yield "file_pattern", JobError(f"folder {self.config_name}: {problem}")
        if self.remote is not None:
            try:
                remotes.check_file(self.remote)
            except JobError as problem:
                yield "remote", JobError(f"folder {self.config_name}: {problem}")

    def wants(self, name: str) -> bool:
        """Return whether a file of this name is to be taken; raises JobError if the row's pattern is invalid.

        A dotfile and a file with the name of an unfinished one are never taken.
        """
        unfinished = name.startswith(".") or name.lower().endswith(UNFINISHED_SUFFIXES)
        try:
            return not unfinished and patterns.fits(self.file_pattern, name)
        except patterns.BadPattern as problem:
            raise JobError(f"the file_pattern {self.file_pattern!r} {problem}") from None


def load_configs(connection: Connection, wanted: str | None, also_outgoing: bool = False) -> list[ExchangeConfig]:
    """Return the active rows that files are taken from, or the one with this id or name; raises WrongCall if there is none.

    With `also_outgoing` those too that files only go to.
    """
    found = _rows(connection, wanted)
    configs = [config for config in found if config.incoming_path or also_outgoing]
    if wanted is not None and not configs:
        nothing = f"dba.texchangeconfig has no active row with the id or name {wanted!r}"
        raise WrongCall(f"nothing is taken from {wanted!r}: incoming_path is null there" if found else nothing)
    # A row's name may look like the id of another row.
    return [config for config in configs if config.config_name == wanted] or configs


def load_outgoing(connection: Connection, name: str) -> ExchangeConfig | None:
    """Return the active row of this name, that files are put into; None if there is none."""
    return next((config for config in _rows(connection, name) if config.config_name == name), None)


def _rows(connection: Connection, wanted: str | None) -> list[ExchangeConfig]:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM dba.texchangeconfig"  # noqa: S608 — our own column names
            " WHERE is_active AND (%(wanted)s IS NULL OR config_name = %(wanted)s OR config_id::text = %(wanted)s)"
            " ORDER BY config_id",
            {"wanted": wanted},
        )
        return [ExchangeConfig(*row) for row in cursor.fetchall()]


def alone(connection: Connection, config: ExchangeConfig) -> AbstractContextManager[bool]:
    """Lock the folder against other runs during the block; yield False if another run works on it."""
    # The lock is for the folder, not the row: two rows may share a folder, each with its own pattern.
    place = f"cloud {config.remote}" if config.remote else f"sftp {config.host or ''}:{config.port}"
    return locks.held(connection, f"etl {place}:{config.incoming_path}")
