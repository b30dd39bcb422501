"""Checks of the configuration's active rows: whether their directories fit this installation, and their patterns can be used."""

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from psycopg2.extensions import connection as Connection

from systemscripts import db_config, job_catalog, settings
from systemscripts.configuration import applying, catalogue, telling, yaml_tree
from systemscripts.cron import cron_file
from systemscripts.doctor import Check, Finding, failed, good, warning
from systemscripts.errors import JobError
from systemscripts.exchange import config as sftp
from systemscripts.importing import configured_rules, metadata
from systemscripts.importing.config import ConfigurationError, ImportConfig, active_configs
from systemscripts.importing.transform import Transform
from systemscripts.inbox.rules import load_rules
from systemscripts.schedule import machines, timetable
from systemscripts.user_utils import current_user

# Names such as the jobs of MeetMax give to their files.
_DOWNLOADS = ("20260302T050000_MeetMax_119243.xls", "20260302T050000_MeetMaxURLCheck.csv")


def directories() -> Iterator[Finding]:
    """Check that files arrive where the imports look, and that the jobs may take them from there."""
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        imports = active_configs(connection)
        cursor.execute(
            "SELECT 'dba.tinboxconfig', config_name, local_repository_path, is_active FROM dba.tinboxconfig UNION ALL "
            "SELECT 'dba.texchangeconfig', config_name, local_repository_path, is_active FROM dba.texchangeconfig "
            "WHERE incoming_path IS NOT NULL ORDER BY 1, 2"
        )
        received = cursor.fetchall()
    elsewhere = dict(_elsewhere(imports, {directory for _, _, directory, _ in received}))
    found: list[Finding] = []
    for config in imports:
        name, source = config.config_name, config.source_directory
        if told := elsewhere.get(name):
            place = _older_place(source)
            alike = [
                other
                for other in imports
                if other.config_name in elsewhere and _older_place(other.source_directory) == place
            ]
            found.append(failed("imports", told, _cure(config, is_usual=2 * len(alike) > len(imports))))
        elif not os.path.isdir(source):  # noqa: PTH112 — says no also where it may not look
            found.append(_not_there("dba.timportconfig", name, "source_directory", str(source)))
        for directory in (source, config.archive_directory):
            if os.path.isdir(directory) and not os.access(directory, os.R_OK | os.W_OK | os.X_OK):  # noqa: PTH112
                told = f"{name}: {directory} cannot be read and written by this user"
                cure = "sudo bash onboarding/sh/configure_etl_user.sh, or chmod"
                found.append(failed("imports", told, cure))
    for table, name, directory, is_active in received:
        if is_active and not os.path.isdir(directory):  # noqa: PTH112
            found.append(_not_there(table, name, "local_repository_path", directory))
    yield from found or [
        good("imports", f"{len(imports)} active, {current_user()} can read and write their directories")
    ]


def _elsewhere(imports: list[ImportConfig], received: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each import that looks where no job of this installation puts its files, and what to say."""
    arrives = settings.file_watcher_dir()
    here = [config for config in imports if config.source_directory == arrives]
    untaken = [name for name in _DOWNLOADS if not any(_fits(config, name) for config in here)]
    for config in imports:
        name, source = config.config_name, config.source_directory
        is_of_meetmax = config.datasource == "MeetMax" and source != arrives
        if is_of_meetmax and any(_is_for(config, download) for download in untaken):
            yield name, f"{name} looks in {source}, but downloads are put into {arrives}"
        elif str(source) not in received and _is_of_another_installation(source):
            told = f"{name} looks in {source}, the folder of another installation; no job of this one puts files there"
            yield name, told


def _fits(config: ImportConfig, name: str) -> bool:
    try:
        return config.matches(name)
    except ConfigurationError:  # `patterns` names it
        return False


def _is_for(config: ImportConfig, download: str) -> bool:
    """Return whether the pattern means such downloads, and not any list of MeetMax, which is put there by hand."""
    return _fits(config, download) and not _fits(config, f"list{Path(download).suffix}")


def _is_of_another_installation(path: Path) -> bool:
    """Return whether jobs of another root write there: it is named file_watcher, or lies beside another door."""
    if path.is_relative_to(settings.file_watcher_dir()) or path.is_relative_to(settings.etl_home()):
        return False
    roots = [folder for folder in path.parents if (folder / "jobscripts" / job_catalog.DOOR).is_file()]
    return path.name == "file_watcher" or any(root != settings.project_dir() for root in roots)


def _older_place(source: Path) -> Path:
    """Return the other installation's file_watcher that the directory is, or is in; else the directory itself."""
    return next((folder for folder in (source, *source.parents) if folder.name == "file_watcher"), source)


def _cure(config: ImportConfig, is_usual: bool) -> str:
    """Return what lets an import and the jobs meet: a change of its row, or a setting if most imports look there."""
    place = _older_place(config.source_directory)
    there = settings.file_watcher_dir() / config.source_directory.relative_to(place)
    change = _update("dba.timportconfig", config.config_name, "source_directory", str(there))
    # Where the line stands already, it says where the files shall be, and ETL_HOME would not change that.
    if not is_usual or settings.text("ETL_FILE_WATCHER_DIR"):
        return f"change the row: {change}"
    if place.name != "file_watcher":
        lines = [f"ETL_FILE_WATCHER_DIR={place}"]
    elif (settings.etl_home() / "pgdata").is_dir():  # the embedded server stays where it is
        lines = [f"ETL_FILE_WATCHER_DIR={place}", f"ETL_ARCHIVE_DIR={place.parent}/archive"]
    else:
        lines = [f"ETL_HOME={place.parent}"]
    return f"write {'the lines ' if len(lines) > 1 else ''}{' and '.join(lines)} into {settings.site_file()}, or change the row: {change}"


def _not_there(table: str, name: str, column: str, directory: str) -> Finding:
    make = ["mkdir", "-p", directory]
    if settings.cron_user() != current_user():
        make = ["sudo", "install", "-d", "-o", settings.cron_user(), "-g", "etl_group", "-m", "2770", directory]
    change = _update(table, name, column, str(settings.file_watcher_dir()))
    told = f"{name} of {table}: {directory} is not there, or this user may not see it"
    return warning("imports", told, f"{shlex.join(make)}, or change the row: {change}")


def _update(table: str, name: str, column: str, value: str) -> str:
    """Return the command that changes one column of a row."""
    value, name = (text.replace("'", "''") for text in (value, name))
    change = f"UPDATE {table} SET {column} = '{value}' WHERE config_name = '{name}'"  # noqa: S608 — to be read and typed
    # In double quotes it can be read and changed; not where the shell would look into them.
    quoted = shlex.quote(change) if set(change) & set('"$`\\!') else f'"{change}"'
    return f"{cron_file.typed('sql', '--as', 'etl_owner', '-c')} {quoted}"


def patterns() -> Iterator[Finding]:
    """Check patterns, forms of dates and transforms as the jobs check them."""
    with db_config.session(patience=0) as connection:
        imports, inbox, folders = (
            active_configs(connection),
            load_rules(connection),
            sftp.load_configs(connection, None),
        )
        found = [*_of_columns(connection, imports)]
    for config in imports:
        found += _of_transform(config)
        found += _unusable("dba.timportconfig", config.config_name, [*config.problems(), *metadata.problems(config)])
    for rule in inbox:
        found += _unusable("dba.tinboxconfig", rule.config_name, rule.problems())
    for folder in folders:
        found += _unusable("dba.texchangeconfig", folder.config_name, folder.problems())
    yield from found or [good("patterns", "those of all active rows can be used")]


def _of_columns(connection: Connection, imports: list[ImportConfig]) -> Iterator[Finding]:
    for config in imports:
        try:
            configured_rules.load_rules(connection, config)
        except ConfigurationError as problem:
            cure = cron_file.typed(
                "sql", "--as", "etl_owner", "-c",
                f"SELECT * FROM dba.timportcolumn WHERE config_id = {config.config_id}",  # noqa: S608 — to be read and typed
            )  # fmt: skip
            yield failed("patterns", str(problem), f"correct its row: {cure}")


def _of_transform(config: ImportConfig) -> list[Finding]:
    """Check that the transform of an import is there and can be imported."""
    try:
        if config.transform:
            Transform(config.transform)
    except ConfigurationError as problem:
        cure = job_catalog.typed("run_import_job.py", config.config_name, "--dry-run")
        return [failed("patterns", f"{config.config_name}: {problem}", f"correct the file, then: {cure}")]
    return []


def _unusable(table: str, name: str, problems: Iterable[tuple[str, JobError]]) -> Iterator[Finding]:
    for column, problem in problems:
        yield failed(
            "patterns", str(problem), f"put the right one in place of NEW: {_update(table, name, column, 'NEW')}"
        )


def configuration() -> Iterator[Finding]:
    """Compare the tables with the file of ETL_CONFIG_FILE, in which the configuration is kept."""
    file = settings.config_file()
    if file is None:
        return
    cure = job_catalog.typed("config.py", "diff")
    try:
        with file.open("rb") as stream, db_config.session(patience=0) as connection, connection.cursor() as cursor:
            catalogue.begin_reading(cursor)
            compared = applying.compare(cursor, stream.read(yaml_tree.LARGEST + 1))
    except applying.RefusedFile as refused:
        place, told = refused.faults[0]
        more = f", and {len(refused.faults) - 1} more faults" if len(refused.faults) > 1 else ""
        yield warning("configuration", f"{file}:{place.line}:{place.column}: {told}{more}", cure)
    except OSError as error:
        yield warning(
            "configuration", f"{file} cannot be read: {error.strerror}", "look at ETL_CONFIG_FILE in site.env"
        )
    else:
        if found := telling.summary(compared.changes):
            yield warning("configuration", f"{file} and the tables differ: {found}", cure)
        else:
            yield good("configuration", f"the tables are what {file} says")


def hosts() -> Iterator[Finding]:
    """Check that each row of the schedule has a machine that it runs on."""
    with db_config.session(patience=0) as connection, connection.cursor() as cursor:
        jobs = [job for job in timetable.active_jobs_of(cursor) if job.host_pattern]
        seen = sorted({*machines.seen_lately(cursor, settings.now()), settings.host_name()})
    found = [(job, told) for job in jobs if (told := machines.on_none(job, seen))]
    for job, told in found:
        change = f"UPDATE {job.table} SET host_pattern = 'NEW' WHERE schedulerid = {job.row_id}"  # noqa: S608 — to be read and typed
        cure = f'put the right one in place of NEW: {cron_file.typed("sql", "--as", "etl_owner", "-c")} "{change}"'
        yield failed("hosts", f"{job}: {told}", cure)
    if jobs and not found:
        yield good("hosts", f"each row with a host_pattern has a machine to run on, of {', '.join(seen)}")


CHECKS: dict[str, Check] = {
    "imports": directories,
    "patterns": patterns,
    "hosts": hosts,
    "configuration": configuration,
}
