"""Open a file of any kind: unpack it, and turn what is in it into delimited text."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from systemscripts import directory_management, settings, whole_files
from systemscripts.errors import JobError
from systemscripts.importing import packed, parquet, source
from systemscripts.importing.config import ConfigurationError, ImportConfig
from systemscripts.importing.source import TextSource

if TYPE_CHECKING:
    from systemscripts.importing.archives import Archive, Member

# A compressed file within an archive that was compressed is the most that people send.
MOST_LAYERS = 3


class Content(NamedTuple):
    """What a file holds: the path of what is to be read, or an archive and its wanted members, each a file of its own.

    `told` says in words what was unpacked.
    """

    path: Path
    told: str = ""
    archive: "Archive | None" = None
    members: "tuple[Member, ...]" = ()


@contextlib.contextmanager
def opened(config: ImportConfig, path: Path, archive_kind: str = "") -> Iterator[Content]:
    """Yield what the file holds, unpacked for the time of the block; `archive_kind` says in what kind of archive it came."""
    kind = packed.kind_of(path)
    if kind is None:
        yield Content(path, archive_kind)
        return
    from systemscripts.importing import archives

    told = [archive_kind] if archive_kind else []
    with contextlib.ExitStack() as open_until_the_end:
        while kind is not None:
            if len(told) == MOST_LAYERS:
                raise JobError(f"it is packed more than {MOST_LAYERS} times: {', '.join(told)}; ask for it unpacked")
            if kind not in packed.ARCHIVES:
                unpacked = open_until_the_end.enter_context(directory_management.temporary_file())
                packed.decompress(path, kind, unpacked)
                told.append(kind)
            else:
                archive = archives.Archive(path, kind, lambda: password_of(config))
                open_until_the_end.callback(archive.close)
                if archive.is_document:
                    break
                members = archive.wanted(config)
                told.append(kind)
                if config.member_pattern is not None:
                    yield Content(path, ", ".join(told), archive, tuple(members))
                    return
                unpacked = open_until_the_end.enter_context(directory_management.temporary_file())
                archive.write(members[0], unpacked)
                told[-1] += f" of {members[0].name!r}"
            path = whole_files.by_handle(unpacked.fileno())
            kind = packed.kind_of(path)
        yield Content(path, ", ".join(told))


def members(content: Content) -> "Iterator[tuple[Member, Path]]":
    """Yield each wanted member of the archive, and the path of what it holds until the next one is asked for."""
    assert content.archive is not None
    for member in content.members:
        with directory_management.temporary_file() as unpacked:
            content.archive.write(member, unpacked)
            yield member, whole_files.by_handle(unpacked.fileno())


@contextlib.contextmanager
def as_text(config: ImportConfig, content: Content, label: str) -> Iterator[TextSource]:
    """Yield the file as delimited text, which says how it was found; what is not a CSV is converted for the time of the block."""
    if config.file_type != "PARQUET" and parquet.is_parquet(content.path):
        raise JobError("it is a Parquet file; set file_type to PARQUET")
    if config.file_type == "CSV":
        text = source.examine(content.path, config, label=label)
        kind = f"{text.encoding}, delimiter {text.dialect.delimiter!r}"
        yield text._replace(told=", ".join(filter(None, (content.told, kind))))
        return
    with directory_management.temporary_file() as converted:
        if config.file_type in ("XLS", "XLSX"):
            from systemscripts.file_kinds import workbooks

            password = password_of(config) if config.password_name else ""
            text, kind = workbooks.text_of(config, content.path, label, password, converted)
        else:
            text, kind = _from_records(config, content.path, label, converted)
        yield text._replace(told=", ".join(filter(None, (content.told, kind))))


def _from_records(config: ImportConfig, path: Path, label: str, converted: IO[bytes]) -> tuple[TextSource, str]:
    from systemscripts.importing import fixed_width, json_records, xml_records

    convert = {
        "FIXED": fixed_width.convert, "JSON": json_records.convert, "XML": xml_records.convert, "PARQUET": parquet.convert
    }  # fmt: skip
    convert[config.file_type](path, config, converted)
    config = config.for_sheet()
    if config.file_type != "FIXED":  # its records name their fields, so there is nothing to find
        config = config._replace(header_row=1, header_columns=None, headings=None)
    return source.examine(whole_files.by_handle(converted.fileno()), config, label=label), config.file_type


def password_of(config: ImportConfig) -> str:
    """Return the password that password_name names; raises JobError if the import names none."""
    if config.password_name is None:
        raise JobError(
            "it is protected with a password; set password_name in its import (for etl suggest: --password) to the name of the password, "
            "such as ACME, and write ETL_FILE_PASSWORD_ACME=… into secrets.env"
        )
    try:
        return settings.file_password(config.password_name)
    except settings.SettingError as problem:
        raise ConfigurationError(f"import {config.config_name}: {problem}") from None
