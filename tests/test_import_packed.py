"""Compressed files and archives: unpacked as streams, within limits, and whole or not at all."""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Installation
from spreadsheet_samples import ooxml
from test_generic_import import add_import, drop_file, loaded, run
from test_import_rules import add_rule

from systemscripts.arrivals.outcomes import words_for

CSV = b"a,b\n1,x\n2,y\n"
ROWS = [("1", "x"), ("2", "y")]


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(*members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            entry = tarfile.TarInfo(member[0])
            entry.size = len(member[1])
            archive.addfile(entry, io.BytesIO(member[1]))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "gzip in two parts": lambda content: gzip.compress(content[:5]) + gzip.compress(content[5:]),
    "bzip2": bz2.compress,
    "bzip2 in two parts": lambda content: bz2.compress(content[:5]) + bz2.compress(content[5:]),
    "xz": lzma.compress,
    "xz in two parts": lambda content: lzma.compress(content[:5]) + bytes(8) + lzma.compress(content[5:]),
    "zip": lambda content: zip_of({"folder/": b"", "folder/a.csv": content, "__MACOSX/._a.csv": b"x"}),
    "tar": lambda content: tar_of(("a.csv", content)),
    "tar.gz": lambda content: tar_of(("a.csv", content), mode="w:gz"),
    "gzip within zip": lambda content: zip_of({"a.csv.gz": gzip.compress(content)}),
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_a_packed_file_is_loaded_whatever_its_name_and_kept_as_it_came(
    etl: Installation, pack: Callable[[bytes], bytes]
) -> None:
    add_import(etl)
    packed = pack(CSV)
    drop_file(etl, packed)
    (outcome,) = run(dry_run=True).files
    assert (outcome.status, outcome.rows) == ("Would load", 2), outcome.detail
    assert "utf-8, delimiter ','" in outcome.detail

    assert run().counts() == {"Loaded": 1}
    assert loaded(etl, "a, b") == ROWS
    assert (etl.home / "archive" / "clients_20260302.csv").read_bytes() == packed
    assert etl.query("SELECT sha256, file_size::int FROM dba.timportfile") == [
        (hashlib.sha256(packed).hexdigest(), len(packed))
    ]


def test_the_dry_run_says_what_was_unpacked(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, zip_of({"list.csv.gz": gzip.compress(CSV)}))
    (outcome,) = run(dry_run=True).files
    assert "(zip of 'list.csv.gz', gzip, utf-8, delimiter ',')" in outcome.detail


def test_a_workbook_may_be_compressed_and_is_no_archive_itself(etl: Installation) -> None:
    add_import(etl, file_type="XLSX", file_pattern="clients_*")
    cells = (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>a</t></is></c><c r="B1" t="inlineStr"><is><t>b</t></is></c></row>'
    )
    book = ooxml(cells + '<row r="2"><c r="A2"><v>1</v></c><c r="B2"><v>2</v></c></row>')
    for number, content in enumerate((book, gzip.compress(book), zip_of({"book.xlsx": book})), 1):
        drop_file(etl, content, f"clients_2026030{number}.xlsx")
    assert run().counts() == {"Loaded": 3}
    assert loaded(etl, "a, b") == [("1", "2")] * 3


def test_the_date_is_found_in_a_name_with_two_endings(etl: Installation) -> None:
    add_import(etl, file_pattern="clients_*")
    drop_file(etl, gzip.compress(CSV), "clients_20260302.csv.gz")
    assert run().counts() == {"Loaded": 1}
    assert etl.query("SELECT datasetdate::text FROM dba.tdataset") == [("2026-03-02",)]


def damaged(content: bytes) -> bytes:
    """Return the content with one bit of its last quarter turned."""
    place = len(content) * 3 // 4
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


LONG = b"a,b\n" + b"".join(b"%d,%x\n" % (number, number * 7_919) for number in range(3_000))
BROKEN = {
    "gzip with a wrong checksum": (gzip.compress(LONG)[:-8] + bytes(4) + gzip.compress(LONG)[-4:], "damaged"),
    "gzip that is cut off": (gzip.compress(LONG)[:-100], "cut off"),
    "gzip with something behind": (gzip.compress(LONG) + b"more", "damaged"),
    "bzip2 with a turned bit": (damaged(bz2.compress(LONG)), "damaged"),
    "bzip2 that is cut off": (bz2.compress(LONG)[:-100], "cut off"),
    "bzip2 with something behind": (bz2.compress(LONG) + b"more", "damaged"),
    "bzip2 whose second part is cut off": (bz2.compress(LONG) + bz2.compress(LONG)[:-9], "cut off"),
    "xz with a turned bit": (damaged(lzma.compress(LONG)), "damaged"),
    "xz that is cut off": (lzma.compress(LONG)[:-20], "cut off"),
    "xz with something behind": (lzma.compress(LONG) + b"more than a header", "damaged"),
    "zip with a wrong checksum": (zip_of({"a.csv": LONG}, zipfile.ZIP_STORED).replace(b"\n7,", b"\n8,"), "damaged"),
    "zip that is cut off": (zip_of({"a.csv": LONG})[:-30], "damaged"),
    "tar that is cut off within a file": (tar_of(("a.csv", LONG))[:20_000], "damaged"),
    "tar that is cut off between files": (tar_of(("a.csv", LONG[:500]))[:1024], "cut off or damaged"),
    "tar with a damaged header": (
        tar_of(("a.csv", CSV), ("b.csv", CSV))[:1024] + b"x" * 2048, "cut off or damaged",
    ),
    "Unix compress": (b"\x1f\x9d\x90" + LONG, "Unix compress (.Z)"),
    "Parquet": (b"PAR1\x15\x04\x15\x20" + bytes(30), "it is a Parquet file; set file_type to PARQUET"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7-Zip"),
    "packed for ever": (
        gzip.compress(gzip.compress(gzip.compress(gzip.compress(LONG)))), "packed more than 3 times: gzip, gzip, gzip",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_unpacked_whole_is_refused_in_one_sentence(
    etl: Installation, content: bytes, words: str
) -> None:
    add_import(etl)
    drop_file(etl, content)
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert words in outcome.detail
    assert "\n" not in outcome.detail
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    assert Path(outcome.refused_to or "").read_bytes() == content


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda zeros: zip_of({"a.csv": zeros}),
    "tar.gz": lambda zeros: tar_of(("a.csv", zeros), mode="w:gz"),
}


@pytest.mark.parametrize("pack", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(
    etl: Installation, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_import(etl)
    drop_file(etl, pack(bytes(20 << 20)))
    (outcome,) = run().files
    assert "more than 250 times its size" in outcome.detail
    monkeypatch.setenv("ETL_UNPACKED_MAX_MB", "1")
    drop_file(etl, pack(bytes(3 << 20)))
    (outcome,) = run().files
    assert "more than 1 MiB; look at the file before you raise ETL_UNPACKED_MAX_MB" in outcome.detail


# ---- archives of several files ---------------------------------------------------------------


def add_archive_import(etl: Installation, **columns: object) -> None:
    add_import(etl, file_pattern="daily_*", **{"member_pattern": "*.csv", "datelocation": r"(\d{8})", **columns})


THREE = {"clients_20260301.csv": b"a,b\n0,x\n", "folder/clients_20260302.csv": CSV, "readme.txt": b"hello"}


@pytest.mark.parametrize(
    ("kind", "pack"), [("zip", zip_of), ("gzip, tar", lambda members: tar_of(*members.items(), mode="w:gz"))]
)
def test_each_file_of_an_archive_that_fits_is_a_file_of_its_own(
    etl: Installation, kind: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    add_archive_import(etl, datelocation="1")
    content = pack(THREE)
    drop_file(etl, content, "daily_1")
    planned = run(dry_run=True)
    assert planned.counts() == {"Would load": 2}
    assert ["utf-8, delimiter" in outcome.detail and "(" + kind in outcome.detail for outcome in planned.files] == [
        True
    ] * 2
    assert [len(outcome.statements) > 0 for outcome in planned.files] == [True, False]
    assert loaded_files(etl) == []

    assert [(outcome.file, outcome.status, outcome.rows) for outcome in run().files] == [
        ("daily_1/clients_20260301.csv", "Loaded", 1),
        ("daily_1/folder/clients_20260302.csv", "Loaded", 2),
    ]
    assert loaded(etl, "a, b") == [("0", "x"), *ROWS]
    assert etl.query("SELECT datasetdate::text FROM dba.tdataset WHERE isactive ORDER BY 1") == [
        ("2026-03-01",),
        ("2026-03-02",),
    ]
    kept = str(etl.home / "archive" / "daily_1")
    assert Path(kept).read_bytes() == content
    assert loaded_files(etl) == [
        ("daily_1", "Unpacked", 3, hashlib.sha256(content).hexdigest(), kept),
        ("daily_1/clients_20260301.csv", "Loaded", 1, hashlib.sha256(b"a,b\n0,x\n").hexdigest(), kept),
        ("daily_1/folder/clients_20260302.csv", "Loaded", 2, hashlib.sha256(CSV).hexdigest(), kept),
    ]


def loaded_files(etl: Installation) -> list[tuple[object, ...]]:
    return etl.query(
        "SELECT file_name, status, row_count::int, sha256, archived_path FROM dba.timportfile ORDER BY importfileid"
    )


def test_the_sender_of_an_archive_is_told_of_all_its_rows(etl: Installation) -> None:
    add_archive_import(etl)
    drop_file(etl, zip_of(THREE), "daily_1")
    run()
    assert words_for(
        "Saved", *etl.query("SELECT status, row_count::int, error FROM dba.timportfile WHERE archive_id IS NULL")[0]
    ) == ("loaded, 3 rows")


def test_a_file_that_an_earlier_archive_brought_is_a_duplicate(etl: Installation) -> None:
    add_archive_import(etl)
    drop_file(etl, zip_of({"20260301.csv": CSV}), "daily_1")
    run()
    drop_file(etl, zip_of({"20260301.csv": CSV, "20260302.csv": b"a,b\n3,z\n"}), "daily_2")
    assert run().counts() == {"Duplicate": 1, "Loaded": 1}
    assert loaded(etl, "a, b") == [*ROWS, ("3", "z")]


def test_the_date_may_stand_in_the_name_of_the_archive(etl: Installation) -> None:
    add_archive_import(
        etl, datelocation=r"daily_(\d{8})", metadata_label_source="filename", metadata_label_location="0"
    )
    drop_file(etl, zip_of({"north_list.csv": CSV, "south_list.csv": b"a,b\n3,z\n"}), "daily_20260302.zip")
    assert run().counts() == {"Loaded": 2}
    assert etl.query("SELECT label, datasetdate::text FROM dba.tdataset ORDER BY 1") == [
        ("north", "2026-03-02"),
        ("south", "2026-03-02"),
    ]


def test_one_bad_file_refuses_its_archive_and_nothing_of_it_is_loaded(etl: Installation) -> None:
    add_archive_import(etl)
    drop_file(etl, zip_of({"20260301.csv": CSV, "20260302.csv": b"a,b\n1\n"}), "daily_1")
    (outcome,) = run().files
    assert "its file '20260302.csv': line 2: it has 1 field" in outcome.detail
    assert etl.value("SELECT to_regclass('public.tclients')") is None
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0
    assert [row[:2] for row in loaded_files(etl)] == [("daily_1", "Failed")]
    # What was seen of the table while it was there is forgotten.
    drop_file(etl, zip_of({"20260301.csv": CSV}), "daily_2")
    drop_file(etl, zip_of({"20260302.csv": b"a,b\n3,z\n", "20260303.csv": b"a,b\n1\n"}), "daily_1")
    drop_file(etl, zip_of({"20260304.csv": b"a,c\n4,z\n"}), "daily_3")
    assert sorted(run().counts().items()) == [("Failed", 1), ("Loaded", 2)]


def test_two_files_for_one_dataset_refuse_their_archive(etl: Installation) -> None:
    add_archive_import(etl, dateconfig="static", datelocation="2026-03-02", dateformat="yyyy-MM-dd")
    drop_file(etl, zip_of({"north.csv": CSV, "south.csv": b"a,b\n3,z\n"}), "daily_1")
    (outcome,) = run().files
    assert "'south.csv': its label 'clients' and date 2026-03-02 are those of 'north.csv'" in outcome.detail
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0


def test_rules_and_rejects_are_those_of_each_file(etl: Installation) -> None:
    add_archive_import(etl, reject_limit_percent=50)
    add_rule(etl, "a", data_type="integer")
    drop_file(etl, zip_of({"20260301.csv": b"a,b\nbad,x\n1,x\n", "20260302.csv": b"a,b\n2,y\nworse,x\n"}), "daily_1")
    assert run(dry_run=True).counts() == {"Would load": 2}
    assert run().counts() == {"Loaded": 2}
    assert etl.query(
        "SELECT file_name, line_number::int, original FROM dba.timportreject JOIN dba.timportfile USING (importfileid) ORDER BY 1"
    ) == [("daily_1/20260301.csv", 2, "bad,x"), ("daily_1/20260302.csv", 3, "worse,x")]


def test_a_file_that_is_no_archive_is_loaded_as_it_is(etl: Installation) -> None:
    add_archive_import(etl)
    drop_file(etl, CSV, "daily_20260302.csv")
    assert run().counts() == {"Loaded": 1}


def test_without_a_pattern_an_archive_of_several_files_is_refused_with_their_names(etl: Installation) -> None:
    add_import(etl)
    drop_file(etl, zip_of(THREE))
    (outcome,) = run().files
    assert "it is a zip archive of 3 files: 'clients_20260301.csv', " in outcome.detail
    assert "set member_pattern" in outcome.detail


CSV_IN_ZIP = zip_of({"20260301.csv": CSV})
HOSTILE = {
    "none that fits": (zip_of({"a.txt": CSV, ".a.csv": CSV}), "no file in it fits member_pattern *.csv: 'a.txt'"),
    "a name that leads out": (zip_of({"../../20260301.csv": CSV}), "'../../20260301.csv' has a name that leads out"),
    "an absolute name": (tar_of(("/etc/20260301.csv", CSV)), "leads out"),
    "a name of Windows that leads out": (zip_of({"C:\\20260301.csv": CSV}), "leads out"),
    "a control character": (zip_of({"2026\n0301.csv": CSV}), "control character"),
    "a link": (tar_of(link("20260301.csv", "/etc/passwd")), "'20260301.csv' is a link"),
    "a second name": (tar_of(("20260301.csv", CSV), link("20260302.csv", "20260301.csv", tarfile.LNKTYPE)), "is a link"),
    "a device": (tar_of(link("20260301.csv", "", tarfile.CHRTYPE)), "is a device"),
    "two of one name": (tar_of(("20260301.csv", CSV), ("20260301.csv", CSV)), "'20260301.csv' comes twice"),
    "many files": (zip_of({f"{number}.csv": b"" for number in range(10_001)}, zipfile.ZIP_STORED), "more than 10,000"),
    "an empty archive": (zip_of({}), "no file in it fits"),
    "sizes that are huge together": (zip_of({f"{n}.csv": bytes(9 << 20) for n in range(2)}), "250 times its size"),
    "a size that is a lie": (CSV_IN_ZIP.replace(b"\x0e\0\0\0\x0c\0\0\0", b"\x0e\0\0\0\x0b\0\0\0"), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), HOSTILE.values(), ids=HOSTILE)
def test_an_archive_made_to_harm_is_refused_in_one_sentence(etl: Installation, content: bytes, words: str) -> None:
    add_archive_import(etl)
    drop_file(etl, content, "daily_1")
    (outcome,) = run().files
    assert outcome.status == "Failed"
    assert words in outcome.detail
    assert "\n" not in outcome.detail
    assert etl.value("SELECT count(*) FROM dba.tdataset") == 0


def test_a_tar_archive_with_a_name_of_many_mebibytes_takes_no_memory(etl: Installation) -> None:
    add_archive_import(etl)
    entry = tarfile.TarInfo("20260301.csv")
    entry.pax_headers = {"comment": "x" * (20 << 20)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(entry)
    drop_file(etl, buffer.getvalue(), "daily_1")
    assert "made to harm: a name in it has" in run().files[0].detail


def test_names_in_other_encodings_are_shown_and_kept(etl: Installation) -> None:
    add_archive_import(etl)
    archive = tar_of(("K\udcf6ln_20260301.csv", CSV), ("日本_20260302.csv", b"a,b\n3,z\n"))
    drop_file(etl, archive, "daily_1")
    assert [outcome.file for outcome in run().files] == ["daily_1/Köln_20260301.csv", "daily_1/日本_20260302.csv"]
