"""Put the findings together: a row of dba.timportconfig with its rules, as SQL and as the import itself reads it."""

import re
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from systemscripts import directory_management, settings
from systemscripts.errors import JobError, WrongCall
from systemscripts.file_kinds import opening
from systemscripts.file_kinds.opening import Content
from systemscripts.importing import fixed_width, source
from systemscripts.importing.config import ADD_COLUMNS, ImportConfig
from systemscripts.importing.header import column_names
from systemscripts.importing.rules import ColumnRule
from systemscripts.importing.source import Record, TextSource
from systemscripts.suggesting import contents
from systemscripts.suggesting.contents import Readable
from systemscripts.suggesting.file_names import pattern_of
from systemscripts.suggesting.finding import Finding
from systemscripts.suggesting.layout import footer_of, footer_word, layout_of
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

    def take(self, findings: list[Finding]) -> None:
        """Add findings, and set what they say."""
        self.findings.extend(findings)
        for finding in findings:
            self.values.update(finding.settings)

    def config(self) -> ImportConfig:
        """Return the import as it would be read from its row."""
        fields: dict[str, Any] = dict.fromkeys(ImportConfig._fields) | _OFF | {"config_id": 0} | self.values
        for name in ("source_directory", "archive_directory"):
            fields[name] = Path(fields[name])
        return ImportConfig(**fields)

    def rules(self) -> dict[str, ColumnRule]:
        """Return the rules for the columns that could have a type, as they would be read from their rows."""
        offers = {column.name: column.offer()[0] for column in self.columns}
        return {
            name: ColumnRule(name, **{key: _frozen(value) for key, value in offer.items()})
            for name, offer in offers.items()
            if offer
        }


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_OFF = {
    "skip_initial_blanks": False,
    "skip_blank_rows": False,
    "trailing_delimiter": False,
    "importstrategyid": ADD_COLUMNS,
    "when_unusual": "hold",
}


def propose(
    paths: list[Path], name: str | None, password_name: str | None = None, sheet: str | None = None
) -> Proposal:
    """Look at the files of one feed and propose its import.

    Raises JobError for a file that cannot be read, WrongCall if the import must be given a name.
    """
    pattern = pattern_of([path.name for path in paths])
    name = name or re.sub(r"\W+", "_", directory_management.stem_and_ending(pattern.word)[0]).strip("_")
    if not name:
        raise WrongCall(
            f"the name {paths[-1].name} has no word to call an import by; add --name, such as --name Branch_Sales"
        )
    values: dict[str, object] = {
        "config_name": name, "datasource": name, "datasettype": name,
        "source_directory": f"{settings.file_watcher_dir()}/{name}",
        "archive_directory": f"{settings.archive_dir()}/import_{name}",
        "file_type": "CSV", "metadata_label_source": "static", "metadata_label_location": name, "delimiter": "_",
        "target_table": f"public.t{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')[:50]}",
        "duplicate_scope": "dataset", "minimum_rows": 1, "password_name": password_name, "sheet": sheet,
    }  # fmt: skip
    findings: list[Finding] = []
    proposal = Proposal(findings, values, [])
    try:
        with contents.readable(proposal.config(), paths[-1]) as found:
            values["file_type"] = found.file_type
            proposal.take([*found.findings, *pattern.findings])
            if found.file_type in ("CSV", "XLS", "XLSX"):
                proposal.take(layout_of(found.path, is_sheet=found.file_type != "CSV"))
            elif found.file_type == "FIXED":
                with tempfile.NamedTemporaryFile() as as_csv:
                    fixed_width.convert(found.path, proposal.config(), as_csv)
                    proposal.take(layout_of(Path(as_csv.name), is_sheet=True))
            columns, more = _whole_file(found, proposal.config(), paths[-1].name)
    except JobError as refusal:
        raise JobError(f"{paths[-1].name}: {refusal}") from refusal
    proposal.take(more)
    if not any(column.filled for column in columns):
        del values["minimum_rows"]  # such a file must not be refused
    if "member_pattern" in values:  # the archive's name is the same for all its members
        values |= {"metadata_label_source": "filename", "metadata_label_location": r"([^/]+)$"}
    return proposal._replace(columns=columns)


def _whole_file(file: Readable, config: ImportConfig, label: str) -> tuple[list[ColumnForms], list[Finding]]:
    """Read all records: what the columns could be, the footer, and how many lines are bad."""
    if file.file_type in ("XLS", "XLSX"):  # a workbook is text already
        return _look_at(source.examine(file.path, config.for_sheet()), may_have_footer=True)
    with opening.as_text(config, Content(file.path), label) as text:
        return _look_at(text, may_have_footer=file.file_type in ("CSV", "FIXED"))


def _look_at(found: TextSource, may_have_footer: bool) -> tuple[list[ColumnForms], list[Finding]]:
    names = column_names(found.headings)
    last: deque[Record] = deque()
    findings: list[Finding] = []
    bad: list[str] = []
    footer_words: set[str] = set()  # of the records that are no footer
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
        rows = [record.fields for record in last]
        footer = footer_of(rows, len(names), footer_words, found.dialect.delimiter) if may_have_footer else None
        if footer:
            findings.append(footer[0])
        for record in list(last)[: len(last) - (footer[1] if footer else 0)]:
            yield checked(record)

    def checked(record: Record) -> tuple[int, list[str]]:
        if len(record.fields) != len(names):
            bad.append(f"line {record.line}: {len(record.fields)} fields")
        elif found.has_quote_in_doubt(record):
            bad.append(f"line {record.line}: a quote at a wrong place")
        footer_words.add(footer_word(record.fields))
        return record.line, record.fields

    columns = forms_of(names, data())
    if bad:
        few = len(bad) * 100 <= MOST_BAD_PERCENT * lines
        settings_: dict[str, Any] = {"reject_limit_percent": MOST_BAD_PERCENT} if few else {}
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
    rest = {name: value for name, value in values.items() if name not in _IN_THE_CALL and value is not None}
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
