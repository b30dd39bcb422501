"""One row of dba.timportconfig, checked and typed."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from systemscripts import patterns
from systemscripts.errors import JobError, WrongCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg2.extensions import connection as Connection

ADD_COLUMNS, IGNORE_NEW_COLUMNS, FAIL_ON_MISSING = 1, 2, 3

ValueSource = Literal["filename", "file_content", "static"]


class ConfigurationError(JobError):
    """The configuration is wrong; its files are not to blame and stay where they are."""


class ImportConfig(NamedTuple):
    """The configuration of one import. The fields are named after the table's columns."""

    config_id: int
    config_name: str
    datasource: str
    datasettype: str
    source_directory: Path
    archive_directory: Path
    file_pattern: str
    file_type: str
    metadata_label_source: ValueSource
    metadata_label_location: str | None
    dateconfig: ValueSource
    datelocation: str | None
    dateformat: str | None
    delimiter: str | None
    target_table: str
    importstrategyid: int
    encoding: str | None
    field_delimiter: str | None
    sheet: str | None
    header_row: int | None
    duplicate_scope: Literal["config", "dataset"]
    minimum_rows: int | None
    maximum_rows: int | None
    reject_limit_percent: Decimal | None
    quote_character: str | None
    escape_character: str | None
    skip_initial_blanks: bool
    comment_prefix: str | None
    skip_blank_rows: bool
    trailing_delimiter: bool
    headings: list[str] | None
    header_columns: list[str] | None
    footer_rows: int | None
    footer_pattern: str | None
    member_pattern: str | None
    password_name: str | None
    column_positions: str | None
    record_path: str | None
    sheet_column: str | None
    transform: str | None
    when_unusual: Literal["hold", "warn", "ignore"]
    key_columns: list[str] | None

    @property
    def schema(self) -> str:
        return self.target_table.split(".")[0]

    @property
    def table(self) -> str:
        return self.target_table.split(".")[1]

    def for_sheet(self) -> "ImportConfig":
        """Return it without what says how a CSV is written, because a sheet becomes one of ours."""
        return self._replace(
            encoding="utf-8", field_delimiter=",", quote_character=None, escape_character=None, skip_initial_blanks=False,
            comment_prefix=None, trailing_delimiter=False,
        )  # fmt: skip

    def problems(self) -> "Iterator[tuple[str, ConfigurationError]]":
        """Yield the column with a pattern that no name can be compared with, and why."""
        try:
            self.matches("")
        except ConfigurationError as problem:
            yield "file_pattern", problem

    def matches(self, file_name: str) -> bool:
        """Return whether the whole name fits the pattern.

        Raises ConfigurationError for a pattern that is not a regular expression, or that takes too
        long on this name.
        """
        try:
            return patterns.fits(self.file_pattern, file_name)
        except patterns.BadPattern as problem:
            raise ConfigurationError(
                f"import {self.config_name}: file_pattern {self.file_pattern!r} {problem}"
            ) from None


def load_config(connection: "Connection", wanted: str) -> ImportConfig:
    """Return the active configuration with this id or name.

    Raises WrongCall if there is none; the message lists those that exist.
    """
    columns = ImportConfig._fields
    with connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(columns)}, is_active = B'1' FROM dba.timportconfig"  # noqa: S608 — our own field names
            " WHERE config_name = %s OR config_id::text = %s",
            (wanted, wanted),
        )
        row = cursor.fetchone()
    if row is None:
        raise unknown(connection, wanted)
    if not row[-1]:
        raise JobError(f"import {wanted}: it is switched off; set is_active = B'1' in dba.timportconfig to use it")
    return _typed(dict(zip(columns, row, strict=False)))


def unknown(connection: "Connection", wanted: str) -> WrongCall:
    """Return what says that there is no such configuration, and names those there are."""
    return WrongCall(f"there is no import configuration {wanted!r}; there are: {known_configs(connection)}")


def known_configs(connection: "Connection") -> str:
    """Return the ids and names of all configurations, for a message."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT config_id, config_name FROM dba.timportconfig ORDER BY config_id")
        return ", ".join(f"{config_id} {name}" for config_id, name in cursor.fetchall()) or "none at all"


def active_configs(connection: "Connection") -> list[ImportConfig]:
    """Return the active configurations, by their ids."""
    columns = ImportConfig._fields
    with connection, connection.cursor() as cursor:
        statement = f"SELECT {', '.join(columns)} FROM dba.timportconfig"  # noqa: S608 — our own field names
        cursor.execute(f"{statement} WHERE is_active = B'1' ORDER BY config_id")
        return [_typed(dict(zip(columns, row, strict=True))) for row in cursor.fetchall()]


def _typed(values: dict[str, Any]) -> ImportConfig:
    values["source_directory"] = Path(values["source_directory"])
    values["archive_directory"] = Path(values["archive_directory"])
    return ImportConfig(**values)
