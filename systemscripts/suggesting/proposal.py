"""Put the findings together: a row of dba.timportconfig with its rules, as SQL and as the import itself reads it."""

import contextlib
import re
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import directory_management, settings, whole_files, xls_to_csv
from systemscripts.errors import JobError
from systemscripts.importing import source
from systemscripts.importing.config import ADD_COLUMNS, ImportConfig
from systemscripts.importing.header import column_names
from systemscripts.importing.source import Record
from systemscripts.suggesting.file_names import pattern_of
from systemscripts.suggesting.finding import Finding
from systemscripts.suggesting.layout import footer_of, layout_of
from systemscripts.suggesting.value_forms import ColumnForms, forms_of

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor

LAST_ROWS = 30
# When more lines are bad, the layout is not understood.
MOST_BAD_PERCENT = 5
# What pimportconfigi takes; the other columns are set afterwards.
_IN_THE_CALL = (
    "config_name", "datasource", "datasettype", "source_directory", "archive_directory", "file_pattern", "file_type",
    "metadata_label_source", "metadata_label_location", "dateconfig", "datelocation", "dateformat", "delimiter",
    "target_table", "importstrategyid", "encoding", "field_delimiter", "duplicate_scope",
)  # fmt: skip


class Proposal(NamedTuple):
    """The findings, the columns of dba.timportconfig that they make, and what each column of the files could be."""

    findings: list[Finding]
    values: dict[str, object]
    columns: list[ColumnForms]

    def config(self) -> ImportConfig:
        """Return the import as it would be read from its row."""
        fields: dict[str, Any] = dict.fromkeys(ImportConfig._fields) | _OFF | {"config_id": 0} | self.values
        for name in ("source_directory", "archive_directory"):
            fields[name] = Path(fields[name])
        return ImportConfig(**fields)


_OFF = {
    "skip_initial_blanks": False,
    "skip_blank_rows": False,
    "trailing_delimiter": False,
    "importstrategyid": ADD_COLUMNS,
}


def propose(paths: list[Path], name: str | None) -> Proposal:
    """Look at the files of one feed and propose its import; raises JobError for a file that cannot be read."""
    pattern = pattern_of([path.name for path in paths])
    name = name or re.sub(r"\W+", "_", pattern.word.rpartition(".")[0] or pattern.word).strip("_") or "feed"
    findings: list[Finding] = []
    with _as_text(paths[-1]) as (text, kind, of_kind):
        findings += [*of_kind, *layout_of(text, is_sheet=kind != "CSV"), *pattern.findings]
        values: dict[str, object] = {
            "config_name": name, "datasource": name, "datasettype": name,
            "source_directory": f"{settings.file_watcher_dir()}/{name}",
            "archive_directory": f"{settings.archive_dir()}/import_{name}",
            "file_type": kind, "metadata_label_source": "static", "metadata_label_location": name, "delimiter": "_",
            "target_table": f"public.t{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')[:50]}",
            "duplicate_scope": "dataset", "minimum_rows": 1,
        }  # fmt: skip
        for finding in findings:
            values |= finding.settings
        proposal = Proposal(findings, values, [])
        columns, more = _whole_file(text, proposal.config(), is_sheet=kind != "CSV")
    findings += more
    for finding in more:
        values |= finding.settings
    return proposal._replace(columns=columns)


@contextlib.contextmanager
def _as_text(path: Path) -> Iterator[tuple[Path, str, list[Finding]]]:
    """Yield the file as text, its file_type, and what was found about it; a workbook is converted for the block."""
    with path.open("rb") as stream:
        start = stream.read(8)
    if not start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        yield path, "CSV", []
        return
    kind = "XLSX" if start.startswith(b"PK") else "XLS"
    with_data = []
    with tempfile.TemporaryFile(
        dir=directory_management.ensure_directory(directory_management.temp_dir())
    ) as converted:
        try:
            sheets = xls_to_csv.contents(path).sheets
            for sheet in sheets:
                converted.seek(0)
                converted.truncate()
                if xls_to_csv.convert_into(converted, path, sheet.name, label=path.name).rows:
                    with_data.append(sheet.name)
            if not with_data:
                raise JobError(
                    f"{path.name}: none of its sheets has a row: {', '.join(sheet.name for sheet in sheets)}"
                )
            converted.seek(0)
            converted.truncate()
            xls_to_csv.convert_into(converted, path, with_data[0], label=path.name)
        except xls_to_csv.UnreadableSpreadsheet as refusal:
            raise JobError(f"{path.name}: {refusal.reason}") from None
        others = f"others with data: {', '.join(with_data[1:])}" if with_data[1:] else "the only one with data"
        settings_: dict[str, object] = {"sheet": with_data[0]} if len(sheets) > 1 else {}
        found = Finding("sheet", with_data[0], "likely" if with_data[1:] else "sure", others, settings_)
        yield whole_files.by_handle(converted.fileno()), kind, [found]


def _whole_file(text: Path, config: ImportConfig, is_sheet: bool) -> tuple[list[ColumnForms], list[Finding]]:
    """Read all records: what the columns could be, the footer, and how many lines are bad."""
    found = source.examine(text, config.for_sheet() if is_sheet else config)
    names = column_names(found.headings)
    last: deque[Record] = deque()
    findings: list[Finding] = []
    bad: list[str] = []
    lines = 0

    def data() -> Iterator[tuple[int, list[str]]]:
        nonlocal lines
        for record in found.records(recovers=True):
            lines = record.line
            if isinstance(record, Record):
                last.append(record)
            else:
                bad.append(f"line {record.line}: {record.reason}")
            if len(last) > LAST_ROWS:
                yield checked(last.popleft())
        footer = footer_of([record.fields for record in last], len(names))
        if footer:
            findings.append(footer[0])
        for record in list(last)[: len(last) - (footer[1] if footer else 0)]:
            yield checked(record)

    def checked(record: Record) -> tuple[int, list[str]]:
        if len(record.fields) != len(names):
            bad.append(f"line {record.line}: {len(record.fields)} fields")
        elif (
            (quote := found.dialect.quote)
            and quote in record.text
            and found.dialect.reads_quotes_otherwise(record.text, len(names))
        ):
            bad.append(f"line {record.line}: a quote at a wrong place")
        return record.line, record.fields

    columns = forms_of(names, data())
    if bad:
        few = len(bad) * 100 <= MOST_BAD_PERCENT * lines
        settings_: dict[str, object] = {"reject_limit_percent": MOST_BAD_PERCENT} if few else {}
        told = f"{bad[0]}; " + (
            "with this limit they are kept in dba.timportreject, and the others are loaded" if few else "too many"
        )
        findings.append(Finding("bad lines", f"{len(bad)} of {lines}", "cannot tell", told, settings_))
    return columns, findings


def statements(cursor: "Cursor", proposal: Proposal, with_types: bool) -> list[str]:
    """Return the SQL that makes the import, and with `with_types` the rules for its columns."""
    values = proposal.values
    given = [f"p_{name} => {_literal(cursor, values[name])}" for name in _IN_THE_CALL if values.get(name) is not None]
    made = ["CALL dba.pimportconfigi(\n    " + ",\n    ".join(given) + ");"]
    where = f"config_name = {_literal(cursor, values['config_name'])}"
    rest = {name: value for name, value in values.items() if name not in _IN_THE_CALL}
    if rest:
        changes = ",\n    ".join(f"{name} = {_literal(cursor, value)}" for name, value in rest.items())
        made.append(f"UPDATE dba.timportconfig SET\n    {changes}\nWHERE {where};")
    if with_types:
        for column in proposal.columns:
            if offer := column.offer()[0]:
                names = ", ".join(["config_id", "column_name", *offer])
                row = ", ".join(
                    ["config_id", _literal(cursor, column.name), *(_literal(cursor, value) for value in offer.values())]
                )
                made.append(
                    f"INSERT INTO dba.timportcolumn ({names})\nSELECT {row}\nFROM dba.timportconfig WHERE {where};"
                )
    return made


def _literal(cursor: "Cursor", value: object) -> str:
    return str(cursor.mogrify("%s", (value,)).decode())
