"""Real files through the import: each is in the table exactly as the csv module reads it, or refused with one sentence."""

import codecs
import csv
import gzip
import io
import zipfile
from pathlib import Path

from conftest import Installation
from test_generic_import import add_import, loaded, run

from systemscripts.importing.columns import MOST_COLUMNS
from systemscripts.importing.detection import NotText, detect_delimiter, detect_encoding
from systemscripts.importing.header import column_names


def decoded(content: bytes) -> str:
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if content.startswith(bom):
            return content[len(bom) :].decode(encoding)
    return content.decode(detect_encoding(content))


def expected_records(content: bytes) -> list[list[str]] | None:
    """Return the records of a file that can be loaded, None for one that has to be refused."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (name,) = archive.namelist()
            content = archive.read(name)
    try:
        text = decoded(content)
        delimiter = detect_delimiter(text)
        records = [
            fields for fields in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if fields
        ]
    except (csv.Error, ValueError, NotText):
        return None
    even = bool(records) and {len(fields) for fields in records} == {len(records[0])}
    # PostgreSQL's text has no NUL, and a table at most 1,600 columns.
    return records if even and "\0" not in text and len(records[0]) <= MOST_COLUMNS else None


def test_every_real_csv_file_is_loaded_exactly_or_refused(etl: Installation, corpus_dir: Path) -> None:
    files = sorted(
        path
        for path in (corpus_dir / "csv").rglob("*")
        if path.suffix in (".csv", ".tsv", ".txt") and path.name != "INDEX.csv"
    )
    assert len(files) > 100
    add_import(etl, file_pattern="*", dateconfig="static", datelocation="2026-03-02", dateformat="yyyy-MM-dd")
    outcomes: dict[str, int] = {}
    for file in files:
        etl.query("DROP TABLE IF EXISTS public.tclients CASCADE")
        etl.query("TRUNCATE dba.timportfile CASCADE")
        content = file.read_bytes()
        (etl.home / "file_watcher" / file.name).write_bytes(content)
        (outcome,) = run().files
        status, detail = outcome.status, outcome.detail
        outcomes[status] = outcomes.get(status, 0) + 1
        records = expected_records(content)
        if status == "Failed":
            is_asked = "seems to be" in detail or "a delimiter may be missing" in detail
            outcomes["Asked"] = outcomes.get("Asked", 0) + is_asked
            assert records is None or is_asked, f"{file.name}: {detail}"
            assert "\n" not in detail
            continue
        assert records is not None, f"{file.name}: {status}, and csv cannot read it"
        names = ", ".join(
            '"' + name.replace('"', '""') + '"' for name in column_names(records[0], ("tclientsid", "datasetid"))
        )
        if status == "Loaded":
            assert loaded(etl, names) == [tuple(field or None for field in fields) for fields in records[1:]], file.name
        else:
            assert len(records) == 1, file.name
    print(outcomes)
