"""Bad lines that may be rejected: the fast way leaves them out of the bytes, and says of each what the careful way says."""

import csv
import io
import re
from pathlib import Path

import pytest
from conftest import Installation
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_generic_import import add_import, drop_file, empty_everything, loaded, run

from systemscripts.importing import load, sieved_file
from systemscripts.importing.careful import BadLine, good_records
from systemscripts.importing.dialect import Dialect
from systemscripts.importing.guarded_file import GuardedFile, NeedsCare
from systemscripts.importing.rejects import Rejects
from systemscripts.importing.sieved_file import SievedFile
from systemscripts.importing.source import TextSource

HEADER = "a,b,c\n"
# Records with all fields, with too few or too many, blank lines, and what makes COPY and the csv module differ.
SWALLOWING = '"a\n' + "1,2,3\n" * 9 + '",7\n'
LINES = [
    "1,2,3\n", "1,2,3\r\n", ",,\n", '"x","y\nz","é"\n', '"a ""b"", c",2,"\r\n"\n', "1,2\n", "1,2,3,4\n", "one\n", "\n", "\r\n",
    '"two\nlines"\n', SWALLOWING, '"a\r\nb",2\r\n', "a\rb,2\n", "a\rb,2,3\n", 'q"uote,2,3\n', 'q"uote\n',
    '"x"y,2\n', '"', "\\.\n", "\0,2\n", "\udcff\n", "1,2,3", "1,2", '""\n', '"",""\n', '"""",1,2,3\n',
]  # fmt: skip
USUAL = LINES[:13]


def source_of(path: Path, content: str) -> TextSource:
    path.write_bytes((HEADER + content).encode("utf-8", "surrogateescape"))
    return TextSource(path, path.name, "utf-8", Dialect(","), ["a", "b", "c"], 0, len(HEADER), b"\n", [])


def kept(rejects: Rejects) -> list[list[str]]:
    rejects._file.seek(0)
    return list(csv.reader(rejects._file))


def sieved(source: TextSource) -> tuple[list[list[str]], list[list[str]], str] | None:
    """Return the good records, the rejects and the first of these as the fast way finds them, None if it gives up."""
    with Rejects() as rejects, SievedFile(source, rejects) as stream:
        read = b""
        try:
            while chunk := stream.read():
                read += chunk
        except NeedsCare:
            assert stream.needs_care
            return None
        text = read.decode(errors="surrogateescape")
        good = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        # What COPY itself refuses, or load_records by the count.
        if stream.records != len(good) or any(len(fields) != 3 for fields in good) or {"\0", "\udcff"} & set(text):
            return None
        assert rejects.count == len(kept(rejects))
        return good, kept(rejects), str(rejects.first)


def careful(source: TextSource) -> tuple[list[list[str]], list[list[str]], str]:
    with Rejects() as rejects:
        good = [record.fields for record in good_records(source, rejects)]
        return good, kept(rejects), str(rejects.first)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["1,2\n", '"x","y\nz","é"\n', "1,2,3,4"], 7)
@example(["1,2,3\n", SWALLOWING, "1,2,3\n"], 64)
@given(
    st.lists(st.sampled_from(USUAL), max_size=15) | st.lists(st.sampled_from(LINES), max_size=15),
    st.sampled_from([1, 2, 7, 64, 1 << 16]),
)
def test_both_ways_find_the_same_records_and_rejects_wherever_a_chunk_ends(
    tmp_path: Path, lines: list[str], chunk: int
) -> None:
    source = source_of(tmp_path / "file.csv", "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sieved_file, "CHUNK_BYTES", chunk)
        found = sieved(source)
    if found is not None:
        assert found == careful(source)


def test_the_fast_way_goes_on_at_ragged_records_and_blank_lines_and_nothing_else(tmp_path: Path) -> None:
    given_up = [line for line in LINES if sieved(source_of(tmp_path / "file.csv", line + "1,2,3\n")) is None]
    assert given_up == [
        SWALLOWING, "a\rb,2\n", "a\rb,2,3\n", 'q"uote,2,3\n', 'q"uote\n', '"x"y,2\n', '"', "\\.\n", "\udcff\n",
    ]  # fmt: skip
    endless = source_of(tmp_path / "file.csv", '1,2\n1,2,"3\n4\n')
    assert sieved(endless) is None
    with Rejects() as rejects, pytest.raises(BadLine):
        list(good_records(endless, rejects))


def test_a_record_without_an_end_is_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sieved_file, "LONGEST_RECORD", 1 << 17)
    assert sieved(source_of(tmp_path / "file.csv", '"' + "x\n" * (1 << 17) + '",2,3\n')) is None


def imported(etl: Installation, content: bytes) -> tuple[object, ...]:
    empty_everything(etl)
    add_import(etl, field_delimiter=",", reject_limit_percent=100)
    drop_file(etl, content)
    (outcome,) = run().files
    rejects = etl.query("SELECT line_number, column_name, reason, original FROM dba.timportreject ORDER BY rejectid")
    is_there = etl.value("SELECT to_regclass('public.tclients')") is not None
    said = re.sub(r", (in place of )?dataset \d+", "", outcome.detail)
    return outcome.status, said, outcome.rows, rejects, loaded(etl, "a, b, c") if is_there else None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(USUAL), max_size=12) | st.lists(st.sampled_from(LINES), max_size=12))
def test_the_tables_are_the_same_both_ways(etl: Installation, lines: list[str]) -> None:
    content = (HEADER + "".join(lines)).encode("utf-8", "surrogateescape")
    fast = imported(etl, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "SievedFile", lambda source, _rejects: GuardedFile(source))
        assert imported(etl, content) == fast


def test_a_file_with_ragged_lines_is_not_written_again(etl: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "RewrittenRecords", None)
    status, _, rows, rejects, table = imported(etl, b'a,b,c\n1,2\n"x","y\nz",\n\n7,8,9,10\n4,5,6\nlast')
    assert (status, rows) == ("Loaded", 2)
    assert rejects == [
        (2, None, "it has 2 fields, and the header row has 3", "1,2"),
        (6, None, "it has 4 fields, and the header row has 3", "7,8,9,10"),
        (8, None, "it has 1 field, and the header row has 3", "last"),
    ]
    assert table == [("x", "y\nz", None), ("4", "5", "6")]
