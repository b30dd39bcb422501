"""dba.tsftpconfig: the SFTP folders that files are taken from, typed and checked."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import connection as Connection

from systemscripts import locks
from systemscripts.arrivals.ledger import Origin
from systemscripts.directory_management import UNFINISHED_SUFFIXES
from systemscripts.errors import JobError, WrongCall
from systemscripts.importing import patterns

_COLUMNS = (
    "config_id, config_name, host, port, username, key_file, incoming_path, outgoing_path, file_pattern,"
    " remove_taken, local_repository_path"
)


@dataclass(frozen=True)
class SftpConfig:
    """One row of dba.tsftpconfig. Without a host its folders are on this machine."""

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

    @property
    def origin(self) -> Origin:
        return Origin("sftp_config_id", self.config_id)

    @property
    def target_directory(self) -> Path:
        return Path(self.local_repository_path)

    def wants(self, name: str) -> bool:
        """Tell whether a file of this name is to be taken; raises JobError where the row's pattern is none.

        What begins with a dot, or is called as an unfinished file is, never is.
        """
        unfinished = name.startswith(".") or name.lower().endswith(UNFINISHED_SUFFIXES)
        try:
            return not unfinished and patterns.fits(self.file_pattern, name)
        except patterns.BadPattern as problem:
            raise JobError(f"the file_pattern {self.file_pattern!r} {problem}") from None


def load_configs(connection: Connection, wanted: str | None) -> list[SftpConfig]:
    """Return the active rows, or the one with this id or name; raises WrongCall if there is no such active row."""
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM dba.tsftpconfig"  # noqa: S608 — our own column names
            " WHERE is_active AND (%(wanted)s IS NULL OR config_name = %(wanted)s OR config_id::text = %(wanted)s)"
            " ORDER BY config_id",
            {"wanted": wanted},
        )
        configs = [SftpConfig(*row) for row in cursor.fetchall()]
    if wanted is not None and not configs:
        raise WrongCall(f"dba.tsftpconfig has no active row with the id or name {wanted!r}")
    # A name may look like another row's id.
    return [config for config in configs if config.config_name == wanted] or configs


def alone(connection: Connection, config: SftpConfig) -> AbstractContextManager[bool]:
    """Keep other runs from the folder while the block works on it; False if one of them is at it already."""
    # The folder's, not the row's: two rows may share one, each with its own pattern.
    return locks.held(connection, f"etl sftp {config.host or ''}:{config.port}:{config.incoming_path}")
